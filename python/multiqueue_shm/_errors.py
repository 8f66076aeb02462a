# SPDX-License-Identifier: MIT
"""The exceptions. Each is a MultiQueueError, and of the built-in kind that fits."""


class MultiQueueError(Exception):
    """All that goes wrong with queues. The text says what, and with which queue."""


class QueueFullError(MultiQueueError, BlockingIOError):
    """There is no room, and the call was not to wait."""


class QueueEmptyError(MultiQueueError, BlockingIOError):
    """There is no message, and the call was not to wait."""


class QueueTimeoutError(MultiQueueError, TimeoutError):
    """The time ran out."""


class QueueClosedError(MultiQueueError, ValueError):
    """This object is closed or has lost its place: evicted as too slow, or the queue was removed by force."""


class ProducerDiedError(QueueClosedError):
    """The stream has ended, and is not whole: its producer died without closing, or failed."""


class InvalidConfigError(MultiQueueError, ValueError):
    """A name, size or option is out of its range, or the queue exists with another geometry."""


class MessageSizeError(MultiQueueError, ValueError):
    """The message is larger than the queue's block_size."""


class MessageOvertakenError(MultiQueueError, BufferError):
    """The producer of a queue that overwrites did so while the message was in view."""


class QueueSystemError(MultiQueueError, OSError):
    """The system or another process forbids it; errno says why: EBUSY, ENOSPC, EBADMSG ... (see mqshm.h)."""


class QueuePermissionError(QueueSystemError, PermissionError):
    """No right to open the queue."""


class QueueForkedError(QueueSystemError, ChildProcessError):
    """The object belongs to the parent process: a child opens its own."""
