"""Restoration of held-out recordings by a generator, beside simple and classical methods.

    python tools/restoration_bench.py data/librispeech-16k/dev --checkpoint runs/restorer
    python tools/restoration_bench.py data/librispeech-16k/dev --no-generator

Each recording is degraded at the generator's sample rate and restored:

- gaps of 50, 100, 200 and 300 ms, one in each second, at a random place within speech (its power is
  at most 10 dB below the active speech level of ITU-T P.56): silence, linear prediction from both
  sides;
- bandwidth extension of speech that was resampled to 8 kHz: plain resampling, spectral band
  replication;
- clipping. Its dB are the input SDR, that is the signal-to-distortion ratio of the clipped signal,
  which fixes the clipping level of each recording: the clipped signal as it is, a cubic spline,
  constrained least squares (CBAR).

The classical methods are those of restoration_classical.py. Metrics are the log-spectral distance
(LSD, dB), for gaps over the frames centred in a gap; wide-band PESQ of the whole recording; and the
SDR (dB) of the whole recording. Means over the recordings with 95 % bootstrap intervals, and
seconds of computing per second of sound. The same seed degrades a recording in the same way, and
neither other recordings nor other tasks change that.
"""

from __future__ import annotations

import sys
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import restoration_classical as classical
import torch
from plot_spectrograms import draw
from scipy.optimize import brentq
from torch import Tensor
from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands.arguments import Parser, device, positive_int
from wavediff.data.audio import read_audio, write_audio
from wavediff.data.resampling import resample
from wavediff.errors import UserError
from wavediff.evaluation.metrics import UndefinedMetric, is_silent, pesq_wb
from wavediff.evaluation.spectral import POWER_FLOOR, lsd, stft_power
from wavediff.evaluation.speech_level import speech_level
from wavediff.inputs import find_audio
from wavediff.tasks.restoration import (
    DRAWS,
    Posterior,
    declip,
    extend,
    inpaint,
    level,
    posterior_of,
)
from wavediff.tasks.restoration.bandwidth_extension import ROLLOFF

GAPS = (50, 100, 200, 300)  # ms
LOW_RATE = 8000
INPUT_SDR = (3, 6, 10, 15, 20)  # dB
GATE = 10.0  # dB below the active speech level down to which a place counts as speech
MARGIN = 0.125  # seconds of each second, at its start and its end, that no gap touches
RESAMPLES = 2000  # of the bootstrap
EXCERPT = 4.0  # seconds that --plot shows
PLOTTED = ("200 ms", "8 kHz", "6 dB")

Method = Callable[[], Tensor]
Metric = Callable[[Tensor], float]


@dataclass(frozen=True)
class Case:
    """A degraded recording, the methods that restore it, and what is measured of a result.

    Signals are ``[1, time]``. The first method returns the degraded input.
    """

    condition: str
    methods: dict[str, Method]
    metrics: dict[str, Metric]


def gap_cases(
    x: Tensor, rate: int, posterior: Posterior | None, name: str, seed: int
) -> Iterator[Case]:
    for milliseconds in GAPS:
        random = np.random.default_rng([seed, milliseconds, zlib.crc32(name.encode())])
        gaps = place_gaps(x[0].numpy(), rate, milliseconds / 1000, random)
        if not gaps:
            continue
        silent = x.clone()
        for start, stop in gaps:
            silent[:, start:stop] = 0
        methods = {
            "silence": partial(torch.clone, silent),
            "linear prediction": partial(
                on_arrays, classical.linear_prediction, silent, gaps=gaps, rate=rate
            ),
        }
        if posterior:
            methods["generator"] = partial(inpaint, posterior, silent, rate, gaps)
        metrics = {
            "LSD in the gaps": partial(distance_in_gaps, reference=x, gaps=gaps),
            "PESQ-wb": partial(pesq_wb, reference=x, sample_rate=rate),
        }
        yield Case(f"{milliseconds} ms", methods, metrics)


def band_cases(
    x: Tensor, rate: int, posterior: Posterior | None, name: str, seed: int
) -> Iterator[Case]:
    low = resample(x, rate, LOW_RATE)
    wide = resample(low, LOW_RATE, rate)[:, : x.shape[-1]]

    def generated() -> Tensor:
        pieces = extend(posterior, [low], LOW_RATE, rate, level([low], LOW_RATE))
        return torch.cat(list(pieces), dim=-1)[:, : x.shape[-1]]

    methods = {
        "resampling": lambda: resample(low, LOW_RATE, rate)[:, : x.shape[-1]],
        "band replication": partial(
            on_arrays, classical.replicate_band, wide, rate=rate, cutoff=ROLLOFF * LOW_RATE / 2
        ),
    }
    if posterior:
        methods["generator"] = generated
    metrics = {
        "LSD": partial(distance, reference=x),
        "LSD above 4 kHz": partial(distance, reference=x, share=LOW_RATE / rate),
        "PESQ-wb": partial(pesq_wb, reference=x, sample_rate=rate),
    }
    yield Case(f"{LOW_RATE // 1000} kHz", methods, metrics)


def clip_cases(
    x: Tensor, rate: int, posterior: Posterior | None, name: str, seed: int
) -> Iterator[Case]:
    for ratio in INPUT_SDR:
        high = clipping_level(x, ratio)
        clipped = x.clamp(-high, high)
        methods = {
            "clipped": partial(torch.clone, clipped),
            "cubic spline": partial(on_arrays, classical.spline, clipped, low=-high, high=high),
            "CBAR": partial(on_arrays, classical.cbar, clipped, low=-high, high=high),
        }
        if posterior:
            methods["generator"] = partial(declip, posterior, clipped, rate, -high, high)
        metrics = {
            "SDR": partial(sdr, reference=x),
            "LSD": partial(distance, reference=x),
            "PESQ-wb": partial(pesq_wb, reference=x, sample_rate=rate),
        }
        yield Case(f"{ratio} dB", methods, metrics)


TASKS = {"inpaint": gap_cases, "extend": band_cases, "declip": clip_cases}
TITLES = {"inpaint": "gap", "extend": "sampled at", "declip": "input SDR"}


def on_arrays(method: Callable[..., np.ndarray], audio: Tensor, **options: object) -> Tensor:
    """A classical method applied to ``audio [1, time]``."""
    return torch.from_numpy(method(audio[0].numpy(), **options))[None].to(audio)


def place_gaps(
    x: np.ndarray, rate: int, seconds: float, random: np.random.Generator
) -> list[tuple[int, int]]:
    """(start, stop) in samples of a gap within speech in each second that has a place for one."""
    size, margin = round(seconds * rate), round(MARGIN * rate)
    energy = np.concatenate([[0.0], np.cumsum(x.astype(np.float64) ** 2)])
    power = (energy[size:] - energy[:-size]) / size
    least = 10 ** ((speech_level(x, rate).level - GATE) / 10)
    gaps = []
    for second in range(0, len(x) - rate + 1, rate):
        first = second + margin
        places = first + np.flatnonzero(power[first : second + rate - margin - size + 1] >= least)
        if len(places):
            start = int(random.choice(places))
            gaps.append((start, start + size))
    return gaps


def clipping_level(x: Tensor, ratio: float) -> float:
    """The level at which clipping leaves ``x`` with an SDR of ``ratio`` dB; exact in float32."""
    signal = x.double()
    allowed = float(signal.square().sum()) * 10 ** (-ratio / 10)

    def excess(bound: float) -> float:
        return float((signal.abs() - bound).clamp_min(0).square().sum()) - allowed

    return float(np.float32(brentq(excess, 0.0, float(signal.abs().max()), rtol=1e-7)))


def sdr(estimate: Tensor, reference: Tensor) -> float:
    """10 log10(||s||^2 / ||s - s_hat||^2) in dB."""
    s, s_hat = reference.double(), estimate.double()
    return float(10 * (s.square().sum() / (s - s_hat).square().sum()).log10())


def distance(estimate: Tensor, reference: Tensor, share: float = 0.0) -> float:
    """Mean LSD in dB over the frames and the bins from ``share`` of half the sample rate on."""
    powers = (stft_power(s, 1024, 256).clamp_min(POWER_FLOOR) for s in (estimate, reference))
    error = torch.sub(*(10 * power.log10() for power in powers))
    first = round(share * (error.shape[1] - 1))
    return float(error[:, first:].square().mean(1).sqrt().mean())


def distance_in_gaps(estimate: Tensor, reference: Tensor, gaps: list[tuple[int, int]]) -> float:
    """Mean LSD in dB over the frames centred within the gaps."""
    n_fft, hop = 512, 64
    frames = lsd(estimate, reference, n_fft, hop)[0]
    centres = torch.arange(len(frames)) * hop
    inside = torch.zeros(len(frames), dtype=torch.bool)
    for start, stop in gaps:
        inside |= (centres >= start) & (centres < stop)
    return float(frames[inside].mean())


def measured(metric: Metric, estimate: Tensor, where: str) -> float:
    """The metric's value, or NaN, which is reported."""
    try:
        return metric(estimate)
    except UndefinedMetric as error:
        print(f"{where}: {error}", file=sys.stderr)
        return float("nan")


def cell(values: list[float], seed: int, digits: int) -> str:
    """The mean with its 95 % percentile bootstrap interval."""
    defined = np.array([value for value in values if np.isfinite(value)])
    if not len(defined):
        return "-"
    random = np.random.default_rng(seed)
    means = random.choice(defined, (RESAMPLES, len(defined))).mean(-1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{defined.mean():.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def show(task: str, scores: dict[tuple[str, str], dict[str, list[float]]], seed: int) -> None:
    """Print the Markdown table of a task: scores by (condition, method), then by metric."""
    columns = list(next(iter(scores.values())))
    labels = [label if "PESQ" in label or label == "s/s" else f"{label} (dB)" for label in columns]
    print(f"| {TITLES[task]} | method | {' | '.join(labels)} | files |")
    print("|" + "---|" * (len(columns) + 3))
    for (condition, method), row in scores.items():
        cells = [
            f"{np.mean(values):.3g}"
            if label == "s/s"
            else cell(values, seed, 2 if "PESQ" in label else 1)
            for label, values in row.items()
        ]
        count = len(row["s/s"])
        print(f"| {condition} | {method} | {' | '.join(cells)} | {count} |")
    print(flush=True)


def plot(sounds: dict[str, Tensor], rate: int, output: Path) -> None:
    """Spectrograms of the first seconds of the sounds named."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.wav" for number in range(len(sounds))]
        for file, sound in zip(files, sounds.values(), strict=True):
            write_audio(file, sound[:, : round(EXCERPT * rate)], rate, "FLOAT")
        draw(files, list(sounds), output)


def parse(argv: list[str] | None) -> object:
    parser = Parser("", __doc__, "")
    parser.prog = "restoration_bench.py"
    add = parser.add_argument
    add("folder", type=Path, help="folder of held-out recordings")
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--checkpoint", help="a generator (default: prior-en-22k if bundled)")
    model.add_argument(
        "--no-generator", action="store_true", help="the other methods, at the first file's rate"
    )
    add("--files", type=positive_int, default=20, help="at most so many (default: %(default)s)")
    add("--every", type=positive_int, default=1, metavar="K", help="each K-th file of the folder")
    add("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    add("--draws", type=positive_int, default=DRAWS, help=f"samples to average (default: {DRAWS})")
    add("--save", type=Path, metavar="FOLDER", help="for the audio of the first file")
    add("--plot", type=Path, metavar="FILE", help="for spectrograms of the first file")
    parser.add_sampling()
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    place = device(arguments)
    files = find_audio([arguments.folder])[:: arguments.every][: arguments.files]
    if arguments.no_generator:
        posterior, rate = None, read_audio(files[0])[1]
    else:
        posterior = posterior_of(
            arguments.checkpoint,
            place,
            arguments.sampler,
            arguments.steps,
            seed=arguments.seed,
            draws=arguments.draws,
        )
        rate = posterior.generator.sample_rate
    if "extend" in arguments.tasks and rate <= LOW_RATE:
        raise UserError(f"at {rate} Hz, nothing lies above {LOW_RATE} Hz: give --tasks without it")
    classical.extrapolate(np.sin(np.arange(100.0)), 1, 8)  # compiles librosa.lpc
    scores: dict = {task: defaultdict(lambda: defaultdict(list)) for task in arguments.tasks}
    plotted: dict[str, Tensor] = {}
    for number, path in enumerate(tqdm(files, unit="file")):
        x = read_audio(path, rate)[0].mean(0, keepdim=True)
        if is_silent(x.numpy()):
            print(f"{path}: silent, left out", file=sys.stderr)
            continue
        if arguments.save and number == 0:
            write_audio(arguments.save / "original.wav", x, rate, "FLOAT")
        plotted.setdefault("original", x)
        for task in arguments.tasks:
            for case in TASKS[task](x, rate, posterior, path.name, arguments.seed):
                for name, method in case.methods.items():
                    began = time.perf_counter()
                    estimate = method().cpu()
                    seconds = time.perf_counter() - began
                    row = scores[task][case.condition, name]
                    for label, metric in case.metrics.items():
                        row[label].append(measured(metric, estimate, f"{path.name}, {label}"))
                    row["s/s"].append(seconds * rate / x.shape[-1])
                    title = f"{task}, {case.condition}, {name}"
                    if arguments.save and number == 0:
                        file = title.replace(", ", "-").replace(" ", "_")
                        write_audio(arguments.save / f"{file}.wav", estimate, rate, "FLOAT")
                    if number == 0 and case.condition in PLOTTED:
                        plotted[title] = estimate
    for task in arguments.tasks:
        if scores[task]:
            show(task, scores[task], arguments.seed)
    if arguments.plot:
        plot(plotted, rate, arguments.plot)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
