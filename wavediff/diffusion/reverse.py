"""The reverse step and its parts. Times are float64, ``[]`` for all items or ``[batch]``."""

from __future__ import annotations

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.forward import add_anchor, broadcast
from wavediff.diffusion.schedule import Schedule, as_float64


def start(schedule: Schedule, t: Tensor | float, z: Tensor, cond: Condition) -> Tensor:
    """The initial state of sampling at time ``t``: prior_anchor_t y + prior_std_t z."""
    return add_anchor(broadcast(schedule.prior_std(t), z) * z, schedule.prior_anchor(t), cond)


def posterior_std(schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
    """Standard deviation of p(x_s | x_t, x_0) (Ho et al. 2020, eq. 7), for any s < t.

    sigma_s sqrt(1 - (alpha_t sigma_s)^2 / (alpha_s sigma_t)^2)
    """
    sigma = schedule.sigma(s)
    gained = schedule.log_snr(t) - schedule.log_snr(s)
    return torch.where(sigma > 0, sigma * torch.sqrt(-torch.expm1(gained)), 0)


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
    """One reverse step t -> s, exact for an exact estimate.

        x_s = alpha_s x0_hat + anchor_s y + sqrt(sigma_s^2 - eta^2) eps_hat + eta z

    ``eta = 0`` is DDIM (Song et al. 2021) and the deterministic step of a Schroedinger bridge,
    ``eta = posterior_std`` the ancestral step (Ho et al. 2020).

    Args:
        schedule: alpha, anchor and sigma as functions of time.
        x: the state x_t, ``[batch, ...]``.
        x0_hat: estimate of x_0, like ``x``.
        t, s: the current and the next time, s < t.
        cond: its ``anchor`` is y.
        eta: standard deviation of the added noise, 0 to sigma_s.
        z: standard normal noise, like ``x``; none is added by default.

    Raises:
        ValueError: for eta above sigma_s.
    """
    sigma = schedule.sigma(s)
    variance = sigma.square() - as_float64(eta).square()
    if (variance < -1e-6 * sigma.square()).any():
        raise ValueError(f"eta = {as_float64(eta).max():.4g} exceeds sigma_s = {sigma.min():.4g}")
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
    """a x0_hat + b y + c eps_hat + d z with ``weights`` (a, b, c, d), the form of all updates."""
    a, b, c, d = weights
    x_s = broadcast(a, x) * x0_hat
    if (as_float64(c) != 0).any():
        x_s = x_s + broadcast(c, x) * noise_estimate(schedule, x, x0_hat, t, cond)
    x_s = add_anchor(x_s, b, cond)
    return x_s if z is None else x_s + broadcast(d, x) * z


def advance(
    schedule: Schedule,
    x: Tensor,
    x0_hat: Tensor,
    eps_hat: Tensor,
    t: Tensor,
    s: Tensor,
    cond: Condition,
) -> Tensor:
    """Move ``x`` along the path of constant estimates from t to s.

    x_s = x + (alpha_s - alpha_t) x0_hat + (anchor_s - anchor_t) y + (sigma_s - sigma_t) eps_hat
    """
    d_alpha, d_anchor, d_sigma = (
        f(s) - f(t) for f in (schedule.alpha, schedule.anchor, schedule.sigma)
    )
    x_s = x + broadcast(d_alpha, x) * x0_hat + broadcast(d_sigma, x) * eps_hat
    return add_anchor(x_s, d_anchor, cond)


def noise_estimate(
    schedule: Schedule, x: Tensor, x0_hat: Tensor, t: Tensor, cond: Condition
) -> Tensor:
    """eps_hat = (x_t - alpha_t x0_hat - anchor_t y) / sigma_t; 0 where sigma_t = 0."""
    rest = add_anchor(x - broadcast(schedule.alpha(t), x) * x0_hat, -schedule.anchor(t), cond)
    sigma = schedule.sigma(t)
    if (sigma > 0).all():
        return rest / broadcast(sigma, x)
    # at the ends of a bridge there is no noise to estimate
    inverse = torch.where(sigma > 0, 1 / sigma, 0)
    return broadcast(inverse, x) * rest
