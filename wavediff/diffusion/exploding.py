"""Variance-exploding paths, x_t = x_0 + sigma_t eps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wavediff.diffusion.schedule import Schedule, as_float64


class VE(Schedule):
    """The variance-exploding SDE (Song et al. 2021, eq. 30 and appendix C), t in [0, 1].

    dx = sigma_min r^t sqrt(2 log r) dw with r = sigma_max / sigma_min has the marginal

        x_t = x_0 + sigma_t eps        sigma_t^2 = sigma_min^2 (r^(2t) - 1)

    It is clean at t = 0; elsewhere sigma_t is close to NCSN's geometric noise levels sigma_min r^t.
    The state grows with sigma: the prediction ``edm`` scales it for the network, ``eps`` and
    ``score`` do not.

    Args:
        sigma_min, sigma_max: 0 < sigma_min < sigma_max, in units of the data.
        t_min: smallest training time, in (0, 1).

    Raises:
        ValueError: if a parameter is out of range.
    """

    def __init__(
        self, sigma_min: float = 0.01, sigma_max: float = 50.0, t_min: float = 1e-3
    ) -> None:
        if not (0 < sigma_min < sigma_max and 0 < t_min < 1):
            raise ValueError(
                "VE needs 0 < sigma_min < sigma_max and 0 < t_min < 1, "
                f"not {sigma_min}, {sigma_max}, {t_min}"
            )
        self.sigma_min, self.sigma_max, self.t_min = sigma_min, sigma_max, t_min
        self._growth = 2 * math.log(sigma_max / sigma_min)

    def log_alpha(self, t: Tensor | float) -> Tensor:
        return torch.zeros_like(as_float64(t))

    def log_sigma(self, t: Tensor | float) -> Tensor:
        grown = torch.log(torch.expm1(self._growth * as_float64(t)))
        return math.log(self.sigma_min) + grown / 2


class EDM(Schedule):
    """EDM's schedule x_t = x_0 + t eps, with sigma_t = t (Karras et al. 2022).

    Training times are log-normal, log t ~ N(p_mean, p_std^2), clamped to [sigma_min, sigma_max].

    Args:
        sigma_min: smallest training time, ``t_min``, positive, in units of the data.
        sigma_max: largest time, ``t_max``, where sampling starts; above ``sigma_min``.
        p_mean, p_std: mean and standard deviation (positive) of log t; the defaults are EDM's, for
            data of standard deviation 0.5.

    Raises:
        ValueError: if a parameter is out of range.
    """

    def __init__(
        self,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        p_mean: float = -1.2,
        p_std: float = 1.2,
    ) -> None:
        if not (0 < sigma_min < sigma_max and p_std > 0):
            raise ValueError(
                "EDM needs 0 < sigma_min < sigma_max and p_std > 0, "
                f"not {sigma_min}, {sigma_max}, {p_std}"
            )
        self.t_min, self.t_max = sigma_min, sigma_max
        self.p_mean, self.p_std = p_mean, p_std

    def log_alpha(self, t: Tensor | float) -> Tensor:
        return torch.zeros_like(as_float64(t))

    def log_sigma(self, t: Tensor | float) -> Tensor:
        return torch.log(as_float64(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        return 1 * as_float64(t)

    def c_noise(self, t: Tensor | float) -> Tensor:
        """0 to 1000, linear in log sigma between ``t_min`` and ``t_max``.

        EDM uses log(sigma) / 4, whose range of 2.6 is too small for a sinusoidal embedding.
        """
        log_t = torch.log(as_float64(t).clamp(min=self.t_min))
        low, high = math.log(self.t_min), math.log(self.t_max)
        return 1000 * (log_t - low) / (high - low)

    def quantile(self, u: Tensor) -> Tensor:
        """Training time at quantile ``u`` in [0, 1): log-normal, within ``t_min`` and ``t_max``."""
        log_t = self.p_mean + self.p_std * torch.special.ndtri(as_float64(u))
        return log_t.exp().clamp(self.t_min, self.t_max)
