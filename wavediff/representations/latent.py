"""The latent of an autoencoder, for latent diffusion (Rombach et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn

from wavediff.representations.mel import MelFrontEnd
from wavediff.representations.representation import Representation


class Latent(Representation):
    """The mean of an autoencoder's posterior, with zero mean and unit variance in each channel.

    Unlike other representations it is not invertible: ``decode`` reconstructs the audio as well as
    the autoencoder does. Checkpoints include the weights of the autoencoder, and the mean and the
    standard deviation from ``fit``.

    Args:
        autoencoder: has ``encode(audio).mean``, ``decode(latent, length)``, ``latent_channels``,
            ``hop_length`` and ``decoder_reach``, as ``wavediff.networks.autoencoder.Autoencoder``.
        frozen: whether its weights are excluded from training.
        mel: not used; all representations accept it.

    Raises:
        ValueError: if ``autoencoder`` is a name instead of a module.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, autoencoder: nn.Module, frozen: bool = True, mel: MelFrontEnd | None = None
    ) -> None:
        super().__init__()
        if not isinstance(autoencoder, nn.Module):
            raise ValueError(
                f"the autoencoder must be a module, not its name {autoencoder!r}: a checkpoint "
                "must include its weights"
            )
        self.autoencoder = cast(Any, autoencoder).requires_grad_(not frozen)
        self.channels = self.autoencoder.latent_channels
        self.hop_length = self.autoencoder.hop_length
        self.halo = self.autoencoder.decoder_reach
        self.register_buffer("mean", torch.zeros(self.channels, 1))
        self.register_buffer("std", torch.ones(self.channels, 1))

    def encode(self, audio: Tensor, mel: Tensor | None = None) -> Tensor:
        """z ``[batch, channels, frames(time)]`` of ``audio [batch, 1, time]``.

        Raises:
            ValueError: for another shape.
        """
        with torch.autocast(audio.device.type, enabled=False):
            latent = self.autoencoder.encode(audio.to(self.mean)).mean
            return (latent - self.mean) / self.std

    def decode(self, z: Tensor, length: int, mel: Tensor | None = None) -> Tensor:
        """Audio ``[batch, 1, length]`` of ``z [batch, channels, frames(length)]``.

        Raises:
            ValueError: for another shape.
        """
        with torch.autocast(z.device.type, enabled=False):
            return self.autoencoder.decode(z.to(self.mean) * self.std + self.mean, length)

    @torch.no_grad()
    def fit(self, examples: Iterable[Tensor]) -> None:
        """Estimate mean and standard deviation of each channel from audio.

        Args:
            examples: audio, each ``[1, time]``.
        """
        device = self.mean.device
        latents = [
            self.autoencoder.encode(audio[None].to(self.mean)).mean[0].double()
            for audio in examples
        ]
        frames = torch.cat(latents, dim=-1)
        self.mean.copy_(frames.mean(dim=-1, keepdim=True).to(device))
        std = frames.std(dim=-1, correction=0, keepdim=True)
        # do not amplify a channel without information
        self.std.copy_(std.clamp(min=1e-3 * std.max().clamp(min=1e-6)).to(device))
