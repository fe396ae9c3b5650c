"""First-order samplers around the one reverse step: DDIM, DDPM's, and re-noising."""

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
    """The reverse step with fresh noise of deviation ``eta(schedule, t, s)``."""
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
    """DDIM (Song et al. 2021, eq. 12) with ``eta`` times the ancestral noise; order 1.

    On the straight path with eta = 0 this is Euler's method. ``clamp`` bounds the state after
    each step, as lmnt's DiffWave does.
    """
    return _walk(denoiser, x, times, cond, noise, lambda *at: eta * posterior_std(*at), clamp)


@method(stochastic=True)
def Ancestral(
    denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise, *,
    clamp: float | None = None,
) -> Steps:  # fmt: skip
    """DDPM's sampler (Ho et al. 2020, algorithm 2), on any grid: DDIM with eta = 1."""
    return _walk(denoiser, x, times, cond, noise, posterior_std, clamp)


@method(stochastic=True)
def Renoise(
    denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise
) -> Steps:
    """Denoise, then noise the estimate anew to the next time: the step with eta = sigma_s.

    Multistep sampling of consistency models (Song et al. 2023, algorithm 1), whose estimate is a
    sample by itself. Nothing of the state is kept but that estimate.
    """
    return _walk(denoiser, x, times, cond, noise, lambda schedule, t, s: schedule.sigma(s))


def ddim_step(
    denoiser: DenoiserLike, x: Tensor, t: Tensor, s: Tensor, cond: Condition
) -> tuple[Tensor, Tensor]:
    """(x_s, x0_hat) of one DDIM step, at ``[]`` or ``[batch]`` times: one call; order 1."""
    x0_hat = denoiser(x, t, cond)
    return step(denoiser.schedule, x, x0_hat, t, s, cond), x0_hat
