# SPDX-License-Identifier: MIT
"""QueueConfig, and how it is kept in the metadata of a queue."""

import dataclasses
import enum
import re

CAPACITY_MOST = 1 << 29
BLOCK_MOST = 1 << 30
METADATA_MOST = 256


class BlockingMode(enum.Enum):
    """What happens when a queue is full or empty."""

    BLOCKING = 0
    """push() and pop() wait timeout_ms."""
    NON_BLOCKING = 1
    """push() overwrites the oldest message, pop() does not wait."""


@dataclasses.dataclass
class QueueConfig:
    """
    What a RingQueue is to be.

    >>> config = QueueConfig(capacity=1000)
    >>> config.is_valid(), config.is_power_of_two()
    (True, False)
    >>> config.round_up_capacity_to_power_of_two()
    1024
    >>> config.capacity
    1024
    """

    capacity: int = 1024
    """Messages: 1..2**29. Any number, not only powers of two."""
    blocking_mode: BlockingMode = BlockingMode.BLOCKING
    timeout_ms: int = 1000
    """Of push() and pop() in BLOCKING mode; negative: for ever."""
    has_timestamp: bool = False
    """Timestamps given are kept; else each message has the time of its push."""
    queue_name: str = ""
    """For a RingQueue without a name of its own."""
    extra_queue_names: list[str] = dataclasses.field(default_factory=list)
    """Kept with the queue, and reported; nothing else is done with them."""
    user_metadata: str = ""
    """Text kept with the queue; with the extra names at most 256 bytes of UTF-8."""
    enable_async: bool = False
    """push() hands the message to a thread of this object, which pushes it in order."""
    async_buffer_size: int = 256
    """How many messages that thread may have before it: 1 or more."""
    async_thread_count: int = 1
    """1 or more. One thread pushes in any case: several would mix up the order."""
    block_size: int = 4096
    """The largest message in bytes: 1..2**30. (RingQueueInt, RingQueueDouble: 8.)"""

    def is_valid(self):
        """Can a queue be made of this?"""
        return self.problem() is None

    def is_power_of_two(self):
        """Is capacity one? It need not be."""
        return isinstance(self.capacity, int) and self.capacity > 0 and self.capacity & (self.capacity - 1) == 0

    def round_up_capacity_to_power_of_two(self):
        """Change capacity to the next power of two, if it is none. Gives the new one."""
        if self.capacity > 0 and not self.is_power_of_two():
            self.capacity = 1 << self.capacity.bit_length()
        return self.capacity

    def problem(self):
        """What is wrong with it, or None."""
        for what, most in ("capacity", CAPACITY_MOST), ("block_size", BLOCK_MOST), ("async_buffer_size", None), ("async_thread_count", None):
            value = getattr(self, what)
            if not is_int(value) or value < 1 or (most and value > most):
                return f"{what} is {value!r}, not {f'1..{most}' if most else '1 or more'}"
        if not isinstance(self.blocking_mode, BlockingMode):
            return f"blocking_mode is {self.blocking_mode!r}, not a BlockingMode"
        if not is_int(self.timeout_ms):
            return f"timeout_ms is {self.timeout_ms!r}, not a number of milliseconds"
        for what in "has_timestamp", "enable_async":
            if not isinstance(getattr(self, what), bool):
                return f"{what} is {getattr(self, what)!r}, not a bool"
        if not isinstance(self.queue_name, str):
            return f"queue_name is {self.queue_name!r}, not a str"
        if self.queue_name and not is_name(self.queue_name):
            return f"queue_name is {self.queue_name!r}, not 1..63 of A-Z a-z 0-9 . _ -"
        if not isinstance(self.user_metadata, str) or "\0" in self.user_metadata:
            return "user_metadata is not a str without the character 0"
        if isinstance(self.extra_queue_names, str) or not all(isinstance(n, str) and is_name(n) for n in self.extra_queue_names):
            return f"extra_queue_names is {self.extra_queue_names!r}, not a list of names of queues"
        size = len(pack_metadata(self, None))
        if size > METADATA_MOST:
            return f"user_metadata and extra_queue_names take {size} bytes, more than {METADATA_MOST}"
        return None


def is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def is_name(name):
    return re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}", name) is not None and name != "control"


def pack_metadata(config, kind):
    """The text; then, each after a character 0, what only this library reads."""
    fields = [config.user_metadata]
    if kind:
        fields.append(f"type={kind}")
    fields += [f"extra={name}" for name in config.extra_queue_names]
    return "\0".join(fields).encode("utf-8", "surrogateescape")


def unpack_metadata(data):
    text, *fields = data.decode("utf-8", "surrogateescape").split("\0")
    kinds = [field[5:] for field in fields if field.startswith("type=")]
    return text, kinds[0] if kinds else None, [field[6:] for field in fields if field.startswith("extra=")]
