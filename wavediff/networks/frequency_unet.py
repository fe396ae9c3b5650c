"""A convolutional U-Net over frequency around a network over time, for STFT frames.

Convolutional recurrent networks' shape (Tan & Wang 2018) with a dilated network for the recurrent
one: what is learned about a harmonic holds at any pitch, and the reach in time stays finite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavediff.diffusion.condition import Condition
from wavediff.representations.stft import from_channels, magnitude, to_channels

KERNEL = 5  # bins


class FrequencyUNet(nn.Module):
    """F = mask * y + residual, where mask and residual are complex, one number per bin.

    Strided convolutions over frequency, of each frame with its ``time_kernel - 1`` neighbours;
    ``network`` over time on what is left, all bins and widths as channels; transposed convolutions
    back, each joined with what the encoder had at its resolution. The mask is 1 before training
    (Williamson et al. 2016).

    Args:
        network: makes the network over time, called with ``channels`` and ``options``.
        widths: of the levels; each has half the bins of the one before.
        time_kernel: frames that each convolution over frequency sees, an odd number.
        channels: of the signal, the representation's n_fft.
        anchor_channels: of y; must be ``channels``.
        options: for the network over time.

    Raises:
        ValueError: for an anchor that is not like the signal, no STFT frames, or an even
            ``time_kernel``.
    """

    network: Any  # any of this folder, with ``receptive_field`` and ``prepare``

    def __init__(
        self,
        network: Callable[..., nn.Module],
        channels: int,
        anchor_channels: int,
        widths: Sequence[int] = (16, 32, 48),
        time_kernel: int = 1,
        **options: Any,
    ) -> None:
        super().__init__()
        if time_kernel % 2 == 0:
            raise ValueError(f"time_kernel must be odd, not {time_kernel}")
        if anchor_channels != channels or channels % 2:
            raise ValueError(
                f"a mask needs an anchor of STFT frames like the signal: {channels} channels, "
                f"anchor {anchor_channels}"
            )
        bins = [channels // 2 + 1]
        for _ in widths:
            bins.append((bins[-1] - 1) // 2 + 1)
        self.bins, self.widths = bins, list(widths)
        planes = [5, *widths]  # x, y and the magnitude of y
        conv = partial(_conv, time_kernel=time_kernel)
        self.down = nn.ModuleList(conv(nn.Conv2d, a, b) for a, b in pairwise(planes))
        self.place = nn.Parameter(torch.zeros(widths[0], 1, bins[1]))  # tells the bins apart
        self.network = network(channels=widths[-1] * bins[-1], **options)
        self.receptive_field = self.network.receptive_field + len(widths) * (time_kernel - 1)
        self.stride = getattr(self.network, "stride", 1)
        outputs = [4, *widths[:-1]]  # mask and residual
        self.up = nn.ModuleList(
            conv(nn.ConvTranspose2d, 2 * a, b) for a, b in zip(widths, outputs, strict=True)
        )
        for parameter in self.up[0].parameters():
            nn.init.zeros_(parameter)

    def prepare(self, cond: Condition) -> Any:
        """The inner network's own."""
        return self.network.prepare(cond)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        """The prediction for ``x [batch, channels, time]`` at ``c_noise [batch]``.

        Raises:
            ValueError: without an anchor.
        """
        anchor = cond.needed("anchor")
        y = _planes(anchor)
        h = torch.cat([_planes(x), y, magnitude(anchor).mT[:, None]], dim=1)
        h = h.to(memory_format=torch.channels_last)
        levels = []
        for i, conv in enumerate(self.down):
            h = conv(h) if i else conv(h) + self.place
            h = F.silu(h)
            levels.append(h)
        batch, width, frames, bins = h.shape
        inner = h.permute(0, 3, 1, 2).reshape(batch, bins * width, frames)
        inner = self.network(inner, c_noise, cond)
        h = h + inner.reshape(batch, bins, width, frames).permute(0, 2, 3, 1)
        for level, conv, size in zip(
            reversed(levels), reversed(self.up), reversed(self.bins[:-1]), strict=True
        ):
            # an even and an odd number of bins have the same half: say which it was
            h = conv(torch.cat([h, level], dim=1), output_size=[frames, size])
            h = h if conv is self.up[0] else F.silu(h)
        mask, residual = h.chunk(2, dim=1)
        (m_re, m_im), (y_re, y_im) = mask.unbind(1), y.unbind(1)
        product = torch.stack([m_re * y_re - m_im * y_im, m_re * y_im + m_im * y_re], dim=1)
        return to_channels((product + residual + y).permute(0, 3, 2, 1))


def _conv(
    kind: type[nn.Conv2d | nn.ConvTranspose2d], inputs: int, outputs: int, time_kernel: int
) -> nn.Conv2d | nn.ConvTranspose2d:
    kernel = (time_kernel, KERNEL)
    conv = kind(inputs, outputs, kernel, stride=(1, 2), padding=(time_kernel // 2, KERNEL // 2))
    nn.init.kaiming_normal_(conv.weight)
    return conv


def _planes(z: Tensor) -> Tensor:
    """``[batch, n_fft, frames]`` to real and imaginary part, ``[batch, 2, frames, bins]``."""
    return from_channels(z).permute(0, 3, 2, 1)
