"""Exponential integrators in log-SNR.

With lambda = log(alpha / sigma) the probability flow has the exact solution

    x_s = sigma_s/sigma_t x_t + sigma_s int_{lambda_t}^{lambda_s} e^lambda x0_hat d lambda

which is the reverse step with x0_hat replaced by D, its mean over the step under the weight
e^lambda. Each method here is a way to that mean; the known signal y needs nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from operator import add

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import DenoiserLike
from wavediff.diffusion.reverse import posterior_std, step
from wavediff.diffusion.sampler import Noise, Steps, method


def moments(h: float, n: int) -> list[float]:
    """The mean of theta^k, k = 0 .. n - 1, over [0, 1] under the weight e^(h theta).

    The phi functions of exponential integrators, each over the first. A step from lambda = -inf
    (no signal yet) has its theta in alpha / sigma itself, whose weight is constant: h = 0.
    """
    if math.isinf(h):
        h = 0.0
    if h < 1:  # the recursion would lose digits
        terms = [h**j / math.factorial(j) for j in range(20)]
        sums = [sum(term / (j + k + 1) for j, term in enumerate(terms)) for k in range(n)]
        return [value / sums[0] for value in sums]
    means = [1.0]
    for k in range(1, n):
        means.append(-1 / math.expm1(-h) - k / h * means[-1])
    return means


def mean_estimate(estimates: Sequence[Tensor], nodes: Sequence[float], h: float) -> Tensor:
    """The mean over a step of length ``h`` of the polynomial through ``estimates``.

    Args:
        nodes: where the estimates were made, 0 at the step's start and 1 at its end.
    """
    powers = torch.tensor([[r**k for r in nodes] for k in range(len(nodes))], dtype=torch.float64)
    means = torch.tensor(moments(h, len(nodes)), dtype=torch.float64)
    weights = torch.linalg.solve(powers, means).tolist()
    return reduce(add, (w * estimate for w, estimate in zip(weights, estimates, strict=True)))


@method(stochastic=lambda eta: eta > 0)
def DPMpp2M(
    denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise, *,
    eta: float = 0.0,
) -> Steps:  # fmt: skip
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), multistep; order 2.

    The first step, and a last one to sigma = 0, are of first order, which is exact enough there.
    With ``eta = 1``, the ancestral noise, it is SDE-DPM-Solver++(2M) (Lu et al. 2022, section 5).
    """
    schedule = denoiser.schedule
    previous: Tensor | None = None
    h_previous = torch.zeros((), dtype=torch.float64)
    for i, (t, s) in enumerate(pairwise(times)):
        x0_hat = denoiser(x, t, cond)
        h = (schedule.log_snr(s) - schedule.log_snr(t)) / 2
        direction = x0_hat
        if previous is not None and torch.isfinite(h) and torch.isfinite(h_previous):
            slope = float(h / (2 * h_previous))
            direction = (1 + slope) * x0_hat - slope * previous
        std = eta * posterior_std(schedule, t, s)
        z = noise(x, i) if std > 0 else None
        # with the extrapolated estimate D this is sigma_s/sigma_t x - alpha_s expm1(-h) D, and for
        # eta = 1 e^(-h) sigma_s/sigma_t x - alpha_s expm1(-2h) D + noise
        x = step(schedule, x, direction, t, s, cond, std, z)
        previous, h_previous = x0_hat, h
        yield x, x0_hat


@method(calls=3)
def DPMpp3S(
    denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise
) -> Steps:
    """Singlestep DPM-Solver++ of third order (Lu et al. 2022, "DPM-Solver++"); order 3.

    The exponential Runge-Kutta method with nodes 0, 1/3 and 2/3 (Hochbruck & Ostermann 2005, eq.
    5.9), DPM-Solver-3's on x0_hat. Three network calls a step, one for a last step to sigma = 0.
    """
    schedule = denoiser.schedule
    inner = _between(schedule.log_snr(times), (1 / 3, 2 / 3))
    noisy = torch.isfinite(inner).all(0)  # steps whose end has noise
    inner[:, noisy] = schedule.time_at(inner[:, noisy])
    for i, (t, s) in enumerate(pairwise(times)):
        x0_hat = denoiser(x, t, cond)
        direction = x0_hat
        if noisy[i]:
            h = float(schedule.log_snr(s) - schedule.log_snr(t)) / 2
            x_1 = step(schedule, x, x0_hat, t, inner[0, i], cond)
            x0_1 = denoiser(x_1, inner[0, i], cond)
            direction = mean_estimate((x0_hat, x0_1), (0, 1 / 2), h * 2 / 3)
            x_2 = step(schedule, x, direction, t, inner[1, i], cond)
            x0_2 = denoiser(x_2, inner[1, i], cond)
            direction = mean_estimate((x0_hat, x0_2), (0, 2 / 3), h)
        x = step(schedule, x, direction, t, s, cond)
        yield x, x0_hat


def _between(log_snr: Tensor, shares: Sequence[float]) -> Tensor:
    """Log-SNRs at ``shares`` of each step, ``[shares, steps]``; not finite for one to sigma = 0."""
    start, end = log_snr[:-1], log_snr[1:]
    levels = [
        # from no signal at all, the share is one of alpha / sigma
        torch.where(start == -math.inf, end + 2 * math.log(r), start + r * (end - start))
        for r in shares
    ]
    return torch.stack(levels)


@method()
def UniPC(denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise) -> Steps:
    """UniPC-2 on x0_hat (Zhao et al. 2023, algorithms 1 and 2); order 3 with one call a step.

    A predictor through the last two estimates, then, once the estimate at the predicted state is
    there, a corrector through these three. The first step has one less of each and so an error of
    h^3, which is small enough for the whole to keep order 3. The last step is not corrected.
    """
    schedule = denoiser.schedule
    known: list[tuple[float, Tensor]] = []  # lambda and x0_hat, the latest last
    start_of_step: tuple[Tensor, Tensor] | None = None  # the corrected state and its time
    for t, s in pairwise(times):
        x0_hat = denoiser(x, t, cond)
        here, there = (float(schedule.log_snr(time)) / 2 for time in (t, s))
        if start_of_step is not None:
            x_before, before = start_of_step
            direction = _through([*known, (here, x0_hat)], known[-1][0], here)
            x = step(schedule, x_before, direction, before, t, cond)
        known = [*known, (here, x0_hat)][-2:]
        start_of_step = x, t
        direction = x0_hat if math.isinf(there) else _through(known, here, there)
        x = step(schedule, x, direction, t, s, cond)
        yield x, x0_hat


def _through(known: Sequence[tuple[float, Tensor]], start: float, end: float) -> Tensor:
    """The mean estimate of a step between two lambdas by the estimates known at some."""
    if start == -math.inf:
        nodes = [math.exp(level - end) for level, _ in known]
    else:
        known = [(level, x0_hat) for level, x0_hat in known if level > -math.inf]
        nodes = [(level - start) / (end - start) for level, _ in known]
    return mean_estimate([x0_hat for _, x0_hat in known], nodes, end - start)
