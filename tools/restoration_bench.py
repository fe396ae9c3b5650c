"""Restoration of held-out recordings with a generator, compared with trivial baselines.

Every 20th file of the sorted folder, starting with the first (the test files of the recipes), is
degraded in three ways and restored:

- gaps of 100 ms in every second: inpainting, compared with silence and linear interpolation;
- resampling to 8 kHz: bandwidth extension, compared with plain resampling;
- clipping at 12 dB below the peak: declipping, compared with the clipped signal.

Results are mean log-spectral distances to the original, in dB: over the frames centred in a gap for
inpainting, and over all frames otherwise.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from wavediff.cli import run
from wavediff.commands.arguments import device, positive_int
from wavediff.data.audio import read_audio, write_audio
from wavediff.data.resampling import resample
from wavediff.evaluation.spectral import lsd
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

EVERY = 20
GAP = 0.1  # seconds
LOW_RATE = 8000
CLIP = 10 ** (-12 / 20)  # of the peak
TASKS = ("inpaint", "extend", "declip")


def gaps_of(length: int, rate: int) -> list[tuple[int, int]]:
    """Gaps (start, stop) in the middle of every second, in samples."""
    size = round(GAP * rate)
    starts = range(rate // 2, length - rate // 4 - size, rate)
    return [(start, start + size) for start in starts]


def distance(estimate: Tensor, reference: Tensor, gaps: list[tuple[int, int]] | None) -> float:
    """Mean LSD in dB, over the frames centred within the gaps if there are any."""
    n_fft, hop = (1024, 256) if gaps is None else (512, 64)
    frames = lsd(estimate, reference, n_fft, hop)[0]
    if gaps is None:
        return float(frames.mean())
    centres = torch.arange(len(frames)) * hop
    inside = torch.zeros(len(frames), dtype=torch.bool)
    for start, stop in gaps:
        inside |= (centres >= start) & (centres < stop)
    return float(frames[inside].mean())


def inpainted(posterior: Posterior, x: Tensor, rate: int) -> Iterator[tuple[str, Tensor, list]]:
    gaps = gaps_of(x.shape[-1], rate)
    silent, line = x.clone(), x.clone()
    for start, stop in gaps:
        silent[:, start:stop] = 0
        weight = torch.linspace(0, 1, stop - start + 2)[1:-1]
        line[:, start:stop] = torch.lerp(x[:, start - 1, None], x[:, stop, None], weight)
    yield "silence", silent, gaps
    yield "straight line", line, gaps
    yield "generator", inpaint(posterior, silent, rate, gaps), gaps


def extended(posterior: Posterior, x: Tensor, rate: int) -> Iterator[tuple[str, Tensor, None]]:
    low = resample(x, rate, LOW_RATE)
    yield "resampling", resample(low, LOW_RATE, rate)[:, : x.shape[-1]], None
    pieces = extend(posterior, [low], LOW_RATE, rate, level([low], LOW_RATE))
    yield "generator", torch.cat(list(pieces), dim=-1)[:, : x.shape[-1]], None


def declipped(posterior: Posterior, x: Tensor, rate: int) -> Iterator[tuple[str, Tensor, None]]:
    bound = CLIP * float(x.abs().max())
    clipped = x.clamp(-bound, bound)
    yield "clipped", clipped, None
    yield "generator", declip(posterior, clipped, rate, -bound, bound), None


RESTORE = {"inpaint": inpainted, "extend": extended, "declip": declipped}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("folder", type=Path, help="folder of recordings, including the held-out ones")
    add("--checkpoint", help="a generator (default: prior-en-22k if bundled)")
    add("--files", type=positive_int, default=10, help="maximum number (default: 10)")
    add("--tasks", nargs="+", choices=TASKS, default=TASKS)
    add("--draws", type=positive_int, default=DRAWS, help=f"samples to average (default: {DRAWS})")
    add("--save", type=Path, help="folder for the audio of the first file")
    parser.add_sampling()
    arguments = parser.parse_args(argv)
    posterior = posterior_of(
        arguments.checkpoint,
        device(arguments),
        arguments.sampler,
        arguments.steps,
        seed=arguments.seed,
        draws=arguments.draws,
    )
    rate = posterior.generator.sample_rate
    files = find_audio([arguments.folder])[::EVERY][: arguments.files]
    scores: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number, path in enumerate(files):
        x, _ = read_audio(path, rate)
        for task in arguments.tasks:
            for name, estimate, gaps in RESTORE[task](posterior, x, rate):
                scores[task, name].append(distance(estimate, x, gaps))
                if arguments.save and number == 0:
                    sound = estimate / estimate.abs().max().clamp_min(1)
                    write_audio(arguments.save / f"{task}-{name}.wav", sound, rate)
        print(f"{number + 1} of {len(files)}", file=sys.stderr)
    print("| task | method | LSD (dB) | files |\n|---|---|---|---|")
    for (task, name), values in scores.items():
        print(f"| {task} | {name} | {sum(values) / len(values):.2f} | {len(values)} |")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
