"""The running level of a recording, to normalise the input of a model."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RunningLevel(nn.Module):
    """Root mean square over a sliding window.

    A model of ``audio / level`` whose output is multiplied by the level is exactly scale-
    equivariant. The window is finite, so that a long recording can be processed in chunks. Digital
    silence is excluded from the mean.

    Args:
        sample_rate: in Hz.
        hop_length: samples between estimates, which are interpolated linearly.
        past, ahead: extent of the window before and after a sample, in seconds.
    """

    def __init__(
        self, sample_rate: int, hop_length: int, past: float = 2.0, ahead: float = 0.25
    ) -> None:
        super().__init__()
        self.hop_length = hop_length
        self.past = round(past * sample_rate / hop_length)  # frames
        self.ahead = round(ahead * sample_rate / hop_length)

    def forward(self, audio: Tensor) -> Tensor:
        """The level, like ``audio [batch, 1, time]``; 0 if the window is digital silence."""
        length, hop = audio.shape[-1], self.hop_length
        # the last block may be shorter, and its mean is over what there is of it
        count = (length + hop - 1) // hop
        energy = F.avg_pool1d(F.pad(audio.square(), (0, count * hop - length)), hop)
        starts = hop * torch.arange(count, device=audio.device)
        energy = energy * (hop / (length - starts).clamp(max=hop)).to(energy.dtype)
        window, size = (self.past, self.ahead), self.past + self.ahead + 1
        total = F.avg_pool1d(F.pad(energy, window), size, 1)
        sounding = F.avg_pool1d(F.pad((energy > 0).to(energy), window), size, 1)
        level = (total / sounding.clamp(min=0.5 / size)).sqrt()
        level = F.interpolate(level, scale_factor=float(hop), mode="linear", align_corners=False)
        return level[..., :length]


class CausalLevel(nn.Module):
    """Root mean square over the past, for signals that are processed while they arrive.

    At the end of a block of ``hop_length`` samples it is that of the blocks up to it, and within a
    block it is interpolated linearly: a sample's level depends on no later block. Digital silence
    is excluded from the mean.

    Args:
        sample_rate: in Hz.
        hop_length: samples of a block.
        past: extent of the window before a block, in seconds.
    """

    def __init__(self, sample_rate: int, hop_length: int, past: float = 2.0) -> None:
        super().__init__()
        self.hop_length = hop_length
        self.past, self.ahead = round(past * sample_rate / hop_length), 0  # blocks

    def forward(self, audio: Tensor) -> Tensor:
        """The level, like ``audio [batch, 1, time]``; 0 up to the first sample that is not 0."""
        length, hop = audio.shape[-1], self.hop_length
        energy = F.avg_pool1d(F.pad(audio.square(), (0, -length % hop)), hop)
        ends = self.at_ends(F.pad(energy, (self.past, 0)))
        starts = torch.cat([ends[..., :1], ends[..., :-1]], dim=-1)
        return self.within(starts, ends, hop).flatten(-2)[..., :length]

    def at_ends(self, energy: Tensor) -> Tensor:
        """The level at the ends of blocks ``[..., n]``, of mean energies ``[..., past + n]``."""
        size = self.past + 1
        total = F.avg_pool1d(energy, size, 1)
        sounding = F.avg_pool1d((energy > 0).to(energy), size, 1)
        return (total / sounding.clamp(min=0.5 / size)).sqrt()

    @staticmethod
    def within(starts: Tensor, ends: Tensor, size: int) -> Tensor:
        """The level ``[..., n, size]`` in blocks of ``size``, of those at both ends ``[..., n]``.

        After silence it is constant: nothing is divided by a level that is about to rise from 0.
        """
        ramp = torch.arange(1, size + 1, device=ends.device) / size
        starts = torch.where(starts > 0, starts, ends)[..., None]
        return torch.lerp(starts, ends[..., None], ramp.to(ends.dtype))


def normalised(audio: Tensor, level: Tensor) -> Tensor:
    """``audio / level``, and 0 where the level is 0."""
    return torch.where(level > 0, audio / level.clamp(min=torch.finfo(level.dtype).tiny), 0.0)
