"""Random synthetic series: the training data of the pre-trained forecaster.

Nine families after KernelSynth (Chronos, Ansari et al. 2024), ForecastPFN (Dooley et al. 2023) and
TempoPFN (2025), mixed and augmented. A family is a function ``(rng, period [n], length) ->
[n, length]`` of series at an arbitrary level and scale; ``FAMILIES`` has the weight of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.random import Generator

Family = Callable[[Generator, np.ndarray, int], np.ndarray]

# Seasonal periods of calendars, with weights; the rest is drawn log-uniformly from 2 to 366.
PERIODS = {
    1: 26, 12: 24, 4: 14, 7: 8, 24: 13, 52: 4, 5: 3, 48: 3, 168: 1, 365: 1, 30: 1, 6: 1, 2: 1, 3: 1
}  # fmt: skip
ANY_PERIOD = 5
SECOND = {24: 7, 48: 7, 7: 52, 12: 5, 4: 5, 6: 7, 96: 7}  # a longer season, as a multiple


def draw_periods(rng: Generator, n: int, longest: int) -> np.ndarray:
    """Seasonal periods in steps, int64 ``[n]`` from 1 to ``longest``."""
    weights = np.array([*PERIODS.values(), ANY_PERIOD], dtype=float)
    drawn = rng.choice([*PERIODS, 0], size=n, p=weights / weights.sum())
    other = np.exp(rng.uniform(np.log(2), np.log(366), n)).astype(np.int64)
    drawn = np.where(drawn == 0, other, drawn)
    return np.where(drawn > longest, 1, drawn).astype(np.int64)


def series(
    rng: Generator, n: int, length: int, families: Mapping[str, float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw series with their seasonal periods.

    Args:
        rng: the source of randomness.
        n: number of series.
        length: steps of each.
        families: weights by name of ``FAMILIES``; all of it by default.

    Returns:
        ``(values, period)``: float64 ``[n, length]``, NaN where missing, and int64 ``[n]``.
    """
    weights = (
        {name: weight for name, (_, weight) in FAMILIES.items()} if families is None else families
    )
    p = np.array(list(weights.values()), dtype=float)
    period = draw_periods(rng, n, max(1, length // 3))
    kind = rng.choice(len(p), size=n, p=p / p.sum())
    values = np.empty((n, length))
    for k, name in enumerate(weights):
        rows = np.flatnonzero(kind == k)
        if len(rows):
            drawn = FAMILIES[name][0](rng, period[rows], length)
            values[rows] = drawn if name in POSITIVE else _standardised(drawn)
    positive = np.array([name in POSITIVE for name in weights])[kind]
    values[~positive] = _mixed(rng, values[~positive], period[~positive])
    return augmented(rng, values, positive), period


# Families


def smoothing(rng: Generator, period: np.ndarray, length: int) -> np.ndarray:
    """Innovations state-space models of exponential smoothing (Hyndman et al. 2008).

    A level, a damped trend and additive seasonal states, driven by normal, Student or AR(1) errors.
    """
    n = len(period)
    alpha = np.where(rng.random(n) < 0.2, 0, rng.beta(1.2, 1.2, n))
    trended = rng.random(n) < 0.6
    beta = np.where(trended, alpha * rng.beta(1, 6, n), 0)
    gamma = np.where(rng.random(n) < 0.4, 0, (1 - alpha) * rng.beta(1, 8, n))
    phi = np.where(rng.random(n) < 0.5, 1.0, 1 - _log_uniform(rng, 0.5 / length, 0.2, n))
    errors = noise(rng, n, length)
    level = np.zeros(n)
    slope = np.where(trended, _drift(rng, n), 0)
    seasons = _log_uniform(rng, 0.3, 8, n)[:, None] * _profile(rng, period, int(period.max()))
    seasons *= (period > 1)[:, None]
    rows = np.arange(n)
    values = np.empty((n, length))
    for t in range(length):
        phase = t % period
        s, e = seasons[rows, phase], errors[:, t]
        slope = phi * slope
        values[:, t] = level + slope + s + e
        level = level + slope + alpha * e
        slope = slope + beta * e
        seasons[rows, phase] = s + gamma * e
    return values


def structural(rng: Generator, period: np.ndarray, length: int) -> np.ndarray:
    """Trend, one or two drifting seasons and noise; trend and seasons may bend."""
    n = len(period)
    trend = _trend(rng, n, length) * _log_uniform(rng, 0.1, 6, n)[:, None]
    values = trend + _seasonal(rng, period, length) * _log_uniform(rng, 0.3, 4, n)[:, None]
    factor = np.array([SECOND.get(int(p), 0) for p in period])
    second = (rng.random(n) < 0.5) & (factor > 0) & (period * factor < length)
    longer = np.where(second, period * factor, 1)
    values += _seasonal(rng, longer, length) * _log_uniform(rng, 0.2, 2, n)[:, None]
    return values + noise(rng, n, length) * _log_uniform(rng, 0.02, 1.5, n)[:, None]


def kernels(rng: Generator, period: np.ndarray, length: int) -> np.ndarray:
    """Gaussian processes of composed kernels, by random Fourier features.

    A sum or product of two processes with RBF, rational quadratic or periodic kernels.
    """
    first, second = (_process(rng, period, length) for _ in range(2))
    product = rng.random(len(period)) < 0.3
    values = np.where(product[:, None], first * second, first + second)
    white = np.where(rng.random(len(period)) < 0.3, 0, _log_uniform(rng, 0.01, 0.7, len(period)))
    linear = rng.normal(0, 1, (len(period), 1)) * np.linspace(-1, 1, length)
    linear *= (rng.random(len(period)) < 0.4)[:, None]
    return values + linear + white[:, None] * rng.standard_normal(values.shape)


def walks(rng: Generator, period: np.ndarray, length: int) -> np.ndarray:
    """Random walks and Ornstein-Uhlenbeck processes with changing regimes and volatility."""
    n = len(period)
    regimes = _regimes(rng, n, length)
    pull = np.where(rng.random(n) < 0.5, 0, _log_uniform(rng, 0.003, 0.8, n))
    volatility = np.exp(0.6 * rng.standard_normal((n, 3)) * (rng.random(n) < 0.4)[:, None])
    volatility = np.take_along_axis(volatility, regimes, 1)
    mean = 3 * rng.standard_normal((n, 3)) * (rng.random(n) < 0.4)[:, None]
    mean = np.take_along_axis(mean, regimes, 1)
    drift = np.where(rng.random(n) < 0.4, 0, _drift(rng, n))
    errors = noise(rng, n, length, serial=0.15) * volatility
    values, x = np.empty((n, length)), rng.standard_normal(n)
    for t in range(length):
        x = x + pull * (mean[:, t] - x) + drift * (pull == 0) + errors[:, t]
        values[:, t] = x
    seasons = _seasonal(rng, period, length) * _log_uniform(rng, 0.3, 5, n)[:, None]
    seasons *= (rng.random(n) < 0.6)[:, None]
    return values + seasons * np.sqrt(pull + 0.3)[:, None]


def arima(rng: Generator, period: np.ndarray, length: int) -> np.ndarray:
    """Stationary ARMA(2, 1) noise, integrated none, one or two times, with a season."""
    n = len(period)
    radius, angle = np.sqrt(rng.random(n)) * 0.98, rng.uniform(0, np.pi, n)
    real = rng.random(n) < 0.6
    a, b = rng.uniform(-0.6, 0.97, n), rng.uniform(-0.5, 0.5, n)
    first = np.where(real, a + b, 2 * radius * np.cos(angle))
    second = np.where(real, -a * b, -(radius**2))
    theta = np.where(rng.random(n) < 0.5, 0, rng.uniform(-0.9, 0.9, n))
    errors = noise(rng, n, length + 50, serial=0)
    x, earlier, values = np.zeros(n), np.zeros(n), np.empty((n, length + 50))
    for t in range(length + 50):
        moving = theta * errors[:, t - 1] if t else 0
        x, earlier = first * x + second * earlier + errors[:, t] + moving, x
        values[:, t] = x
    values = _standardised(values[:, 50:])
    order = rng.choice(3, n, p=[0.4, 0.5, 0.1])
    once = np.cumsum(values, 1)
    twice = np.cumsum(_standardised(once), 1)
    drifting = once + np.where(rng.random(n) < 0.6, _drift(rng, n), 0)[:, None] * np.arange(length)
    values = np.choose(order[:, None], [values, drifting, twice])
    seasons = _seasonal(rng, period, length) * _log_uniform(rng, 0.2, 3, n)[:, None]
    slope = rng.normal(0, 1, (n, 1)) * np.linspace(0, 1, length) * (rng.random(n) < 0.3)[:, None]
    return _standardised(values) + seasons + 3 * slope


def cycles(rng: Generator, period: np.ndarray, length: int) -> np.ndarray:
    """Cycles of no calendar: their period and height change, and they need not be symmetric."""
    n = len(period)
    base = _log_uniform(rng, 5, max(6, length / 3), n)
    jitter = (
        np.cumsum(rng.standard_normal((n, length)), 1) * _log_uniform(rng, 0.001, 0.1, n)[:, None]
    )
    phase = 2 * np.pi * (np.arange(length) / base[:, None] + jitter / np.sqrt(base)[:, None])
    phase += rng.uniform(0, 2 * np.pi, (n, 1))
    phase = phase + rng.uniform(-0.8, 0.8, (n, 1)) * np.sin(phase)  # rises and falls differ
    height = np.exp(_smooth(rng, n, length, base * 1.5) * rng.uniform(0, 0.5, (n, 1)))
    wave = np.sin(phase)
    power = _log_uniform(rng, 0.4, 3, n)[:, None]
    peaked = ((1 + wave) / 2) ** power
    wave = np.where((rng.random(n) < 0.5)[:, None], 2 * peaked, wave)
    return height * wave + noise(rng, n, length) * _log_uniform(rng, 0.01, 0.6, n)[:, None]


def events(rng: Generator, period: np.ndarray, length: int) -> np.ndarray:
    """Steps, spikes with decays, saw-teeth and pulse trains above a quiet process."""
    n = len(period)
    time = np.arange(length)
    jumps = rng.standard_normal((n, length)) * (
        rng.random((n, length)) < _log_uniform(rng, 0.5, 8, n)[:, None] / length
    )
    steps = np.cumsum(jumps, 1)
    hits = (rng.random((n, length)) < _log_uniform(rng, 1, 40, n)[:, None] / length) * rng.gamma(
        1, 1, (n, length)
    )
    decay = np.where(rng.random(n) < 0.3, 0, rng.uniform(0.3, 0.97, n))
    spikes = np.empty((n, length))
    x = np.zeros(n)
    for t in range(length):
        x = decay * x + hits[:, t]
        spikes[:, t] = x
    tooth_period = np.where(
        period > 1, period, np.round(_log_uniform(rng, 4, max(5, length / 4), n))
    )
    phase = ((time + rng.integers(0, 400, (n, 1))) % tooth_period[:, None]) / tooth_period[:, None]
    duty = rng.uniform(0.05, 0.9, (n, 1))
    teeth = np.where((rng.random(n) < 0.5)[:, None], phase, (phase < duty).astype(float))
    parts = np.stack(
        [3 * _standardised(steps), 2 * spikes * rng.choice([-1, 1], (n, 1)), 3 * teeth]
    )
    chosen = rng.random((3, n)) < 0.5
    chosen[rng.integers(0, 3, n), np.arange(n)] = True
    level = noise(rng, n, length) * _log_uniform(rng, 0.01, 0.7, n)[:, None]
    return (parts * chosen[..., None]).sum(0) + level


def counts(rng: Generator, period: np.ndarray, length: int) -> np.ndarray:
    """Counts: Poisson, negative binomial, and intermittent demand (Croston 1972)."""
    n = len(period)
    log_rate = 0.5 * _trend(rng, n, length) * (rng.random(n) < 0.6)[:, None]
    log_rate += _seasonal(rng, period, length) * rng.uniform(0, 0.8, (n, 1))
    log_rate += (
        0.3 * _smooth(rng, n, length, np.full(n, length / 6)) * (rng.random(n) < 0.4)[:, None]
    )
    rate = np.exp(np.clip(log_rate + np.log(_log_uniform(rng, 0.1, 60, n))[:, None], -5, 8))
    shape = _log_uniform(rng, 0.5, 50, n)[:, None]
    spread = np.where((rng.random(n) < 0.5)[:, None], rng.gamma(shape, 1 / shape, rate.shape), 1)
    values = rng.poisson(rate * spread).astype(float)
    demand = rng.random((n, length)) < rng.uniform(0.05, 0.6, (n, 1))
    return np.where((rng.random(n) < 0.3)[:, None], (values + 1) * demand, values)


def growth(rng: Generator, period: np.ndarray, length: int) -> np.ndarray:
    """Positive series whose season and noise grow with the level: exponential or saturating."""
    n = len(period)
    time = np.linspace(0, 1, length)
    rate, middle = _log_uniform(rng, 2, 25, n)[:, None], rng.uniform(-0.2, 1.3, (n, 1))
    saturating = 1 / (1 + np.exp(-rate * (time - middle)))
    start = rng.uniform(0, 0.5, (n, 1))
    exponential = np.exp(rng.normal(0.6, 1, (n, 1)) * time)
    rising = rng.random((n, 1)) < 0.8
    level = np.where(
        rng.random((n, 1)) < 0.5, start + np.where(rising, saturating, 1 - saturating), exponential
    )
    wander = (
        np.cumsum(rng.standard_normal((n, length)), 1) * _log_uniform(rng, 0.001, 0.04, n)[:, None]
    )
    season = _seasonal(rng, period, length) * _log_uniform(rng, 0.02, 0.4, n)[:, None]
    errors = noise(rng, n, length) * _log_uniform(rng, 0.003, 0.15, n)[:, None]
    return (level + 1e-3) * np.exp(np.clip(wander + season + errors, -3, 3))


FAMILIES: Mapping[str, tuple[Family, float]] = {
    "smoothing": (smoothing, 5),
    "structural": (structural, 4),
    "kernels": (kernels, 1.5),
    "walks": (walks, 3),
    "arima": (arima, 3.5),
    "cycles": (cycles, 1),
    "events": (events, 0.7),
    "counts": (counts, 1.5),
    "growth": (growth, 2.5),
}
POSITIVE = ("counts", "growth")  # families that neither change sign nor are exponentiated


# Augmentation


def augmented(rng: Generator, values: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Change series as the world does: direction, level, units, outliers, gaps.

    Args:
        rng: the source of randomness.
        values: ``[n, length]`` of unit scale, changed in place.
        positive: ``[n]``: series that keep their sign.
    """
    n, length = values.shape
    free = ~positive

    def some(share: float, of: np.ndarray | None = None) -> np.ndarray:
        return np.flatnonzero((rng.random(n) < share) & (True if of is None else of))

    values[some(0.5, free)] *= -1
    rows = some(0.05, free)
    values[rows] = values[rows, ::-1]
    rows = some(0.05)
    values[rows] *= np.exp(0.4 * _smooth(rng, len(rows), length, np.full(len(rows), length / 3)))
    rows = some(0.06)  # a shift of the level
    at = rng.integers(0, length, (len(rows), 1))
    values[rows] += (
        rng.normal(0, 1.5, (len(rows), 1)) * (np.arange(length) >= at) * _scale(values[rows])
    )
    rows = some(0.35, free)  # exponentiated: multiplicative noise, season and trend
    values[rows] = np.exp(
        _standardised(values[rows]) * _log_uniform(rng, 0.03, 0.9, len(rows))[:, None]
    )
    rows = some(0.06)  # outliers
    hit = rng.random((len(rows), length)) < _log_uniform(rng, 0.003, 0.04, len(rows))[:, None]
    values[rows] += hit * 4 * rng.standard_t(3, (len(rows), length)) * _scale(values[rows])
    rows = some(0.04)  # censored
    q = (
        np.quantile(values[rows], rng.uniform(0.5, 0.95, len(rows)), axis=1).diagonal()[:, None]
        if len(rows)
        else 0
    )
    values[rows] = np.minimum(values[rows], q)
    rows = some(0.15)  # rounded
    step = _scale(values[rows]) * _log_uniform(rng, 0.01, 0.6, len(rows))[:, None]
    values[rows] = np.round(values[rows] / step) * step
    rows = some(0.08)  # missing at random
    values[rows] = np.where(
        rng.random((len(rows), length)) < _log_uniform(rng, 0.01, 0.4, len(rows))[:, None],
        np.nan,
        values[rows],
    )
    for row in some(0.05):  # a missing block
        size = int(rng.integers(1, max(2, length // 5)))
        start = int(rng.integers(0, length - size + 1))
        values[row, start : start + size] = np.nan
    return values


def _mixed(rng: Generator, values: np.ndarray, period: np.ndarray) -> np.ndarray:
    """Add to a tenth of the series another one of the same period (TSMixup)."""
    n = len(values)
    rows = np.flatnonzero(rng.random(n) < 0.1)
    order = np.argsort(period + rng.random(n) * 0.5, kind="stable")
    neighbour = np.empty(n, dtype=np.int64)
    neighbour[order] = np.roll(order, 1)
    other = neighbour[rows]
    rows, other = rows[period[rows] == period[other]], other[period[rows] == period[other]]
    values[rows] = values[rows] + rng.uniform(0.1, 1, (len(rows), 1)) * values[other]
    return values


# Parts


def noise(rng: Generator, n: int, length: int, serial: float = 0.35) -> np.ndarray:
    """Errors of unit scale ``[n, length]``: normal or Student, a share ``serial`` as AR(1)."""
    errors = rng.standard_normal((n, length))
    heavy = rng.random(n) < 0.3
    if heavy.any():
        freedom = _log_uniform(rng, 2.5, 12, int(heavy.sum()))[:, None]
        errors[heavy] /= np.sqrt(
            rng.chisquare(np.broadcast_to(freedom, (int(heavy.sum()), length))) / freedom
        )
    rows = np.flatnonzero(rng.random(n) < serial)
    if len(rows):
        rho = rng.uniform(-0.4, 0.9, len(rows))
        x = errors[rows, 0]
        for t in range(length):
            x = rho * x + np.sqrt(1 - rho**2) * errors[rows, t]
            errors[rows, t] = x
    return errors


def _profile(rng: Generator, period: np.ndarray, width: int) -> np.ndarray:
    """A season of each series, ``[n, width]``, unit scale over its period: smooth or spiky."""
    n = len(period)
    phase = np.arange(width)[None] / period[:, None]
    harmonics = rng.integers(1, 7, n)
    smooth = np.zeros((n, width))
    for k in range(1, 7):
        a = rng.standard_normal((n, 2, 1)) * ((k <= harmonics) / k**0.7)[:, None, None]
        smooth += a[:, 0] * np.cos(2 * np.pi * k * phase) + a[:, 1] * np.sin(2 * np.pi * k * phase)
    rough = rng.standard_normal((n, width))
    spiky = rng.gamma(0.4, 1, (n, width))
    on = (phase < rng.uniform(0.1, 0.9, (n, 1))) + 0.2 * rough  # weekdays and weekends
    kind = rng.choice(4, n, p=[0.5, 0.25, 0.15, 0.1])
    profile = np.choose(kind[:, None], [smooth, rough, spiky, on])
    inside = np.arange(width)[None] < period[:, None]
    mean = (profile * inside).sum(1, keepdims=True) / period[:, None]
    std = np.sqrt((((profile - mean) ** 2) * inside).sum(1, keepdims=True) / period[:, None])
    return (profile - mean) / np.maximum(std, 1e-6) * inside


def _seasonal(rng: Generator, period: np.ndarray, length: int) -> np.ndarray:
    """Seasons of unit scale ``[n, length]``, zero where the period is 1; some drift or fade."""
    n = len(period)
    width = int(period.max())
    index = (np.arange(length)[None] + rng.integers(0, width, (n, 1))) % period[:, None]
    values = np.take_along_axis(_profile(rng, period, width), index, 1)
    drifting = np.flatnonzero((rng.random(n) < 0.4) & (period > 1))
    if len(drifting):
        other = np.take_along_axis(_profile(rng, period[drifting], width), index[drifting], 1)
        share = np.linspace(0, 1, length) * rng.uniform(0, 0.7, (len(drifting), 1))
        growth = np.exp(rng.normal(0, 0.4, (len(drifting), 1)) * np.linspace(-1, 1, length))
        values[drifting] = growth * ((1 - share) * values[drifting] + share * other)
    return values * (period > 1)[:, None]


def _trend(rng: Generator, n: int, length: int) -> np.ndarray:
    """Trends of unit scale ``[n, length]``: lines with bends, damped lines, or smooth curves."""
    time = np.linspace(0, 1, length)
    line = rng.standard_normal((n, 1)) * time
    for _ in range(3):
        bend = rng.standard_normal((n, 1)) * (rng.random((n, 1)) < 0.2)
        line = line + 1.5 * bend * np.maximum(time - rng.uniform(0, 1, (n, 1)), 0)
    damped = rng.standard_normal((n, 1)) * (1 - np.exp(-time * rng.uniform(1, 10, (n, 1))))
    curve = _smooth(rng, n, length, length * rng.uniform(0.2, 1, n))
    kind = rng.choice(4, n, p=[0.45, 0.15, 0.2, 0.2])
    return np.choose(kind[:, None], [line, damped, curve, np.zeros((n, length))])


def _smooth(rng: Generator, n: int, length: int, scale: np.ndarray) -> np.ndarray:
    """Gaussian processes with RBF kernels of length scale ``scale [n]``, ``[n, length]``."""
    features = 12
    frequency = rng.standard_normal((n, features)) / scale[:, None]
    return _waves(rng, frequency, length)


def _process(rng: Generator, period: np.ndarray, length: int) -> np.ndarray:
    """A Gaussian process of unit scale with an RBF, rational quadratic or periodic kernel."""
    n = len(period)
    features = 16
    scale = _log_uniform(rng, 3, length, n)[:, None]
    rbf = rng.standard_normal((n, features)) / scale
    quadratic = rbf * np.sqrt(rng.gamma(1.0, 1.0, (n, 1)) + 1e-3)
    some = np.where(period > 1, period, np.round(_log_uniform(rng, 3, max(4, length / 3), n)))
    periodic = 2 * np.pi * np.ceil(np.abs(rng.standard_normal((n, features))) * 1.5) / some[:, None]
    kind = rng.choice(3, n, p=[0.4, 0.25, 0.35])
    return _waves(rng, np.choose(kind[:, None], [rbf, quadratic, periodic]), length)


def _waves(rng: Generator, frequency: np.ndarray, length: int) -> np.ndarray:
    """Sums of cosines of random phase at angular ``frequency [n, k]``, ``[n, length]``."""
    n, k = frequency.shape
    total = np.zeros((n, length), np.float32)
    time = np.arange(length, dtype=np.float32)
    phases = rng.uniform(0, 2 * np.pi, (n, k)).astype(np.float32)
    frequency = frequency.astype(np.float32)
    for j in range(k):
        total += np.cos(frequency[:, j : j + 1] * time + phases[:, j : j + 1])
    return total.astype(np.float64) * np.sqrt(2 / k)


def _regimes(rng: Generator, n: int, length: int) -> np.ndarray:
    """One of three regimes at each step, ``[n, length]``; up to six changes."""
    changes = rng.random((n, length)) < rng.uniform(0, 6, (n, 1)) / length
    return (np.cumsum(changes, 1) + rng.integers(0, 3, (n, 1))) % 3


def _drift(rng: Generator, n: int) -> np.ndarray:
    """Mean changes of a step, in units of the error of a step: from none to steady growth."""
    return _log_uniform(rng, 0.003, 2, n) * rng.choice([-1, 1], n)


def _standardised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(1, keepdims=True)) / _scale(values)


def _scale(values: np.ndarray) -> np.ndarray:
    return np.maximum(values.std(1, keepdims=True), 1e-9)


def _log_uniform(rng: Generator, low: float, high: float, n: int) -> np.ndarray:
    return np.exp(rng.uniform(np.log(low), np.log(high), n))
