"""Samplers: pure functions over a grid of times.

Every sampler has the signature ``(denoiser, x, times, cond, *, noise, callback)``. ``x`` is the
start, ``[batch, channels, time]``; ``times`` descends; ``noise(x, i)`` gives the fresh noise of
step i, like x; ``callback(i, x, x0_hat)`` is told after each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.schedule import Schedule

Noise = Callable[[Tensor, int], Tensor]
Callback = Callable[[int, Tensor, Tensor], None]


def gaussian(x: Tensor, i: int) -> Tensor:
    """Fresh standard normal noise like ``x``, from torch's global generator."""
    return torch.randn_like(x)


def start(schedule: Schedule, t: Tensor | float, z: Tensor, cond: Condition) -> Tensor:
    """Where sampling starts at time ``t`` from noise ``z``: prior_anchor_t y + prior_std_t z."""
    x = float(schedule.prior_std(t)) * z
    return x if cond.anchor is None else x + float(schedule.prior_anchor(t)) * cond.anchor


def posterior_std(schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
    """Standard deviation of p(x_s | x_t, x_0) (Ho et al. 2020, eq. 7), for any s < t.

    sigma_s sqrt(1 - (alpha_t sigma_s)^2 / (alpha_s sigma_t)^2)
    """
    if schedule.sigma(s) == 0:
        return torch.zeros((), dtype=torch.float64)
    return schedule.sigma(s) * torch.sqrt(-torch.expm1(schedule.log_snr(t) - schedule.log_snr(s)))


def step(
    schedule: Schedule,
    x: Tensor,
    x0_hat: Tensor,
    t: Tensor,
    s: Tensor,
    cond: Condition,
    eta: Tensor | float = 0.0,
    z: Tensor | None = None,
) -> Tensor:
    """One reverse step t -> s, exact for a right x0_hat.

    x_s = alpha_s x0_hat + anchor_s y + sqrt(sigma_s^2 - eta^2) eps_hat + eta z

    ``eta = 0`` is DDIM (Song et al. 2021) and a Schroedinger bridge's deterministic step,
    ``eta = posterior_std`` the ancestral step.
    """
    variance = schedule.sigma(s).square() - torch.as_tensor(eta, dtype=torch.float64).square()
    kept = variance.clamp(min=0).sqrt()
    weights = (schedule.alpha(s), schedule.anchor(s), kept, eta)
    return combine(schedule, x, x0_hat, t, cond, weights, z)


def combine(
    schedule: Schedule,
    x: Tensor,
    x0_hat: Tensor,
    t: Tensor,
    cond: Condition,
    weights: tuple[Tensor | float, Tensor | float, Tensor | float, Tensor | float],
    z: Tensor | None = None,
) -> Tensor:
    """a x0_hat + b y + c eps_hat + d z for ``weights`` (a, b, c, d): what every update is."""
    a, b, c, d = (float(weight) for weight in weights)
    x_s = a * x0_hat
    if c != 0:
        x_s = x_s + c * noise_estimate(schedule, x, x0_hat, t, cond)
    if cond.anchor is not None:
        x_s = x_s + b * cond.anchor
    return x_s if z is None else x_s + d * z


def noise_estimate(
    schedule: Schedule, x: Tensor, x0_hat: Tensor, t: Tensor, cond: Condition
) -> Tensor:
    """eps_hat = (x_t - alpha_t x0_hat - anchor_t y) / sigma_t."""
    rest = x - float(schedule.alpha(t)) * x0_hat
    if cond.anchor is not None:
        rest = rest - float(schedule.anchor(t)) * cond.anchor
    sigma = float(schedule.sigma(t))
    # where the path has no noise (a bridge's ends) nothing of the rest is noise either
    return rest / sigma if sigma > 0 else torch.zeros_like(x)


def ddim(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    cond: Condition,
    *,
    noise: Noise = gaussian,
    callback: Callback | None = None,
    eta: float = 0.0,
    clamp: float | None = None,
) -> Tensor:
    """DDIM (Song et al. 2021, eq. 12) with ``eta`` times the ancestral noise; order 1.

    On the straight path with eta = 0 this is Euler's method. ``clamp`` bounds the state after
    each step, as lmnt's DiffWave does.
    """
    schedule = denoiser.schedule
    for i, t, s in steps_of(times):
        x0_hat = denoiser(x, t, cond)
        std = eta * posterior_std(schedule, t, s)
        z = noise(x, i) if std > 0 else None
        x = step(schedule, x, x0_hat, t, s, cond, std, z)
        if clamp is not None:
            x = x.clamp(-clamp, clamp)
        if callback is not None:
            callback(i, x, x0_hat)
    return x


def ancestral(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    cond: Condition,
    *,
    noise: Noise = gaussian,
    callback: Callback | None = None,
    clamp: float | None = None,
) -> Tensor:
    """DDPM's sampler (Ho et al. 2020, algorithm 2), on any grid: DDIM with eta = 1."""
    return ddim(denoiser, x, times, cond, noise=noise, callback=callback, eta=1.0, clamp=clamp)


def renoise(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    cond: Condition,
    *,
    noise: Noise = gaussian,
    callback: Callback | None = None,
) -> Tensor:
    """Denoise, then noise the estimate anew to the next time: the step with eta = sigma_s.

    Multistep sampling of consistency models (Song et al. 2023, algorithm 1), whose estimate is a
    sample by itself. Nothing of the state is kept but that estimate.
    """
    schedule = denoiser.schedule
    for i, t, s in steps_of(times):
        x0_hat = denoiser(x, t, cond)
        std = schedule.sigma(s)
        z = noise(x, i) if std > 0 else None
        x = step(schedule, x, x0_hat, t, s, cond, std, z)
        if callback is not None:
            callback(i, x, x0_hat)
    return x


def heun(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    cond: Condition,
    *,
    noise: Noise = gaussian,
    callback: Callback | None = None,
) -> Tensor:
    """Heun's method on dx = x0_hat d alpha + eps_hat d sigma + y d anchor; order 2.

    The trapezoidal rule over the schedule's own coefficients: for alpha = 1 it is EDM's sampler
    (Karras et al. 2022, algorithm 1), on the straight path the usual Heun step. Two network calls
    a step, one for a last step to sigma = 0.
    """
    schedule = denoiser.schedule
    for i, t, s in steps_of(times):
        x0_hat = denoiser(x, t, cond)
        x_s = step(schedule, x, x0_hat, t, s, cond)
        if schedule.sigma(s) > 0:
            x0_next = denoiser(x_s, s, cond)
            eps = noise_estimate(schedule, x, x0_hat, t, cond)
            eps_next = noise_estimate(schedule, x_s, x0_next, s, cond)
            d_alpha = float(schedule.alpha(s) - schedule.alpha(t))
            d_sigma = float(schedule.sigma(s) - schedule.sigma(t))
            x_s = x + d_alpha * (x0_hat + x0_next) / 2 + d_sigma * (eps + eps_next) / 2
            if cond.anchor is not None:
                x_s = x_s + float(schedule.anchor(s) - schedule.anchor(t)) * cond.anchor
        x = x_s
        if callback is not None:
            callback(i, x, x0_hat)
    return x


def dpmpp_2m(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    cond: Condition,
    *,
    noise: Noise = gaussian,
    callback: Callback | None = None,
    eta: float = 0.0,
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): exponential integrator in log-SNR; order 2.

    The first step, and a last one to sigma = 0, are of first order, which is exact enough there.
    With ``eta = 1``, the ancestral noise, it is SDE-DPM-Solver++(2M) (Lu et al. 2022, section 5).
    """
    schedule = denoiser.schedule
    previous: Tensor | None = None
    h_previous = torch.zeros((), dtype=torch.float64)
    for i, t, s in steps_of(times):
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
        if callback is not None:
            callback(i, x, x0_hat)
    return x


def steps_of(times: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(i, t, s) for each step of a descending grid."""
    times = torch.as_tensor(times, dtype=torch.float64)
    if times.ndim != 1 or len(times) < 2 or not (times[:-1] > times[1:]).all():
        raise ValueError("times must be a descending list of at least two numbers")
    for i in range(len(times) - 1):
        yield i, times[i], times[i + 1]


heun.calls_per_step = 2
