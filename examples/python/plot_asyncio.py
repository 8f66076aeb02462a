# SPDX-License-Identifier: MIT
"""
The same as plot.py with asyncio: both queues in one event loop, without threads.

    python plot_asyncio.py [PICTURE [BLOCKS]]
"""

import asyncio
import sys

import numpy as np

import drawing
from blocks import BYTES, HALF, NODES, RAW
from multiqueue_shm import Consumer


async def collect(consumer, wanted):
    blocks = []
    async for block in consumer:
        blocks.append(np.frombuffer(block, np.float32))
        if len(blocks) == wanted:
            break
    return blocks


async def main(picture="wave.png", wanted="40"):
    with Consumer(RAW, NODES, BYTES) as raw, Consumer(HALF, NODES, BYTES) as half:
        print("ready", flush=True)
        sent, arrived = await asyncio.gather(collect(raw, int(wanted)), collect(half, int(wanted)))
    return drawing.finish(picture, int(wanted), sent, arrived)


sys.exit(asyncio.run(main(*sys.argv[1:])))
