# SPDX-License-Identifier: MIT
"""
Display: collects blocks of both queues, draws wave and spectrum of what arrived, and checks each sample: it is half of what
was sent. Ends with 1 if it is not.

    python plot.py [PICTURE [BLOCKS]]
"""

import sys

import numpy as np

import drawing
from blocks import BYTES, HALF, NODES, RAW
from multiqueue_shm import sharedmem_consumer, start, stop

picture = sys.argv[1] if len(sys.argv) > 1 else "wave.png"
wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 40
sent, arrived = [], []


def collect(blocks, batch):
    blocks.extend(np.frombuffer(block, np.float32) for block in batch[: wanted - len(blocks)])
    if len(sent) == len(arrived) == wanted:
        stop()


@sharedmem_consumer(in_shm=RAW, in_queue_len=NODES, in_block_size=BYTES, batch_size=10)
def raw(batch):
    collect(sent, batch)


@sharedmem_consumer(in_shm=HALF, in_queue_len=NODES, in_block_size=BYTES, batch_size=10)
def half(batch):
    collect(arrived, batch)


start()
print("ready", flush=True)
for function in raw, half:
    function.stage.wait()
sys.exit(drawing.finish(picture, wanted, sent, arrived))
