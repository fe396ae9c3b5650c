"""Denoisers made of denoisers: what is known of x_0 beside the condition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import DenoiserLike
from wavediff.diffusion.schedule import as_float64


class Guided(nn.Module):
    """A denoiser made of another, with its schedule.

    Args:
        denoiser: to call.
    """

    def __init__(self, denoiser: DenoiserLike) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule

    def prepare(self, cond: Condition) -> Condition:
        """The denoiser's own."""
        prepare = getattr(self.denoiser, "prepare", None)
        return cond if prepare is None else prepare(cond)


class ProjectionGuidance(Guided):
    """A denoiser whose estimate is moved onto what is known: x0_hat <- project(x0_hat, cond).

    With ``project`` the projection onto {x : A(x) = y} this is the data-consistency step of
    DDNM (Wang et al. 2023, eq. 13).

    Args:
        denoiser: to call.
        project: ``(x0_hat [batch, ...], cond) -> like x0_hat``.
    """

    def __init__(
        self, denoiser: DenoiserLike, project: Callable[[Tensor, Condition], Tensor]
    ) -> None:
        super().__init__(denoiser)
        self.project = project

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """The projected estimate, like ``x``."""
        cond = Condition() if cond is None else cond
        return self.project(self.denoiser(x, as_float64(t), cond), cond)


class ClassifierFree(Guided):
    """Classifier-free guidance (Ho & Salimans 2022, eq. 6): towards a class, beyond the class.

        x0_hat = none + scale (label - none)

    of the estimates without and with the label. eps and the score are affine in x0_hat at a given
    x_t, so that mixing any of them is the same. A scale of 1 is the plain conditional denoiser and
    0 the unconditional one, in one call of the denoiser; any other takes two.

    Args:
        denoiser: trained with some labels dropped, that is set to -1.
        scale: 1 + w of the paper.
    """

    def __init__(self, denoiser: DenoiserLike, scale: float) -> None:
        super().__init__(denoiser)
        self.scale = scale

    def prepare(self, cond: Condition) -> Condition:
        """What the denoiser computes once, with the label and without."""
        both = [
            super(ClassifierFree, self).prepare(c).prepared for c in (cond, without_label(cond))
        ]
        return replace(cond, prepared=both)

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition) -> Tensor:
        """The guided estimate, like ``x``.

        Raises:
            ValueError: without a label.
        """
        t = as_float64(t)
        prepared = (None, None) if cond.prepared is None else cond.prepared
        conds = (cond, without_label(cond))
        label, none = (replace(c, prepared=p) for c, p in zip(conds, prepared, strict=True))
        if self.scale == 1:
            return self.denoiser(x, t, label)
        if self.scale == 0:
            return self.denoiser(x, t, none)
        return torch.lerp(self.denoiser(x, t, none), self.denoiser(x, t, label), self.scale)


def without_label(cond: Condition) -> Condition:
    """The same with -1, no class, for every label; nothing prepared.

    Raises:
        ValueError: where there are no labels.
    """
    if cond.label is None:
        raise ValueError("classifier-free guidance needs labels, of a model that has classes")
    return replace(cond, label=torch.full_like(cond.label, -1), prepared=None)
