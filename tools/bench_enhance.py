"""Speed of an enhancer compared with spectral gating and, with a set, their quality.

    pip install noisereduce pesq pystoi
    python tools/bench_enhance.py --threads 2
    python tools/bench_enhance.py --threads 2 --set set/ --files 100

Both process the same mono recording at 16 kHz, alternating in one process. Prints the median
seconds, the real-time factor (seconds per second of audio) and the ratio to spectral gating, which
uses one thread; also of the enhancer as a stream of 10 ms blocks. A set is a folder of
tools/make_enhancement_set.py; its first files are evaluated.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from spectral_gate import gate
from tqdm import tqdm

from wavediff.cli import run
from wavediff.data.audio import read_audio
from wavediff.data.synthetic import utterance
from wavediff.errors import UserError
from wavediff.evaluation.metrics import METRICS
from wavediff.evaluation.pairs import match
from wavediff.tasks.enhancer import Enhancer

RATE = 16_000
QUALITY = ("pesq_wb", "estoi", "si_sdr")

Method = Callable[
    [np.ndarray], np.ndarray
]  # float32 [1, time] at 16 kHz, of the input and the output


def recording(seconds: float) -> np.ndarray:
    """Synthetic voice in noise, float32 [1, time]."""
    noise = 0.02 * np.random.default_rng(0).standard_normal((1, round(seconds * RATE)))
    return (utterance(seconds, RATE, 0).numpy()[:, : noise.shape[1]] + noise).astype(np.float32)


def timed(methods: Mapping[str, Method], audio: np.ndarray, repeats: int) -> dict[str, float]:
    """Median seconds of each method, alternating, after a warm-up round."""
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for repeat in range(repeats + 1):
        for name, method in methods.items():
            began = time.perf_counter()
            method(audio)
            if repeat:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in seconds.items()}


def quality(methods: Mapping[str, Method], root: Path, files: int) -> dict[str, list[float]]:
    """Mean metrics of the noisy input and of each method over the first files of a set."""
    for name in QUALITY:
        METRICS[name].require()
    pairs, _, _ = match(root / "clean", root / "noisy")
    scores: dict[str, list[list[float]]] = {name: [] for name in ("noisy", *methods)}
    for pair in tqdm(pairs[:files], unit="file", file=sys.stderr):
        clean, noisy = (
            read_audio(path, RATE)[0].numpy() for path in (pair.reference, pair.estimate)
        )
        for name, method in {"noisy": lambda audio: audio, **methods}.items():
            estimate = method(noisy)
            scores[name].append([METRICS[m](estimate, clean, RATE) for m in QUALITY])
    return {name: np.mean(values, axis=0).tolist() for name, values in scores.items()}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default="enhancer-16k", help="a bundled name or a path")
    parser.add_argument("--steps", type=int, help="(default: the checkpoint's)")
    parser.add_argument("--sampler", help="(default: the checkpoint's)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of audio (default: 30)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of the enhancer (default: all cores)")
    parser.add_argument("--set", type=Path, help="folder with clean/ and noisy/")
    parser.add_argument("--files", type=int, default=20, help="of the set (default: 20)")
    options = parser.parse_args(argv)
    if options.seconds < 1 or options.repeats < 1 or options.files < 1:
        raise UserError("--seconds, --repeats and --files must be 1 or more")
    if options.threads:
        torch.set_num_threads(options.threads)
    enhancer = Enhancer.from_pretrained(options.checkpoint)
    methods: dict[str, Method] = {
        "spectral gating": lambda audio: gate(audio, RATE),
        "enhancer": lambda audio: enhancer(
            audio, RATE, sampler=options.sampler, steps=options.steps
        ),
    }
    block = RATE // 100

    def streamed(audio: np.ndarray) -> np.ndarray:
        stream = enhancer.stream(RATE, sampler=options.sampler, steps=options.steps)
        starts = range(0, audio.shape[1], block)
        parts = [stream.push(audio[:, start : start + block]) for start in starts]
        return np.concatenate([*parts, stream.finish()], axis=1)

    timed_methods = methods | {"enhancer, stream": streamed}
    seconds = timed(timed_methods, recording(options.seconds), options.repeats)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads")
    print(f"{'':<18}{'seconds':>9}{'RTF':>9}{'ratio':>9}")
    for name, value in seconds.items():
        ratio = value / seconds["spectral gating"]
        print(f"{name:<18}{value:9.3f}{value / options.seconds:9.4f}{ratio:9.2f}", flush=True)
    if options.set:
        scores = quality(methods, options.set, options.files)
        print(f"\n{'':<18}" + "".join(f"{METRICS[name].label:>13}" for name in QUALITY))
        for name, values in scores.items():
            print(f"{name:<18}" + "".join(f"{value:13.3f}" for value in values))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
