"""Iterative projection of audio onto signals with a given mel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavediff.representations.mel import MelFrontEnd
from wavediff.representations.stft import STFT
from wavediff.representations.whitened import band_interpolation

MAX_GAIN = 20.0  # of one iteration: bounds the gain of bins that are almost empty
MIN_WEIGHT = 0.1  # relative filter weight below which a bin is not determined by the mel
MIN_MAGNITUDE = 1e-6  # lower bound of the magnitude of a band in the gain


class MelProjection(nn.Module):
    """Alternating projections between spectra with the given mel and spectra of signals.

    An iteration scales every bin by the ratio of the given mel to the current one, interpolated
    between the centres of the bands, then takes the STFT of the resulting signal. This is the fast
    Griffin-Lim algorithm (Perraudin et al. 2013) with a known mel instead of a known magnitude. The
    harmonics within a band, and frequencies above ``f_max``, are kept from the signal. Masuyama et
    al. 2023 use the same two sets.

    Args:
        mel: the front-end of the mels, with ``win_length = n_fft``.
        iterations: number of iterations; 0 returns the signal unchanged.
        momentum: 0 is the Griffin-Lim algorithm. Perraudin et al. use 0.99 with a known magnitude;
            slightly less is better with a known mel.

    Raises:
        ValueError: if the window of the front-end is shorter than its FFT.
    """

    spread: Tensor
    filters: Tensor

    def __init__(self, mel: MelFrontEnd, iterations: int = 32, momentum: float = 0.95) -> None:
        super().__init__()
        if mel.win_length != mel.n_fft:
            raise ValueError(
                f"MelProjection needs win_length = n_fft, not {mel.win_length} and {mel.n_fft}"
            )
        self.mel, self.iterations, self.momentum = mel, iterations, momentum
        self.stft = STFT(mel.n_fft, mel.hop_length)
        # the frames of a front-end that is not centred are half a hop later: prepend one
        self.lead = 0 if mel.center else 1
        self.shift = 0 if mel.center else mel.hop_length // 2
        spread = band_interpolation(mel, mel.n_fft).float()
        weight = (mel.filters / mel.filters.amax(dim=1, keepdim=True).clamp_min(1e-12)).amax(dim=0)
        free = (weight < MIN_WEIGHT)[:, None]
        # the last column gives undetermined bins the gain 1; from ``bins`` on no filter is positive
        spread = torch.cat([spread.masked_fill(free, 0.0), free.float()], dim=1)
        self.bins = int(weight.nonzero()[-1, 0]) + 1
        self.register_buffer("spread", spread[: self.bins], persistent=False)
        self.register_buffer("filters", mel.filters[:, : self.bins].float(), persistent=False)

    @property
    def reach(self) -> int:
        """Mel frames on either side that a sample of the result depends on."""
        overlap = -(-self.mel.n_fft // self.mel.hop_length) - 1
        return (self.iterations + 1) * overlap

    def forward(self, audio: Tensor, mel: Tensor) -> Tensor:
        """``audio [batch, 1, time]`` moved towards ``mel [batch, n_mels, >= frames]``."""
        if self.iterations == 0:
            return audio
        length = audio.shape[-1]
        padded = F.pad(audio, (self.shift, 0))
        spectrum = self.stft.stft(padded)
        previous = spectrum.clone()
        inner = self._inner(length)
        target = self._target(mel, spectrum.shape[-1])[..., inner]
        for _ in range(self.iterations):
            seen = spectrum[:, : self.bins, inner]
            seen *= self.gain(seen, target)
            consistent = self.stft.stft(self.stft.istft(spectrum, length + self.shift))
            # consistent + momentum (consistent - previous), in place to save memory
            spectrum = previous.lerp_(consistent, 1 + self.momentum)
            previous = consistent
        return self.stft.istft(previous, length + self.shift)[..., self.shift :]

    def _inner(self, length: int) -> slice:
        """Frames without reflections at the ends of the signal."""
        half, hop = self.mel.n_fft // 2, self.mel.hop_length
        first = -(-(half + self.shift) // hop)
        return slice(first, max(first, (length - half + self.shift) // hop + 1))

    def _target(self, mel: Tensor, frames: int) -> Tensor:
        bands = self.bands(mel)
        bands = torch.cat([bands[..., :1]] * self.lead + [bands], dim=-1)
        missing = frames - bands.shape[-1]
        return F.pad(bands, (0, missing), mode="replicate") if missing > 0 else bands[..., :frames]

    def bands(self, mel: Tensor) -> Tensor:
        """The filters' outputs, to which those of a spectrum are moved, like ``mel``."""
        norm = self.mel.window_norm if self.mel.normalized else 1.0
        return (self.mel.band_magnitude(mel) * norm) ** self.mel.power

    def gain(self, seen: Tensor, target: Tensor) -> Tensor:
        """The factors that move a spectrum towards the ``bands`` of a mel.

        Args:
            seen: the spectrum, ``[batch, bins, frames]``.
            target: ``[batch, n_mels, frames]``.
        """
        energy = torch.view_as_real(seen).square()
        energy = energy[..., 0] + energy[..., 1]
        bands = self.filters @ energy ** (self.mel.power / 2)
        gain = (target / bands.clamp_min(MIN_MAGNITUDE)) ** (1 / self.mel.power)
        gain = gain.clamp(1 / MAX_GAIN, MAX_GAIN)
        return self.spread @ F.pad(gain, (0, 0, 0, 1), value=1.0)
