"""The forward process: from clean to noisy."""

from __future__ import annotations

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.schedule import Schedule, as_float64
from wavediff.diffusion.transfer import like


def broadcast(coefficient: Tensor | float, x: Tensor) -> Tensor:
    """Cast a float64 coefficient, ``[]``, ``[batch]`` or like ``x``, to broadcast against ``x``."""
    coefficient = as_float64(coefficient)
    if coefficient.ndim > 1:
        return like(coefficient, x)
    if coefficient.ndim == 0 and coefficient.device.type == "cpu" and x.device.type != "cpu":
        return coefficient.to(x.dtype)  # an argument of the kernel that takes it
    return like(coefficient, x).reshape(-1, *[1] * (x.ndim - 1))


def add_anchor(x: Tensor, weight: Tensor | float, cond: Condition | None) -> Tensor:
    """x + weight y, with the anchor y of the condition; ``x`` if there is none."""
    if cond is None or cond.anchor is None:
        return x
    return x + broadcast(weight, x) * cond.anchor


def diffuse(
    schedule: Schedule,
    x0: Tensor,
    t: Tensor | float,
    eps: Tensor,
    cond: Condition | None = None,
) -> Tensor:
    """Noise clean data: x_t = alpha_t x_0 + anchor_t y + sigma_t eps.

    Args:
        schedule: alpha, anchor and sigma as functions of time.
        x0: clean data, ``[batch, ...]``.
        t: one time, or one per item, ``[batch]``.
        eps: standard normal noise, like ``x0``.
        cond: its ``anchor`` is y, like ``x0``; none by default.

    Returns:
        x_t, like ``x0``.
    """
    t = as_float64(t)
    x = broadcast(schedule.alpha(t), x0) * x0 + broadcast(schedule.sigma(t), x0) * eps
    return add_anchor(x, schedule.anchor(t), cond)


def transition(
    schedule: Schedule, s: Tensor | float, t: Tensor | float
) -> tuple[Tensor, Tensor, Tensor]:
    """(a, b, c) of the transition kernel p(x_t | x_s) for s < t: x_t = a x_s + b y + c eps.

    a = alpha_t / alpha_s, b = anchor_t - a anchor_s, c^2 = sigma_t^2 - a^2 sigma_s^2.
    """
    a = torch.exp(schedule.log_alpha(t) - schedule.log_alpha(s))
    b = schedule.anchor(t) - a * schedule.anchor(s)
    # sigma_t^2 (1 - SNR_t / SNR_s), accurate for close times by expm1
    c = schedule.sigma(t) * torch.sqrt(-torch.expm1(schedule.log_snr(t) - schedule.log_snr(s)))
    return a, b, c


def sde(schedule: Schedule, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
    """(f, b, g^2) of the SDE dx = (f x + b y) dt + g dw with the marginals of the schedule.

    f = d log(alpha)/dt, b = d anchor/dt - f anchor, g^2 = -sigma^2 d log(SNR)/dt.
    """
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    d_alpha, d_anchor, d_sigma = schedule.derivatives(t)
    f = d_alpha / alpha
    return f, d_anchor - f * schedule.anchor(t), 2 * sigma * (d_sigma - f * sigma)
