"""Adversarial losses: least squares (Mao et al. 2017) and feature matching (Larsen et al. 2016).

A discriminator is called with signals ``[batch, 1, time]`` and returns, for each of its parts, the
outputs of the part's layers, each ``[batch, ...]``. The last one is the part's score: its target is
1 for real signals and 0 for generated ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import add

from torch import Tensor, nn

from wavediff.diffusion.objective import item_mean

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
        weight: of ``generator_loss``, added to the training objective; 0 or more.
        feature_weight: of ``feature_matching``, added likewise; 0 or more.
        delay: number of initial steps that train the discriminator alone, so that an untrained
            discriminator does not degrade a trained network; 0 or more.

    Raises:
        ValueError: if a number is negative.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        weight: float = 1.0,
        feature_weight: float = 2.0,
        delay: int = 0,
    ) -> None:
        super().__init__()
        if not (weight >= 0 and feature_weight >= 0 and delay >= 0):
            raise ValueError(
                "weight, feature_weight and delay must not be negative, "
                f"not {weight}, {feature_weight}, {delay}"
            )
        self.discriminator = discriminator
        self.weight, self.feature_weight, self.delay = weight, feature_weight, delay

    def forward(
        self, estimate: Tensor, reference: Tensor, train_generator: bool = True
    ) -> dict[str, Tensor]:
        """The losses of each item, ``[batch]``, by name.

        ``discriminator`` has gradients with respect to the discriminator only, and ``generator``,
        the weighted sum of ``adversarial`` and ``feature_matching``, with respect to the estimate
        only: one backward pass through their sum trains both.

        Args:
            estimate, reference: generated and real signals, ``[batch, 1, time]``.
            train_generator: whether to compute the last three, besides ``discriminator``.
        """
        real = self.discriminator(reference)
        detached = self.discriminator(estimate.detach())
        losses = {"discriminator": discriminator_loss(real, detached)}
        if train_generator:
            with frozen(self.discriminator):
                fake = self.discriminator(estimate)
            targets = [[layer.detach() for layer in part] for part in real]
            losses["adversarial"] = generator_loss(fake)
            losses["feature_matching"] = feature_matching(targets, fake)
            losses["generator"] = (
                self.weight * losses["adversarial"]
                + self.feature_weight * losses["feature_matching"]
            )
        return losses


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Exclude the parameters of ``module`` from gradients within the block."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
