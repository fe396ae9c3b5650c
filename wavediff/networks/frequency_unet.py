"""A convolutional U-Net over frequency around a network over time, for STFT frames.

The structure of convolutional recurrent networks (Tan & Wang 2018) with a convolutional network
instead of the recurrent one, so that the receptive field is finite. Convolutions over frequency
share weights between harmonics.
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
from wavediff.networks.causal import CAUSAL
from wavediff.networks.frames import WHOLE, Frames
from wavediff.networks.kernels import check_kernel
from wavediff.representations.stft import from_channels, magnitude, to_channels

KERNEL = 5  # bins


class FrequencyUNet(nn.Module):
    """F = mask * y + residual, with a complex mask and a complex residual for each bin.

    Strided convolutions over frequency; ``network`` over time with the remaining bins and their
    features as channels; transposed convolutions over frequency with skip connections. The mask is
    initialised to 1 (complex ratio mask, Williamson et al. 2016).

    Args:
        network: constructor of the network over time, called with ``channels`` and ``options``.
        channels: of the signal, n_fft of the representation.
        anchor_channels: of y; must equal ``channels``.
        widths: channels of the resolutions; each has half the bins of the one before.
        time_kernel: kernel size in time of the convolutions over frequency, odd unless the network
            over time is ``causal``, which makes these convolutions causal, too.
        options: of the network over time.

    Attributes:
        receptive_field: frames on either side that a frame depends on, or before it if ``causal``.
        streams: whether it computes signals in parts, see ``FrameStream``.

    Raises:
        ValueError: if the anchor is not like the signal, the channels are not STFT frames, or
            ``time_kernel`` is even.
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
        check_kernel(time_kernel, "time_kernel")
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
        self.place = nn.Parameter(torch.zeros(widths[0], 1, bins[1]))  # embedding of the bins
        self.network = network(channels=widths[-1] * bins[-1], **options)
        self.causal = getattr(self.network, "causal", False)
        if time_kernel % 2 == 0 and not self.causal:
            raise ValueError(f"time_kernel must be odd, not {time_kernel}")
        self.frames = CAUSAL if self.causal else WHOLE
        reach = 2 * len(widths) * (time_kernel - 1)  # of the convolutions down and up
        self.receptive_field = self.network.receptive_field + reach // (1 if self.causal else 2)
        self.stride = getattr(self.network, "stride", 1)
        self.streams = getattr(self.network, "streams", False)
        outputs = [4, *widths[:-1]]  # mask and residual
        self.up = nn.ModuleList(
            conv(nn.ConvTranspose2d, 2 * a, b) for a, b in zip(widths, outputs, strict=True)
        )
        for parameter in self.up[0].parameters():
            nn.init.zeros_(parameter)

    def prepare(self, cond: Condition) -> Any:
        """See the network over time."""
        return self.network.prepare(cond)

    def forward(
        self, x: Tensor, c_noise: Tensor, cond: Condition, frames: Frames | None = None
    ) -> Tensor:
        """The prediction for ``x [batch, channels, time]`` at ``c_noise [batch]``.

        Args:
            frames: a stream of parts, a ``CausalStream`` if the network is ``causal`` and a
                ``FrameStream`` if it ``streams``; None for the whole signal.

        Raises:
            ValueError: without an anchor.
        """
        frames = self.frames if frames is None else frames
        anchor = cond.needed("anchor")
        y = _planes(anchor)
        h = torch.cat([_planes(x), y, magnitude(anchor).mT[:, None]], dim=1)
        h = h.to(memory_format=torch.channels_last)
        skips = []
        for i, conv in enumerate(self.down):
            h = frames.conv(conv, h)
            h = F.silu(h if i else h + self.place)
            skips.append(h)
        batch, width, time, bins = h.shape
        inner = h.permute(0, 3, 1, 2).reshape(batch, bins * width, time)
        streamed = (frames,) if self.streams or self.causal else ()
        inner = self.network(inner, c_noise, cond, *streamed)
        inner = inner.reshape(batch, bins, width, -1).permute(0, 2, 3, 1)
        h = frames.aligned(h, inner) + inner
        for skip, conv, size in zip(
            reversed(skips), reversed(self.up), reversed(self.bins[:-1]), strict=True
        ):
            # an even and an odd number of bins have the same half
            h = torch.cat([h, frames.aligned(skip, h)], dim=1)
            h = frames.conv_transpose(conv, h, size)
            h = h if conv is self.up[0] else F.silu(h)
        mask, residual = h.chunk(2, dim=1)
        y = frames.aligned(y, h)
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
    """Real and imaginary parts ``[batch, 2, frames, bins]`` of ``z [batch, n_fft, frames]``."""
    return from_channels(z).permute(0, 3, 2, 1)
