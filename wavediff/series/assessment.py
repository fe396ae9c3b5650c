"""How forecasts do on the last windows of the series themselves, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wavediff.series.baselines import seasonal_naive, seasonal_naive_intervals
from wavediff.series.calibration import FEWEST as CALIBRATED
from wavediff.series.calibration import factors
from wavediff.series.metrics import coverage, decile_losses

SAMPLES = 50
RECENT = 4096  # steps before a window that seasonal naive sees
FEWEST_STEPS = 8  # before a window
ALL_WINDOWS = 300  # of all series together, at least one of each
MOST_WINDOWS = 24  # of a series
# What is believed before any window is seen: the model's loss over that of seasonal naive with
# intervals, and how many windows this counts as.
PRIOR_RATIO, PRIOR_WINDOWS = 0.75, 4.0
WORST = 100.0  # a ratio of losses beyond which it says nothing more

# [(series, origin), ...] -> samples [SAMPLES, windows, horizon]
Forecasts = Callable[[Sequence[tuple[int, int]]], np.ndarray]


@dataclass(frozen=True)
class Assessment:
    """Forecasts of the last windows of each series beside those of seasonal naive.

    Attributes:
        horizon: steps of a window.
        season: of seasonal naive.
        windows: number of windows of each series, ``[series]``.
        ratio: quantile loss over that of seasonal naive, ``[series]``, NaN without a window.
        wql, naive_wql: weighted quantile losses over all windows; NaN without any.
        coverage_80: of the 80 % interval over all windows.
        naive: ``[series]``: whether seasonal naive is given instead of the model's forecast.
        factors: that calibrate the paths, ``[horizon]``; None for too few windows.
    """

    horizon: int
    season: int
    windows: np.ndarray
    ratio: np.ndarray
    wql: float
    naive_wql: float
    coverage_80: float
    naive: np.ndarray
    factors: np.ndarray | None

    def sentences(self) -> list[str]:
        """Two lines for people: the figures, and what they mean."""
        count = len(self.windows)
        if not self.windows.any():
            return [
                "the series are too short to check the forecast on windows of their own "
                f"({self.horizon} steps): nothing is known about how good it is here"
            ]
        least, most = int(self.windows[self.windows > 0].min()), int(self.windows.max())
        number = f"{most}" if least == most else f"{least} to {most}"
        of = f" of each of {count} series" if count > 1 else ""
        what = "window" if most == 1 else f"{number} windows"
        first = (
            f"on the last {what} of {self.horizon} steps{of}: weighted quantile loss "
            f"{self.wql:.3g} (seasonal naive, season {self.season}: {self.naive_wql:.3g}), 80 % "
            f"intervals covered {100 * self.coverage_80:.0f} %"
        )
        if self.factors is not None:
            first += f"; they are calibrated by these errors (x {_range(self.factors)})"
        return [first, self.meaning()]

    def meaning(self) -> str:
        """How the model does beside seasonal naive, and for how many series that is given."""
        known = np.isfinite(self.ratio)
        if not known.any():
            return "seasonal naive makes no error there, so neither is better"
        mean = math.exp(np.log(np.clip(self.ratio[known], 1 / WORST, WORST)).mean())
        given = int(self.naive.sum())
        if len(self.ratio) == 1:
            if given:
                return (
                    "no better than seasonal naive here: seasonal naive's forecast is given instead"
                )
            return f"{_percent(mean)} than seasonal naive there"
        better = int((self.ratio[known] < 1).sum())
        text = (
            f"{_percent(mean)} than seasonal naive (geometric mean), better in {better} of "
            f"{int(known.sum())} series"
        )
        if given:
            text += f"; seasonal naive's forecast is given instead for {given} of them"
        return text


def assess(
    rows: Sequence[np.ndarray],
    horizon: int,
    season: int,
    forecasts: Forecasts,
    seed: int = 0,
) -> Assessment:
    """Forecast the last windows of each series, and compare.

    Args:
        rows: series ``[T]``, NaN where missing.
        horizon: steps of a window.
        season: of seasonal naive, in steps.
        forecasts: the model: samples ``[S, n, horizon]`` from n origins (series, step) on.
        seed: of the samples of seasonal naive.
    """
    most = min(MOST_WINDOWS, max(1, ALL_WINDOWS // max(len(rows), 1)))
    cuts = []  # (series, origin)
    for number, row in enumerate(rows):
        known = np.flatnonzero(~np.isnan(row))
        if not len(known):
            continue
        length = len(row) - known[0]
        stride = horizon
        if len(rows) * (length // (2 * horizon)) < CALIBRATED:  # few: let them overlap by half
            stride = max(1, horizon // 2)
        for k in range(min(most, max(1, (length // 2 - horizon) // stride + 1))):
            origin = len(row) - horizon - k * stride
            past, target = row[known[0] : max(origin, known[0])], row[origin : origin + horizon]
            if np.isfinite(past).sum() >= FEWEST_STEPS and np.isfinite(target).any():
                cuts.append((number, origin))
    windows = np.bincount([number for number, _ in cuts], minlength=len(rows))
    pasts = [rows[number][max(0, origin - RECENT) : origin] for number, origin in cuts]
    targets = np.array([rows[number][origin : origin + horizon] for number, origin in cuts])
    losses = np.zeros((3, len(rows)))
    empty = Assessment(
        horizon, season, windows, np.full(len(rows), np.nan), math.nan, math.nan, math.nan,
        np.zeros(len(rows), dtype=bool), None,
    )  # fmt: skip
    if not cuts:
        return empty
    samples = forecasts(cuts)
    point = np.stack([seasonal_naive(past[None], horizon, season, 1, seed)[0, 0] for past in pasts])
    fan = np.stack(
        [
            seasonal_naive_intervals(past[None], horizon, season, SAMPLES, seed + k)[:, 0]
            for k, past in enumerate(pasts)
        ],
        axis=1,
    )
    of = [number for number, _ in cuts]
    each = [decile_losses(paths, targets) for paths in (samples, point[None], fan)]
    for total, loss in zip(losses, each, strict=True):
        np.add.at(total, of, np.nan_to_num(loss))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = losses[0] / losses[1]
        strict = np.log(np.clip(losses[0] / losses[2], 1 / WORST, WORST))
    ratio[(windows == 0) | ((losses[0] == 0) & (losses[1] == 0))] = np.nan
    strict = np.where(np.isfinite(strict), strict, 0)
    belief = (windows * strict + PRIOR_WINDOWS * math.log(PRIOR_RATIO)) / (windows + PRIOR_WINDOWS)
    level = np.nansum(np.abs(targets)) / np.isfinite(targets).sum()
    wql, naive_wql = (float(np.nanmean(loss) / (level or 1.0)) for loss in each[:2])
    return Assessment(
        horizon,
        season,
        windows,
        ratio,
        wql,
        naive_wql,
        coverage(samples, targets, 0.8),
        (belief > 0) & (windows > 0),
        factors(list(samples.swapaxes(0, 1)), list(targets)),
    )


def _percent(ratio: float) -> str:
    change = 100 * abs(1 - ratio)
    if change < 0.5:
        return "no better"
    return f"{change:.0f} % {'better' if ratio < 1 else 'worse'}"


def _range(values: np.ndarray) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.2f}" if high - low < 0.005 else f"{low:.2f} to {high:.2f}"
