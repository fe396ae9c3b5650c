"""A network that predicts a complex mask on the anchor and a residual."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from wavediff.diffusion.condition import Condition
from wavediff.representations.stft import from_channels, magnitude, to_channels


class Masked(nn.Module):
    """F = mask * y + residual for STFT frames, with mask and residual from one network.

    The mask is complex, with one number per bin, and initialised to 1 (complex ratio mask,
    Williamson et al. 2016). The input of the network is x_t, the anchor y and the magnitude of y.

    Args:
        network: constructor of the inner network, called with ``channels``, ``out_channels`` and
            ``options``.
        channels: of the signal, n_fft of the representation.
        anchor_channels: of y; must equal ``channels``.
        options: of the inner network.

    Raises:
        ValueError: if the anchor is not like the signal, or the number of channels is odd.
    """

    network: Any  # any of this folder, with ``receptive_field`` and ``prepare``

    def __init__(
        self, network: Callable[..., nn.Module], channels: int, anchor_channels: int, **options: Any
    ) -> None:
        super().__init__()
        if anchor_channels != channels or channels % 2:
            raise ValueError(
                f"a mask needs an anchor of STFT frames like the signal: {channels} channels, "
                f"anchor {anchor_channels}"
            )
        inputs = 2 * channels + channels // 2 + 1
        self.network = network(channels=inputs, out_channels=2 * channels, **options)
        self.receptive_field = self.network.receptive_field
        self.stride = getattr(self.network, "stride", 1)

    def prepare(self, cond: Condition) -> Any:
        """See the inner network."""
        return self.network.prepare(cond)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """The prediction for ``x [batch, channels, time]`` at ``c_noise [batch]``.

        Raises:
            ValueError: without an anchor.
        """
        anchor = cond.needed("anchor")
        joined = torch.cat([x, anchor, magnitude(anchor)], dim=1)
        mask, residual = self.network(joined, c_noise, cond).chunk(2, dim=1)
        return residual + anchor + _complex_product(mask, anchor)


def _complex_product(a: Tensor, b: Tensor) -> Tensor:
    """Product of two spectra bin by bin, in the layout of ``to_channels``."""
    (a_re, a_im), (b_re, b_im) = from_channels(a).unbind(-1), from_channels(b).unbind(-1)
    return to_channels(torch.stack([a_re * b_re - a_im * b_im, a_re * b_im + a_im * b_re], dim=-1))
