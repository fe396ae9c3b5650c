"""Evaluate imputation by a checkpoint, compared with linear interpolation.

    python tools/imputation_bench.py --recipe pm25 --root data --checkpoint runs/pm25
    python tools/imputation_bench.py --recipe physionet --root data --checkpoint runs/physionet \\
        --missing 0.1,0.5,0.9
    python tools/imputation_bench.py --data data/ETTh1.csv --checkpoint runs/etth1_imputation

With --recipe, the protocol of CSDI (Tashiro et al. 2021): months 3, 6, 9 and 12 of pm25_missing.txt
in consecutive windows of 36 hours, evaluated on the 20,434 cells that only pm25_ground.txt has; or
the patients of physionet's first fold, evaluated on a fraction of their values. With --data, cells
of the last 20 % of the file are masked and evaluated: a fraction at random, or blocks of 24 of
every 96 steps, alternately the same for all variables and different ones. The model sees only
those 20 %.

MAE is that of the median of the samples, CRPS that of CSDI over 19 quantiles; for linear
interpolation, the latter is the sum of |error| divided by the sum of |y|.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import default_collate
from tqdm import tqdm

from wavediff.cli import run
from wavediff.errors import UserError
from wavediff.memory import keep_freed
from wavediff.series import scaling
from wavediff.series.baselines import linear_interpolation
from wavediff.series.condition import Window
from wavediff.series.datasets import pm25
from wavediff.series.metrics import combined, sums
from wavediff.series.model import SeriesModel
from wavediff.series.physionet import physionet
from wavediff.series.reading import read_series
from wavediff.series.series_set import SeriesSet
from wavediff.series.windows import Windows

TEST = 0.2  # of the file, at its end
BLOCK, BLOCKS_EVERY = 24, 96  # steps
AT_ONCE = 4  # windows
SHOWN = ("MAE", "CRPS (19 quantiles)", "coverage 80 %", "width 80 %", "points")


def hidden_share(shape: tuple[int, int], share: float, seed: int) -> np.ndarray:
    """Bool ``[V, T]``: random cells, ``share`` of all on average."""
    return np.random.default_rng(seed).random(shape) < share


def hidden_blocks(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Bool ``[V, T]``: ``BLOCK`` steps of each ``BLOCKS_EVERY``."""
    generator = np.random.default_rng(seed)
    hidden = np.zeros(shape, bool)
    for number, first in enumerate(range(0, shape[1] - BLOCKS_EVERY + 1, BLOCKS_EVERY)):
        starts = generator.integers(BLOCKS_EVERY - BLOCK + 1, size=shape[0])
        for variable, start in enumerate(starts if number % 2 else starts[:1].repeat(shape[0])):
            hidden[variable, first + start : first + start + BLOCK] = True
    return hidden


def starts_of(steps: int, length: int, stride: int) -> list[int]:
    """Starts of windows, ``stride`` apart; the last window ends with the series."""
    last = max(steps - length, 0)
    return [*range(0, last, stride), last]


def owners(starts: list[int], steps: int, length: int, stride: int) -> np.ndarray:
    """Number of the window that fills each step: the first that contains it where windows overlap
    only at the end, otherwise the one with the nearest centre."""
    if stride == length:
        return np.minimum(np.arange(steps) // length, len(starts) - 1)
    centres = np.array(starts) + (length - 1) / 2
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, np.arange(steps))


def known_of(values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """(values, mask of present values), for ``wavediff.series.scaling``."""
    return torch.from_numpy(np.nan_to_num(values)), torch.from_numpy(~np.isnan(values))


def drawn(
    model: SeriesModel,
    series: SeriesSet,
    samples: int,
    stride: int,
    seed: int,
    progress: Callable[[int], object],
    **options: object,
) -> list[np.ndarray]:
    """``[samples, V, T]`` for each item, with samples of the model where a cell is NaN."""
    windows = Windows(series, model.context, model.horizon, places=[], lags=model.lags)
    found = []
    for number, item in enumerate(series.items):
        steps = item.length
        starts = starts_of(steps, model.length, stride)
        owner = owners(starts, steps, model.length, stride)
        wide = scaling.fit(*known_of(item.values), model.scaling)
        whole = np.repeat(item.values[None].astype(np.float32), samples, axis=0)
        for first in range(0, len(starts), AT_ONCE):
            part = range(first, min(first + AT_ONCE, len(starts)))
            batch = [windows.window(number, starts[k] + model.context) for k in part]
            window = Window.of(default_collate(batch))
            size = (len(part), -1, -1)
            made = model.sample_windows(
                window,
                window.present,
                samples,
                wide=scaling.Affine(wide.loc.expand(size), wide.scale.expand(size)),
                seed=seed,
                first=(number << 20) + first,
                **options,
            )
            for row, k in enumerate(part):
                own = np.flatnonzero(owner == k)
                whole[..., own] = made[:, row].cpu().numpy()[..., own - starts[k]]
            progress(len(part))
        found.append(whole)
    return found


def measured(
    model: SeriesModel, given: SeriesSet, truth: SeriesSet, arguments: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Metrics of the model and of linear interpolation, on cells that only ``truth`` has."""
    stride = arguments.stride or model.length
    if not 0 < stride <= model.length:
        raise UserError(
            f"--stride {stride} is out of range (1 to {model.length}, the length of a window)"
        )
    for item in given.items:
        if item.length < model.length:
            raise UserError(
                f"{item.name} has {item.length} steps, the model's windows have {model.length}"
            )
    lines = [linear_interpolation(item.values)[None] for item in given.items]
    total = sum(len(starts_of(item.length, model.length, stride)) for item in given.items)
    with tqdm(total=total, unit="window", desc="impute", disable=arguments.quiet) as bar:
        paths = drawn(
            model,
            given,
            arguments.samples,
            stride,
            arguments.seed,
            bar.update,
            sampler=model.with_sampler(arguments.sampler, arguments.steps),
        )
    rows = {}
    for name, filled in (("linear interpolation", lines), ("model", paths)):
        parts = []
        for item, whole, samples in zip(given.items, truth.items, filled, strict=True):
            target = np.where(np.isnan(item.values), whole.values, np.nan)
            parts.append(sums(samples, target))
        rows[name] = combined(parts)
    return rows


def read(arguments: argparse.Namespace) -> dict[str, tuple[SeriesSet, SeriesSet]]:
    """(input of the model, ground truth) by name."""
    if arguments.recipe == "pm25":
        truth, given = (pm25(str(arguments.root), part) for part in ("test", "masked"))
        return {arguments.recipe: (given, truth)}
    if arguments.recipe == "physionet":
        truth = physionet(str(arguments.root), "test")
        return {
            kind: (physionet(str(arguments.root), "masked", share_of(kind)), truth)
            for kind in arguments.missing.split(",")
        }
    series = read_series(arguments.data)
    items = []
    for number, item in enumerate(series.items):
        first = item.length - round(TEST * item.length)
        start = series.times(number, first, first + 1)[0]
        items.append(replace(item, start=start, values=item.values[:, first:]))
    truth, found = replace(series, items=items, origin=None), {}
    for kind in arguments.missing.split(","):
        given = []
        for number, item in enumerate(truth.items):
            shape, seed = item.values.shape, arguments.seed + number
            if kind == "blocks":
                hidden = hidden_blocks(shape, seed)
            else:
                hidden = hidden_share(shape, share_of(kind), seed)
            given.append(replace(item, values=np.where(hidden, np.nan, item.values)))
        found[kind] = replace(truth, items=given), truth
    return found


def share_of(text: str) -> float:
    """Parse a fraction between 0 and 1. Raises UserError for anything else."""
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise UserError(
            f"--missing {text!r} is not a fraction: give numbers between 0 and 1, or blocks"
        )
    return share


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--recipe", choices=["pm25", "physionet"], help="a published protocol")
    what.add_argument("--data", type=Path, help="any CSV or Parquet file")
    parser.add_argument(
        "--root", type=Path, default=Path("data"), help="folder of the recipe's data"
    )
    parser.add_argument("--checkpoint", required=True, help="a run folder or a file")
    parser.add_argument(
        "--missing",
        default="0.1,0.5,0.9,blocks",
        help="fractions, or blocks for --data (default: %(default)s; pm25 has its own)",
    )
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--sampler", help="(default: the checkpoint's)")
    parser.add_argument("--steps", type=int, help="of the sampler (default: the checkpoint's)")
    parser.add_argument(
        "--stride", type=int, help="steps between windows (default: a window's length)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    arguments = parser.parse_args(argv)
    if arguments.samples < 2:
        raise UserError(f"--samples {arguments.samples} is out of range (2 or more)")
    keep_freed()
    model = SeriesModel.from_pretrained(arguments.checkpoint)
    if torch.cuda.is_available():
        model = model.to("cuda")
    print("gaps, filled by, " + ", ".join(SHOWN) + ", seconds")
    for name, (given, truth) in read(arguments).items():
        began = time.monotonic()
        rows = measured(model, given, truth, arguments)
        seconds = time.monotonic() - began
        for kind, row in rows.items():
            shown = [f"{row[key]:.4f}" if key in row else "-" for key in SHOWN[:-1]]
            spent = f"{seconds:.0f}" if kind == "model" else "-"
            print(f"{name}, {kind}, {', '.join(shown)}, {row['points']:.0f}, {spent}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
