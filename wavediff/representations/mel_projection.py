"""Audio moved towards the signals that have a given mel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavediff.representations.mel import MelFrontEnd
from wavediff.representations.stft import STFT
from wavediff.representations.whitened import band_interpolation

LARGEST_GAIN = 20.0  # of one iteration: keeps bins that are almost empty from exploding
FAINT = 0.1  # a bin of which every band sees less than this share is left alone
SMALLEST = 1e-6  # magnitude of a band below which there is nothing to scale


class MelProjection(nn.Module):
    """Alternate between two sets: spectra that have the mel, and spectra that some signal has.

    One iteration scales every bin by how much its bands miss of the mel (interpolated between
    the bands' centres), then takes the spectrum of the resulting signal. This is the fast
    Griffin-Lim algorithm (Perraudin et al. 2013) with the mel in place of a known magnitude: what
    the mel leaves open, the harmonics within a band and everything above ``f_max``, stays as the
    signal had it. Masuyama et al. 2023 ("bi-level consistency") treat the same two sets.

    Args:
        mel: the front-end of the mels; its window must be as long as its FFT.
        iterations: how often; 0 leaves the signal alone.
        momentum: 0 is Griffin and Lim's own iteration; Perraudin's accelerated one has 0.99 for a
            known magnitude, for a known mel a little less is better.

    Raises:
        ValueError: for a front-end whose window is shorter than its FFT.
    """

    spread: Tensor
    filters: Tensor

    def __init__(self, mel: MelFrontEnd, iterations: int = 32, momentum: float = 0.95) -> None:
        super().__init__()
        if mel.win_length != mel.n_fft:
            raise ValueError(
                f"mel consistency needs win_length = n_fft, not {mel.win_length} and {mel.n_fft}"
            )
        self.mel, self.iterations, self.momentum = mel, iterations, momentum
        self.stft = STFT(mel.n_fft, mel.hop_length)
        # frames of a front-end that is not centred lie half a hop later: one more comes first
        self.lead = 0 if mel.center else 1
        self.shift = 0 if mel.center else mel.hop_length // 2
        spread = band_interpolation(mel, mel.n_fft).float()
        seen = (mel.filters / mel.filters.amax(dim=1, keepdim=True).clamp_min(1e-12)).amax(dim=0)
        free = (seen < FAINT)[:, None]
        # the last column is for bins that are left alone; above `bins` no band sees any
        spread = torch.cat([spread.masked_fill(free, 0.0), free.float()], dim=1)
        self.bins = int(seen.nonzero()[-1, 0]) + 1
        self.register_buffer("spread", spread[: self.bins], persistent=False)
        self.register_buffer("filters", mel.filters[:, : self.bins].float(), persistent=False)

    @property
    def reach(self) -> int:
        """Mel frames on either side of a sample that its result depends on."""
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
            seen *= self._gain(seen, target)
            consistent = self.stft.stft(self.stft.istft(spectrum, length + self.shift))
            # consistent + momentum (consistent - previous), in place for the memory's sake
            spectrum = previous.lerp_(consistent, 1 + self.momentum)
            previous = consistent
        return self.stft.istft(previous, length + self.shift)[..., self.shift :]

    def _inner(self, length: int) -> slice:
        """Frames that lie within the signal; beyond its ends the mel saw reflections of it."""
        half, hop = self.mel.n_fft // 2, self.mel.hop_length
        first = -(-(half + self.shift) // hop)
        return slice(first, max(first, (length - half + self.shift) // hop + 1))

    def _target(self, mel: Tensor, frames: int) -> Tensor:
        norm = self.mel.window_norm if self.mel.normalized else 1.0
        bands = (self.mel.band_magnitude(mel) * norm) ** self.mel.power
        bands = torch.cat([bands[..., :1]] * self.lead + [bands], dim=-1)
        missing = frames - bands.shape[-1]
        return F.pad(bands, (0, missing), mode="replicate") if missing > 0 else bands[..., :frames]

    def _gain(self, seen: Tensor, target: Tensor) -> Tensor:
        energy = torch.view_as_real(seen).square()
        energy = energy[..., 0] + energy[..., 1]
        bands = self.filters @ energy ** (self.mel.power / 2)
        gain = (target / bands.clamp_min(SMALLEST)) ** (1 / self.mel.power)
        gain = gain.clamp(1 / LARGEST_GAIN, LARGEST_GAIN)
        return self.spread @ F.pad(gain, (0, 0, 0, 1), value=1.0)
