"""Whether a causal enhancer keeps up: the time of each block, and the memory, over minutes.

    python tools/bench_live.py --checkpoint runs/libri_noise_live --seconds 600
    python tools/bench_live.py --checkpoint runs/libri_noise_live --backend onnx

Synthetic voice in noise is pushed in blocks of one hop, as fast as they are computed, on one
thread. Prints the real-time factor, percentiles of the wall-clock time of a block beside its
length, how many blocks took longer than that, and the memory of the process after ten seconds of
audio and at the end.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from bench_enhance import recording
from machine import machine

from wavediff.cli import run
from wavediff.errors import UserError
from wavediff.tasks.enhancer import Enhancer
from wavediff.tasks.live import LiveStream

PERCENTILES = (50, 99, 99.9, 100)
SETTLED = 10.0  # seconds of audio after which memory is measured first
REPEATED = 60  # seconds of audio that are repeated


def resident() -> float:
    """MB of memory that the process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def push_all(stream: LiveStream, audio: np.ndarray, blocks: int) -> tuple[np.ndarray, list[float]]:
    """(seconds of each block, MB after ``SETTLED`` seconds and at the end)."""
    seconds = np.zeros(blocks)
    settled = min(blocks - 1, round(SETTLED * stream.sample_rate / stream.hop))
    memory = []
    for k in range(blocks):
        start = k * stream.hop % (audio.shape[1] - stream.hop)
        block = audio[:, start : start + stream.hop]
        began = time.perf_counter()
        stream.push(block)
        seconds[k] = time.perf_counter() - began
        if k == settled:
            memory.append(resident())
    return seconds, [*memory, resident()]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", required=True, help="a causal enhancer")
    parser.add_argument("--backend", choices=("torch", "onnx"), default="torch")
    parser.add_argument("--seconds", type=float, default=600.0, help="of audio (default: 600)")
    options = parser.parse_args(argv)
    if options.seconds < 1:
        raise UserError("--seconds must be 1 or more")
    torch.set_num_threads(1)
    enhancer = Enhancer.from_pretrained(options.checkpoint)
    if not enhancer.causal:
        raise UserError(f"{options.checkpoint} looks ahead: give a causal enhancer")
    rate = enhancer.sample_rate
    audio = recording(min(options.seconds, REPEATED) * rate / 16_000)
    stream = enhancer.stream(rate, backend=options.backend)
    length = stream.hop / rate
    seconds, memory = push_all(stream, audio, round(options.seconds / length))
    print(f"{options.backend}, {machine(1)}")
    print(f"real-time factor  {seconds.mean() / length:.3f}")
    for percentile in PERCENTILES:
        name = "longest" if percentile == 100 else f"{percentile:g} % within"
        print(f"{name:<18}{1e3 * np.percentile(seconds, percentile):.2f} ms of {1e3 * length:g}")
    print(f"{'late blocks':<18}{int((seconds > length).sum())} of {len(seconds)}")
    print(f"{'memory':<18}{memory[0]:.1f} MB after 10 s, {memory[1]:.1f} MB at the end")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
