"""Denoisers made of denoisers: what is known of x_0 beside the condition."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from wavediff.diffusion.condition import Condition


class Projected(nn.Module):
    """A denoiser whose estimate is moved onto what is known: x0_hat <- project(x0_hat, cond).

    With ``project`` the projection onto {x : A(x) = y} this is the data-consistency step of
    DDNM (Wang et al. 2023, eq. 13).

    Args:
        denoiser: to call.
        project: ``(x0_hat [batch, channels, time], cond) -> like x0_hat``.
    """

    def __init__(self, denoiser: nn.Module, project: Callable[[Tensor, Condition], Tensor]) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule
        self.project = project

    def prepare(self, cond: Condition) -> Condition:
        """The denoiser's own."""
        return self.denoiser.prepare(cond)

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition) -> Tensor:
        """The projected estimate, like ``x``."""
        return self.project(self.denoiser(x, t, cond), cond)
