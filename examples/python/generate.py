# SPDX-License-Identifier: MIT
"""
Acquisition: a sine, one block each 0.05 s, until Ctrl-C. With a number, so many blocks.

    python generate.py [BLOCKS]
"""

import itertools
import os
import sys

from blocks import BYTES, NODES, RAW, sine
from multiqueue_shm import sharedmem_producer


@sharedmem_producer(
    {
        "out_shm": RAW,
        "out_queue_len": NODES,
        "out_block_size": BYTES,
        "interval": float(os.environ.get("INTERVAL", "0.05")),
        "metadata": "64 kHz, float32",
    }
)
def generate():
    blocks = range(int(sys.argv[1])) if len(sys.argv) > 1 else itertools.count()
    for number in blocks:
        yield sine(number)
