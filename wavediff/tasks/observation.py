"""What is known of a sound, as the condition of a generator that restores.

Gaps, missing bands and clipped peaks all are an unknown part of a waveform whose rest is known. A
network that was trained with what is known in clear does not have to find it in the noisy state, as
projection alone demands (Palette, Saharia et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.noise import ItemNoise
from wavediff.diffusion.transfer import like
from wavediff.representations.representation import Representation

BANDS = 32  # in which the network sees how much of the spectrum is known
CHANNELS = BANDS + 2  # of the local condition
TAPS = 255  # of the low-pass
STREAM = 16  # of the noise that draws observations
DRAWS = 8  # numbers in [0, 1) that one takes


@dataclass(frozen=True)
class Observation:
    """What is known of audio.

    Attributes:
        audio: ``[batch, 1, time]``: zeros in gaps, low-passed, or clipped.
        known: whether a sample is known, between 0 and 1, like ``audio``; a clipped one is not.
        cutoff: up to where the spectrum is known, in cycles per sample, ``[batch]``; 0.5 for all.
    """

    audio: Tensor
    known: Tensor
    cutoff: Tensor

    def condition(self, representation: Representation, scale: float) -> Condition:
        """The encoded ``audio`` as the anchor, and how much is known about each frame as local."""
        hop, frames = representation.hop_length, representation.frames(self.audio.shape[-1])
        shares = [_share(self.known, size, hop, frames) for size in (hop, 4 * hop)]
        edges = (torch.arange(BANDS, device=self.audio.device) + 0.5) / (2 * BANDS)
        band = (edges < self.cutoff[:, None]).to(self.audio)
        local = torch.cat([*shares, band[..., None].expand(-1, -1, frames)], dim=1)
        return Condition(anchor=scale * representation.encode(self.audio), local=local)

    def unknown(self, representation: Representation) -> Tensor:
        """1 for what is not known of the spectrum, 0 for the rest, ``[batch, channels, frames]``.

        A frame with samples that are not known is not known in any of its bands.
        """
        hop, frames = representation.hop_length, representation.frames(self.audio.shape[-1])
        gap = (_share(self.known, 4 * hop, hop, frames) < 1 - 1e-6).to(self.audio)
        centres: Any = representation.centres  # of a representation by frequency
        above = centres.to(self.cutoff) > self.cutoff[:, None]
        return torch.maximum(gap, above.to(gap)[..., None])


def observe(audio: Tensor, noise: ItemNoise, shares: dict[str, float]) -> Observation:
    """Forget a part of ``audio [batch, 1, time]``, as a function of ``noise``.

    Args:
        audio: full scale [-1, 1].
        noise: of the items.
        shares: of the kinds of observations: ``nothing`` known, ``gaps``, ``band``, ``clipped``.
    """
    u = torch.stack([noise.uniform(stream=STREAM + k) for k in range(DRAWS)], dim=-1)
    kinds = _kinds(u[:, 0], shares)
    given, known, cutoffs = [], [], []
    for x, kind, numbers in zip(audio, kinds, u.tolist(), strict=True):
        y, mask, cutoff = FORGET[kind](x[None], numbers[1:])
        given.append(y)
        known.append(mask)
        cutoffs.append(cutoff)
    return Observation(torch.cat(given), torch.cat(known), like(torch.tensor(cutoffs), audio))


def nothing(n: int, length: int, device: torch.device) -> Observation:
    """The observation of ``n`` sounds of ``length`` samples of which nothing is known."""
    zeros = torch.zeros(n, 1, length, device=device)
    return Observation(zeros, zeros, zeros[:, 0, 0])


def _kinds(u: Tensor, shares: dict[str, float]) -> list[str]:
    names = list(shares)
    ends = torch.tensor([shares[name] for name in names], dtype=torch.float64).cumsum(0)
    places = torch.searchsorted(ends / ends[-1], u.contiguous(), right=True)
    return [names[min(place, len(names) - 1)] for place in places.tolist()]


def _nothing(x: Tensor, u: list[float]) -> tuple[Tensor, Tensor, float]:
    return torch.zeros_like(x), torch.zeros_like(x), 0.0


def _gaps(x: Tensor, u: list[float]) -> tuple[Tensor, Tensor, float]:
    """A gap of 0.5 to 12 % of the sound in its first half, and often one in the second."""
    known, length = torch.ones_like(x), x.shape[-1]
    for k in range(1 if u[0] < 0.5 else 2):
        size = round(length * 0.005 * 24 ** u[1 + 2 * k])
        start = round((length // 2 - size) * u[2 + 2 * k]) + k * length // 2
        known[..., start : start + size] = 0
    return x * known, known, 0.5


def _band(x: Tensor, u: list[float]) -> tuple[Tensor, Tensor, float]:
    """Nothing above a cutoff; often 0.9 of a quarter of the rate, as from resampling by two."""
    cutoff = 0.225 if u[0] < 0.4 else 0.06 + 0.4 * u[1]
    kernel = low_pass(cutoff).to(x)[None, None]
    return F.conv1d(x, kernel, padding=TAPS // 2), torch.ones_like(x), cutoff


def _clipped(x: Tensor, u: list[float]) -> tuple[Tensor, Tensor, float]:
    """The peak clipped by 1 to 26 dB."""
    bound = x.abs().amax() * 10 ** (-(1 + 25 * u[0]) / 20)
    return x.clamp(-bound, bound), (x.abs() < bound).to(x), 0.5


FORGET = {"nothing": _nothing, "gaps": _gaps, "band": _band, "clipped": _clipped}


def low_pass(cutoff: float, taps: int = TAPS) -> Tensor:
    """A linear-phase low-pass (Kaiser window), -6 dB at ``cutoff`` in cycles per sample."""
    n = torch.arange(taps, dtype=torch.float64) - taps // 2
    kernel = 2 * cutoff * torch.sinc(2 * cutoff * n)
    kernel = kernel * torch.kaiser_window(taps, periodic=False, beta=8.0, dtype=torch.float64)
    return kernel / kernel.sum()


def _share(known: Tensor, size: int, hop: int, frames: int) -> Tensor:
    """The share of known samples in ``size`` around each frame's centre, ``[batch, 1, frames]``."""
    after = max(0, (frames - 1) * hop + size - size // 2 - known.shape[-1])
    padded = F.pad(known, (size // 2, after), value=1.0)
    return F.avg_pool1d(padded, size, hop)[..., :frames]
