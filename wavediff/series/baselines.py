"""Baseline forecasts.

Each forecast is a function of one item's history::

    forecast(history, horizon, season, samples, seed) -> float64 [S, V, horizon]

``history`` is ``[V, T]`` with NaN where missing, ``season`` in steps, ``samples`` the number S of
paths (a point forecast has S = 1). Variables are forecast independently, except for the random
walk; one without any value is forecast as 0. The same arguments give the same paths.

Models of statsforecast (``pip install 'wavediff[baselines]'``) are imported when they are called.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from statistics import NormalDist
from types import ModuleType

import numpy as np

from wavediff.errors import UserError

Forecast = Callable[[np.ndarray, int, int, int, int], np.ndarray]

# Levels of the quantiles that samples are drawn from.
NORMAL = NormalDist()
LEVELS = (0.025, *(k / 10 for k in range(1, 10)), 0.975)


def seasonal_naive(
    history: np.ndarray, horizon: int, season: int, samples: int, seed: int
) -> np.ndarray:
    """The last season repeated, a point forecast ``[1, V, horizon]``.

    A phase of the season has its last known value; one without any, the variable's last value.
    """
    del samples, seed
    history = _checked(history, horizon, season)
    last = np.stack([_last_season(x, season) for x in history])
    return last[None][..., np.arange(horizon) % season]


def seasonal_naive_intervals(
    history: np.ndarray, horizon: int, season: int, samples: int, seed: int
) -> np.ndarray:
    """Seasonal naive with bootstrapped residuals: y_{t + season} = y_t + e.

    The residuals y_t - y_{t - season} of the whole history, without their mean, are drawn with
    replacement and accumulate from season to season (Hyndman & Athanasopoulos, Forecasting, section
    5.5), so that the variance grows with every season ahead.
    """
    history = _checked(history, horizon, season)
    generator = np.random.default_rng(seed)
    seasons = -(-horizon // season)
    paths = np.repeat(seasonal_naive(history, horizon, season, 1, seed), samples, axis=0)
    for v, x in enumerate(history):
        residuals = x[season:] - x[: max(len(x) - season, 0)]
        residuals = residuals[~np.isnan(residuals)]
        if len(residuals) > 1:
            drawn = generator.choice(residuals - residuals.mean(), (samples, seasons, season))
            paths[:, v] += drawn.cumsum(1).reshape(samples, -1)[:, :horizon]
    return paths


def random_walk(
    history: np.ndarray, horizon: int, season: int, samples: int, seed: int, steps: int = 60
) -> np.ndarray:
    """A Gaussian random walk without drift from the last value, fitted to the last ``steps`` steps.

    Its steps have the covariance between variables of the last differences. A difference over a gap
    of k steps counts as one step of 1 / sqrt(k) of it; a gap at the end adds its steps to the walk.
    Paths are antithetic, so that their median is exact.
    """
    history = _checked(history, horizon, season)
    n_variables, length = history.shape
    taken = np.zeros((n_variables, steps))
    age = np.zeros(n_variables, dtype=int)
    start = np.zeros(n_variables)
    for v, x in enumerate(history):
        known = np.flatnonzero(~np.isnan(x))
        if not len(known):
            continue
        start[v], age[v] = x[known[-1]], length - 1 - known[-1]
        recent = known[known >= length - 1 - steps]
        gaps = np.diff(recent)
        rows = recent[1:] - (length - steps)
        taken[v, rows] = np.diff(x[recent]) / np.sqrt(gaps)
        # a mean over the steps that there are, whatever their number
        taken[v] *= np.sqrt(steps / max(len(rows), 1))
    # e z with z standard normal has the covariance e e^T / steps exactly, singular or not
    half = -(-samples // 2)
    z = np.random.default_rng(seed).standard_normal((half, steps, age.max() + horizon))
    z = np.concatenate([z, -z])[:samples]
    walk = np.einsum("vk,skt->svt", taken / np.sqrt(steps), z).cumsum(2)
    ahead = np.stack([walk[:, v, age[v] : age[v] + horizon] for v in range(n_variables)], axis=1)
    return start[:, None] + ahead


def quantile_regression(
    history: np.ndarray, horizon: int, season: int, samples: int, seed: int, rows: int = 500
) -> np.ndarray:
    """Linear quantile regression on lags (Koenker & Bassett 1978), one for each step ahead.

    A step is regressed on the last value, the values one and two seasons before the step and the
    mean of the last season, over the last ``rows`` origins in the history, for the ``LEVELS``,
    which samples are drawn from. Gaps are imputed by ``linear_interpolation``, but are not
    targets. A history too short for 20 origins is forecast by ``seasonal_naive_intervals``.
    """
    history = _checked(history, horizon, season)
    ahead = season * -(-np.arange(1, horizon + 1) // season)  # whole seasons that cover the step
    first = ahead[-1] + season - 1  # the first origin with two seasons before each step
    length = history.shape[1]
    origins = np.arange(max(first, length - horizon - rows), length - horizon)
    if len(origins) < 20:
        return seasonal_naive_intervals(history, horizon, season, samples, seed)
    paths = np.empty((samples, len(history), horizon))
    generator = np.random.default_rng(seed)
    for v, raw in enumerate(history):
        x = linear_interpolation(raw[None])[0]
        centre, spread = _robust(x)
        x = (x - centre) / spread
        means = np.convolve(x, np.ones(season) / season)[:length]
        at = np.append(origins, length - 1)[None] + np.zeros((horizon, 1), dtype=int)
        steps = at + np.arange(1, horizon + 1)[:, None]
        lagged = (x[at], x[steps - ahead[:, None]], x[steps - ahead[:, None] - season], means[at])
        design = np.stack([np.ones(at.shape), *lagged], axis=-1)  # [horizon, rows + 1, 5]
        target = steps[:, :-1]
        weights = (~np.isnan(raw))[target].astype(float)
        coefficients = fit_quantiles(design[:, :-1], x[target], LEVELS, weights)
        found = np.sort(np.einsum("hp,hqp->qh", design[:, -1], coefficients), axis=0)
        paths[:, v] = centre + spread * _draw(found, samples, generator)
    return paths


def fit_quantiles(
    design: np.ndarray,
    target: np.ndarray,
    levels: tuple[float, ...],
    weights: np.ndarray | None = None,
    iterations: int = 40,
) -> np.ndarray:
    """Coefficients of many linear quantile regressions.

    Iterated least squares with weights |q - 1(r < 0)| / max(|r|, tolerance), the majorize-minimize
    algorithm of Hunter & Lange (2000), with a tolerance that decreases to 1e-5 in the targets'
    unit.

    Args:
        design: ``[B, n, p]``, of unit scale.
        target: ``[B, n]``.
        levels: Q quantiles in (0, 1).
        weights: ``[B, n]``, of each row; 1 by default.
        iterations: of the algorithm.

    Returns:
        ``[B, Q, p]``.
    """
    n_problems, n, p = design.shape
    q = np.asarray(levels)[:, None]
    rows = np.ones((n_problems, 1, n)) if weights is None else weights[:, None]
    products = (design[..., None] * design[..., None, :]).reshape(n_problems, n, p * p)
    moments = design * target[..., None]
    ridge = 1e-10 * np.eye(p)
    pull = np.broadcast_to(rows, (n_problems, len(levels), n))
    for tolerance in np.geomspace(1e-1, 1e-5, iterations):
        normal = (pull @ products).reshape(n_problems, len(levels), p, p)
        normal = normal + ridge * (1 + pull.sum(-1))[..., None, None]
        coefficients = np.linalg.solve(normal, (pull @ moments)[..., None])[..., 0]
        residual = target[:, None] - coefficients @ np.swapaxes(design, 1, 2)
        slope = np.where(residual < 0, 1 - q, q)
        pull = rows * slope / np.maximum(np.abs(residual), tolerance)
    return coefficients


def auto_ets(history: np.ndarray, horizon: int, season: int, samples: int, seed: int) -> np.ndarray:
    """Exponential smoothing chosen by AICc (Hyndman et al. 2002), AutoETS of statsforecast."""
    return _statsforecast("AutoETS", history, horizon, season, samples, seed)


def auto_theta(
    history: np.ndarray, horizon: int, season: int, samples: int, seed: int
) -> np.ndarray:
    """The best of the Theta methods (Fiorucci et al. 2016), AutoTheta of statsforecast."""
    return _statsforecast("AutoTheta", history, horizon, season, samples, seed)


def auto_arima(
    history: np.ndarray, horizon: int, season: int, samples: int, seed: int
) -> np.ndarray:
    """ARIMA chosen by AICc (Hyndman & Khandakar 2008), AutoARIMA of statsforecast.

    As in R's auto.arima, the likelihoods are approximate where the history has more than 150 steps
    or the season more than 12. Long histories with long seasons still take minutes.
    """
    rough = np.shape(history)[-1] > 150 or season > 12
    return _statsforecast("AutoARIMA", history, horizon, season, samples, seed, approximation=rough)


def linear_interpolation(values: np.ndarray) -> np.ndarray:
    """Impute gaps linearly, and beyond the first and last value of a variable by these.

    Args:
        values: ``[V, T]``, NaN where missing.

    Returns:
        ``[V, T]``, the known values unchanged; a variable without any value is 0.
    """
    filled = np.array(values, dtype=np.float64)
    time = np.arange(filled.shape[1])
    for x in filled:
        missing = np.isnan(x)
        x[missing] = 0 if missing.all() else np.interp(time[missing], time[~missing], x[~missing])
    return filled


FORECASTS: Mapping[str, Forecast] = {
    "seasonal naive": seasonal_naive,
    "seasonal naive with intervals": seasonal_naive_intervals,
    "random walk": random_walk,
    "quantile regression": quantile_regression,
    "AutoETS": auto_ets,
    "AutoTheta": auto_theta,
    "AutoARIMA": auto_arima,
}


def _checked(history: np.ndarray, horizon: int, season: int) -> np.ndarray:
    history = np.asarray(history, dtype=np.float64)
    if history.ndim != 2 or not history.shape[1]:
        raise ValueError(f"a history is [V, T >= 1], not {list(history.shape)}")
    if horizon < 1 or season < 1:
        raise ValueError(f"horizon and season are at least 1, not {horizon} and {season}")
    return history


def _last_season(x: np.ndarray, season: int) -> np.ndarray:
    """The last known value of each phase of the season after ``x`` [T], ``[season]``."""
    known = np.flatnonzero(~np.isnan(x))
    found = np.full(season, x[known[-1]] if len(known) else 0.0)
    found[(known - len(x)) % season] = x[known]  # in order of time: the last one stays
    return found


def _robust(x: np.ndarray) -> tuple[float, float]:
    spread = float(np.abs(x - np.median(x)).mean())
    return float(np.median(x)), spread if spread > 0 else 1.0


def _draw(found: np.ndarray, samples: int, generator: np.random.Generator) -> np.ndarray:
    """Paths ``[samples, horizon]`` whose quantiles at ``LEVELS`` are ``found [levels, horizon]``.

    A path keeps its rank over time, and the ranks are evenly spaced. Quantiles are interpolated and
    extrapolated linearly in the normal quantile, which is exact for a Gaussian.
    """
    rank = generator.permutation((np.arange(samples) + 0.5) / samples)
    z, knots = (np.array([NORMAL.inv_cdf(p) for p in levels]) for levels in (rank, LEVELS))
    i = np.clip(np.searchsorted(knots, z) - 1, 0, len(knots) - 2)
    share = ((z - knots[i]) / (knots[i + 1] - knots[i]))[:, None]
    return found[i] + share * (found[i + 1] - found[i])


def _statsforecast(
    model: str,
    history: np.ndarray,
    horizon: int,
    season: int,
    samples: int,
    seed: int,
    **options: bool,
) -> np.ndarray:
    """Samples by the prediction intervals of a model of statsforecast."""
    history = _checked(history, horizon, season)
    models = _statsforecast_models()
    widths = [round(100 * (2 * q - 1)) for q in LEVELS if q > 0.5]
    generator = np.random.default_rng(seed)
    paths = np.empty((samples, len(history), horizon))
    for v, x in enumerate(linear_interpolation(history)):
        if len(x) < 3 or np.ptp(x) == 0:
            paths[:, v] = x[-1]
            continue
        # a season longer than half of the history cannot be fitted
        length = season if len(x) >= 2 * season + 1 else 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = getattr(models, model)(season_length=length, **options)
            intervals = fitted.forecast(x, horizon, level=widths)
        rows = [intervals[f"lo-{w}"] for w in reversed(widths)]
        rows += [intervals["mean"], *(intervals[f"hi-{w}"] for w in widths)]
        found = np.stack(rows)
        if not np.isfinite(found).all():  # a fit without residuals has no intervals
            found = np.broadcast_to(np.nan_to_num(intervals["mean"], nan=x[-1]), found.shape)
        paths[:, v] = _draw(found, samples, generator)
    return paths


def _statsforecast_models() -> ModuleType:
    try:
        from statsforecast import models
    except ImportError as error:
        raise UserError(
            "AutoETS, AutoTheta and AutoARIMA need the package statsforecast: install it by "
            "pip install 'wavediff[baselines]', or leave them out"
        ) from error
    return models
