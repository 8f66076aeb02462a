# SPDX-License-Identifier: MIT
import enum
from collections.abc import AsyncIterator
from typing import NamedTuple, SupportsIndex

from . import _native

ASYNC_TURN: int

class ConsumerStartMode(enum.IntEnum):
    FROM_LATEST = 0
    FROM_OLDEST_AVAILABLE = 1
    FROM_BEGINNING = 2

def start_mode_of(mode: object) -> ConsumerStartMode: ...

class Message(NamedTuple):
    data: bytes
    sequence: int
    timestamp_ns: int

class Producer(_native.Producer):
    def __init__(
        self, shm_name: str, node_count: int, block_size: int, metadata: str = "", *, shared: bool = False
    ) -> None: ...

class Consumer(_native.Consumer):
    def __init__(
        self,
        shm_name: str,
        node_count: int,
        block_size: int,
        start_mode: ConsumerStartMode | int | str = ...,
        *,
        shared: bool = False,
        metadata: str = "",
        lossy: bool = False,
        consumer_name: str | None = None,
        lease_ms: int = 0,
    ) -> None: ...
    def pop_message(self, timeout_ms: int | None = 0) -> Message | None: ...
    def pop_messages(self, max_count: SupportsIndex, timeout_ms: int | None = 0) -> list[Message]: ...
    def __aiter__(self) -> AsyncIterator[bytes]: ...
