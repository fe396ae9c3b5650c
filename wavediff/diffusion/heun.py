"""Heun's method."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import DenoiserLike
from wavediff.diffusion.reverse import advance, noise_estimate, step
from wavediff.diffusion.sampler import Noise, Steps, method


def heun_step(
    denoiser: DenoiserLike, x: Tensor, t: Tensor, s: Tensor, cond: Condition
) -> tuple[Tensor, Tensor]:
    """One step t -> s of Heun's method: (x_s, x0_hat), for times ``[]`` or ``[batch]``.

    Takes two network calls, or one if sigma_s = 0.
    """
    schedule = denoiser.schedule
    x0_hat = denoiser(x, t, cond)
    x_s = step(schedule, x, x0_hat, t, s, cond)
    if not (schedule.sigma(s) > 0).all():
        return x_s, x0_hat
    x0_next = denoiser(x_s, s, cond)
    eps = noise_estimate(schedule, x, x0_hat, t, cond)
    eps_next = noise_estimate(schedule, x_s, x0_next, s, cond)
    mean = (x0_hat + x0_next) / 2, (eps + eps_next) / 2
    return advance(schedule, x, *mean, t, s, cond), x0_hat


@method(calls=2)
def Heun(denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise) -> Steps:
    """Heun's method on the probability flow; order 2, two network calls a step.

        dx = x0_hat d alpha + eps_hat d sigma + y d anchor

    by the trapezoidal rule in the coefficients of the schedule. For alpha = 1 it is the
    deterministic sampler of EDM (Karras et al. 2022, algorithm 1), on the straight path the usual
    Heun step in t. A last step to sigma = 0 takes one network call.

    Args:
        times: a grid such as ``karras(18)``, ``schedule -> times``, or the times themselves,
            ``[steps + 1]``, descending.
    """
    for t, s in pairwise(times):
        x, x0_hat = heun_step(denoiser, x, t, s, cond)
        yield x, x0_hat
