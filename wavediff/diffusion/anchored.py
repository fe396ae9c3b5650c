"""Paths with an anchor: x_t = alpha_t x_0 + anchor_t y + sigma_t eps with a known signal ``y``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wavediff.diffusion.schedule import Schedule, _float64


class BridgeVE(Schedule):
    """The variance-exploding Schroedinger bridge from x_0 to y (Jukic et al. 2024, table 1).

    With g^2(t) = c k^(2t), sigma_t^2 = c (k^(2t) - 1) / (2 log k) and sb_t^2 = sigma_1^2 -
    sigma_t^2 the path is

        x_t = sb_t^2/sigma_1^2 x_0 + sigma_t^2/sigma_1^2 y + sigma_t sb_t/sigma_1 eps

    for t in [0, 1]: it starts from y itself, with no noise at either end.

    Args:
        k: growth of the diffusion coefficient, above 1.
        c: its square at t = 0, positive.
        t_min: smallest training time, in [0, 1).

    Raises:
        ValueError: for numbers out of range.
    """

    def __init__(self, k: float = 2.6, c: float = 0.4, t_min: float = 1e-4) -> None:
        if not (k > 1 and c > 0 and 0 <= t_min < 1):
            raise ValueError(f"a bridge needs k > 1, c > 0, 0 <= t_min < 1, not {k}, {c}, {t_min}")
        self.k, self.c, self.t_min = k, c, t_min
        self._growth = 2 * math.log(k)
        self._scale = c / self._growth  # sigma_t^2 = scale (k^(2t) - 1)

    def _log_sigma2(self, t: Tensor | float) -> Tensor:
        """log sigma_t^2; -inf at t = 0."""
        return math.log(self._scale) + torch.log(torch.expm1(self._growth * _float64(t)))

    def log_alpha(self, t: Tensor | float) -> Tensor:
        """log(sb_t^2 / sigma_1^2); -inf at t = 1."""
        left = -torch.expm1(self._growth * (_float64(t) - 1))
        return torch.log(left) - torch.log(-torch.expm1(_float64(-self._growth)))

    def log_sigma(self, t: Tensor | float) -> Tensor:
        """log(sigma_t sb_t / sigma_1); -inf at both ends."""
        return (self._log_sigma2(t) + self.log_alpha(t)) / 2

    def anchor(self, t: Tensor | float) -> Tensor:
        """sigma_t^2 / sigma_1^2, from 0 to 1."""
        return torch.expm1(self._growth * _float64(t)) / torch.expm1(_float64(self._growth))

    def log_snr(self, t: Tensor | float) -> Tensor:
        """log(alpha_t / sigma_t^2); -inf at t = 1, where signal and noise are both gone."""
        return self.log_alpha(t) - self._log_sigma2(t)
