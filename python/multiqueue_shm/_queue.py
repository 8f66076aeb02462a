# SPDX-License-Identifier: MIT
"""Producer and Consumer: what _native gives, with the parts that need no C."""

import asyncio
import atexit
import enum
import os
import typing

from . import _native
from ._errors import InvalidConfigError, ProducerDiedError

# Who leaves without a word is taken for dead by its peers.
atexit.register(_native.close_all)

ASYNC_TURN = 64  # messages in a row before `async for` lets others run


class ConsumerStartMode(enum.IntEnum):
    """Where a new consumer starts."""

    FROM_LATEST = 0
    """Only what is pushed from now on."""
    FROM_OLDEST_AVAILABLE = 1
    """Everything that is still in the ring."""
    FROM_BEGINNING = 2
    """The same, and what has gone already counts as missed."""


class Message(typing.NamedTuple):
    """A message, with what its queue knows of it."""

    data: bytes
    sequence: int
    """0 for the first of the queue, +1 each."""
    timestamp_ns: int
    """The time of the push in ns since 1970; or the producer's own, or 0, if the queue was created so."""


class Producer(_native.Producer):
    """
    The producer of a queue, which is created when it is missing.

    shm_name: 1..63 of A-Z a-z 0-9 . _ -, not beginning with a dot. node_count: most messages outstanding, 1..2**30.
    block_size: the largest message in bytes, 1..2**30. Where the queue exists, both must match. metadata: text kept with
    a queue that is created by this call, at most 256 bytes of UTF-8. shared: create it for up to 64 producers; else it
    has one at a time.

    Raises InvalidConfigError (out of range; it exists with another geometry), QueueSystemError (errno EBUSY: it has a
    live producer; ENOSPC: /dev/shm is too small), QueuePermissionError, TypeError.

    Threads may share the object. A child process may not (QueueForkedError): it opens its own.
    """

    def __init__(self, shm_name, node_count, block_size, metadata="", *, shared=False):
        super().__init__(shm_name, node_count, block_size, metadata, shared=shared)


class Consumer(_native.Consumer):
    """
    A consumer of a queue, with a place of its own in it: it gets every message from its start on. The queue is created
    when it is missing, so a consumer may come before the producer; it may also stay after it.

    shm_name, node_count, block_size, shared, metadata: as for Producer. start_mode: a ConsumerStartMode or its name. lossy:
    never hold the producer back; what was overwritten meanwhile counts as missed. consumer_name (1..31 of A-Z a-z 0-9 . _ -)
    and lease_ms (1..86,400,000) go together: the place in the queue is kept for that long when this consumer is closed or
    dies, holds the producer back meanwhile, and the next of that name goes on there; unregister() gives it up.

    Iteration gives messages (bytes) as they come and ends with the stream: ProducerDiedError if its producer died.
    `async for` does the same without blocking the event loop. Errors and threads as for Producer.
    """

    def __init__(
        self,
        shm_name,
        node_count,
        block_size,
        start_mode=ConsumerStartMode.FROM_LATEST,
        *,
        shared=False,
        metadata="",
        lossy=False,
        consumer_name=None,
        lease_ms=0,
    ):
        super().__init__(
            shm_name,
            node_count,
            block_size,
            start_mode_of(start_mode),
            shared=shared,
            metadata=metadata,
            lossy=lossy,
            consumer_name=consumer_name,
            lease_ms=lease_ms,
        )

    def pop_message(self, timeout_ms=0):
        """As pop(), with the message's sequence and time: a Message(data, sequence, timestamp_ns), or None."""
        found = self.pop_facts(1, timeout_ms)
        return Message(*found[0]) if found else None

    def pop_messages(self, max_count, timeout_ms=0):
        """As pop_batch(), a list of Message, at most 32 of them."""
        return [Message(*facts) for facts in self.pop_facts(max_count, timeout_ms)]

    def __aiter__(self):
        return _messages(self)


def start_mode_of(mode):
    """A ConsumerStartMode from itself, its number or its name; else InvalidConfigError."""
    try:
        return ConsumerStartMode[mode] if isinstance(mode, str) else ConsumerStartMode(mode)
    except (KeyError, ValueError):
        names = ", ".join(ConsumerStartMode.__members__)
        raise InvalidConfigError(f"start_mode is {mode!r}, not one of {names}") from None


async def _messages(consumer):
    loop = asyncio.get_running_loop()
    # A descriptor of our own: the loop knows one callback for each, and several may iterate.
    fd = os.dup(consumer.fileno())
    try:
        while True:
            for _ in range(ASYNC_TURN):
                message = consumer.pop()
                if message is None:
                    break
                yield message
            else:
                await asyncio.sleep(0)
                continue
            ended = consumer.ended
            if ended == "died":
                raise ProducerDiedError(f"the producer of queue '{consumer.name}' died without closing, or failed")
            if ended:
                return
            readable = loop.create_future()
            loop.add_reader(fd, _set, readable)
            try:
                await readable
            finally:
                loop.remove_reader(fd)
    finally:
        os.close(fd)


def _set(future):
    if not future.done():
        future.set_result(None)
