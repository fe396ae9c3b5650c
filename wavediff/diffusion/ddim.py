"""First-order samplers made of reverse steps: DDIM, ancestral sampling and re-noising."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import DenoiserLike
from wavediff.diffusion.reverse import posterior_std, step
from wavediff.diffusion.sampler import Noise, Steps, method
from wavediff.diffusion.schedule import Schedule


def _walk(
    denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise,
    eta: Callable[[Schedule, Tensor, Tensor], Tensor], clamp: float | None = None,
) -> Steps:  # fmt: skip
    """Reverse steps with fresh noise of standard deviation ``eta(schedule, t, s)``."""
    schedule = denoiser.schedule
    for i, (t, s) in enumerate(pairwise(times)):
        x0_hat = denoiser(x, t, cond)
        std = eta(schedule, t, s)
        z = noise(x, i) if std > 0 else None
        x = step(schedule, x, x0_hat, t, s, cond, std, z)
        if clamp is not None:
            x = x.clamp(-clamp, clamp)
        yield x, x0_hat


@method(stochastic=lambda eta, **_: eta > 0)
def DDIM(
    denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise, *,
    eta: float = 0.0, clamp: float | None = None,
) -> Steps:  # fmt: skip
    """DDIM (Song et al. 2021, eq. 12); order 1, one network call a step.

        x_s = alpha_s x0_hat + anchor_s y + sqrt(sigma_s^2 - std^2) eps_hat + std z

    with std = eta posterior_std. With eta = 0 it is deterministic, and on the straight path it is
    Euler's method; eta = 1 is ancestral sampling.

    Args:
        times: a grid such as ``karras(18)``, ``schedule -> times``, or the times themselves,
            ``[steps + 1]``, descending.
        eta: factor on the noise of ancestral sampling, 0 to 1.
        clamp: bound on the absolute value of the state after each step, as in lmnt's DiffWave;
            None for no bound.
    """
    return _walk(denoiser, x, times, cond, noise, lambda *at: eta * posterior_std(*at), clamp)


@method(stochastic=True)
def Ancestral(
    denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise, *,
    clamp: float | None = None,
) -> Steps:  # fmt: skip
    """Ancestral sampling (DDPM; Ho et al. 2020, algorithm 2) on any grid; order 1.

    The reverse step with the noise of p(x_s | x_t, x_0): DDIM with eta = 1. One network call a
    step.

    Args:
        times: a grid such as ``karras(18)``, ``schedule -> times``, or the times themselves,
            ``[steps + 1]``, descending.
        clamp: bound on the absolute value of the state after each step, as in lmnt's DiffWave;
            None for no bound.
    """
    return _walk(denoiser, x, times, cond, noise, posterior_std, clamp)


@method(stochastic=True)
def Renoise(
    denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise
) -> Steps:
    """Multistep sampling of consistency models (Song et al. 2023, algorithm 1).

        x_s = alpha_s x0_hat + anchor_s y + sigma_s z

    Each step denoises the state and noises the estimate to the next time: the reverse step with
    eta = sigma_s. One network call a step.

    Args:
        times: a grid such as ``karras(18)``, ``schedule -> times``, or the times themselves,
            ``[steps + 1]``, descending.
    """
    return _walk(denoiser, x, times, cond, noise, lambda schedule, t, s: schedule.sigma(s))


def ddim_step(
    denoiser: DenoiserLike, x: Tensor, t: Tensor, s: Tensor, cond: Condition
) -> tuple[Tensor, Tensor]:
    """One DDIM step t -> s without noise: (x_s, x0_hat), for times ``[]`` or ``[batch]``."""
    x0_hat = denoiser(x, t, cond)
    return step(denoiser.schedule, x, x0_hat, t, s, cond), x0_hat
