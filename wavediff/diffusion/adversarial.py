"""Adversarial losses: least squares (Mao et al. 2017) and the matching of features.

A discriminator is called with signals ``[batch, 1, time]`` and gives, for each of the parts that it
is made of, the outputs of its layers, each ``[batch, ...]``; the last of them is the part's score,
which is to be 1 for what is true and 0 for what is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import add

from torch import Tensor, nn

Layers = Sequence[Sequence[Tensor]]  # by part and layer

LEAST = 1e-5  # mean absolute feature below which errors are no longer relative to it


def generator_loss(fake: Layers) -> Tensor:
    """E[(D(x_hat) - 1)^2], mean over the parts, ``[batch]``."""
    return reduce(add, (_mean((part[-1] - 1).square()) for part in fake)) / len(fake)


def discriminator_loss(real: Layers, fake: Layers) -> Tensor:
    """E[(D(x) - 1)^2] + E[D(x_hat)^2], mean over the parts, ``[batch]``."""
    losses = (
        _mean((true[-1] - 1).square()) + _mean(made[-1].square())
        for true, made in zip(real, fake, strict=True)
    )
    return reduce(add, losses) / len(real)


def feature_matching(real: Layers, fake: Layers) -> Tensor:
    """|D^l(x) - D^l(x_hat)| over |D^l(x)|, mean over parts and layers below the score, ``[batch]``.

    Of Larsen et al. 2016, relative as EnCodec's (Defossez et al. 2023), but to each item's own mean
    absolute feature, so that an item counts alike whatever it is batched with.
    """
    errors = [
        _mean((a - b).abs()) / _mean(a.abs()).clamp_min(LEAST)
        for true, made in zip(real, fake, strict=True)
        for a, b in zip(true[:-1], made[:-1], strict=True)
    ]
    return reduce(add, errors) / len(errors)


class Adversarial(nn.Module):
    """A discriminator between signals and their estimates, and what the losses weigh.

    Args:
        discriminator: see the module; its parts have at least one layer below the score.
        weight: of ``generator_loss`` beside the ordinary objective.
        feature_weight: of ``feature_matching`` beside it.
        delay: first steps in which only the discriminator learns from the comparison, so that what
            it says at random does no harm to a network that is finished.

    Raises:
        ValueError: for negative numbers.
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

    def forward(self, estimate: Tensor, reference: Tensor, heard: bool = True) -> dict[str, Tensor]:
        """Losses ``[batch]`` of signals ``[batch, 1, time]``.

        ``discriminator`` has a gradient for the discriminator alone, and ``generator``, the
        weighted sum of ``adversarial`` and ``feature_matching``, for the estimate alone: both can
        be added and followed back at once. What is not ``heard`` is ``discriminator`` alone.
        """
        real = self.discriminator(reference)
        made = self.discriminator(estimate.detach())
        losses = {"discriminator": discriminator_loss(real, made)}
        if heard:
            with frozen(self.discriminator):
                fake = self.discriminator(estimate)
            truth = [[layer.detach() for layer in part] for part in real]
            losses["adversarial"] = generator_loss(fake)
            losses["feature_matching"] = feature_matching(truth, fake)
            losses["generator"] = (
                self.weight * losses["adversarial"]
                + self.feature_weight * losses["feature_matching"]
            )
        return losses


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """What ``module`` computes within the block gives its own parameters no gradient."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def _mean(values: Tensor) -> Tensor:
    """Of each item."""
    return values.flatten(1).mean(1)
