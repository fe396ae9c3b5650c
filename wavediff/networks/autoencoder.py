"""A 1-D convolutional variational autoencoder (Kingma & Welling 2014) for audio.

Strided residual convolutions as in SoundStream (Zeghidour et al. 2021) with snake activations
(Ziyin et al. 2020), as in DAC (Kumar et al. 2023); the code is Gaussian, not quantised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavediff.networks.precision import precision
from wavediff.networks.resampling import (
    Span,
    downsampler,
    reach_of,
    seen_by_downsampler,
    seen_by_upsampler,
    upsampler,
    widened,
)

ENDS, TAPS = 7, 3  # kernel sizes: of the outer convolutions, of the residual units


class Posterior(NamedTuple):
    """N(mean, exp(log_variance)) for each number, both ``[batch, latent_channels, frames]``."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, eps: Tensor) -> Tensor:
        """mean + deviation * eps: the reparameterisation."""
        return self.mean + torch.exp(self.log_variance / 2) * eps

    def kl(self) -> Tensor:
        """KL(q || N(0, 1)) of each number, in nats (Kingma & Welling 2014, app. B)."""
        return (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance) / 2

    def entropy(self) -> Tensor:
        """Differential entropy of each number, in nats."""
        return (math.log(2 * math.pi) + 1 + self.log_variance) / 2


class Reconstruction(NamedTuple):
    """The decoded sample, ``[batch, 1, time]``, with the posterior that it was drawn from."""

    audio: Tensor
    mean: Tensor
    log_variance: Tensor


class Snake(nn.Module):
    """x + sin^2(a x) / a with one learnt a per channel: what is periodic stays so."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.log_a = nn.Parameter(torch.zeros(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        a = self.log_a.exp()
        return x + torch.sin(a * x).square() / a


class ResidualUnit(nn.Module):
    """A dilated convolution and one of a single tap, beside a skip."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.reach = dilation * (TAPS // 2)
        self.layers = nn.Sequential(
            Snake(width),
            nn.Conv1d(width, width, TAPS, padding=self.reach, dilation=dilation),
            Snake(width),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Autoencoder(nn.Module):
    """Audio to a Gaussian over latent frames, and latent frames to audio.

    A frame of ``latent_channels`` numbers stands for ``hop_length`` samples: ``compression`` =
    hop_length / latent_channels samples per number. Without strides that overlap a signal's end,
    norms or attention it commutes with shifts by whole frames, and its reach is finite.

    Args:
        channels: of the audio.
        latent_channels: numbers per frame.
        width: channels at the audio's rate; each level doubles them, up to ``max_width``.
        strides: from each level to the next; their product is ``hop_length``.
        dilations: of the residual units of a level.
        max_width: see ``width``.

    Attributes:
        hop_length, compression: see above.
        encoder_reach: samples on either side of a frame's own that its mean depends on.
        decoder_reach: frames on either side of its own that a sample depends on.

    Raises:
        ValueError: for numbers below 1.

    Autocast to bfloat16 computes in float32 on a CPU without bfloat16 arithmetic.
    """

    def __init__(
        self,
        channels: int = 1,
        latent_channels: int = 16,
        width: int = 32,
        strides: Sequence[int] = (2, 4, 4, 4),
        dilations: Sequence[int] = (1, 3, 9),
        max_width: int = 256,
    ) -> None:
        super().__init__()
        if min([channels, latent_channels, width, max_width, *strides, *dilations]) < 1:
            raise ValueError("channels, widths, strides and dilations must be 1 or more")
        self.channels, self.latent_channels = channels, latent_channels
        self.strides, self.dilations = list(strides), list(dilations)
        self.hop_length = math.prod(strides)
        self.compression = self.hop_length * channels / latent_channels
        widths = [min(width * 2**level, max_width) for level in range(len(strides) + 1)]
        levels = list(zip(widths[:-1], widths[1:], strides, strict=True))

        def units(width: int) -> list[nn.Module]:
            return [ResidualUnit(width, dilation) for dilation in dilations]

        encoder: list[nn.Module] = [nn.Conv1d(channels, widths[0], ENDS, padding=ENDS // 2)]
        for fine, coarse, stride in levels:
            encoder += [*units(fine), Snake(fine), downsampler(fine, coarse, stride)]
        encoder += [
            *units(widths[-1]),
            Snake(widths[-1]),
            nn.Conv1d(widths[-1], 2 * latent_channels, TAPS, padding=TAPS // 2),
        ]
        decoder: list[nn.Module] = [
            nn.Conv1d(latent_channels, widths[-1], TAPS, padding=TAPS // 2),
            *units(widths[-1]),
        ]
        for fine, coarse, stride in reversed(levels):
            decoder += [Snake(coarse), upsampler(coarse, fine, stride), *units(fine)]
        decoder += [Snake(widths[0]), nn.Conv1d(widths[0], channels, ENDS, padding=ENDS // 2)]
        self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder)
        self.encoder_reach = self._encoder_reach()
        self.decoder_reach = max(map(self._decoder_reach, range(self.hop_length)))

    def frames(self, length: int) -> int:
        """Latent frames of ``length`` samples: the last may be partly silence."""
        return -(-length // self.hop_length)

    def encode(self, audio: Tensor) -> Posterior:
        """``[batch, channels, time]`` to the Gaussian over ``frames(time)`` latent frames.

        Raises:
            ValueError: for another shape.
        """
        if audio.ndim != 3 or audio.shape[1] != self.channels or audio.shape[2] < 1:
            raise ValueError(
                f"audio must be [batch, {self.channels}, time >= 1], got {list(audio.shape)}"
            )
        with precision(audio):
            h = self.encoder(F.pad(audio, (0, -audio.shape[-1] % self.hop_length)))
        mean, log_variance = h.chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-30, 20))

    def decode(self, latent: Tensor, length: int) -> Tensor:
        """``[batch, latent_channels, frames(length)]`` to audio ``[batch, channels, length]``.

        Raises:
            ValueError: where these are not the frames of ``length`` samples.
        """
        expected = (self.latent_channels, self.frames(length))
        if latent.ndim != 3 or length < 1 or latent.shape[1:] != expected:
            raise ValueError(f"z must be [batch, *{list(expected)}], got {list(latent.shape)}")
        with precision(latent):
            return self.decoder(latent)[..., :length]

    def forward(self, audio: Tensor, eps: Tensor) -> Reconstruction:
        """Encode, sample with the standard normal ``eps`` and decode: one training pass."""
        posterior = self.encode(audio)
        return Reconstruction(self.decode(posterior.sample(eps), audio.shape[-1]), *posterior)

    def _encoder_reach(self) -> int:
        units = sum(self.dilations) * (TAPS // 2)
        span: Span = widened((0, 0), TAPS // 2 + units)
        for stride in reversed(self.strides):
            span = widened(seen_by_downsampler(span, stride), units)
        return reach_of(widened(span, ENDS // 2), (0, self.hop_length - 1))

    def _decoder_reach(self, sample: int) -> int:
        units = sum(self.dilations) * (TAPS // 2)
        span: Span = widened((sample, sample), ENDS // 2)
        for stride in self.strides:
            span = seen_by_upsampler(widened(span, units), stride)
        return reach_of(widened(span, units + TAPS // 2), (0, 0))
