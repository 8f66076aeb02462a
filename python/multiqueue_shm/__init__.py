# SPDX-License-Identifier: MIT
"""
Named broadcast queues between processes, in shared memory: every consumer gets every message.

    with multiqueue_shm.Producer("samples", 1024, 12800) as producer:
        producer.push(block, timeout_ms=-1)

    for block in multiqueue_shm.Consumer("samples", 1024, 12800):
        use(numpy.frombuffer(block, numpy.float32))
"""

from ._config import BlockingMode, QueueConfig
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
from ._queue import Consumer, ConsumerStartMode, Message, Producer
from .decorators import run, sharedmem_consumer, sharedmem_producer, start, stop
from .processor import Processor
from .manager import MergedQueueView, QueueManager, SyncStats
from .ring_queue import QUEUE_VERSION, QueueStats, RingQueue, RingQueueDouble, RingQueueInt
from .timestamps import (
    TimestampSynchronizer,
    timestamp_micros,
    timestamp_millis,
    timestamp_now,
    timestamp_now_micros,
    timestamp_now_millis,
)

__all__ = [
    "BlockingMode",
    "Consumer",
    "ConsumerStartMode",
    "InvalidConfigError",
    "MergedQueueView",
    "Message",
    "MessageOvertakenError",
    "MessageSizeError",
    "MultiQueueError",
    "Processor",
    "Producer",
    "ProducerDiedError",
    "QUEUE_VERSION",
    "QueueClosedError",
    "QueueConfig",
    "QueueEmptyError",
    "QueueForkedError",
    "QueueFullError",
    "QueueManager",
    "QueuePermissionError",
    "QueueStats",
    "QueueSystemError",
    "QueueTimeoutError",
    "RingQueue",
    "RingQueueDouble",
    "RingQueueInt",
    "SyncStats",
    "TimestampSynchronizer",
    "__version__",
    "run",
    "sharedmem_consumer",
    "sharedmem_producer",
    "start",
    "stop",
    "timestamp_micros",
    "timestamp_millis",
    "timestamp_now",
    "timestamp_now_micros",
    "timestamp_now_millis",
]
