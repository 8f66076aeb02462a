# SPDX-License-Identifier: MIT
import dataclasses
import enum
from typing import Any

CAPACITY_MOST: int
BLOCK_MOST: int
METADATA_MOST: int

class BlockingMode(enum.Enum):
    BLOCKING = 0
    NON_BLOCKING = 1

@dataclasses.dataclass
class QueueConfig:
    capacity: int = 1024
    blocking_mode: BlockingMode = ...
    timeout_ms: int = 1000
    has_timestamp: bool = False
    queue_name: str = ""
    extra_queue_names: list[str] = ...
    user_metadata: str = ""
    enable_async: bool = False
    async_buffer_size: int = 256
    async_thread_count: int = 1
    block_size: int = 4096
    def is_valid(self) -> bool: ...
    def is_power_of_two(self) -> bool: ...
    def problem(self) -> str | None: ...
    def round_up_capacity_to_power_of_two(self) -> int: ...

def is_int(value: Any) -> bool: ...
def is_name(name: str) -> bool: ...
def pack_metadata(config: QueueConfig, kind: str | None) -> bytes: ...
def unpack_metadata(data: bytes) -> tuple[str, str | None, list[str]]: ...
