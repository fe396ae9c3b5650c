"""Observation self-guidance: sampling from what is known by an unconditional denoiser.

TSDiff (Kollovieh et al. 2023, "Predict, refine, synthesize", section 3.2) takes the denoiser's own
estimate for the mean of what is observed, p(y | x_t) = p(y | x0_hat(x_t)), so that the score of a
model of p(x) becomes that of p(x | y) by a gradient through the denoiser.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import DenoiserLike
from wavediff.diffusion.forward import broadcast
from wavediff.diffusion.guidance import Guided
from wavediff.diffusion.schedule import as_float64

# (x0_hat [batch, channels, time], cond) -> log p(y | x0_hat) up to a constant, [batch]
LogLikelihood = Callable[[Tensor, Condition], Tensor]


class SelfGuidance(Guided):
    """A denoiser guided by its own estimate of what was observed.

    The score of p(x_t | y) is that of p(x_t) plus scale grad_x log p(y | x0_hat(x)). In terms of
    the estimate, with score = (alpha x0_hat - x) / sigma^2, whatever the sampler,

        x0_hat + scale sigma^2 / alpha grad_x log p(y | x0_hat(x))

    TSDiff's step adds scale posterior_std^2 times the gradient to the mean of a step of DDPM,
    which for small steps is the same. That likelihood takes x0_hat for as exact in noise as at the
    clean end, so that a large scale overshoots or diverges. With a ``data_std`` the scale falls
    where x_0 is uncertain, to scale / (1 + scale v) with v = data_std^2 sigma^2 /
    (alpha^2 data_std^2 + sigma^2): what is observed has the variance 1 / scale of TSDiff's and that
    of x_0 given x_t for independent Gaussian data (Song et al. 2023, "Pseudoinverse-guided
    diffusion models", section 3.2).

    A call costs a backward pass besides the forward one. Works under ``no_grad``. Where alpha = 0,
    x_t tells nothing of x_0 that could be guided: there the estimate stays as it is.

    Args:
        denoiser: to call.
        log_likelihood: of y, ``(x0_hat [batch, channels, time], cond) -> [batch]``, such as
            ``mean_square`` and ``pinball`` of what is observed.
        scale: of the guidance, 0 or more; 0 is the plain denoiser.
        data_std: standard deviation of the data, or 0 for TSDiff's equal scale at all times.

    Raises:
        ValueError: for a scale or a standard deviation below 0.
    """

    def __init__(
        self,
        denoiser: DenoiserLike,
        log_likelihood: LogLikelihood,
        scale: float,
        data_std: float = 0.0,
    ) -> None:
        super().__init__(denoiser)
        if not (scale >= 0 and data_std >= 0):
            raise ValueError(
                f"the scale of guidance and the data's standard deviation must be 0 or more, not "
                f"{scale} and {data_std}"
            )
        self.log_likelihood, self.scale, self.data_std = log_likelihood, scale, data_std

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """The guided estimate, like ``x [batch, channels, time]``."""
        cond = Condition() if cond is None else cond
        t = as_float64(t)
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        if self.scale == 0 or (alpha == 0).all():
            return self.denoiser(x, t, cond)
        with torch.inference_mode(False), torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            x0_hat = self.denoiser(x, t, cond)
            (gradient,) = torch.autograd.grad(self.log_likelihood(x0_hat, cond).sum(), x)
        variance: Tensor | float = 0.0
        if self.data_std > 0:
            variance = 1 / ((alpha / sigma) ** 2 + self.data_std**-2)
        scale = self.scale / (1 + self.scale * variance)
        weight = torch.where(alpha > 0, scale * sigma**2 / alpha, 0)
        return x0_hat.detach() + broadcast(weight, x) * gradient


def mean_square(y: Tensor, known: Tensor) -> LogLikelihood:
    """log N(y; x0_hat, I) over the known cells, -|y - x0_hat|^2 / 2 (TSDiff, eq. 6).

    Args:
        y, known: ``[batch, channels, time]``, values and where they are (bool).
    """

    def log_likelihood(x0_hat: Tensor, cond: Condition) -> Tensor:
        error = torch.where(known, y - x0_hat, 0)
        return -error.square().flatten(1).sum(1) / 2

    return log_likelihood


def pinball(y: Tensor, known: Tensor, level: Tensor) -> LogLikelihood:
    """Asymmetric Laplace: -max(k e, (k - 1) e) of the error e = y - x0_hat (TSDiff, eq. 7).

    Args:
        y, known: ``[batch, channels, time]``, values and where they are (bool).
        level: the quantile k of each item, in (0, 1), ``[batch]``: of N samples of the same y
            sample i has i / (N + 1), so that together they spread as the quantiles do.
    """

    def log_likelihood(x0_hat: Tensor, cond: Condition) -> Tensor:
        error = torch.where(known, y - x0_hat, 0)
        k = broadcast(level, x0_hat)
        return -torch.maximum(k * error, (k - 1) * error).flatten(1).sum(1)

    return log_likelihood


def levels(samples: int) -> Tensor:
    """i / (N + 1) for i = 1 .. N, float64: quantile levels of N samples."""
    return torch.arange(1, samples + 1, dtype=torch.float64) / (samples + 1)
