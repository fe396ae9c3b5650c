"""The base class of representations."""

from __future__ import annotations

from torch import Tensor, nn


class Representation(nn.Module):
    """An invertible map from audio to a signal of ``channels`` at a lower rate.

    ``decode(encode(audio), length)`` is the audio, for any length.

    Attributes:
        channels: of z.
        hop_length: audio samples per frame of z.
        halo: frames of z on either side that a decoded frame depends on.
        extra: frames of z that a signal has besides those of its hops.
    """

    channels: int
    hop_length: int
    halo: int
    extra: int = 0

    def frames(self, length: int) -> int:
        """Number of frames of ``length`` samples: the hops, rounded up, and ``extra``."""
        return (length + self.hop_length - 1) // self.hop_length + self.extra

    def encode(self, audio: Tensor, mel: Tensor | None = None) -> Tensor:
        """z ``[batch, channels, frames(time)]`` of ``audio [batch, 1, time]``.

        Args:
            audio: full scale +-1, at least one sample.
            mel: its mel spectrogram ``[batch, n_mels, frames]``, where the representation needs it.

        Raises:
            ValueError: for another shape, or without a mel that is needed.
        """
        raise NotImplementedError

    def decode(self, z: Tensor, length: int, mel: Tensor | None = None) -> Tensor:
        """The inverse of ``encode``: audio ``[batch, 1, length]``.

        Args:
            z: ``[batch, channels, frames(length)]``.
            length: samples of the audio, at least 1.
            mel: as for ``encode``.

        Raises:
            ValueError: for another shape, or without a mel that is needed.
        """
        raise NotImplementedError
