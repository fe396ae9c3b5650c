"""What a network's output F means: x0_hat = c_skip x + c_out F(c_in x, c_noise).

Each prediction is a function ``(schedule, t) -> (c_skip, c_out, c_in)`` of float64 tensors like
``t``. With a known signal y, x stands for x_t - anchor_t y.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wavediff.diffusion.schedule import Schedule

Coefficients = tuple[Tensor, Tensor, Tensor]


def _needs_signal(alpha: Tensor, name: str) -> None:
    if (alpha == 0).any():
        raise ValueError(
            f"a {name} prediction says nothing where alpha = 0 (zero terminal SNR): "
            "use prediction x0 or v, or start sampling at a time with some signal left"
        )


def eps(schedule: Schedule, t: Tensor) -> Coefficients:
    """F is the noise (Ho et al. 2020): x0_hat = (x - sigma F) / alpha."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    _needs_signal(alpha, "eps")
    return 1 / alpha, -sigma / alpha, torch.ones_like(alpha)


def x0(schedule: Schedule, t: Tensor) -> Coefficients:
    """F is the clean signal."""
    one = torch.ones_like(schedule.alpha(t))
    return torch.zeros_like(one), one, one


def v(schedule: Schedule, t: Tensor) -> Coefficients:
    """F = (alpha eps - sigma x0) / nu, nu^2 = alpha^2 + sigma^2 (Salimans & Ho 2022, app. D)."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    nu = torch.hypot(alpha, sigma)
    return alpha / nu**2, -sigma / nu, torch.ones_like(nu)


def velocity(schedule: Schedule, t: Tensor) -> Coefficients:
    """F = dx/dt = alpha' x0 + sigma' eps (Lipman et al. 2023; Liu et al. 2023)."""
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    d_alpha, d_sigma = schedule.derivatives(t)
    wronskian = alpha * d_sigma - d_alpha * sigma
    return d_sigma / wronskian, -sigma / wronskian, torch.ones_like(alpha)
