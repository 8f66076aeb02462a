# SPDX-License-Identifier: MIT
"""What the examples of this directory share: blocks of float32 samples, 12,800 bytes each, at 64,000 samples a second."""

import os

import numpy as np

RATE = 64_000  # samples a second
SAMPLES = 3_200  # of a block: 0.05 s
BYTES = 4 * SAMPLES  # 12,800
NODES = 64  # blocks that a queue holds

RAW = os.environ.get("RAW_QUEUE", "demo-sine")
HALF = os.environ.get("HALF_QUEUE", "demo-half")


def sine(number: int) -> np.ndarray:
    """Block number: a tone of 440 Hz with two weaker ones, so that the spectrum has something to show. Shape (3200,)."""
    t = (np.arange(SAMPLES) + number * SAMPLES) / RATE
    wave = 0.8 * np.sin(2 * np.pi * 440 * t) + 0.15 * np.sin(2 * np.pi * 1_320 * t) + 0.05 * np.sin(2 * np.pi * 5_000 * t)
    return wave.astype(np.float32)
