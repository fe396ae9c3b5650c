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
        energy = F.avg_pool1d(audio.square(), hop, ceil_mode=True)
        window, size = (self.past, self.ahead), self.past + self.ahead + 1
        total = F.avg_pool1d(F.pad(energy, window), size, 1)
        sounding = F.avg_pool1d(F.pad((energy > 0).to(energy), window), size, 1)
        level = (total / sounding.clamp(min=0.5 / size)).sqrt()
        level = F.interpolate(level, scale_factor=float(hop), mode="linear", align_corners=False)
        return level[..., :length]


def normalised(audio: Tensor, level: Tensor) -> Tensor:
    """``audio / level``, and 0 where the level is 0."""
    return torch.where(level > 0, audio / level.clamp(min=torch.finfo(level.dtype).tiny), 0.0)
