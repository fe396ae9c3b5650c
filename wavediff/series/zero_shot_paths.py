"""Forecasts of a set of series by the pre-trained forecaster."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from wavediff.diffusion.sampler import Sampler
from wavediff.series.features import LONGEST
from wavediff.series.period import Periods
from wavediff.series.zero_shot import ZeroShotForecaster

HIGH = 1e6  # times its variation: a level above is taken out
TOGETHER = 256  # series that are given to the model together


def paths(
    model: ZeroShotForecaster,
    pasts: Sequence[np.ndarray],
    periods: Periods,
    horizon: int,
    samples: int,
    *,
    sampler: Sampler | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Sample paths of what follows each series.

    Args:
        model: the forecaster.
        pasts: ``[T]`` each, NaN where missing.
        periods: of all of them.
        horizon: number of steps.
        samples: paths of each.
        sampler: the model's own by default.
        seed: of the noise; the paths of a series are a function of it and of the series' number.
        progress: called with the number of series done since its last call.

    Returns:
        float64 ``[samples, series, horizon]``, NaN for a series without any value.
    """
    found = np.full((samples, len(pasts), horizon), np.nan)
    cut = [_begun(past[-LONGEST:]) for past in pasts]
    levels = np.array([high_level(past) for past in cut])
    cut = [past - level if level else past for past, level in zip(cut, levels, strict=True)]
    # series of similar length go together, whatever their order
    order = [k for k in np.argsort([len(past) for past in cut], kind="stable") if len(cut[k])]
    for start in range(0, len(order), TOGETHER):
        part = sorted(order[start : start + TOGETHER])
        for numbers in _of_alike_length(part, cut):
            length = max(len(cut[k]) for k in numbers)
            values = np.full((len(numbers), length), np.nan)
            for row, k in zip(values, numbers, strict=True):
                row[length - len(cut[k]) :] = cut[k]
            drawn = model.forecast(
                torch.from_numpy(values),
                torch.tensor([periods] * len(numbers)),
                horizon,
                samples,
                sampler=sampler,
                seed=seed,
                rows=numbers,
            )
            found[:, numbers] = drawn.numpy()
            if progress is not None:
                progress(len(numbers))
    return found + levels[:, None]


def high_level(past: np.ndarray) -> float:
    """The median of a series whose level is far above its variation, of others 0.

    Without it, the logarithm of a value would show nothing of the variation.
    """
    known = past[~np.isnan(past)]
    if not len(known):
        return 0.0
    level = float(np.median(known))
    return level if abs(level) > HIGH * np.abs(known - level).max() > 0 else 0.0


def _of_alike_length(numbers: list[int], cut: Sequence[np.ndarray]) -> list[list[int]]:
    """``numbers`` in groups whose lengths differ by a factor of two at most."""
    groups: dict[int, list[int]] = {}
    for k in numbers:
        groups.setdefault(len(cut[k]).bit_length(), []).append(k)
    return list(groups.values())


def _begun(past: np.ndarray) -> np.ndarray:
    known = np.flatnonzero(~np.isnan(past))
    return past[known[0] :] if len(known) else past[:0]
