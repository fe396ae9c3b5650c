"""The upper edge of a mel, where a vocoder is told nothing and repeats a tone of its training data.

The filters of a mel fall to zero at ``f_max``: the level of the bins there is not given, and what
the recordings that a network learnt from hold in their pauses, such as the tone of a converter,
comes out in every pause.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from wavediff.representations.mel import MelFrontEnd
from wavediff.representations.stft import STFT, from_channels, to_channels

FRAMES = 8  # on either side, over which levels are compared
EDGE = 2.0  # bins on either side of the edge, the width of a tone in a Hann window
AROUND = (3.0, 7.0)  # bins on either side that they are compared with


def even_edge(z: Tensor, mel: MelFrontEnd, stft: STFT) -> Tensor:
    """Attenuate the bins at the edge of a mel where they are stronger than those around.

    Noise and speech, whose level is about the same there, keep theirs within the accuracy of an
    average over ``2 FRAMES + 1`` frames.

    Args:
        z: ``[batch, n_fft, frames]`` in the representation ``stft``.
        mel: whose ``f_max`` is the edge.

    Returns:
        Like ``z``; ``z`` itself where the edge is that of the band.
    """
    edge = mel.f_max / mel.sample_rate * stft.n_fft
    if edge + AROUND[1] > stft.n_fft / 2:
        return z
    spectrum = from_channels(z)  # [batch, bins, frames, 2]
    distance = (torch.arange(spectrum.shape[1], device=z.device) - edge).abs()
    at = distance <= EDGE
    around = (distance >= AROUND[0]) & (distance <= AROUND[1])
    energy = spectrum.square().sum(-1)
    levels = torch.stack([energy[:, where].mean(1) for where in (at, around)], 1)
    levels = F.avg_pool1d(levels, 2 * FRAMES + 1, 1, FRAMES, count_include_pad=False)
    gain = (levels[:, 1] / levels[:, 0].clamp_min(1e-20)).sqrt().clamp(max=1)
    evened = torch.where(at[:, None, None], spectrum * gain[:, None, :, None], spectrum)
    return to_channels(evened)
