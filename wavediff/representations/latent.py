"""The latent of an autoencoder, for diffusion within it (Rombach et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from wavediff.representations.mel import MelFrontEnd
from wavediff.representations.representation import Representation


class Latent(Representation):
    """Audio as the mean of an autoencoder's latent, each channel at mean 0 and deviation 1.

    The weights, and the mean and deviation that ``fit`` measured, are part of every checkpoint.
    Not invertible: ``decode`` gives what the autoencoder keeps.

    Args:
        autoencoder: has ``encode(audio).mean``, ``decode(latent, length)``, ``frames(length)``,
            ``latent_channels``, ``hop_length`` and ``decoder_reach``.
        frozen: whether its weights are left alone.
        mel: accepted for uniform construction; not used.

    Raises:
        ValueError: for an autoencoder that is only named.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, autoencoder: nn.Module, frozen: bool = True, mel: MelFrontEnd | None = None
    ) -> None:
        super().__init__()
        if not isinstance(autoencoder, nn.Module):
            raise ValueError(
                f"the autoencoder {autoencoder!r} is named, not given: a checkpoint must hold it"
            )
        self.autoencoder = cast(Any, autoencoder).requires_grad_(not frozen)
        self.channels = self.autoencoder.latent_channels
        self.hop_length = self.autoencoder.hop_length
        self.halo = self.autoencoder.decoder_reach
        self.register_buffer("mean", torch.zeros(self.channels, 1))
        self.register_buffer("std", torch.ones(self.channels, 1))

    def encode(self, audio: Tensor, mel: Tensor | None = None) -> Tensor:
        """Audio [B, 1, T] to z [B, channels, ceil(T / hop)].

        Raises:
            ValueError: when audio is not [B, 1, T] with T >= 1.
        """
        with torch.autocast(audio.device.type, enabled=False):
            latent = self.autoencoder.encode(audio.to(self.mean)).mean
            return (latent - self.mean) / self.std

    def decode(self, z: Tensor, length: int, mel: Tensor | None = None) -> Tensor:
        """z [B, channels, ceil(length / hop)] to audio [B, 1, length].

        Raises:
            ValueError: when z has not the channels or frames of `length` samples.
        """
        with torch.autocast(z.device.type, enabled=False):
            return self.autoencoder.decode(z.to(self.mean) * self.std + self.mean, length)

    @torch.no_grad()
    def fit(self, examples: Iterable[Tensor]) -> None:
        """Measure the latent's mean and deviation over all frames of ``examples``, [1, T] each."""
        device = self.mean.device
        latents = [
            self.autoencoder.encode(audio[None].to(self.mean)).mean[0].double()
            for audio in examples
        ]
        frames = torch.cat(latents, dim=-1)
        self.mean.copy_(frames.mean(dim=-1, keepdim=True).to(device))
        std = frames.std(dim=-1, correction=0, keepdim=True)
        # a channel that says nothing must not be blown up
        self.std.copy_(std.clamp(min=1e-3 * std.max().clamp(min=1e-6)).to(device))
