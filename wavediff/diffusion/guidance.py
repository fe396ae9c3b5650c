"""Guidance: denoisers that modify the estimate of another denoiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import DenoiserLike
from wavediff.diffusion.schedule import as_float64


class Guided(nn.Module):
    """Base class of guided denoisers, with the schedule of the denoiser that they guide.

    Args:
        denoiser: to guide.
    """

    def __init__(self, denoiser: DenoiserLike) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule = denoiser.schedule

    def prepare(self, cond: Condition) -> Condition:
        """See ``Denoiser.prepare``."""
        prepare = getattr(self.denoiser, "prepare", None)
        return cond if prepare is None else prepare(cond)


class ProjectionGuidance(Guided):
    """A denoiser with a projected estimate, x0_hat <- project(x0_hat, cond).

    If ``project`` is the projection onto {x : A x = y}, this is DDNM (Wang et al. 2023, eq. 13).

    Args:
        denoiser: to guide.
        project: ``(x0_hat [batch, ...], cond) -> like x0_hat``.
    """

    def __init__(
        self, denoiser: DenoiserLike, project: Callable[[Tensor, Condition], Tensor]
    ) -> None:
        super().__init__(denoiser)
        self.project = project

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition | None = None) -> Tensor:
        """The projected estimate, like ``x [batch, ...]``, at one time or one per item."""
        cond = Condition() if cond is None else cond
        return self.project(self.denoiser(x, as_float64(t), cond), cond)


class ClassifierFree(Guided):
    """Classifier-free guidance (Ho & Salimans 2022, eq. 6).

        x0_hat = D(x_t) + scale (D(x_t, label) - D(x_t))

    At a given x_t, eps and the score are affine in x0_hat, so guiding any of them is equivalent. A
    scale of 1 is the conditional denoiser and 0 the unconditional one, each with one call of the
    denoiser; any other scale takes two.

    Args:
        denoiser: trained with label dropout: the label -1 is unconditional.
        scale: 1 + w of the paper; above 1 samples are more typical of their class.

    Raises:
        ValueError: when called, without labels in the condition.
    """

    def __init__(self, denoiser: DenoiserLike, scale: float) -> None:
        super().__init__(denoiser)
        self.scale = scale

    def prepare(self, cond: Condition) -> Condition:
        """See ``Denoiser.prepare``; with and without the label."""
        both = [
            super(ClassifierFree, self).prepare(c).prepared for c in (cond, without_label(cond))
        ]
        return replace(cond, prepared=both)

    def forward(self, x: Tensor, t: Tensor | float, cond: Condition) -> Tensor:
        """The guided estimate, like ``x [batch, ...]``, at one time or one per item.

        Raises:
            ValueError: without labels.
        """
        t = as_float64(t)
        prepared = (None, None) if cond.prepared is None else cond.prepared
        conds = (cond, without_label(cond))
        labelled, unlabelled = (
            replace(c, prepared=p) for c, p in zip(conds, prepared, strict=True)
        )
        if self.scale == 1:
            return self.denoiser(x, t, labelled)
        if self.scale == 0:
            return self.denoiser(x, t, unlabelled)
        return torch.lerp(
            self.denoiser(x, t, unlabelled), self.denoiser(x, t, labelled), self.scale
        )


def without_label(cond: Condition) -> Condition:
    """The unconditional condition: every label is -1, and nothing is prepared.

    Raises:
        ValueError: without labels.
    """
    if cond.label is None:
        raise ValueError("classifier-free guidance needs labels")
    return replace(cond, label=torch.full_like(cond.label, -1), prepared=None)
