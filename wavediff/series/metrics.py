"""Metrics of probabilistic forecasts and imputations, from samples.

``samples`` are ``[S, ...]``, the S draws of a target ``[...]``, in the data's own units. A target
that is NaN is missing and is not scored. The relative metrics (each CRPS) divide a sum over all
scored points by the sum of |target| there. The parts of a test set are therefore put together by
their sums and not by their means: ``sums`` of each part, ``combined`` for all.

The literature has several definitions of the CRPS. Three are given, each under its own name:

- ``CRPS (9 deciles)``: GluonTS's mean weighted quantile loss, quantiles from the nearest sample.
- ``CRPS (19 quantiles)``: CSDI's (Tashiro et al. 2021), quantiles interpolated between samples.
- ``CRPS (ensemble)``: the integral itself, of the samples' empirical distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

Interpolation = Literal["nearest", "linear"]
Part = tuple[float, float]  # a sum over scored points, and its divisor
Sums = Mapping[str, Part]

DECILES = tuple(k / 10 for k in range(1, 10))
TWENTIETHS = tuple(k / 20 for k in range(1, 20))
INTERVALS = (0.5, 0.8, 0.95)


def quantiles(
    samples: ArrayLike, levels: Sequence[float], interpolation: Interpolation = "nearest"
) -> np.ndarray:
    """Quantiles of samples, float64 ``[len(levels), ...]``.

    Args:
        samples: ``[S, ...]``.
        levels: each in [0, 1].
        interpolation: ``nearest`` takes the sorted sample at index round((S - 1) q), halves to the
            even index (GluonTS's SampleForecast); ``linear`` interpolates between the two samples
            around (S - 1) q (the default of NumPy and PyTorch, CSDI's choice).

    Raises:
        ValueError: for a level out of range, an unknown interpolation, or no samples.
    """
    samples = _float64(samples)
    if samples.ndim < 1 or len(samples) < 1:
        raise ValueError("quantiles need at least one sample")
    if not all(0 <= q <= 1 for q in levels):
        raise ValueError(f"the levels of quantiles lie in [0, 1], not {list(levels)}")
    return _of_sorted(np.sort(samples, axis=0), levels, interpolation)


def weighted_quantile_loss(
    samples: ArrayLike,
    target: ArrayLike,
    levels: Sequence[float] = DECILES,
    interpolation: Interpolation = "nearest",
) -> float:
    """The mean over the levels q of sum(2 QL_q) / sum |y|, with the pinball loss QL.

    For one sample (a point forecast) and levels symmetric about 1/2 it is sum |error| / sum |y|.

    Args:
        samples: ``[S, ...]``.
        target: ``[...]``.
        levels: each in [0, 1].
        interpolation: of ``quantiles``.
    """
    ordered, y = _scored(samples, target)
    return _ratio(_quantile_sums(ordered, y, levels, interpolation))


def decile_losses(samples: ArrayLike, target: ArrayLike) -> np.ndarray:
    """The mean of twice the pinball losses of nine deciles of each series, in the data's units.

    The quotient of two forecasts' losses is that of their weighted quantile losses; its geometric
    mean over series is the relative score of the forecasting literature.

    Args:
        samples: ``[S, ..., T]``.
        target: ``[..., T]``.

    Returns:
        ``[...]``, NaN for a series without a target.
    """
    samples, y = _paired(samples, target)
    levels = np.asarray(DECILES).reshape(-1, *[1] * y.ndim)
    error = y - quantiles(samples, DECILES)
    losses = 2 * np.maximum(levels * error, (levels - 1) * error).mean(0)
    scored = ~np.isnan(losses)
    with np.errstate(invalid="ignore"):
        return np.where(scored, losses, 0).sum(-1) / np.where(
            scored.any(-1), scored.sum(-1), np.nan
        )


def ensemble_crps(samples: ArrayLike, target: ArrayLike) -> np.ndarray:
    """The CRPS of the empirical distribution at each point, in the data's units, ``[...]``.

    E|X - y| - E|X - X'| / 2 with X, X' drawn from the S samples with replacement (Gneiting &
    Raftery 2007, equation 21; not the "fair" CRPS, which divides by S (S - 1)). NaN where the
    target is missing.

    Args:
        samples: ``[S, ...]``.
        target: ``[...]``.
    """
    samples, y = _paired(samples, target)
    known = ~np.isnan(y)
    crps = np.full(y.shape, np.nan)
    crps[known] = _ensemble(*_scored(samples, y))
    return crps


def crps_sum(
    samples: ArrayLike,
    target: ArrayLike,
    levels: Sequence[float] = TWENTIETHS,
    interpolation: Interpolation = "nearest",
) -> float:
    """The weighted quantile loss of the sum over variables (Salinas et al. 2019; TimeGrad).

    Args:
        samples: ``[S, ..., V, T]``.
        target: ``[..., V, T]``; a step where any variable is missing is not scored.
        levels: each in [0, 1].
        interpolation: of ``quantiles``.
    """
    samples, y = _paired(samples, target)
    if y.ndim < 2:
        raise ValueError(f"the target must be [..., variables, time], not {list(y.shape)}")
    return weighted_quantile_loss(samples.sum(-2), y.sum(-2), levels, interpolation)


def mae(samples: ArrayLike, target: ArrayLike) -> float:
    """Mean absolute error of the samples' median (``quantiles`` at 0.5), in the data's units."""
    return _ratio(_absolute_sums(*_scored(samples, target)))


def rmse(samples: ArrayLike, target: ArrayLike) -> float:
    """Root of the mean squared error of the samples' mean, in the data's units."""
    return math.sqrt(_ratio(_squared_sums(*_scored(samples, target))))


def seasonal_error(history: ArrayLike, season: int) -> np.ndarray:
    """The mean of |y_t - y_{t - season}| of each variable, ``[V]``: the divisor of MASE.

    Args:
        history: ``[V, T]``; pairs with a missing value are left out. NaN where there is no pair.
        season: in steps.
    """
    history = _float64(history)
    steps = np.abs(history[:, season:] - history[:, : max(history.shape[1] - season, 0)])
    known = ~np.isnan(steps)
    total = np.where(known, steps, 0).sum(1)
    return np.where(known.any(1), total / np.maximum(known.sum(1), 1), np.nan)


def mase(samples: ArrayLike, target: ArrayLike, scale: ArrayLike) -> float:
    """Mean absolute scaled error of the median (Hyndman & Koehler 2006), mean over variables.

    Args:
        samples: ``[S, ..., V, T]``.
        target: ``[..., V, T]``.
        scale: ``[..., V]``, the ``seasonal_error`` of each history. Variables whose scale is 0 or
            NaN are left out.
    """
    return _ratio(_scaled_sums(*_paired(samples, target), scale))


def coverage(samples: ArrayLike, target: ArrayLike, level: float) -> float:
    """The share of targets inside the central interval of ``level``, its ends included.

    The ends are ``quantiles`` at (1 -+ level) / 2. Of S samples from the true distribution, the
    i-th and the j-th smallest enclose a new draw with probability (j - i) / (S + 1): with 100
    samples, the intervals of 50, 80 and 95 % of a perfect forecast cover 48.5, 78.2 and 94.1 %.
    """
    return _ratio(_interval_sums(*_scored(samples, target), level)[0])


def interval_width(samples: ArrayLike, target: ArrayLike, level: float) -> float:
    """Mean width of the central interval of ``level`` at scored targets, in the data's units."""
    return _ratio(_interval_sums(*_scored(samples, target), level)[1])


def sums(samples: ArrayLike, target: ArrayLike, scale: ArrayLike | None = None) -> Sums:
    """The sums that ``combined`` computes all metrics from.

    A point forecast (S = 1) has no intervals; CRPS-sum needs more than one variable.

    Args:
        samples: ``[S, ..., V, T]``.
        target: ``[..., V, T]``, NaN where missing.
        scale: ``[..., V]`` for MASE, which is left out without it.

    Raises:
        ValueError: for shapes that do not fit, or samples that are not finite at a scored point.
    """
    samples, target = _paired(samples, target)
    ordered, y = _scored(samples, target)
    parts = {
        "CRPS (9 deciles)": _quantile_sums(ordered, y, DECILES, "nearest"),
        "CRPS (19 quantiles)": _quantile_sums(ordered, y, TWENTIETHS, "linear"),
        "CRPS (ensemble)": (float(_ensemble(ordered, y).sum()), float(np.abs(y).sum())),
    }
    if target.ndim > 1 and target.shape[-2] > 1:
        totals = _scored(samples.sum(-2), target.sum(-2))
        parts["CRPS-sum"] = _quantile_sums(*totals, TWENTIETHS, "nearest")
    parts["MAE"] = _absolute_sums(ordered, y)
    parts["RMSE"] = _squared_sums(ordered, y)
    if scale is not None:
        parts["MASE"] = _scaled_sums(samples, target, scale)
    if len(samples) > 1:
        intervals = {level: _interval_sums(ordered, y, level) for level in INTERVALS}
        parts |= {f"coverage {100 * p:.0f} %": inside for p, (inside, _) in intervals.items()}
        parts |= {f"width {100 * p:.0f} %": width for p, (_, width) in intervals.items()}
    return parts


def combined(parts: Iterable[Sums]) -> dict[str, float]:
    """All metrics by name over the parts of a test set, NaN where nothing was scored.

    CRPS and CRPS-sum are relative to mean |target|, MAE, RMSE and widths in the data's units, MASE
    in seasonal errors, coverage a share. ``points`` is the number of scored points.

    Args:
        parts: ``sums`` of each part.
    """
    total: dict[str, list[float]] = {}
    for part in parts:
        for name, (value, weight) in part.items():
            held = total.setdefault(name, [0.0, 0.0])
            held[0] += value
            held[1] += weight
    ends: dict[str, Callable[[float], float]] = {"RMSE": math.sqrt}
    found = {name: ends.get(name, float)(_ratio((v, w))) for name, (v, w) in total.items()}
    if total:
        found["points"] = total["MAE"][1]
    return found


def _float64(values: ArrayLike) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
    return np.asarray(values, dtype=np.float64)


def _paired(samples: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    drawn, y = _float64(samples), _float64(target)
    if drawn.shape[1:] != y.shape or drawn.ndim < 1 or len(drawn) < 1:
        raise ValueError(
            f"samples must be [S >= 1, *target], not {list(drawn.shape)} for a target of "
            f"{list(y.shape)}"
        )
    return drawn, y


def _scored(samples: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Sorted samples ``[S, n]`` and targets ``[n]`` of the points that have a target."""
    drawn, y = _paired(samples, target)
    known = ~np.isnan(y)
    drawn, y = drawn[:, known], y[known]
    if not np.isfinite(drawn).all():
        raise ValueError("a sample is not finite where the target is known")
    return np.sort(drawn, axis=0), y


def _of_sorted(
    ordered: np.ndarray, levels: Sequence[float], interpolation: Interpolation
) -> np.ndarray:
    last = len(ordered) - 1
    if interpolation == "nearest":
        return ordered[[int(np.round(last * q)) for q in levels]]
    if interpolation != "linear":
        raise ValueError(f'interpolation is "nearest" or "linear", not {interpolation!r}')
    position = last * np.asarray(levels, dtype=np.float64)
    low = np.floor(position).astype(int)
    share = (position - low).reshape(-1, *[1] * (ordered.ndim - 1))
    below, above = ordered[low], ordered[np.minimum(low + 1, last)]
    return below + share * (above - below)


def _ratio(part: Part) -> float:
    value, weight = part
    return value / weight if weight else math.nan


def _quantile_sums(
    ordered: np.ndarray, y: np.ndarray, levels: Sequence[float], interpolation: Interpolation
) -> Part:
    error = y - _of_sorted(ordered, levels, interpolation)
    q = np.asarray(levels, dtype=np.float64)[:, None]
    loss = 2 * np.maximum(q * error, (q - 1) * error)
    return float(loss.sum() / len(levels)), float(np.abs(y).sum())


def _ensemble(ordered: np.ndarray, y: np.ndarray) -> np.ndarray:
    """E|X - X'| / 2 of sorted samples is sum_i (2 i - S - 1) x_(i) / S^2, i from 1."""
    n = len(ordered)
    weights = (2 * np.arange(1, n + 1) - n - 1) / n**2
    # relative to the median, so that a large mean costs no digits
    centred = ordered - ordered[n // 2]
    return np.abs(ordered - y).mean(0) - weights @ centred


def _absolute_sums(ordered: np.ndarray, y: np.ndarray) -> Part:
    (median,) = _of_sorted(ordered, [0.5], "nearest")
    return float(np.abs(y - median).sum()), float(y.size)


def _squared_sums(ordered: np.ndarray, y: np.ndarray) -> Part:
    return float(np.square(y - ordered.mean(0)).sum()), float(y.size)


def _scaled_sums(samples: np.ndarray, target: np.ndarray, scale: ArrayLike) -> Part:
    scale = _float64(scale)
    if scale.shape != target.shape[:-1]:
        raise ValueError(
            f"MASE needs a scale for each variable, {list(target.shape[:-1])}, "
            f"not {list(scale.shape)}"
        )
    (median,) = _of_sorted(np.sort(samples, axis=0), [0.5], "nearest")
    known = ~np.isnan(target)
    errors = np.where(known, np.abs(np.where(known, target, 0) - median), 0).sum(-1)
    counted = known.any(-1) & (scale > 0)
    means = errors[counted] / known.sum(-1)[counted] / scale[counted]
    return float(means.sum()), float(counted.sum())


def _interval_sums(ordered: np.ndarray, y: np.ndarray, level: float) -> tuple[Part, Part]:
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval lies between 0 and 1, not {level}")
    low, high = _of_sorted(ordered, [(1 - level) / 2, (1 + level) / 2], "nearest")
    n = float(y.size)
    return (float(((low <= y) & (y <= high)).sum()), n), (float((high - low).sum()), n)
