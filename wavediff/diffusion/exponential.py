"""Exponential integrators in log-SNR.

With lambda = log(alpha / sigma) the probability flow has the exact solution

    x_s = sigma_s/sigma_t x_t + sigma_s int_{lambda_t}^{lambda_s} e^lambda x0_hat d lambda

which is the reverse step with x0_hat replaced by its mean over the step with weight e^lambda. The
methods differ in how they estimate this mean. The known signal y needs no further terms.
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
    """The means of theta^k, k = 0 .. n - 1, over [0, 1] with weight e^(h theta).

    These are the phi functions of exponential integrators, relative to the first. An infinite
    ``h``, of a step from a time without signal, counts as 0: there theta is linear in alpha / sigma
    instead of lambda, and the weight is constant.
    """
    if math.isinf(h):
        h = 0.0
    if h < 1:  # the recursion loses digits
        terms = [h**j / math.factorial(j) for j in range(20)]
        sums = [sum(term / (j + k + 1) for j, term in enumerate(terms)) for k in range(n)]
        return [value / sums[0] for value in sums]
    means = [1.0]
    for k in range(1, n):
        means.append(-1 / math.expm1(-h) - k / h * means[-1])
    return means


def mean_estimate(estimates: Sequence[Tensor], nodes: Sequence[float], h: float) -> Tensor:
    """The weighted mean over a step of the polynomial that interpolates ``estimates``.

    Args:
        estimates: of x_0, each like the state.
        nodes: their positions, 0 at the start of the step and 1 at its end.
        h: length of the step in lambda.
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
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), multistep; order 2, one network call a step.

    The reverse step with x0_hat extrapolated linearly in log-SNR from the last two estimates. The
    first step, and a last step to sigma = 0, are of first order, which preserves order 2 overall.
    With ``eta = 1`` it is SDE-DPM-Solver++(2M) (section 5).

    Args:
        times: a grid such as ``karras(18)``, ``schedule -> times``, or the times themselves,
            ``[steps + 1]``, descending.
        eta: factor on the noise of ancestral sampling, 0 to 1.
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
        # sigma_s/sigma_t x - alpha_s expm1(-h) direction for eta = 0, and
        # e^(-h) sigma_s/sigma_t x - alpha_s expm1(-2h) direction + noise for eta = 1
        x = step(schedule, x, direction, t, s, cond, std, z)
        previous, h_previous = x0_hat, h
        yield x, x0_hat


@method(calls=3)
def DPMpp3S(
    denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise
) -> Steps:
    """Singlestep DPM-Solver++ of third order (Lu et al. 2022); order 3, three network calls a step.

    The exponential Runge-Kutta method with nodes 0, 1/3 and 2/3 (Hochbruck & Ostermann 2005, eq.
    5.9), which is DPM-Solver-3, applied to x0_hat. A last step to sigma = 0 takes one network call.

    Args:
        times: a grid such as ``karras(18)``, ``schedule -> times``, or the times themselves,
            ``[steps + 1]``, descending.
    """
    schedule = denoiser.schedule
    inner = _between(schedule.log_snr(times), (1 / 3, 2 / 3))
    noisy = torch.isfinite(inner).all(0)  # steps that do not end at sigma = 0
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


def _between(log_snr: Tensor, fractions: Sequence[float]) -> Tensor:
    """Log-SNRs at ``fractions`` of each step, ``[fractions, steps]``; infinite if it ends clean."""
    start, end = log_snr[:-1], log_snr[1:]
    inner = [
        # a step from a time without signal is divided in alpha / sigma
        torch.where(start == -math.inf, end + 2 * math.log(r), start + r * (end - start))
        for r in fractions
    ]
    return torch.stack(inner)


@method()
def UniPC(denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise) -> Steps:
    """UniPC-2 on x0_hat (Zhao et al. 2023, algorithms 1 and 2); order 3, one network call a step.

    A predictor from the last two estimates, then, with the estimate at the predicted state, a
    corrector from these three. The first step has one estimate less in both and a local error of
    h^3, which preserves order 3 overall. The last step is not corrected.

    Args:
        times: a grid such as ``karras(18)``, ``schedule -> times``, or the times themselves,
            ``[steps + 1]``, descending.
    """
    schedule = denoiser.schedule
    known: list[tuple[float, Tensor]] = []  # lambda and x0_hat, the latest last
    start_of_step: tuple[Tensor, Tensor] | None = None  # the corrected state and its time
    for t, s in pairwise(times):
        x0_hat = denoiser(x, t, cond)
        here, there = (float(schedule.log_snr(time)) / 2 for time in (t, s))
        if start_of_step is not None:
            x_before, before = start_of_step
            direction = _step_mean([*known, (here, x0_hat)], known[-1][0], here)
            x = step(schedule, x_before, direction, before, t, cond)
        known = [*known, (here, x0_hat)][-2:]
        start_of_step = x, t
        direction = x0_hat if math.isinf(there) else _step_mean(known, here, there)
        x = step(schedule, x, direction, t, s, cond)
        yield x, x0_hat


def _step_mean(known: Sequence[tuple[float, Tensor]], start: float, end: float) -> Tensor:
    """The mean estimate over a step from lambda = ``start`` to ``end``.

    Args:
        known: (lambda, x0_hat) to interpolate.
    """
    if start == -math.inf:
        nodes = [math.exp(lambda_ - end) for lambda_, _ in known]
    else:
        known = [(lambda_, x0_hat) for lambda_, x0_hat in known if lambda_ > -math.inf]
        nodes = [(lambda_ - start) / (end - start) for lambda_, _ in known]
    return mean_estimate([x0_hat for _, x0_hat in known], nodes, end - start)
