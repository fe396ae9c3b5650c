"""Imputation by forecasts from both sides of a gap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wavediff.series.baselines import linear_interpolation
from wavediff.series.calibration import LIMITS
from wavediff.series.imputation import Imputed
from wavediff.series.series_set import SeriesSet

# (pasts, horizon, samples) -> [samples, pasts, horizon]
Paths = Callable[[Sequence[np.ndarray], int, int], np.ndarray]

PATCH = 8  # horizons are multiples of it, so that gaps of similar length go together
CHECKED = 200  # known stretches that are hidden to compare the methods
FEWEST = 10  # of them without which the model is used unseen
CHECK_SAMPLES = 30
MOST = 4000  # gaps that the model imputes; others are interpolated
LONGEST = 1024  # steps of a gap that the model imputes from each side
MARGIN = 1.03  # by which interpolation, without a distribution, has to be better
METHODS = ("model", "linear", "seasonal")


@dataclass(frozen=True)
class Gap:
    """Missing steps ``start`` to ``stop - 1`` of row ``row``."""

    row: int
    start: int
    stop: int


def impute(
    series: SeriesSet,
    period: int,
    samples: int,
    paths: Paths,
    seed: int = 0,
    counts: Sequence[bool] = (),
) -> tuple[list[Imputed], list[str]]:
    """Impute the missing values of every item.

    A gap is forecast from its past, and backwards from its future. Both paths are weighted by the
    precisions of the two forecasts,

        x = (v_b x_f + v_f x_b) / (v_f + v_b)

    as in two-filter smoothing (Fraser & Potter 1969): for a random walk, the Brownian bridge.
    Known stretches of the gaps' lengths are hidden first and imputed by the model, by linear
    interpolation and by linear interpolation of what a seasonal profile leaves. Where one of these
    has a clearly smaller absolute error, it is used. The model's paths are moved from or towards
    their median so that their 80 % intervals cover 80 % there.

    Args:
        series: whose missing values are NaN.
        period: seasonal period in steps, 1 for none.
        samples: of each missing value.
        paths: the model.
        seed: of the choice of the hidden stretches.
        counts: whether each variable counts, whose samples' mean is given instead of their median:
            the median of small counts is mostly 0.

    Returns:
        (each item, sentences about how the methods compare and which is used).
    """
    rows = [row for item in series.items for row in item.values]
    gaps = [gap for number, row in enumerate(rows) for gap in _gaps(number, row)]
    method, error, factor, sentences = _chosen(rows, gaps, period, paths, seed)
    seasonal = [_seasonal(row, period) if np.isnan(row).any() else row for row in rows]
    linear = [linear_interpolation(row[None])[0] for row in rows]
    by_model = []
    if method == "model":
        by_model = [gap for gap in gaps if gap.stop - gap.start <= LONGEST][:MOST]
        if len(by_model) < len(gaps):
            sentences.append(
                f"{len(gaps) - len(by_model)} of {len(gaps)} gaps are beyond what the model "
                f"imputes ({MOST} gaps of up to {LONGEST} steps): these are interpolated"
            )
    median = [row.copy() for row in rows]
    std = [np.zeros(len(row)) for row in rows]
    better = linear if error["linear"] <= error["seasonal"] else seasonal
    for gap in gaps:
        part = slice(gap.start, gap.stop)
        median[gap.row][part] = better[gap.row][part]
        std[gap.row][part] = error["spread"] * _scale(rows[gap.row]) * _bridge(gap, rows[gap.row])
    for gap, drawn in zip(by_model, _bridged(rows, by_model, samples, paths), strict=True):
        part = slice(gap.start, gap.stop)
        middle = np.mean if counts and counts[gap.row % len(counts)] else np.median
        median[gap.row][part] = middle(drawn, axis=0)
        std[gap.row][part] = factor * drawn.std(axis=0)
    for number, row in enumerate(rows):
        if np.isnan(row).all():
            median[number][:] = np.nan
            std[number][:] = 0
    count = len(series.variables)
    items = [
        Imputed(np.stack(median[k : k + count]), np.stack(std[k : k + count]))
        for k in range(0, len(rows), count)
    ]
    return items, sentences


def _gaps(number: int, row: np.ndarray) -> list[Gap]:
    """The gaps of a row that has any value."""
    missing = np.isnan(row)
    if missing.all():
        return []
    edges = np.flatnonzero(np.diff(np.concatenate([[0], missing.astype(np.int8), [0]])))
    return [Gap(number, int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _bridge(gap: Gap, row: np.ndarray) -> np.ndarray:
    """Standard deviation of a Brownian bridge over a gap, for one of 1 in a step."""
    length = gap.stop - gap.start
    before = np.arange(1.0, length + 1) if gap.start > 0 else np.full(length, np.inf)
    after = np.arange(length, 0, -1.0) if gap.stop < len(row) else np.full(length, np.inf)
    return np.sqrt(1 / (1 / before + 1 / after))


def _bridged(
    rows: Sequence[np.ndarray], gaps: Sequence[Gap], samples: int, paths: Paths
) -> list[np.ndarray]:
    """Samples ``[samples, length]`` of each gap."""
    found: list[np.ndarray] = [np.zeros(0)] * len(gaps)
    sizes: dict[int, list[int]] = {}
    for k, gap in enumerate(gaps):
        sizes.setdefault(-(-(gap.stop - gap.start) // PATCH) * PATCH, []).append(k)
    for horizon, numbers in sizes.items():
        before = [rows[gaps[k].row][: gaps[k].start] for k in numbers]
        after = [rows[gaps[k].row][gaps[k].stop :][::-1] for k in numbers]
        drawn = paths([*before, *after], horizon, samples)
        for place, k in enumerate(numbers):
            length = gaps[k].stop - gaps[k].start
            forward = drawn[:, place, :length]
            backward = drawn[:, len(numbers) + place, :length][:, ::-1]
            found[k] = _joined(forward, backward)
    return found


def _joined(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Paths of both directions ``[samples, length]`` weighted by their precisions."""
    if np.isnan(forward).all() or np.isnan(backward).all():
        return backward if np.isnan(forward).all() else forward
    low, high = np.quantile(np.stack([forward, backward]), [0.16, 0.84], axis=1)
    ahead, back = np.square(high - low) + 1e-300
    share = back / (ahead + back)
    return share * forward + (1 - share) * backward


def _chosen(
    rows: Sequence[np.ndarray], gaps: Sequence[Gap], period: int, paths: Paths, seed: int
) -> tuple[str, dict[str, float], float, list[str]]:
    """(method, errors, factor that calibrates the model's paths, sentences).

    Errors are mean absolute ones of each method, and the ``spread`` of interpolation for
    ``_bridge``, in units of the rows' scales.
    """
    error = dict.fromkeys(METHODS, np.nan) | {"spread": 1.0}
    hidden = _hidden(rows, gaps, seed)
    if len(hidden) < FEWEST:
        sentence = (
            "there are too few known values to hide and compare methods on: the model imputes, "
            "unchecked"
        )
        return "model", error, 1.0, [sentence] if gaps else []
    copies = []
    for gap in hidden:
        copy = rows[gap.row].copy()
        copy[gap.start : gap.stop] = np.nan
        copies.append(copy)
    alone = [Gap(k, gap.start, gap.stop) for k, gap in enumerate(hidden)]
    drawn = _bridged(copies, alone, CHECK_SAMPLES, paths)
    lengths = [np.isfinite(rows[gap.row][gap.start : gap.stop]) for gap in hidden]
    errors: dict[str, list[float]] = {name: [] for name in METHODS}
    covered, scores, bridges = [], [], []
    for gap, copy, samples, there in zip(hidden, copies, drawn, lengths, strict=True):
        part = slice(gap.start, gap.stop)
        y, scale = rows[gap.row][part][there], _scale(rows[gap.row])
        found = {
            "model": np.median(samples, axis=0),
            "linear": linear_interpolation(copy[None])[0][part],
            "seasonal": _seasonal(copy, period)[part],
        }
        for name, values in found.items():
            errors[name].append(float(np.abs(values[there] - y).mean() / scale))
        bridges.append(_bridge(gap, copy)[there].mean())
        low, middle, high = np.quantile(samples[:, there], [0.1, 0.5, 0.9], axis=0)
        covered.append(float(((low <= y) & (y <= high)).mean()))
        width = np.where(y > middle, high - middle, middle - low)
        scores.append(np.abs(y - middle) / np.maximum(width, 1e-12 * scale))
    error = {name: float(np.mean(values)) for name, values in errors.items()}
    # of a Gaussian the standard deviation is 1.25 mean absolute errors
    error["spread"] = 1.25 * min(error["linear"], error["seasonal"]) / float(np.mean(bridges))
    best = min(METHODS, key=lambda name: error[name] * (1 if name == "model" else MARGIN))
    factor = float(np.clip(np.quantile(np.concatenate(scores), 0.8), *LIMITS))
    sentences = [
        f"{len(hidden)} known stretches of the gaps' lengths, hidden and imputed: mean absolute "
        f"error {error['model']:.3g} by the model, {error['linear']:.3g} by linear and "
        f"{error['seasonal']:.3g} by seasonal interpolation (in units of each series' mean "
        "deviation)"
    ]
    if best == "model":
        sentences[0] += (
            f"; 80 % intervals of the model covered {100 * np.mean(covered):.0f} % and are "
            f"calibrated (x {factor:.2f})"
        )
        other = min(error["linear"], error["seasonal"])
        gain = 100 * (1 - error["model"] / other) if other else 0.0
        change = f"{gain:.0f} % better than" if gain >= 0.5 else "as good as"
        sentences.append(f"the model imputes: {change} interpolation there")
    else:
        sentences.append(f"{best} interpolation is better here: it is used instead of the model")
    return best, error, factor, sentences


def _hidden(rows: Sequence[np.ndarray], gaps: Sequence[Gap], seed: int) -> list[Gap]:
    """Known stretches with the lengths of the gaps, in the rows that have gaps."""
    rng = np.random.default_rng(seed)
    if not gaps:
        return []
    found: list[Gap] = []
    taken: set[Gap] = set()
    for _ in range(4 * CHECKED):
        gap = gaps[int(rng.integers(len(gaps)))]
        row = rows[gap.row]
        length = min(gap.stop - gap.start, LONGEST, len(row) // 4)
        if length < 1 or len(row) - length < 4:
            continue
        start = int(rng.integers(1, len(row) - length))
        chosen = Gap(gap.row, start, start + length)
        if chosen not in taken and np.isfinite(row[start : start + length]).mean() > 0.7:
            taken.add(chosen)
            found.append(chosen)
        if len(found) == CHECKED:
            break
    return found


def _seasonal(row: np.ndarray, period: int) -> np.ndarray:
    """Linear interpolation of what the mean of each phase leaves, with that added again."""
    if period < 2 or np.isfinite(row).sum() < 2 * period:
        return linear_interpolation(row[None])[0]
    window = np.ones(period)
    known = np.isfinite(row)
    filled = linear_interpolation(row[None])[0]
    size = np.convolve(np.ones(len(row)), window, "same")
    trend = np.convolve(filled, window, "same") / size
    phase = np.arange(len(row)) % period
    rest = np.where(known, row - trend, 0)
    counts = np.bincount(phase[known], minlength=period)
    profile = np.bincount(phase, rest, minlength=period) / np.maximum(counts, 1)
    profile = np.where(counts > 0, profile - profile[counts > 0].mean(), 0)[phase]
    return linear_interpolation((row - profile)[None])[0] + profile


def _scale(row: np.ndarray) -> float:
    known = row[np.isfinite(row)]
    return float(np.abs(known - np.median(known)).mean()) or 1.0
