# SPDX-License-Identifier: MIT
"""The end of plot.py and plot_asyncio.py: what arrived is compared with what was sent, and drawn."""

import matplotlib

matplotlib.use("Agg")  # into a file: no display is needed

import matplotlib.pyplot as plt
import numpy as np

from blocks import RATE, SAMPLES

SENT, ARRIVED, INK = "#9aa5b1", "#0b6e99", "#2b2f33"
SHOWN_MS = 10


def finish(path, wanted, sent, arrived):
    """Draw into path, say what was seen, and return the status: 0, or 1 if it is not half of what was sent."""
    sent, arrived = (np.concatenate(blocks or [np.zeros(0, np.float32)]) for blocks in (sent, arrived))
    if not sent.size == arrived.size == wanted * SAMPLES:
        print(f"wrong: {sent.size:,} samples were sent, {arrived.size:,} arrived, {wanted * SAMPLES:,} were wanted")
        return 1
    draw(path, sent, arrived)
    print(f"picture: {path}")
    different = np.count_nonzero(arrived != sent * np.float32(0.5))
    if different:
        print(f"wrong: {different:,} of {sent.size:,} samples are not half of what was sent")
        return 1
    print(f"right: all {sent.size:,} samples in {wanted} blocks are half of what was sent")
    return 0


def spectrum(wave):
    """Frequencies in Hz, and amplitude in dB of full scale."""
    window = np.blackman(wave.size)
    amplitude = 2 * np.abs(np.fft.rfft(wave * window)) / window.sum()
    return np.fft.rfftfreq(wave.size, 1 / RATE), 20 * np.log10(np.maximum(amplitude, 1e-7))


def draw(path, sent, arrived):
    plt.rcParams.update(
        {"font.size": 11, "axes.edgecolor": INK, "text.color": INK, "axes.labelcolor": INK, "axes.grid": True, "grid.alpha": 0.25}
    )
    figure, (wave, frequencies) = plt.subplots(2, 1, figsize=(10, 7.5), layout="constrained")
    figure.suptitle("Through two queues in shared memory: sent, and half of it", fontsize=15, fontweight="bold")

    count = RATE * SHOWN_MS // 1000
    ms = np.arange(count) / RATE * 1000
    wave.plot(ms, sent[:count], color=SENT, linewidth=1.6, label="sent")
    wave.plot(ms, arrived[:count], color=ARRIVED, linewidth=2, label="arrived")
    wave.set(xlabel="time in ms", ylabel="amplitude", xlim=(0, SHOWN_MS), ylim=(-1, 1.2))
    wave.set_title(f"Wave, the first {SHOWN_MS} ms", loc="left")
    wave.legend(loc="upper right", ncols=2, framealpha=0.9)

    hz, level = spectrum(sent)
    frequencies.plot(hz, level, color=SENT, linewidth=3, label="sent")
    hz, level = spectrum(arrived)
    frequencies.plot(hz, level, color=ARRIVED, linewidth=2.2, label="arrived: 6 dB less")
    for i in range(1, level.size - 1):
        if level[i] > -60 and level[i] >= level[i - 1] and level[i] > level[i + 1]:
            frequencies.plot(hz[i], level[i], "o", color=ARRIVED, markersize=5)
            text = f"{hz[i]:,.0f} Hz\n{level[i]:.1f} dB"
            frequencies.annotate(text, (hz[i], level[i]), (9, 4), textcoords="offset points", va="top", fontsize=10)
    frequencies.set(xlabel="frequency in Hz", ylabel="dB of full scale", ylim=(-100, 10))
    frequencies.set_title(f"Spectrum of all {arrived.size / RATE:g} s", loc="left")
    frequencies.set_xscale("log")
    frequencies.set_xlim(100, RATE / 2)
    frequencies.set_xticks([100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000])
    frequencies.xaxis.set_major_formatter("{x:,.0f}")
    frequencies.minorticks_off()
    frequencies.legend(loc="upper right", ncols=2, framealpha=0.9)

    for axes in wave, frequencies:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
