"""How a network that was told nothing samples what agrees with known cells."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wavediff.diffusion.guidance import Projected
from wavediff.diffusion.posterior import Measured
from wavediff.diffusion.self_guidance import SelfGuided, levels, mean_square, pinball
from wavediff.errors import UserError

KINDS = ("none", "mse", "quantile", "moments")
SCALES = {"mse": 4.0, "quantile": 4.0, "moments": 100.0}
ITERATIONS = 3  # of the conjugate gradients of moment matching


@dataclass(frozen=True)
class Guidance:
    """Of data of variance 1.

    Attributes:
        kind: ``mse`` or ``quantile``, TSDiff's observation self-guidance with its scale lowered in
            noise (``diffusion.self_guidance``, ``data_std``); ``moments``, moment matching
            (``diffusion.posterior``); ``none`` puts the known cells into every estimate.
        scale: one over the variance that is granted to the known cells; of ``quantile``, the force.
    """

    kind: str
    scale: float

    @classmethod
    def of(cls, kind: str, scale: float | None = None) -> Guidance:
        """With the default scale of its kind where none is given.

        Raises:
            UserError: for a kind or a scale that cannot be.
        """
        if kind not in KINDS:
            raise UserError(f"there is no guidance {kind!r}; choose one of {', '.join(KINDS)}")
        scale = SCALES.get(kind, 1.0) if scale is None else scale
        if not 0 < scale < float("inf"):
            raise UserError(f"the scale of guidance is {scale:g}: it must be above 0 and finite")
        return cls(kind, scale)

    def around(self, denoiser: nn.Module, y: Tensor, known: Tensor, samples: int) -> nn.Module:
        """The denoiser that knows ``y`` where ``known``, for ``samples`` of each window.

        Args:
            y, known: ``[samples * batch, variables, length]``, those of a sample together.
        """
        if self.kind == "none":
            return Projected(denoiser, lambda x0_hat, cond: torch.where(known, y, x0_hat))
        if self.kind == "moments":
            there = known.to(y)
            return Measured(denoiser, there.mul, there * y, 1 / self.scale, ITERATIONS)
        if self.kind == "mse":
            likelihood = mean_square(y, known)
        else:
            level = levels(samples).repeat_interleave(len(y) // samples).to(y)
            likelihood = pinball(y, known, level)
        return SelfGuided(denoiser, likelihood, self.scale, data_std=1.0)
