"""Exponential smoothing of many series at once: the reference that the forecaster departs from.

A bank of damped Holt-Winters methods (Hyndman et al. 2008) with fixed parameters runs over each
series. Their forecasts are averaged with weights by their errors, one step ahead and further ahead,
so that nothing is optimised and a batch costs one pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise, product
from typing import NamedTuple

import torch
from torch import Tensor

# (alpha, beta / alpha, phi, gamma / (1 - alpha)) of each method
METHODS = [
    (alpha, *trend, gamma)
    for alpha, trend, gamma in product(
        (0.06, 0.2, 0.45, 0.75, 0.98),
        ((0.0, 0.0), (0.1, 0.9), (0.15, 0.98), (0.03, 1.0)),
        (0.0, 0.12, 0.35),
    )
]
SHARPNESS = 1.2  # of the weights, per known value
FIRST, LATER = 0.05, 0.5  # weights of the errors one step ahead, and of those further ahead
OUTLYING = 25.0  # times the median change between steps
PENALTY = 1.5  # log-likelihood of a trend's or a changing season's additional parameters


class Reference(NamedTuple):
    """The reference of a batch of series, in their own units.

    Attributes:
        centre: forecast, ``[batch, horizon]``.
        spread: standard deviation of its error, ``[batch, horizon]``.
        spread_one: that of the step after the last, ``[batch, 1]``.
        errors: one-step-ahead errors in the past over ``spread_one``, ``[batch, length]``.
        level: the smoothed level at the end, ``[batch, 1]``.
        season: seasonal component of the past and the horizon, ``[batch, length + horizon]``.
        weights: of each method, ``[batch, methods]``.
    """

    centre: Tensor
    spread: Tensor
    spread_one: Tensor
    errors: Tensor
    level: Tensor
    season: Tensor
    weights: Tensor


def smooth(values: Tensor, known: Tensor, periods: Tensor, horizon: int) -> Reference:
    """Smooth a batch of series and extrapolate it.

    Args:
        values: ``[batch, length]`` of moderate scale; anything where not known.
        known: bool, like ``values``.
        periods: int64 ``[batch, 2]``: a short and a longer seasonal period in steps, 1 for none.
        horizon: steps to extrapolate.

    Returns:
        The reference, in the dtype of ``values``.
    """
    values = torch.where(known, values, 0)
    season = values.new_zeros(len(values), values.shape[1] + horizon)
    counts = known.sum(1, keepdim=True)
    for k in (1, 0):  # the longer season first: the shorter may change in the smoothing
        if (periods[:, k] > 1).any():
            season = season + _profile(
                values - season[:, : values.shape[1]], known, periods[:, k], horizon
            )
    run = _run(values - season[:, : values.shape[1]], known, periods[:, 0], horizon)
    errors = run.errors
    burn = (known.cumsum(1) > torch.clamp(counts // 4, max=3))[..., None] & known[..., None]
    size = burn.sum(1).clamp(min=1)
    weights = torch.softmax(_evidence(run, burn, counts.to(values)), -1)
    centre = (run.forecast * weights[:, None]).sum(-1)
    mse = ((errors.square() * burn).sum(1) / size).clamp(min=1e-10)
    within = run.variance * mse[:, None]
    within = within * _widened(within, run.later)
    within = (within * weights[:, None]).sum(-1)
    between = ((run.forecast - centre[..., None]).square() * weights[:, None]).sum(-1)
    spread = (within + between).sqrt()
    spread_one = (mse * weights).sum(-1, keepdim=True).sqrt()
    mixed = (errors * weights[:, None]).sum(-1)
    mixed = torch.where(known, mixed / spread_one, 0)
    return Reference(
        centre + season[:, values.shape[1] :],
        spread,
        spread_one,
        mixed,
        (run.level * weights).sum(-1, keepdim=True),
        season,
        weights,
    )


class _Run(NamedTuple):
    """What the methods leave behind.

    Attributes:
        forecast: ``[batch, horizon, methods]``.
        errors: one step ahead, ``[batch, length, methods]``.
        variance: of the forecasts over that of an error by the methods' formulas, like them.
        level: the last one, ``[batch, methods]``.
        later: (errors, where they are) by the number of steps ahead,
            ``[batch, length - steps, methods]`` and bool ``[batch, length - steps, 1]``.
    """

    forecast: Tensor
    errors: Tensor
    variance: Tensor
    level: Tensor
    later: Mapping[int, tuple[Tensor, Tensor]]


def _evidence(run: _Run, burn: Tensor, counts: Tensor) -> Tensor:
    """The log-likelihood of each method, ``[batch, methods]``, for Laplace errors.

    Errors further ahead, which overlap, count as one in the root of the number of steps.
    """
    _, beta, _, gamma = counts.new_tensor(METHODS).T
    cost = PENALTY * ((beta > 0).to(counts) * 2 + (gamma > 0).to(counts))
    first = (run.errors.abs() * burn).sum(1) / burn.sum(1).clamp(min=1)
    first = torch.log(first + 1e-6)
    total = FIRST * counts * first
    for steps, (errors, there) in run.later.items():
        size = there.sum(1)
        mean = torch.log((errors.abs() * there).sum(1) / size.clamp(min=1) + 1e-6)
        mean = torch.where(size >= max(steps, 4), mean, first)
        total = total + LATER * counts / steps**0.5 * mean
    return -SHARPNESS * (total + cost)


def _widened(within: Tensor, later: Mapping[int, tuple[Tensor, Tensor]]) -> Tensor:
    """Ratios of the squared errors of earlier forecasts to the variances ``[batch, horizon,
    methods]`` that the methods' formulas give, interpolated over the steps ahead."""
    horizon = within.shape[1]
    steps, knots = [1], [torch.zeros_like(within[:, 0])]
    for lead, (found, there) in later.items():
        count = there.sum(1)
        mse = (found.square() * there).sum(1) / count.clamp(min=1)
        ratio = torch.log((mse + 1e-12) / (within[:, lead - 1] + 1e-12)).clamp(-2, 2)
        steps.append(lead)
        knots.append(ratio * (count / (count + 2 * lead)))  # overlapping errors count less
    factor = torch.zeros_like(within)
    place = torch.arange(1, horizon + 1, device=within.device).to(within)
    for k, (low, high) in enumerate(pairwise(steps)):
        share = ((place - low) / (high - low)).clamp(0, 1)[:, None]
        inside = (place > low) & (place <= high)
        line = knots[k][:, None] * (1 - share) + knots[k + 1][:, None] * share
        factor = torch.where(inside[:, None], line, factor)
    if len(steps) > 1:
        factor = torch.where((place > steps[-1])[:, None], knots[-1][:, None], factor)
    return factor.exp()


def _profile(values: Tensor, known: Tensor, period: Tensor, horizon: int) -> Tensor:
    """The seasonal profile around a centred moving average, ``[batch, length + horizon]``.

    Cycles count less the older they are. It is shrunk by the ratio of its variance to that of its
    errors (empirical Bayes), and zero with less than two cycles.
    """
    batch, length = values.shape
    weight = known.to(values)
    span = known.shape[1] - torch.argmax(known.to(torch.uint8), 1)
    usable = (period > 1) & (span >= 2 * period)
    p = torch.where(usable, period, 1)[:, None]
    time = torch.arange(length + horizon, device=values.device)[None]
    past = time[:, :length]
    sums = torch.nn.functional.pad((values * weight).cumsum(1), (1, 0))
    counts = torch.nn.functional.pad(weight.cumsum(1), (1, 0))
    start = length - span[:, None]
    low = torch.maximum(past - p // 2, start).clamp(max=length)
    high = (low + p).clamp(max=length)
    low = torch.maximum(high - p, start)
    average = (sums.gather(1, high) - sums.gather(1, low)) / (
        counts.gather(1, high) - counts.gather(1, low)
    ).clamp(min=1)
    # at the edges the window is not centred: a line through the average corrects for the trend
    centre = (low + high - 1).to(values) / 2
    slope = _slope(values, weight, past.to(values)) if (~usable).sum() < batch else 0
    inside = (past - low == p // 2) | (high - 1 - past == p // 2)
    average = average + torch.where(inside, 0, slope * (past - centre))
    detrended = (values - average) * weight
    age = (length - 1 - past) // p
    weight = weight * 0.9 ** age.to(values) * torch.where(inside, 1.0, 0.5)
    phase = (time - length) % p
    width = int(p.max())
    total = values.new_zeros(batch, width).scatter_add(1, phase[:, :length], detrended * weight)
    mass = values.new_zeros(batch, width).scatter_add(1, phase[:, :length], weight)
    squares = values.new_zeros(batch, width).scatter_add(1, phase[:, :length], weight.square())
    profile = total / mass.clamp(min=1e-6)
    inside_period = torch.arange(width, device=values.device)[None] < p
    profile = torch.where(inside_period, profile - profile.sum(1, keepdim=True) / p, 0)
    residual = (detrended - profile.gather(1, phase[:, :length])) * known
    variance = (weight * residual.square()).sum(1) / weight.sum(1).clamp(min=1e-6)
    effective = (mass.square() / squares.clamp(min=1e-6)).sum(1) / p[:, 0]
    variance = variance * effective / (effective - 1).clamp(min=0.5)
    power = profile.square().sum(1) / p[:, 0]
    keep = (1 - variance / effective.clamp(min=1) / power.clamp(min=1e-12)).clamp(0, 1)
    keep = torch.where(usable, keep, 0)
    return profile.gather(1, phase) * keep[:, None]


def _outlying(values: Tensor, known: Tensor) -> Tensor:
    """The size of error, ``[batch, 1]``, that the states take as an outlier."""
    change = (values[:, 1:] - values[:, :-1]).abs()
    change = torch.where(known[:, 1:] & known[:, :-1] & (change > 0), change, torch.nan)
    if not change.shape[1]:
        return values.new_full((len(values), 1), torch.inf)
    return (OUTLYING * change.nanmedian(1, keepdim=True).values).nan_to_num(nan=torch.inf)


def _slope(values: Tensor, weight: Tensor, time: Tensor) -> Tensor:
    """Least-squares slope of each series, ``[batch, 1]``."""
    mass = weight.sum(1, keepdim=True).clamp(min=1)
    t = time - (time * weight).sum(1, keepdim=True) / mass
    return (t * values * weight).sum(1, keepdim=True) / (t.square() * weight).sum(
        1, keepdim=True
    ).clamp(min=1e-6)


def _run(values: Tensor, known: Tensor, period: Tensor, horizon: int) -> _Run:
    """Run every method over the series."""
    batch, length = values.shape
    alpha, beta, phi, gamma = values.new_tensor(METHODS).T
    beta, gamma = alpha * beta, (1 - alpha) * gamma
    order = known.cumsum(1)
    first = (known & (order <= 4)).to(values)
    start = (values * first).sum(1) / first.sum(1).clamp(min=1)
    early = (known & (order <= 10)).to(values)
    time = torch.arange(length, device=values.device).to(values)[None]
    slope = _slope(values, early, time)[:, 0]
    slope = torch.where(early.sum(1) >= 5, slope, 0)
    mean = (values * early).sum(1) / early.sum(1).clamp(min=1)
    middle = (time * early).sum(1) / early.sum(1).clamp(min=1)
    began = torch.argmax(known.to(torch.uint8), 1)
    trended = beta > 0
    line = (mean + slope * (began - 1 - middle))[:, None]
    level = torch.where(trended, line, start[:, None]).clone()
    trend = torch.where(trended, slope[:, None] * torch.where(phi < 0.95, 0.5, 1.0), 0.0)
    seasonal = (period > 1) & ((length - began) >= 2 * period)
    width = int(torch.where(seasonal, period, 1).max())
    states = values.new_zeros(width, batch, len(METHODS))
    p = torch.where(seasonal, period, 1)
    gamma = torch.where(seasonal[:, None], gamma, 0.0)
    rows = torch.arange(batch, device=values.device)
    phases = (torch.arange(length + horizon, device=values.device)[:, None] - length) % p
    began_at = int(began.min())
    limit = _outlying(values, known)
    errors = values.new_zeros(length, batch, len(METHODS))
    levels, trends, seasons = (torch.zeros_like(errors) for _ in range(3))
    observed = known.to(values)
    for t in range(began_at, length):
        alive = (t >= began).to(values)[:, None]
        trend = torch.where(alive > 0, phi * trend, trend)
        level = level + trend * alive
        s = states[phases[t], rows]
        e = (values[:, t : t + 1] - level - s) * observed[:, t : t + 1]
        errors[t] = e
        e = torch.minimum(torch.maximum(e, -limit), limit)  # an outlier is not a new level
        level = level + alpha * e
        trend = trend + beta * e
        states[phases[t], rows] = s + gamma * e
        levels[t], trends[t], seasons[t] = level, trend, s
    ahead = torch.arange(1, horizon + 1, device=values.device).to(values)[:, None]
    powers = torch.where(phi > 0, phi**ahead, 0.0).cumsum(0)  # [horizon, methods]
    forecast = level[:, None] + powers * trend[:, None]
    forecast = forecast + states[phases[length:].T, rows[:, None]]
    # the weight of an error j steps ago (class 1 of Hyndman et al. 2008, table 6.1)
    again = (ahead[None, :, 0].long() % p[:, None] == 0)[..., None]
    impulse = alpha + beta * powers + gamma[:, None] * again
    variance = 1 + torch.nn.functional.pad(impulse.square().cumsum(1)[:, :-1], (0, 0, 1, 0))
    later = {}
    for lead in sorted({max(2, horizon // 3), horizon}):
        if lead <= horizon and lead < length - 8:
            power = powers[lead - 1]
            guess = levels[:-lead] + power * trends[:-lead] + seasons[lead:]
            wrong = values.T[lead:, :, None] - guess
            old = torch.arange(length - lead, device=values.device)[:, None] >= began + 4
            there = (known.T[lead:] & old)[..., None]
            later[lead] = (wrong.transpose(0, 1), there.transpose(0, 1))
    return _Run(forecast, errors.transpose(0, 1), variance, level, later)
