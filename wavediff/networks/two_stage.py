"""Stochastic regeneration (StoRM, Lemercier et al. 2023): a prediction, then diffusion from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from wavediff.diffusion.condition import Condition


class TwoStage(nn.Module):
    """A network that predicts the clean signal from the noisy one, and one that diffuses from it.

    Whoever uses it asks for ``first_stage(cond)`` once and makes that the anchor of the path; the
    noisy signal becomes ``cond.observed``. The second network sees x_t and both (StoRM, sec. III).

    Args:
        first, second: make the networks, called with ``channels``, ``anchor_channels`` and
            ``options``; the second is given two anchors in one, the estimate before the noisy.
        channels: of the signal.
        anchor_channels: of the noisy signal; must be ``channels``.
        options: for both networks.

    Attributes:
        receptive_field: the second's, for each call.
        first_receptive_field: what the first adds to that, once.

    Raises:
        ValueError: for an anchor that is not like the signal.
    """

    def __init__(
        self,
        first: Callable[..., nn.Module],
        second: Callable[..., nn.Module],
        channels: int,
        anchor_channels: int,
        **options: Any,
    ) -> None:
        super().__init__()
        if anchor_channels != channels:
            raise ValueError(
                f"two stages need an anchor like the signal: {channels} channels, "
                f"anchor {anchor_channels}"
            )
        self.first = first(channels=channels, anchor_channels=channels, **options)
        self.second = second(channels=channels, anchor_channels=2 * channels, **options)
        self.receptive_field = self.second.receptive_field
        self.first_receptive_field = self.first.receptive_field
        self.stride = math.lcm(*(getattr(n, "stride", 1) for n in (self.first, self.second)))

    def first_stage(self, cond: Condition) -> Tensor:
        """The first network's estimate of x_0 from the noisy ``cond.anchor``, like it.

        Raises:
            ValueError: without an anchor.
        """
        anchor = cond.needed("anchor")
        return self.first(anchor, anchor.new_zeros(len(anchor)), cond)

    def prepare(self, cond: Condition) -> Any:
        """The second network's own."""
        prepare = getattr(self.second, "prepare", None)
        return None if prepare is None else prepare(_both(cond))

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """The second's prediction for ``x [batch, channels, time]`` at ``c_noise [batch]``.

        Raises:
            ValueError: unless the anchor is an estimate and what it was made from is there too.
        """
        return self.second(x, c_noise, _both(cond))


def _both(cond: Condition) -> Condition:
    """The estimate and the noisy signal as one anchor."""
    if cond.anchor is None or cond.observed is None:
        raise ValueError("the second stage needs the first's estimate and the noisy recording")
    return replace(cond, anchor=torch.cat([cond.anchor, cond.observed], dim=1), observed=None)
