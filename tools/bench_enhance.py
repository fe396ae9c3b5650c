"""Speed of enhancers compared with spectral gating or enhancers of other projects, and quality.

    pip install noisereduce pesq pystoi
    python tools/bench_enhance.py --threads 2
    python tools/bench_enhance.py --threads 2 --set set/ --files 100
    python tools/bench_enhance.py --set set/ --files 100 --peers

A set is a folder of tools/make_enhancement_set.py; its first files are evaluated.

Spectral gating and the enhancers process the same mono recording at 16 kHz, alternating in one
process. Prints the median seconds, the real-time factor (seconds per second of audio) and the ratio
to spectral gating, which uses one thread; also of each enhancer as a stream of 10 ms blocks.

--peers prints one Markdown table of RNNoise, GTCRN, DeepFilterNet3 and the enhancers on the set,
all on one thread. The peers' packages are installed into a virtual environment of their own, once.
A peer that cannot be installed or run is a row that says why, and exit code 2.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import enhance_peers
import numpy as np
import torch
from enhance_peers import System
from machine import machine
from spectral_gate import gate
from tqdm import tqdm

from wavediff.cli import run
from wavediff.data.audio import read_audio
from wavediff.data.synthetic import utterance
from wavediff.errors import UserError
from wavediff.evaluation.metrics import METRICS, UndefinedMetric
from wavediff.evaluation.pairs import match
from wavediff.tasks.enhancer import Enhancer

RATE = 16_000
BLOCK = RATE // 100  # of a stream, 10 ms
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


def read_set(root: Path, files: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(clean, noisy) first recordings of a set, each float32 [1, time] at 16 kHz."""
    for name in QUALITY:
        METRICS[name].require()
    pairs = match(root / "clean", root / "noisy")[0][:files]
    return tuple(
        [read_audio(path, RATE)[0].numpy() for path in paths]
        for paths in zip(*((pair.reference, pair.estimate) for pair in pairs), strict=True)
    )


def scores(name: str, estimates: Sequence[np.ndarray], clean: Sequence[np.ndarray]) -> list[float]:
    """Mean metrics; a file for which a metric is undefined is reported and left out of its mean."""
    means = []
    for metric in QUALITY:
        values = []
        for i, (estimate, reference) in enumerate(zip(estimates, clean, strict=True)):
            try:
                values.append(METRICS[metric](estimate, reference, RATE))
            except UndefinedMetric as why:
                print(f"{name}: no {METRICS[metric].label} of file {i + 1}: {why}", file=sys.stderr)
        means.append(float(np.mean(values)) if values else float("nan"))
    return means


def streamed(enhancer: Enhancer, **how: Any) -> Method:
    """The enhancer as a stream of blocks."""

    def method(audio: np.ndarray) -> np.ndarray:
        stream = enhancer.stream(RATE, **how)
        starts = range(0, audio.shape[1], BLOCK)
        parts = [stream.push(audio[:, start : start + BLOCK]) for start in starts]
        return np.concatenate([*parts, stream.finish()], axis=1)

    return method


def compare_speed(methods: Mapping[str, Method], seconds: float, repeats: int) -> None:
    """Print the table of seconds, beside the first method."""
    medians = timed(methods, recording(seconds), repeats)
    width = max(18, *(len(name) + 2 for name in methods))
    first = next(iter(medians.values()))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads")
    print(f"{'':<{width}}{'seconds':>9}{'RTF':>9}{'ratio':>9}")
    for name, value in medians.items():
        print(f"{name:<{width}}{value:9.3f}{value / seconds:9.4f}{value / first:9.2f}", flush=True)


def compare_quality(methods: Mapping[str, Method], root: Path, files: int) -> None:
    """Print the table of mean metrics of a set's first files and of each method on them."""
    clean, noisy = read_set(root, files)
    methods = {"noisy": lambda audio: audio, **methods}
    width = max(18, *(len(name) + 2 for name in methods))
    print(f"\n{'':<{width}}" + "".join(f"{METRICS[name].label:>13}" for name in QUALITY))
    for name, method in methods.items():
        values = scores(name, [method(audio) for audio in progress(noisy, name)], clean)
        print(f"{name:<{width}}" + "".join(f"{value:13.3f}" for value in values), flush=True)


def measured(name: str, enhancer: Enhancer, method: Method, noisy: Sequence[np.ndarray]) -> System:
    """An enhancer on recordings, its time in CPU seconds as that of the peers."""
    method(noisy[0])  # what is slow the first time
    began = time.process_time()
    estimates = [method(audio)[0] for audio in progress(noisy, name)]
    seconds = time.process_time() - began
    return System(
        name,
        parameters=sum(parameter.numel() for parameter in enhancer.network.parameters()),
        real_time_factor=seconds * RATE / sum(audio.shape[1] for audio in noisy),
        estimates=estimates,
    )


def row(system: System, clean: Sequence[np.ndarray]) -> str:
    """A line of the Markdown table."""
    if system.problem:
        cells = [system.problem.replace("|", "/"), *[""] * (2 + len(QUALITY))]
    else:
        counted, late, factor = system.parameters, system.latency, system.real_time_factor
        means = scores(system.name, system.estimates, clean)
        cells = [
            "" if counted is None else f"{counted / 1e6:.2g} M",
            "" if late is None else f"{1000 * late:,.0f} ms",
            "" if factor is None else f"{factor:.3f}",
            *(
                f"{value:.{2 if 'dB' in METRICS[name].label else 3}f}"
                for name, value in zip(QUALITY, means, strict=True)
            ),
        ]
    return f"| {' | '.join([system.name, *cells])} |"


def compare_peers(
    enhancers: Mapping[str, Enhancer], how: Mapping[str, Any], options: argparse.Namespace
) -> int:
    """Print the Markdown table of the peers and the enhancers on a set; return the exit code."""
    clean, noisy = read_set(options.set, options.files)
    mono = [audio[0] for audio in noisy]
    systems = [System("noisy", estimates=mono)]
    systems += enhance_peers.run_peers(mono, options.peers_env, options.gtcrn)
    for name, enhancer in enhancers.items():
        whole = measured(
            f"{name}, whole file", enhancer, partial(enhancer, sample_rate=RATE, **how), noisy
        )
        stream = measured(f"{name}, stream", enhancer, streamed(enhancer, **how), noisy)
        stream.latency = enhancer.stream(RATE, **how).latency
        systems += [whole, stream]
    seconds = sum(map(len, mono)) / RATE
    print(f"{len(mono)} files, {seconds:.0f} s; one thread of {machine(os.cpu_count() or 1)}\n")
    labels = [METRICS[name].label for name in QUALITY]
    columns = ["", "parameters", "algorithmic latency", "real-time factor", *labels]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for system in systems:
        print(row(system, clean), flush=True)
    return 2 if any(system.problem for system in systems) else 0


def progress(recordings: Sequence[np.ndarray], name: str) -> Iterable[np.ndarray]:
    return tqdm(recordings, desc=name, unit="file", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        help="a bundled name or a path; may be repeated (default: enhancer-16k)",
    )
    parser.add_argument("--steps", type=int, help="(default: the checkpoint's)")
    parser.add_argument("--sampler", help="(default: the checkpoint's)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of audio (default: 30)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of the enhancer (default: all cores)")
    parser.add_argument("--set", type=Path, help="folder with clean/ and noisy/")
    parser.add_argument("--files", type=int, default=20, help="of the set (default: 20)")
    parser.add_argument("--peers", action="store_true", help="compare with other projects")
    parser.add_argument(
        "--peers-env",
        type=Path,
        metavar="DIR",
        help=f"virtual environment of the peers (default: {enhance_peers.cache()}/environment)",
    )
    parser.add_argument(
        "--gtcrn",
        type=Path,
        metavar="FILE.onnx",
        help="step model of GTCRN (default: that of its repository, downloaded once)",
    )
    options = parser.parse_args(argv)
    if options.seconds < 1 or options.repeats < 1 or options.files < 1:
        raise UserError("--seconds, --repeats and --files must be 1 or more")
    if options.peers:
        check_peers(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    names = dict.fromkeys(options.checkpoint or ["enhancer-16k"])
    enhancers = {name: Enhancer.from_pretrained(name) for name in names}
    how = {"sampler": options.sampler, "steps": options.steps}
    if options.peers:
        return compare_peers(enhancers, how, options)
    methods: dict[str, Method] = {"spectral gating": lambda audio: gate(audio, RATE)}
    methods |= {
        name: partial(enhancer, sample_rate=RATE, **how) for name, enhancer in enhancers.items()
    }
    streams = {f"{name}, stream": streamed(enhancers[name], **how) for name in enhancers}
    compare_speed(methods | streams, options.seconds, options.repeats)
    if options.set:
        compare_quality(methods, options.set, options.files)
    return 0


def check_peers(options: argparse.Namespace) -> None:
    """Raises UserError for options that --peers does not go with; sets its one thread."""
    if not options.set:
        raise UserError(
            "--peers compares on a set: give --set FOLDER (tools/make_enhancement_set.py)"
        )
    if options.threads not in (None, 1):
        raise UserError(
            f"--peers compares on one thread, not {options.threads}: leave out --threads"
        )
    if options.gtcrn and not options.gtcrn.is_file():
        raise UserError(f"--gtcrn {options.gtcrn}: there is no such file")
    options.threads = 1


if __name__ == "__main__":
    sys.exit(run(main))
