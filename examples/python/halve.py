# SPDX-License-Identifier: MIT
"""
Filter: a chain. It is called with blocks of one queue, and what it yields goes into the other; until Ctrl-C.

    python halve.py
"""

import numpy as np

from blocks import BYTES, HALF, NODES, RAW
from multiqueue_shm import sharedmem_consumer, sharedmem_producer, start

QUEUES = {
    "in_shm": RAW,
    "in_queue_len": NODES,
    "in_block_size": BYTES,
    "out_shm": HALF,
    "out_queue_len": NODES,
    "out_block_size": BYTES,
    "metadata": "64 kHz, float32, half the amplitude",
    "batch_size": 10,
}


@sharedmem_producer(QUEUES)
@sharedmem_consumer(QUEUES)
def halve(batch):
    for block in batch:
        yield np.frombuffer(block, np.float32) * np.float32(0.5)


start()  # it would start by itself; but so we can say when
print("ready", flush=True)
