# SPDX-License-Identifier: MIT
"""
Named broadcast queues between processes, in shared memory: every consumer gets every message.

    with multiqueue_shm.Producer("samples", 1024, 12800) as producer:
        producer.push(block, timeout_ms=-1)

    for block in multiqueue_shm.Consumer("samples", 1024, 12800):
        use(numpy.frombuffer(block, numpy.float32))
"""

from ._errors import (
    InvalidConfigError,
    MessageOvertakenError,
    MessageSizeError,
    MultiQueueError,
    ProducerDiedError,
    QueueClosedError,
    QueueEmptyError,
    QueueForkedError,
    QueueFullError,
    QueuePermissionError,
    QueueSystemError,
    QueueTimeoutError,
)
from ._native import version as __version__
from ._queue import Consumer, ConsumerStartMode, Producer
from .decorators import run, sharedmem_consumer, sharedmem_producer, start, stop
from .processor import Processor

__all__ = [
    "Consumer",
    "ConsumerStartMode",
    "InvalidConfigError",
    "MessageOvertakenError",
    "MessageSizeError",
    "MultiQueueError",
    "Processor",
    "Producer",
    "ProducerDiedError",
    "QueueClosedError",
    "QueueEmptyError",
    "QueueForkedError",
    "QueueFullError",
    "QueuePermissionError",
    "QueueSystemError",
    "QueueTimeoutError",
    "__version__",
    "run",
    "sharedmem_consumer",
    "sharedmem_producer",
    "start",
    "stop",
]
