"""Adversarial losses: least squares (Mao et al. 2017), Wasserstein with a gradient penalty
(Gulrajani et al. 2017), feature matching (Larsen et al. 2016) and the sums of HiFi-GAN.

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


def summed_feature_matching(real: Layers, fake: Layers) -> Tensor:
    """The sum of mean |D^l(x) - D^l(x_hat)| of each item over parts and layers, ``[batch]``.

    HiFi-GAN, Kong et al. 2020, eq. 4; as in their code, the score is one of the layers.
    """
    pairs = (pair for parts in zip(real, fake, strict=True) for pair in zip(*parts, strict=True))
    return reduce(add, (item_mean((a - b).abs()) for a, b in pairs))


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
        summed: whether the least-squares losses are summed over the parts, and the features'
            errors over parts and layers, as in HiFi-GAN (Kong et al. 2020, eq. 5 and 6), instead
            of averages of relative errors.
        mel: a log-mel front-end, called with signals ``[batch, 1, time]``.
        mel_weight: of the mean absolute error of the generated signals' mel (eq. 3), added to the
            training objective; 0 or more. It needs estimates of the real signals.

    Raises:
        ValueError: if a number is negative, for an unknown loss, a Wasserstein loss that is summed,
            or a ``mel_weight`` without a ``mel``.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        weight: float = 1.0,
        feature_weight: float = 2.0,
        delay: int = 0,
        loss: Literal["least_squares", "wasserstein"] = "least_squares",
        penalty: float = 0.0,
        summed: bool = False,
        mel: nn.Module | None = None,
        mel_weight: float = 0.0,
    ) -> None:
        super().__init__()
        numbers = weight, feature_weight, delay, penalty, mel_weight
        if not all(number >= 0 for number in numbers):
            raise ValueError(
                "weight, feature_weight, delay, penalty and mel_weight must not be negative, "
                f"not {', '.join(map(str, numbers))}"
            )
        if loss not in ("least_squares", "wasserstein"):
            raise ValueError(f"loss must be least_squares or wasserstein, not {loss!r}")
        if not isinstance(summed, bool) or (summed and loss == "wasserstein"):
            raise ValueError(f"summed must be true or false, and is for least squares: {summed}")
        if mel_weight and mel is None:
            raise ValueError(f"mel_weight={mel_weight} needs a mel: choose one, or mel_weight=0")
        self.discriminator = discriminator
        self.weight, self.feature_weight, self.delay = weight, feature_weight, delay
        self.wasserstein, self.penalty = loss == "wasserstein", penalty
        self.summed, self.mel, self.mel_weight = summed, mel, mel_weight

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
        the weighted sum of ``adversarial``, ``feature_matching`` and ``mel``, with respect to the
        estimate only: one backward pass through their sum trains both.

        Args:
            estimate, reference: generated and real signals, ``[batch, 1, time]``.
            train_generator: whether to compute ``generator`` and its parts.
            label: classes of both, ``[batch]``, if any.
            u: where the gradient penalty is taken, ``[batch]`` in [0, 1]; drawn by default.
        """
        real = self.discriminator(reference, label)
        detached = self.discriminator(estimate.detach(), label)
        parts = len(real) if self.summed else 1
        if self.wasserstein:
            losses = {"discriminator": mean_score(detached) - mean_score(real)}
        else:
            losses = {"discriminator": parts * discriminator_loss(real, detached)}
        if self.penalty:
            u = torch.rand(len(reference)) if u is None else u
            losses["penalty"] = gradient_penalty(self.discriminator, reference, estimate, u, label)
            losses["discriminator"] = losses["discriminator"] + self.penalty * losses["penalty"]
        if not train_generator:
            return losses
        with frozen(self.discriminator):
            fake = self.discriminator(estimate, label)
        score = -mean_score(fake) if self.wasserstein else parts * generator_loss(fake)
        found = {"adversarial": (self.weight, score)}
        if self.feature_weight:
            targets = [[layer.detach() for layer in part] for part in real]
            match = summed_feature_matching if self.summed else feature_matching
            found["feature_matching"] = self.feature_weight, match(targets, fake)
        if self.mel_weight and self.mel is not None:
            error = (self.mel(estimate) - self.mel(reference)).abs()
            found["mel"] = self.mel_weight, item_mean(error)
        losses |= {name: loss for name, (_, loss) in found.items()}
        losses["generator"] = reduce(add, (weight * loss for weight, loss in found.values()))
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
