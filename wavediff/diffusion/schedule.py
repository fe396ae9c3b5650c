"""Noise schedules: alpha, sigma and anchor as functions of a continuous time.

Times and coefficients are float64 tensors. Noise increases with time: sampling starts at ``t_max``
and usually ends at the clean end, ``t = 0``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor


def as_float64(t: Tensor | float | Sequence[float]) -> Tensor:
    """Convert a time or times to a float64 tensor."""
    return torch.as_tensor(t, dtype=torch.float64)


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x <= 0, accurate at both ends (Maechler 2012)."""
    near = x > -math.log(2)
    inner = torch.where(near, x, torch.full_like(x, -1.0))
    outer = torch.where(near, torch.full_like(x, -1.0), x)
    return torch.where(near, torch.log(-torch.expm1(inner)), torch.log1p(-torch.exp(outer)))


class Schedule:
    """Base class of noise schedules: x_t = alpha_t x_0 + anchor_t y + sigma_t eps.

    A subclass defines ``log_alpha`` and ``log_sigma``, and ``anchor`` if its path leads to a known
    signal y; everything else follows from these. Methods take times ``[]`` or ``[batch]`` and
    return float64 tensors like them.

    Attributes:
        t_min, t_max: range of the training times.
    """

    t_min: float = 0.0
    t_max: float = 1.0

    def log_alpha(self, t: Tensor | float) -> Tensor:
        """log alpha_t; -inf where there is no signal."""
        raise NotImplementedError

    def log_sigma(self, t: Tensor | float) -> Tensor:
        """log sigma_t; -inf at the clean end."""
        raise NotImplementedError

    def alpha(self, t: Tensor | float) -> Tensor:
        """alpha_t, the weight of the signal."""
        return self.log_alpha(t).exp()

    def sigma(self, t: Tensor | float) -> Tensor:
        """sigma_t, the standard deviation of the noise."""
        return self.log_sigma(t).exp()

    def anchor(self, t: Tensor | float) -> Tensor:
        """anchor_t, the weight of the known signal y; 0 without one."""
        return torch.zeros_like(as_float64(t))

    def log_snr(self, t: Tensor | float) -> Tensor:
        """log(alpha_t^2 / sigma_t^2), decreasing in t."""
        return 2 * (self.log_alpha(t) - self.log_sigma(t))

    def prior_std(self, t: Tensor | float) -> Tensor:
        """Standard deviation of the initial noise if sampling starts at ``t``."""
        return self.sigma(t)

    def prior_anchor(self, t: Tensor | float) -> Tensor:
        """Weight of y in the initial state if sampling starts at ``t``."""
        return self.anchor(t)

    def derivatives(self, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """(d alpha/dt, d anchor/dt, d sigma/dt), by automatic differentiation."""
        with torch.inference_mode(False), torch.enable_grad():
            t = as_float64(t).detach().clone().requires_grad_()
            totals = [f(t).sum() for f in (self.alpha, self.anchor, self.sigma)]
            d_alpha, d_anchor, d_sigma = (
                torch.autograd.grad(total, t)[0] if total.requires_grad else torch.zeros_like(t)
                for total in totals
            )
        return d_alpha, d_anchor, d_sigma

    def c_noise(self, t: Tensor | float) -> Tensor:
        """The time as it is passed to the network, about 0 to 1000."""
        return 1000 * as_float64(t)

    def quantile(self, u: Tensor) -> Tensor:
        """Training time at quantile ``u`` in [0, 1): uniform between ``t_min`` and ``t_max``."""
        return self.t_min + (self.t_max - self.t_min) * as_float64(u)

    def time_at(self, log_snr: Tensor | float) -> Tensor:
        """The time with this log-SNR, by bisection over [0, t_max] to machine precision.

        Raises:
            ValueError: if the log-SNR is outside the range of the schedule.
        """
        target = as_float64(log_snr)
        low, high = torch.zeros_like(target), torch.full_like(target, self.t_max)
        if ((target > self.log_snr(low)) | (target < self.log_snr(high) - 1e-9)).any():
            raise ValueError(
                f"log-SNR {target.tolist()} is outside the range of the schedule, "
                f"{self.log_snr(high).min():.4g} to {self.log_snr(low).max():.4g}"
            )
        for _ in range(100):
            middle = (low + high) / 2
            noisier = self.log_snr(middle) < target
            low, high = torch.where(noisier, low, middle), torch.where(noisier, middle, high)
        return (low + high) / 2


class VariancePreserving(Schedule):
    """Base class of schedules with alpha^2 + sigma^2 = 1, defined by ``log_alpha``."""

    def log_sigma(self, t: Tensor | float) -> Tensor:
        return log1mexp(2 * self.log_alpha(t)) / 2

    def prior_std(self, t: Tensor | float) -> Tensor:
        """1: sampling starts from N(0, I) even if some signal remains, as in DDPM and DiffWave."""
        return torch.ones_like(as_float64(t))


class DiscreteBetas(VariancePreserving):
    """DDPM's T discrete noise levels, alpha_n^2 = prod_{i <= n} (1 - beta_i) (Ho et al. 2020).

    t = n is noise level n, t = 0 the clean end, and sigma^2 = 1 - alpha^2. Between noise levels
    alpha is linear in t, which gives DiffWave's fractional steps (Kong et al. 2021, appendix). The
    network receives t - 1.

    Args:
        betas: ``[T]``, in (0, 1); only the last may be 1 (zero terminal SNR).

    Raises:
        ValueError: if the betas are out of range.
    """

    def __init__(self, betas: Sequence[float] | Tensor) -> None:
        self.betas = as_float64(betas)
        if self.betas.ndim != 1 or len(self.betas) == 0:
            raise ValueError("betas must be a list of at least one number")
        if not ((self.betas > 0) & (self.betas <= 1)).all() or (self.betas[:-1] == 1).any():
            raise ValueError("betas must lie in (0, 1); only the last may be 1")
        log_alpha = torch.log1p(-self.betas).cumsum(0) / 2
        self._log_alpha = torch.cat([torch.zeros(1, dtype=torch.float64), log_alpha])
        self.t_min, self.t_max = 1.0, float(len(self.betas))

    def log_alpha(self, t: Tensor | float) -> Tensor:
        t = as_float64(t)
        table = self._log_alpha.to(t.device)
        low = t.detach().floor().clamp(0, self.t_max - 1).long()
        fraction = t - low
        # log of a + fraction (b - a) without cancellation for a and b near 1
        drop = -torch.expm1(table[low + 1] - table[low])
        return table[low] + torch.log1p(-fraction * drop)

    def c_noise(self, t: Tensor | float) -> Tensor:
        return as_float64(t) - 1

    def quantile(self, u: Tensor) -> Tensor:
        """Uniform over the T noise levels."""
        return (as_float64(u) * len(self.betas)).floor() + 1

    def time_at(self, log_snr: Tensor | float) -> Tensor:
        target = as_float64(log_snr)
        alpha = torch.sigmoid(target).sqrt()
        table = self._log_alpha.exp()
        if (alpha < table[-1] * (1 - 1e-12)).any():
            raise ValueError(
                f"a noise level with alpha {alpha.min():.4g} is outside the range of the "
                f"{len(self.betas)} trained ones, whose noisiest level has alpha {table[-1]:.4g}"
            )
        low = (torch.searchsorted(-table, -alpha, right=True) - 1).clamp(0, len(table) - 2)
        return low + ((table[low] - alpha) / (table[low] - table[low + 1])).clamp(0, 1)


MOST_STEPS = 100_000


def check_steps(steps: object, what: str = "a sampler") -> None:
    """Check a number of steps, which may come from a file.

    Raises:
        ValueError: for anything but a whole number from 1 to ``MOST_STEPS``.
    """
    if (
        not isinstance(steps, Integral)
        or isinstance(steps, bool)
        or not 1 <= int(steps) <= MOST_STEPS
    ):
        raise ValueError(
            f"{what} needs at least 1 step, a whole number up to {MOST_STEPS}, not {steps!r}"
        )


def linear(steps: int, beta_min: float = 1e-4, beta_max: float = 0.02) -> DiscreteBetas:
    """DDPM's linear betas (Ho et al. 2020).

    Args:
        steps: number T of noise levels, at least 1; DDPM uses 1000, DiffWave 50.
        beta_min, beta_max: first and last beta, in (0, 1); DDPM's by default, DiffWave's last is
            0.05.

    Raises:
        ValueError: if the steps or betas are out of range.
    """
    check_steps(steps, "a schedule")
    return DiscreteBetas(torch.linspace(beta_min, beta_max, steps, dtype=torch.float64))


def cosine(steps: int, offset: float = 0.008, beta_max: float = 0.999) -> DiscreteBetas:
    """The cosine schedule (Nichol & Dhariwal 2021, eq. 17), in discrete noise levels.

        alpha_n^2 ~ cos^2((n / T + offset) / (1 + offset) pi / 2)

    Args:
        steps: number T of noise levels, at least 1.
        offset: s of the paper, positive.
        beta_max: upper bound of the betas, in (0, 1).

    Raises:
        ValueError: if the steps or betas are out of range.
    """
    check_steps(steps, "a schedule")
    t = torch.arange(steps + 1, dtype=torch.float64) / steps
    alpha_bar = torch.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
    return DiscreteBetas((1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=beta_max))


def zero_terminal_snr(schedule: DiscreteBetas) -> DiscreteBetas:
    """Shift and scale sqrt(alpha_bar) such that the last noise level has no signal.

    Lin et al. 2024, "Common diffusion noise schedules and sample steps are flawed", algorithm 1.
    """
    root = schedule._log_alpha[1:].exp()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), root**2])
    return DiscreteBetas(1 - alpha_bar[1:] / alpha_bar[:-1])


class VP(VariancePreserving):
    """The variance-preserving SDE with linear beta(t) (Song et al. 2021, eq. 33), t in [0, 1].

        log alpha_t = -t^2 (beta_max - beta_min) / 4 - t beta_min / 2        sigma^2 = 1 - alpha^2

    Args:
        beta_min, beta_max: beta(0) and beta(1), 0 <= beta_min < beta_max.
        t_min: smallest training time, in (0, 1).

    Raises:
        ValueError: for a value out of range.
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0, t_min: float = 1e-5) -> None:
        if not (0 <= beta_min < beta_max and 0 < t_min < 1):
            raise ValueError(
                "VP needs 0 <= beta_min < beta_max and 0 < t_min < 1, "
                f"not {beta_min}, {beta_max}, {t_min}"
            )
        self.beta_min, self.beta_max, self.t_min = beta_min, beta_max, t_min

    def log_alpha(self, t: Tensor | float) -> Tensor:
        t = as_float64(t)
        return -(t**2) * (self.beta_max - self.beta_min) / 4 - t * self.beta_min / 2


class SubVP(VP):
    """The sub-VP SDE (Song et al. 2021, eq. 29), t in [0, 1]: alpha of ``VP``, sigma = 1 - alpha^2.

    dx = -beta/2 x dt + sqrt(beta (1 - e^(-2 int beta))) dw has less noise than VP at every time.

    Args:
        beta_min, beta_max: beta(0) and beta(1), 0 <= beta_min < beta_max.
        t_min: smallest training time, in (0, 1).
    """

    def log_sigma(self, t: Tensor | float) -> Tensor:
        return log1mexp(2 * self.log_alpha(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        return -torch.expm1(2 * self.log_alpha(t))


class RectifiedFlow(Schedule):
    """The straight path x_t = (1 - t) x_0 + t eps (Liu et al. 2023; Lipman et al. 2023).

    For t in [0, 1].

    Args:
        t_min: smallest training time, in (0, 1).

    Raises:
        ValueError: for another one.
    """

    def __init__(self, t_min: float = 1e-3) -> None:
        if not 0 < t_min < 1:
            raise ValueError(f"a straight path needs 0 < t_min < 1, not {t_min}")
        self.t_min = t_min

    def log_alpha(self, t: Tensor | float) -> Tensor:
        return torch.log1p(-as_float64(t))

    def log_sigma(self, t: Tensor | float) -> Tensor:
        return torch.log(as_float64(t))

    def alpha(self, t: Tensor | float) -> Tensor:
        return 1 - as_float64(t)

    def sigma(self, t: Tensor | float) -> Tensor:
        return as_float64(t)
