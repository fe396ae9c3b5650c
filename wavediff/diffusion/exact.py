"""Distributions with a known optimal denoiser, probability flow and marginals.

They can be used as denoisers, to test samplers, guidance and likelihoods without a trained network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.forward import broadcast
from wavediff.diffusion.schedule import Schedule, as_float64


class Gaussian:
    """The optimal denoiser of data with independent normal distributions N(mu, c).

        E[x_0 | x_t] = mu + alpha c / (alpha^2 c + sigma^2) (x_t - alpha mu)

    Args:
        schedule: alpha and sigma as functions of time, without an anchor.
        mu, c: mean and variance (0 or more); numbers, or tensors that broadcast against the data
            ``[batch, ...]``.
    """

    def __init__(self, schedule: Schedule, mu: Tensor | float, c: Tensor | float) -> None:
        self.schedule, self.mu, self.c = schedule, as_float64(mu), as_float64(c)

    def __call__(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """E[x_0 | x_t = x] for ``x [batch, ...]``, float64, at one time or one per item."""
        a, s = (broadcast(f(t), x) for f in (self.schedule.alpha, self.schedule.sigma))
        return self.mu + a * self.c / (a**2 * self.c + s**2) * (x - a * self.mu)

    def variance(self, t: Tensor | float) -> Tensor:
        """Variance of x_t, like ``c``."""
        return self.schedule.alpha(t) ** 2 * self.c + self.schedule.sigma(t) ** 2

    def flow(self, x: Tensor, t: Tensor | float, s: Tensor | float) -> Tensor:
        """x_s of the probability flow through ``x`` at time t."""
        gain = (self.variance(s) / self.variance(t)).sqrt()
        return self.schedule.alpha(s) * self.mu + gain * (x - self.schedule.alpha(t) * self.mu)


class Correlated:
    """The optimal denoiser of data with a joint normal distribution over the last dimension.

    Args:
        schedule: alpha and sigma as functions of time, without an anchor.
        mu: mean, ``[time]``.
        c: covariance, ``[time, time]``.
    """

    def __init__(self, schedule: Schedule, mu: Tensor, c: Tensor) -> None:
        self.schedule, self.mu, self.c = schedule, mu.double(), c.double()
        self.one = torch.eye(len(mu), dtype=torch.float64)

    def __call__(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """E[x_0 | x_t = x] for ``x [..., time]``, float64."""
        a, s = self.schedule.alpha(t), self.schedule.sigma(t)
        gain = a * self.c @ torch.linalg.inv(a**2 * self.c + s**2 * self.one)
        return self.mu + (x - a * self.mu) @ gain.mT

    def given(self, measure: Tensor, y: Tensor, variance: float) -> tuple[Tensor, Tensor]:
        """Mean and covariance of x_0 given ``y = measure @ x_0 + n`` with n ~ N(0, variance I)."""
        noise = variance * torch.eye(len(y), dtype=torch.float64)
        gain = self.c @ measure.mT @ torch.linalg.inv(measure @ self.c @ measure.mT + noise)
        return self.mu + gain @ (y - measure @ self.mu), self.c - gain @ measure @ self.c

    def given_noisy(self, x: Tensor, t: Tensor | float) -> Correlated:
        """The distribution of x_0 given x_t = ``x [time]``."""
        a, s = float(self.schedule.alpha(t)), float(self.schedule.sigma(t))
        return Correlated(self.schedule, *self.given(a * self.one, x, s**2))


class Mixture:
    """The optimal denoiser of data whose numbers are independent draws from a Gaussian mixture.

        E[x_0 | x_t] = sum_k r_k(x_t) (m_k + alpha v_k / (alpha^2 v_k + sigma^2) (x_t - alpha m_k))

    with the responsibilities r_k of the components, of means m_k and variances v_k.

    Args:
        schedule: alpha and sigma as functions of time, without an anchor.
        weights: of the components, ``[components]``, positive, of sum 1.
        means, stds: of the components, ``[components]``; stds positive.
    """

    def __init__(self, schedule: Schedule, weights: Tensor, means: Tensor, stds: Tensor) -> None:
        self.schedule = schedule
        self.w, self.m, self.v = weights.double(), means.double(), stds.double() ** 2

    def _terms(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        a, s = self.schedule.alpha(t), self.schedule.sigma(t)
        variance = a**2 * self.v + s**2
        centred = x[..., None] - a * self.m
        log_density = -(centred**2) / (2 * variance) - (2 * math.pi * variance).log() / 2
        return self.w.log() + log_density, centred, variance

    def log_density(self, x: Tensor, t: Tensor | float) -> Tensor:
        """log p_t(x) of each number in nats, like ``x``."""
        return torch.logsumexp(self._terms(x, t)[0], dim=-1)

    def __call__(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """E[x_0 | x_t = x] for ``x [batch, ...]``, float64, at one time for all items."""
        terms, centred, variance = self._terms(x, t)
        responsibility = torch.softmax(terms, dim=-1)
        gain = self.schedule.alpha(t) * self.v / variance
        return (responsibility * (self.m + gain * centred)).sum(-1)

    def cdf(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Cumulative distribution function of x_t at each number, like ``x``."""
        _, centred, variance = self._terms(x, t)
        return (self.w * torch.special.ndtr(centred / variance.sqrt())).sum(-1)

    def flow(self, x: Tensor, t: Tensor | float, s: Tensor | float) -> Tensor:
        """x_s of the probability flow through ``x`` at time t: F_s^-1(F_t(x)), by bisection.

        In one dimension an ODE preserves the order of points, and so their quantiles.
        """
        target = self.cdf(x, t)
        # beyond any point of interest: 50 times the scale of x_s
        reach = 50 * float(self.schedule.alpha(s) + self.schedule.sigma(s))
        low, high = torch.full_like(x, -reach), torch.full_like(x, reach)
        for _ in range(100):
            middle = (low + high) / 2
            below = self.cdf(middle, s) < target
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2
