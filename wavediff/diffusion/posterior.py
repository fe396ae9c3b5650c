"""Sampling from what is known of x_0 by a linear measurement, y = A x_0 + noise.

Moment-matching posterior sampling, MMPS (Rozet et al. 2024, "Learning diffusion priors from
observations by expectation maximization", section 4.2).
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

Linear = Callable[[Tensor], Tensor]


class PosteriorGuidance(Guided):
    """A denoiser that knows ``y = A x_0 + n``, n of variance R: the estimate of E[x_0 | x_t, y].

    With D = E[x_0 | x_t] and the covariance of x_0 given x_t, C = sigma^2 / alpha dD/dx,

        D + C A^T (A C A^T + R)^-1 (y - A D)

    which is exact for Gaussian data. C and A^T are applied by vector-Jacobian products, the inverse
    by a few conjugate gradients: a call costs ``iterations + 1`` backward passes besides the
    forward one. Works under ``no_grad``.

    Args:
        denoiser: to call.
        measure: A, linear, ``[batch, ...] -> like y``; must be differentiable.
        y: what was measured, ``[batch, ...]``.
        variance: R, positive: a number, or like ``y`` where it differs from place to place.
        iterations: of the conjugate gradients, 1 or more; they end by themselves at the solution.

    Raises:
        ValueError: for a variance or a number of iterations that is not positive.
    """

    def __init__(
        self,
        denoiser: DenoiserLike,
        measure: Linear,
        y: Tensor,
        variance: float | Tensor,
        iterations: int = 3,
    ) -> None:
        super().__init__(denoiser)
        if not (torch.as_tensor(variance) > 0).all():
            raise ValueError("the variance of a measurement must be positive")
        if iterations < 1:
            raise ValueError(f"conjugate gradients need at least 1 iteration, not {iterations}")
        self.measure, self.y, self.variance, self.iterations = measure, y, variance, iterations

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """The estimate, like ``x [batch, ...]``.

        Raises:
            ValueError: where alpha = 0: there dD/dx = 0 says nothing about the covariance.
        """
        cond = Condition() if cond is None else cond
        t = as_float64(t)
        alpha, sigma = self.schedule.alpha(t), self.schedule.sigma(t)
        if (alpha == 0).any():
            raise ValueError("a measurement cannot guide where alpha = 0: start a little later")
        with torch.inference_mode(False), torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            x0_hat = self.denoiser(x, t, cond)
            estimate = x0_hat.detach().requires_grad_()
            predicted = self.measure(estimate)
            scale = broadcast(sigma.square() / alpha, x)

        def adjoint(w: Tensor) -> Tensor:
            return torch.autograd.grad(predicted, estimate, w, retain_graph=True)[0]

        def covariance(v: Tensor) -> Tensor:
            return scale * torch.autograd.grad(x0_hat, x, v, retain_graph=True)[0]

        def system(w: Tensor) -> Tensor:
            return self.measure(covariance(adjoint(w))) + self.variance * w

        with torch.inference_mode(False), torch.no_grad():
            weights = conjugate_gradients(system, self.y - predicted, self.iterations)
            return estimate.detach() + covariance(adjoint(weights))


def conjugate_gradients(system: Linear, b: Tensor, iterations: int) -> Tensor:
    """x with ``system(x) = b`` after so many steps from 0 (Hestenes & Stiefel 1952), like ``b``.

    Items of the batch are solved each by itself; one that is solved, or along whose direction the
    system is not positive (as an estimated covariance may be), stays as it is.
    """
    x, residual = torch.zeros_like(b), b
    direction = residual
    energy = start = _dot(residual, residual)
    tiny = torch.finfo(b.dtype).eps ** 2
    for _ in range(iterations):
        image = system(direction)
        curvature = _dot(direction, image)
        go = (curvature > 0) & (energy > tiny * start)
        step = torch.where(go, energy / curvature, 0)
        x = x + step * direction
        residual = residual - step * image
        before, energy = energy, _dot(residual, residual)
        direction = residual + torch.where(go, energy / before, 0) * direction
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each item, ``[batch, 1, ...]``."""
    return (a * b).flatten(1).sum(1).reshape(-1, *[1] * (a.ndim - 1))
