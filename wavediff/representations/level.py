"""The running level of a recording, to divide by before a model and to multiply with after it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RunningLevel(nn.Module):
    """Root mean square over a window that reaches ``past`` back and ``ahead`` forward.

    A model that sees ``audio / level`` and whose result is multiplied by the level is exactly
    scale-equivariant: a recording at -50 dBFS is treated like one at full scale. The window is
    finite, so that a long recording may be cut; parts of digital silence do not count.

    Args:
        sample_rate: in Hz.
        hop_length: samples between estimates; a linear interpolation joins them.
        past, ahead: seconds.
    """

    def __init__(
        self, sample_rate: int, hop_length: int, past: float = 2.0, ahead: float = 0.25
    ) -> None:
        super().__init__()
        self.hop_length = hop_length
        self.past = round(past * sample_rate / hop_length)  # frames
        self.ahead = round(ahead * sample_rate / hop_length)

    def forward(self, audio: Tensor) -> Tensor:
        """Level like ``audio [batch, 1, time]``; 0 where the whole window is digital silence."""
        length, hop = audio.shape[-1], self.hop_length
        energy = F.avg_pool1d(audio.square(), hop, ceil_mode=True)
        window, size = (self.past, self.ahead), self.past + self.ahead + 1
        total = F.avg_pool1d(F.pad(energy, window), size, 1)
        sounding = F.avg_pool1d(F.pad((energy > 0).to(energy), window), size, 1)
        level = (total / sounding.clamp(min=0.5 / size)).sqrt()
        level = F.interpolate(level, scale_factor=float(hop), mode="linear", align_corners=False)
        return level[..., :length]


def normalised(audio: Tensor, level: Tensor) -> Tensor:
    """``audio / level``, and 0 where the level is."""
    return torch.where(level > 0, audio / level.clamp(min=torch.finfo(level.dtype).tiny), 0.0)
