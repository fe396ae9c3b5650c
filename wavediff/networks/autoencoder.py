"""A 1-D convolutional variational autoencoder (Kingma & Welling 2014) for audio.

Strided residual convolutions as in SoundStream (Zeghidour et al. 2021) with snake activations
(Ziyin et al. 2020) as in DAC (Kumar et al. 2023), and a Gaussian latent instead of quantisation.
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

OUTER_KERNEL, KERNEL = 7, 3  # of the first and last convolution; of the residual units


class Posterior(NamedTuple):
    """A diagonal Gaussian N(mean, exp(log_variance)), both ``[batch, latent_channels, frames]``."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, eps: Tensor) -> Tensor:
        """mean + std * eps for standard normal ``eps``: the reparameterisation trick."""
        return self.mean + torch.exp(self.log_variance / 2) * eps

    def kl(self) -> Tensor:
        """KL(q || N(0, 1)) of each dimension in nats (Kingma & Welling 2014, appendix B)."""
        return (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance) / 2

    def entropy(self) -> Tensor:
        """Differential entropy of each dimension in nats, like ``mean``."""
        return (math.log(2 * math.pi) + 1 + self.log_variance) / 2


class Reconstruction(NamedTuple):
    """A decoded sample ``[batch, channels, time]`` with the parameters of its posterior."""

    audio: Tensor
    mean: Tensor
    log_variance: Tensor


class Snake(nn.Module):
    """Snake activation x + sin^2(a x) / a with a learned a per channel (Ziyin et al. 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.log_a = nn.Parameter(torch.zeros(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        a = self.log_a.exp()
        return x + torch.sin(a * x).square() / a


class ResidualUnit(nn.Module):
    """A dilated and a pointwise convolution with a residual connection."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.reach = dilation * (KERNEL // 2)
        self.layers = nn.Sequential(
            Snake(width),
            nn.Conv1d(width, width, KERNEL, padding=self.reach, dilation=dilation),
            Snake(width),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Autoencoder(nn.Module):
    """A convolutional variational autoencoder of audio.

    A latent frame of ``latent_channels`` numbers represents ``hop_length`` samples. The network has
    no norms or attention: apart from the ends of a signal it commutes with shifts by whole frames,
    and its receptive field is finite. Autocast to bfloat16 computes in float32 on a CPU without
    bfloat16 arithmetic.

    Args:
        channels: of the audio.
        latent_channels: numbers per latent frame.
        width: channels at the rate of the audio, doubled at each lower resolution.
        strides: between the resolutions; their product is ``hop_length``.
        dilations: of the residual units of each resolution.
        max_width: upper bound of the channels.

    Attributes:
        hop_length: samples per latent frame.
        compression: numbers of audio per latent number.
        encoder_reach: samples beyond its own on either side that a latent frame depends on.
        decoder_reach: latent frames beyond its own on either side that a sample depends on.

    Raises:
        ValueError: if a number is below 1.
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
        widths = [min(width * 2**i, max_width) for i in range(len(strides) + 1)]
        stages = list(zip(widths[:-1], widths[1:], strides, strict=True))

        def units(width: int) -> list[nn.Module]:
            return [ResidualUnit(width, dilation) for dilation in dilations]

        encoder: list[nn.Module] = [
            nn.Conv1d(channels, widths[0], OUTER_KERNEL, padding=OUTER_KERNEL // 2)
        ]
        for fine, coarse, stride in stages:
            encoder += [*units(fine), Snake(fine), downsampler(fine, coarse, stride)]
        encoder += [
            *units(widths[-1]),
            Snake(widths[-1]),
            nn.Conv1d(widths[-1], 2 * latent_channels, KERNEL, padding=KERNEL // 2),
        ]
        decoder: list[nn.Module] = [
            nn.Conv1d(latent_channels, widths[-1], KERNEL, padding=KERNEL // 2),
            *units(widths[-1]),
        ]
        for fine, coarse, stride in reversed(stages):
            decoder += [Snake(coarse), upsampler(coarse, fine, stride), *units(fine)]
        decoder += [
            Snake(widths[0]),
            nn.Conv1d(widths[0], channels, OUTER_KERNEL, padding=OUTER_KERNEL // 2),
        ]
        self.encoder, self.decoder = nn.Sequential(*encoder), nn.Sequential(*decoder)
        self.encoder_reach = self._encoder_reach()
        self.decoder_reach = max(map(self._decoder_reach, range(self.hop_length)))

    def frames(self, length: int) -> int:
        """Number of latent frames of ``length`` samples, rounded up."""
        return -(-length // self.hop_length)

    def encode(self, audio: Tensor) -> Posterior:
        """Posterior over the latent frames of ``audio [batch, channels, time]``.

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
        """Decode ``latent [batch, latent_channels, frames(length)]``.

        Returns:
            Audio, ``[batch, channels, length]``.

        Raises:
            ValueError: for another shape.
        """
        expected = (self.latent_channels, self.frames(length))
        if latent.ndim != 3 or length < 1 or latent.shape[1:] != expected:
            raise ValueError(f"latent must be [batch, *{list(expected)}], got {list(latent.shape)}")
        with precision(latent):
            return self.decoder(latent)[..., :length]

    def forward(self, audio: Tensor, eps: Tensor) -> Reconstruction:
        """Encode, sample with standard normal ``eps`` and decode: the pass of a training step."""
        posterior = self.encode(audio)
        return Reconstruction(self.decode(posterior.sample(eps), audio.shape[-1]), *posterior)

    def _encoder_reach(self) -> int:
        units = sum(self.dilations) * (KERNEL // 2)
        span: Span = widened((0, 0), KERNEL // 2 + units)
        for stride in reversed(self.strides):
            span = widened(seen_by_downsampler(span, stride), units)
        return reach_of(widened(span, OUTER_KERNEL // 2), (0, self.hop_length - 1))

    def _decoder_reach(self, sample: int) -> int:
        units = sum(self.dilations) * (KERNEL // 2)
        span: Span = widened((sample, sample), OUTER_KERNEL // 2)
        for stride in self.strides:
            span = seen_by_upsampler(widened(span, units), stride)
        return reach_of(widened(span, units + KERNEL // 2), (0, 0))
