"""Adversarial losses: least squares (Mao et al. 2017), Wasserstein with a gradient penalty
(Gulrajani et al. 2017) and feature matching (Larsen et al. 2016).

A discriminator is called with signals ``[batch, 1, time]`` and their classes ``[batch]`` or None.
It returns, for each of its parts, the outputs of the part's layers, each ``[batch, ...]``, the
part's score last. With least squares the score's target is 1 for real signals and 0 for generated
ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import add
from typing import Literal

import torch
from torch import Tensor, nn

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.objective import Denoised, Objective, item_mean
from wavediff.diffusion.transfer import like

Layers = Sequence[Sequence[Tensor]]  # by part and layer

MIN_FEATURE = 1e-5  # lower bound of the mean absolute feature that errors are divided by


def generator_loss(fake: Layers) -> Tensor:
    """E[(D(x_hat) - 1)^2] of each item, averaged over the parts, ``[batch]``."""
    return reduce(add, (item_mean((part[-1] - 1).square()) for part in fake)) / len(fake)


def discriminator_loss(real: Layers, fake: Layers) -> Tensor:
    """E[(D(x) - 1)^2] + E[D(x_hat)^2] of each item, averaged over the parts, ``[batch]``."""
    losses = (
        item_mean((real_part[-1] - 1).square()) + item_mean(fake_part[-1].square())
        for real_part, fake_part in zip(real, fake, strict=True)
    )
    return reduce(add, losses) / len(real)


def mean_score(layers: Layers) -> Tensor:
    """The mean score of each item over positions and parts, ``[batch]``."""
    return reduce(add, (item_mean(part[-1]) for part in layers)) / len(layers)


def gradient_penalty(
    discriminator: nn.Module, real: Tensor, fake: Tensor, u: Tensor, label: Tensor | None = None
) -> Tensor:
    """(|grad D(z)| - 1)^2 at z = u x + (1 - u) x_hat, ``[batch]`` (Gulrajani et al. 2017, eq. 3).

    Args:
        real, fake: signals x and x_hat, ``[batch, 1, time]``.
        u: between 0 and 1, ``[batch]``.
    """
    share = like(u, real)[:, None, None]
    between = torch.lerp(fake.detach(), real.detach(), share).requires_grad_()
    score = mean_score(discriminator(between, label)).sum()
    (gradient,) = torch.autograd.grad(score, between, create_graph=True)
    return (gradient.flatten(1).norm(dim=1) - 1).square()


def feature_matching(real: Layers, fake: Layers) -> Tensor:
    """mean |D^l(x) - D^l(x_hat)| / mean |D^l(x)| of each item, over hidden layers, ``[batch]``.

    Normalised as in EnCodec (Defossez et al. 2023), but by the mean absolute feature of the item
    instead of the batch, so that an item's loss does not depend on the rest of the batch.
    """
    errors = [
        item_mean((a - b).abs()) / item_mean(a.abs()).clamp_min(MIN_FEATURE)
        for real_part, fake_part in zip(real, fake, strict=True)
        for a, b in zip(real_part[:-1], fake_part[:-1], strict=True)
    ]
    return reduce(add, errors) / len(errors)


class Adversarial(nn.Module):
    """A discriminator with the weights of the adversarial losses.

    Args:
        discriminator: as described in the module; each part has at least one hidden layer.
        weight: of the generator's loss, added to the training objective; 0 or more.
        feature_weight: of ``feature_matching``, added likewise; 0 or more. It needs estimates of
            the real signals.
        delay: number of initial steps that train the discriminator alone, so that an untrained
            discriminator does not degrade a trained network; 0 or more.
        loss: ``least_squares``, or ``wasserstein``: E[D(x_hat)] - E[D(x)].
        penalty: weight of ``gradient_penalty`` in the discriminator's loss, 0 or more.

    Raises:
        ValueError: if a number is negative, or for an unknown loss.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        weight: float = 1.0,
        feature_weight: float = 2.0,
        delay: int = 0,
        loss: Literal["least_squares", "wasserstein"] = "least_squares",
        penalty: float = 0.0,
    ) -> None:
        super().__init__()
        if not (weight >= 0 and feature_weight >= 0 and delay >= 0 and penalty >= 0):
            raise ValueError(
                "weight, feature_weight, delay and penalty must not be negative, "
                f"not {weight}, {feature_weight}, {delay}, {penalty}"
            )
        if loss not in ("least_squares", "wasserstein"):
            raise ValueError(f"loss must be least_squares or wasserstein, not {loss!r}")
        self.discriminator = discriminator
        self.weight, self.feature_weight, self.delay = weight, feature_weight, delay
        self.wasserstein, self.penalty = loss == "wasserstein", penalty

    def forward(
        self,
        estimate: Tensor,
        reference: Tensor,
        train_generator: bool = True,
        *,
        label: Tensor | None = None,
        u: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The losses of each item, ``[batch]``, by name.

        ``discriminator`` has gradients with respect to the discriminator only, and ``generator``,
        the weighted sum of ``adversarial`` and ``feature_matching``, with respect to the estimate
        only: one backward pass through their sum trains both.

        Args:
            estimate, reference: generated and real signals, ``[batch, 1, time]``.
            train_generator: whether to compute ``generator`` and its parts.
            label: classes of both, ``[batch]``, if any.
            u: where the gradient penalty is taken, ``[batch]`` in [0, 1]; drawn by default.
        """
        real = self.discriminator(reference, label)
        detached = self.discriminator(estimate.detach(), label)
        if self.wasserstein:
            losses = {"discriminator": mean_score(detached) - mean_score(real)}
        else:
            losses = {"discriminator": discriminator_loss(real, detached)}
        if self.penalty:
            u = torch.rand(len(reference)) if u is None else u
            losses["penalty"] = gradient_penalty(self.discriminator, reference, estimate, u, label)
            losses["discriminator"] = losses["discriminator"] + self.penalty * losses["penalty"]
        if train_generator:
            with frozen(self.discriminator):
                fake = self.discriminator(estimate, label)
            losses["adversarial"] = -mean_score(fake) if self.wasserstein else generator_loss(fake)
            losses["generator"] = self.weight * losses["adversarial"]
            if self.feature_weight:
                targets = [[layer.detach() for layer in part] for part in real]
                losses["feature_matching"] = feature_matching(targets, fake)
                losses["generator"] = (
                    losses["generator"] + self.feature_weight * losses["feature_matching"]
                )
        return losses


class AdversarialObjective(Objective):
    """No loss but that of discriminators: a GAN, whose generator is the denoiser's first call."""

    alone = False

    def __call__(
        self, denoiser: Denoiser, x0: Tensor, cond: Condition | None = None, **drawn: Tensor | None
    ) -> Denoised:
        """Losses of 0 and no estimate; the network is not called."""
        t = torch.full((len(x0),), denoiser.schedule.t_max, dtype=torch.float64)
        loss = x0.new_zeros(len(x0))
        return Denoised(loss, torch.zeros_like(x0), t, denoiser.schedule.log_snr(t))


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Exclude the parameters of ``module`` from gradients within the block."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
