"""Reverse-SDE and predictor-corrector sampling (Song et al. 2021; SGMSE+, Richter et al. 2023).

Both updates are Euler-Maruyama steps, of first order. They combine the same four terms as
``reverse.step``, which is exact for an exact estimate, with other weights.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import DenoiserLike
from wavediff.diffusion.forward import sde
from wavediff.diffusion.reverse import combine, step
from wavediff.diffusion.sampler import Noise, Steps, method
from wavediff.diffusion.schedule import Schedule


def predict(
    schedule: Schedule,
    x: Tensor,
    x0_hat: Tensor,
    t: Tensor,
    s: Tensor,
    cond: Condition,
    z: Tensor | None = None,
) -> Tensor:
    """One reverse-diffusion step t -> s (Song et al. 2021, appendix E).

    x - h (f x + b y - g^2 score) + g sqrt(h) z with h = t - s. It is the reverse step with the path
    replaced by its tangent at t, and eta = g sqrt(h). Without ``z`` no noise is added.
    """
    h = t - s
    f, b, g2 = sde(schedule, t)
    shrink, sigma = 1 - h * f, schedule.sigma(t)
    weights = (
        shrink * schedule.alpha(t),
        shrink * schedule.anchor(t) - h * b,
        shrink * sigma - h * g2 / sigma,
        torch.sqrt(g2 * h),
    )
    return combine(schedule, x, x0_hat, t, cond, weights, z)


def correct(
    schedule: Schedule,
    x: Tensor,
    x0_hat: Tensor,
    t: Tensor,
    cond: Condition,
    snr: float,
    z: Tensor,
) -> Tensor:
    """One step of annealed Langevin dynamics at time t (Song & Ermon 2019).

    x + e score + sqrt(2 e) z with e = 2 (snr sigma_t)^2. It is the reverse step from t to t with
    eta = 2 snr sigma_t, with 1 - 2 snr^2 instead of sqrt(1 - 4 snr^2).
    """
    sigma = schedule.sigma(t)
    weights = (
        schedule.alpha(t),
        schedule.anchor(t),
        (1 - 2 * snr**2) * sigma,
        2 * snr * sigma,
    )
    return combine(schedule, x, x0_hat, t, cond, weights, z)


def needs_signal_and_noise(schedule: Schedule, times: Tensor, **options: object) -> None:
    """Check that the reverse SDE and the score are finite at all times of the grid but the last.

    Raises:
        ValueError: if they are not.
    """
    t = times[:-1]
    finite = torch.isfinite(torch.stack(sde(schedule, t))).all(0) & (schedule.sigma(t) > 0)
    if not finite.all():
        raise ValueError(
            f"Langevin and reverse-SDE steps need signal and noise at every time, but t = "
            f"{float(t[~finite][0]):.4g} lacks one: start later, or use ddim or ancestral"
        )


@method(stochastic=True, refuse=needs_signal_and_noise)
def EulerMaruyama(
    denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise
) -> Steps:
    """The Euler-Maruyama method on the reverse SDE (Song et al. 2021, eq. 6); weak order 1.

        x_s = x - h (f x + b y - g^2 score) + g sqrt(h) z        with h = t - s

    A last step to sigma = 0 returns the denoiser's estimate, without noise. One network call a
    step.

    Args:
        times: a grid such as ``karras(18)``, ``schedule -> times``, or the times themselves,
            ``[steps + 1]``, descending.

    Raises:
        ValueError: if the score or the reverse SDE is infinite at a time, such as a bridge's start.
    """
    schedule = denoiser.schedule
    for i, (t, s) in enumerate(pairwise(times)):
        x0_hat = denoiser(x, t, cond)
        if schedule.sigma(s) > 0:
            x = predict(schedule, x, x0_hat, t, s, cond, noise(x, i))
        else:
            x = step(schedule, x, x0_hat, t, s, cond)
        yield x, x0_hat


def _refuse(schedule: Schedule, times: Tensor, snr: float) -> None:
    if not snr > 0:
        raise ValueError(f"the corrector's snr must be positive, not {snr}")
    needs_signal_and_noise(schedule, times)


@method(calls=2, stochastic=True, refuse=_refuse)
def PredictorCorrector(
    denoiser: DenoiserLike, x: Tensor, times: Tensor, cond: Condition, noise: Noise, *,
    snr: float = 0.5,
) -> Steps:  # fmt: skip
    """Predictor-corrector sampling as in SGMSE+ (Richter et al. 2023); order 1.

    Each step is one corrector step (annealed Langevin dynamics) at the current time, then one
    predictor step (reverse diffusion, Song et al. 2021) to the next. The last predictor step adds
    no noise. Two network calls a step; step i uses the draws 2 i and 2 i + 1.

    Args:
        times: a grid such as ``karras(18)``, ``schedule -> times``, or the times themselves,
            ``[steps + 1]``, descending.
        snr: r of the corrector's step size 2 (r sigma_t)^2, positive; 0.5 in SGMSE+.

    Raises:
        ValueError: if ``snr`` is out of range, or the score or the reverse SDE is infinite at a
            time, such as a bridge's start.
    """
    schedule = denoiser.schedule
    for i, (t, s) in enumerate(pairwise(times)):
        x = correct(schedule, x, denoiser(x, t, cond), t, cond, snr, noise(x, 2 * i))
        x0_hat = denoiser(x, t, cond)
        z = noise(x, 2 * i + 1) if i + 2 < len(times) else None
        x = predict(schedule, x, x0_hat, t, s, cond, z)
        yield x, x0_hat
