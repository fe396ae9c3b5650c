"""Guidance of an unconditional model to known cells.

The default scales forecast an AR(1) process of coefficient 0.9 and variance 1 (24 steps of context,
12 ahead) best, with an unconditional network trained for 2500 steps and 10 steps of
DPM-Solver++(2M). The slope of the forecast's mean in the last value, relative to the exact one, and
the ratio of the standard deviations, at 1, 4 and 12 steps ahead:

    replace                0.55 0.27 0.07    1.47 1.17 0.93
    mse, scale 1           0.88 0.94 0.79    1.27 1.01 0.91
    mse, scale 4           1.06 1.20 1.09    1.07 0.97 0.90
    mse, scale 16          1.10 1.29 1.19    0.98 0.96 0.90
    TSDiff's mse, 1        1.14 1.32 1.22    1.11 0.97 0.90
    TSDiff's mse, 4        2.14 3.05 3.05    2.31 1.98 1.14
    quantile, 2            0.94 1.07 0.96    2.33 1.40 0.97
    quantile, 4            1.27 1.54 1.46    3.18 1.87 1.06
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.guidance import Guided, ProjectionGuidance
from wavediff.diffusion.self_guidance import SelfGuidance, mean_square, pinball, quantiles
from wavediff.errors import UserError

KINDS = ("replace", "mse", "quantile")
SCALES = {"mse": 4.0, "quantile": 2.0}


@dataclass(frozen=True)
class Guidance:
    """Guidance for data of variance 1.

    Attributes:
        kind: ``mse`` or ``quantile``, the observation self-guidance of TSDiff (Kollovieh et al.
            2023), or ``replace``, which puts the known cells into every estimate. ``mse`` has a
            lower scale at high noise (``data_std`` of ``diffusion.self_guidance``); the gradient of
            ``quantile`` is bounded.
        scale: of ``mse``, one over the variance of the known cells given an estimate; of
            ``quantile``, the bound of the gradient.
    """

    kind: str
    scale: float

    @classmethod
    def of(cls, kind: str, scale: float | None = None) -> Guidance:
        """Guidance of a kind, with the default scale of it where none is given.

        Raises:
            UserError: for an unknown kind, or a scale out of range.
        """
        if kind not in KINDS:
            raise UserError(f"{kind!r} is not a guidance: choose one of {', '.join(KINDS)}")
        scale = SCALES.get(kind, 1.0) if scale is None else scale
        if not 0 < scale < float("inf"):
            raise UserError(f"the scale of guidance is {scale:g}: it must be above 0 and finite")
        return cls(kind, scale)

    def around(self, denoiser: Denoiser, y: Tensor, known: Tensor, samples: int) -> Guided:
        """The denoiser guided to ``y`` where ``known``.

        Args:
            denoiser: unconditional, or conditioned on the known cells for ``replace``.
            y: ``[samples * batch, variables, length]``, the windows of a sample together.
            known: bool, like ``y``.
            samples: of each window.
        """
        if self.kind == "replace":
            return ProjectionGuidance(denoiser, lambda x0_hat, cond: torch.where(known, y, x0_hat))
        if self.kind == "mse":
            return SelfGuidance(denoiser, mean_square(y, known), self.scale, data_std=1.0)
        quantile = quantiles(samples).repeat_interleave(len(y) // samples).to(y)
        return SelfGuidance(denoiser, pinball(y, known, quantile), self.scale)
