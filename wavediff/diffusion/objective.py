"""The denoising objective, on what the network itself predicts or on x_0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.forward import broadcast, diffuse, sde
from wavediff.diffusion.schedule import Schedule

Weighting = Literal["target", "x0", "eps", "min_snr", "likelihood"]
WEIGHTINGS: tuple[str, ...] = get_args(Weighting)


@dataclass(frozen=True)
class Denoised:
    """One training evaluation: ``loss``, ``t`` and ``log_snr`` are ``[batch]``."""

    loss: Tensor
    x0_hat: Tensor
    t: Tensor
    log_snr: Tensor


class Objective:
    """What a denoiser is trained by: ``objective(denoiser, x0, cond, u=, eps=, weight=)``.

    Attributes:
        progress: share of the training that is done, 0 to 1; set by the trainer.
        takes_teacher: whether it learns from a trained denoiser, ``teacher``.
    """

    progress: float = 0.0
    takes_teacher: bool = False
    teacher: Any = None

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        cond: Condition | None = None,
        *,
        u: Tensor | None = None,
        eps: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Denoised:
        raise NotImplementedError


class DenoisingObjective(Objective):
    """w(t) |x0_hat - x0|^p, averaged over all but the batch.

    Args:
        norm: ``l1`` (p = 1, DiffWave's) or ``l2`` (p = 2).
        weighting: ``target`` compares the network's output with its target, F - F* =
            (x0_hat - x0) / c_out: the plain eps loss for an eps prediction; EDM's weight
            (sigma^2 + s^2) / (sigma s)^2 for an edm prediction. ``x0`` weighs all noise levels
            equally. ``eps`` is SNR, the error of eps under any prediction: NCSN's
            sigma^2 |score error|^2 (Song & Ermon 2019, eq. 6). ``min_snr`` is min(SNR, gamma)
            (Hang et al. 2023). ``likelihood`` is g^2 alpha^2 / sigma^4 = -d SNR/dt, that is g^2
            on the score: with l2, times uniform over t and a sum over channels and time, half
            of it bounds the negative log-likelihood up to a constant (Song et al. 2021, "Maximum
            likelihood training of score-based diffusion models", theorem 1).
        gamma: of ``min_snr``.
        start: share of the items that are noised to ``t_max``, where sampling starts: what a
            model for one or few calls is mostly asked.

    Raises:
        ValueError: for an unknown norm or weighting, or a share outside [0, 1].
    """

    def __init__(
        self,
        norm: Literal["l1", "l2"] = "l2",
        weighting: Weighting = "target",
        gamma: float = 5.0,
        start: float = 0.0,
    ) -> None:
        if norm not in ("l1", "l2"):
            raise ValueError(f"norm is l1 or l2, not {norm!r}")
        if weighting not in WEIGHTINGS:
            raise ValueError(f"weighting is one of {', '.join(WEIGHTINGS)}, not {weighting!r}")
        if not 0 <= start <= 1:
            raise ValueError(f"start is a share between 0 and 1, not {start}")
        self.norm, self.weighting, self.gamma, self.start = norm, weighting, gamma, start

    def times(self, schedule: Schedule, u: Tensor) -> Tensor:
        """Training times for ``u [batch]`` in [0, 1), uniform over the quantiles and the start."""
        rest = ((u - self.start) / (1 - self.start)).clamp(min=0) if self.start < 1 else u
        return torch.where(u < self.start, schedule.t_max, schedule.quantile(rest))

    def scale(self, denoiser: Denoiser, x: Tensor, t: Tensor) -> Tensor:
        """The factor on the error of x0_hat, w^(1/p), ``[batch]`` or like ``x``, which is x_t."""
        if self.weighting == "target":
            return 1 / denoiser.c_out(x, t).abs()
        if self.weighting == "x0":
            return torch.ones_like(t)
        schedule = denoiser.schedule
        if self.weighting == "min_snr":
            return schedule.log_snr(t).exp().clamp(max=self.gamma).sqrt()
        ratio = (schedule.log_alpha(t) - schedule.log_sigma(t)).exp()
        if self.weighting == "eps":
            return ratio
        _, _, g2 = sde(schedule, t)
        return g2.sqrt() * ratio / schedule.sigma(t)

    def __call__(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        cond: Condition | None = None,
        *,
        u: Tensor | None = None,
        eps: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Denoised:
        """Noise ``x0`` and denoise it.

        Args:
            denoiser: to train.
            x0: data, ``[batch, ...]``.
            cond: of the denoiser.
            u: quantiles of the training times, ``[batch]`` in [0, 1); drawn by default.
            eps: standard normal, like ``x0``; drawn by default.
            weight: like ``x0``, which of its numbers count, and how much; all by default.
        """
        cond, u, eps = given_or_drawn(x0, cond, u, eps)
        t = self.times(denoiser.schedule, u)
        x = diffuse(denoiser.schedule, x0, t, eps, cond)
        x0_hat = denoiser(x, t, cond)
        error = broadcast(self.scale(denoiser, x, t), x0) * (x0_hat - x0).to(x0.dtype)
        error = error.abs() if self.norm == "l1" else error.square()
        return Denoised(item_mean(error, weight), x0_hat, t, denoiser.schedule.log_snr(t))


def given_or_drawn(
    x0: Tensor, cond: Condition | None, u: Tensor | None, eps: Tensor | None
) -> tuple[Condition, Tensor, Tensor]:
    """(condition, quantiles, noise), from torch's global generator where they are not given."""
    cond = Condition() if cond is None else cond
    u = torch.rand(len(x0), dtype=torch.float64).to(x0.device) if u is None else u
    return cond, u, torch.randn_like(x0) if eps is None else eps


def item_mean(error: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of each item, ``[batch]``; weighted by ``weight``, like ``error``, where it is given,
    and 0 where all weights are."""
    if weight is None:
        return error.flatten(1).mean(1)
    total = weight.flatten(1).sum(1)
    return (error * weight).flatten(1).sum(1) / torch.where(total > 0, total, 1)
