"""Triangular mel filter banks, as librosa has them, without its import of several seconds."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

LINEAR_HZ = 200 / 3  # Slaney: so many Hz per mel up to 1 kHz,
LOG_FROM_HZ = 1000.0
LOG_STEP = math.log(6.4) / 27  # and 27 mels per factor of 6.4 above


def mel_filters(
    sample_rate: int,
    n_fft: int,
    n_mels: int,
    f_min: float,
    f_max: float,
    mel_scale: str = "slaney",
    norm: str | None = "slaney",
) -> Tensor:
    """Weights of the bins of an STFT in each mel band, float64 ``[n_mels, n_fft // 2 + 1]``.

    Args:
        sample_rate: in Hz.
        f_min, f_max: of the lowest and the highest band's edges, in Hz.
        mel_scale: ``slaney`` (Auditory Toolbox, linear up to 1 kHz) or ``htk`` (2595 log10(1 + f /
            700)).
        norm: ``slaney`` gives every band unit area; None a peak of 1.

    Warns:
        UserWarning: if bands are narrower than a bin, and so empty.
    """
    low, high = _to_mel(torch.tensor([f_min, f_max], dtype=torch.float64), mel_scale)
    edges = _to_hz(torch.linspace(low, high, n_mels + 2, dtype=torch.float64), mel_scale)
    bins = torch.linspace(0, sample_rate // 2, n_fft // 2 + 1, dtype=torch.float64)
    slopes = edges[:, None] - bins
    rising = -slopes[:-2] / edges.diff()[:-1, None]
    falling = slopes[2:] / edges.diff()[1:, None]
    filters = torch.minimum(rising, falling).clamp(min=0)
    if empty := int((filters == 0).all(1).sum()):
        warnings.warn(
            f"{empty} of {n_mels} mel bands are narrower than an STFT bin and stay empty: use "
            f"fewer bands or an n_fft above {n_fft}",
            stacklevel=2,
        )
    return filters * (2 / (edges[2:] - edges[:-2]))[:, None] if norm == "slaney" else filters


def _to_mel(hz: Tensor, scale: str) -> Tensor:
    if scale == "htk":
        return 2595 * torch.log10(1 + hz / 700)
    above = LOG_FROM_HZ / LINEAR_HZ + torch.log(hz.clamp(min=1) / LOG_FROM_HZ) / LOG_STEP
    return torch.where(hz >= LOG_FROM_HZ, above, hz / LINEAR_HZ)


def _to_hz(mel: Tensor, scale: str) -> Tensor:
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    knee = LOG_FROM_HZ / LINEAR_HZ
    above = LOG_FROM_HZ * torch.exp(LOG_STEP * (mel - knee))
    return torch.where(mel >= knee, above, mel * LINEAR_HZ)
