"""The denoising objective and its weightings."""

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
    """One evaluation of an objective.

    Attributes:
        loss: of each item, ``[batch]``.
        x0_hat: estimate of x_0, ``[batch, ...]``.
        t: training time of each item, float64 ``[batch]``, on the device of the quantiles: the
            CPU, unless quantiles on another were given.
        log_snr: log-SNR at ``t``, like ``t``.
    """

    loss: Tensor
    x0_hat: Tensor
    t: Tensor
    log_snr: Tensor


class Objective:
    """What a denoiser is trained by: ``objective(denoiser, x0, cond, u=, eps=, weight=)``.

    Attributes:
        progress: share of the training that is done, 0 to 1; set by the trainer.
        takes_teacher: whether it learns from a trained denoiser, ``teacher``.
        alone: whether it trains without discriminators.
    """

    progress: float = 0.0
    alone: bool = True
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
    """Weighted regression of x_0 from x_t (Ho et al. 2020; Karras et al. 2022).

        loss = w(t) |x0_hat(x_t, t) - x_0|^p        averaged over all dimensions but the batch

    The weightings w(t) for l2; for l1 their square root:

    - ``target``: 1 / c_out^2, the error of the network's output F. This is the unweighted loss of
      eps for the prediction ``eps``, and EDM's weight (sigma^2 + s^2) / (sigma s)^2 for ``edm``.
    - ``x0``: 1, the same for all noise levels.
    - ``eps``: SNR, the error of eps for any prediction, as NCSN (Song & Ermon 2019, eq. 6).
    - ``min_snr``: min(SNR, gamma) (Hang et al. 2023).
    - ``likelihood``: g^2 alpha^2 / sigma^4 = -d SNR/dt, the error of the score weighted by g^2.
      With uniform times, half the sum over all dimensions bounds the negative log-likelihood up to
      a constant (Song et al. 2021, "Maximum likelihood training of score-based diffusion models",
      theorem 1).

    Args:
        norm: ``l1`` (p = 1, as DiffWave) or ``l2`` (p = 2).
        weighting: see above.
        gamma: of ``min_snr``, positive.
        start: fraction of the items that are noised to ``t_max``, where sampling starts, 0 to 1;
            useful for sampling in one or a few steps.

    Raises:
        ValueError: for an unknown norm or weighting, or ``start`` outside [0, 1].
    """

    def __init__(
        self,
        norm: Literal["l1", "l2"] = "l2",
        weighting: Weighting = "target",
        gamma: float = 5.0,
        start: float = 0.0,
    ) -> None:
        if norm not in ("l1", "l2"):
            raise ValueError(f"norm must be l1 or l2, not {norm!r}")
        if weighting not in WEIGHTINGS:
            raise ValueError(f"weighting must be one of {', '.join(WEIGHTINGS)}, not {weighting!r}")
        if not 0 <= start <= 1:
            raise ValueError(f"start must be a fraction between 0 and 1, not {start}")
        self.norm, self.weighting, self.gamma, self.start = norm, weighting, gamma, start

    def times(self, schedule: Schedule, u: Tensor) -> Tensor:
        """Training times ``[batch]`` at the quantiles ``u [batch]`` in [0, 1)."""
        rest = ((u - self.start) / (1 - self.start)).clamp(min=0) if self.start < 1 else u
        return torch.where(u < self.start, schedule.t_max, schedule.quantile(rest))

    def scale(self, denoiser: Denoiser, x: Tensor, t: Tensor) -> Tensor:
        """The factor on the error of x0_hat, w^(1/2), ``[batch]`` or like ``x``, which is x_t."""
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
            denoiser: the model to train.
            x0: data, ``[batch, ...]``.
            cond: conditions of the denoiser; none by default.
            u: quantiles of the training times, ``[batch]`` in [0, 1), best on the CPU: checks of
                the times wait for a GPU; drawn by default.
            eps: standard normal noise, like ``x0``; drawn by default.
            weight: weights of the errors, like ``x0``; 1 by default.

        Returns:
            The loss of each item, ``[batch]``, with the estimate, the times and their log-SNR.
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
    """(condition, quantiles, noise), drawn from torch's global generator if not given."""
    cond = Condition() if cond is None else cond
    if not isinstance(cond, Condition):
        raise TypeError(f"cond must be a Condition, not a {type(cond).__name__}: give u= and eps=")
    u = torch.rand(len(x0), dtype=torch.float64) if u is None else u
    return cond, u, torch.randn_like(x0) if eps is None else eps


def item_mean(error: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of each item, ``[batch]``.

    Args:
        error: ``[batch, ...]``.
        weight: weights of the mean, like ``error``; an item whose weights are all 0 has mean 0.
    """
    if weight is None:
        return error.flatten(1).mean(1)
    total = weight.flatten(1).sum(1)
    return (error * weight).flatten(1).sum(1) / torch.where(total > 0, total, 1)
