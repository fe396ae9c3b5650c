"""STFT frames divided by the envelope that the mel already tells."""

import math

import numpy as np
import torch
from torch import Tensor

from wavediff.representations.mel import MelFrontEnd
from wavediff.representations.stft import STFT, from_channels, to_channels


class WhitenedSTFT(STFT):
    """Complex STFT frames over the standard deviation that the mel predicts for each bin.

    The mel's bands give the mean magnitude E|X| at their centres; between centres it is
    interpolated, beyond the first and last held (times `beyond` above f_max, where speech has its
    sharpest fricatives). For a complex Gaussian bin (Rayleigh magnitude)
    the real and imaginary parts then have the deviation sqrt(2 / pi) E|X|, by which X is divided:
    z has about unit variance in every channel, loud or soft, low or high. The idea is PriorGrad's
    (Lee et al., 2022) energy prior, applied per bin and to both signal and noise.

    Args:
        n_fft, hop_length: as in `STFT`.
        mel: the front-end whose mel `encode` and `decode` receive; its hop must be hop_length.
        floor: smallest envelope, as a mean STFT magnitude (full scale +-1, unnormalised Hann), so
            that silence and what lies outside the mel's bands is not blown up.
        beyond: factor on the envelope above the front-end's f_max, which no band describes.
        scale: factor on the result.

    Raises:
        ValueError: without a mel front-end, or for another hop.
    """

    envelope_matrix: Tensor

    def __init__(
        self,
        n_fft: int = 1024,
        hop_length: int = 256,
        floor: float = 1e-3,
        beyond: float = 1.8,
        scale: float = 1.0,
        mel: MelFrontEnd | None = None,
    ) -> None:
        super().__init__(n_fft, hop_length, scale=scale)
        if mel is None:
            raise ValueError("WhitenedSTFT needs a mel front-end")
        if mel.hop_length != hop_length:
            raise ValueError(f"the mel's hop is {mel.hop_length}, not {hop_length}")
        self.floor = floor
        self.mel = mel
        matrix = envelope_matrix(mel, n_fft)
        frequencies = torch.linspace(0, mel.sample_rate / 2, n_fft // 2 + 1)
        matrix[frequencies > mel.f_max] *= beyond
        self.register_buffer("envelope_matrix", matrix, persistent=False)

    def encode(self, audio: Tensor, mel: Tensor | None = None) -> Tensor:
        """Audio [B, 1, T] and its mel [B, n_mels, >= F] to z [B, n_fft, F = ceil(T / hop)].

        Raises:
            ValueError: without a mel, or when it has too few frames.
        """
        spectrum = torch.view_as_real(self.stft(audio))
        return to_channels(spectrum / self.deviation(mel, spectrum.shape[2])[..., None])

    def decode(self, z: Tensor, length: int, mel: Tensor | None = None) -> Tensor:
        """z [B, n_fft, F] and the same mel to audio [B, 1, length].

        Raises:
            ValueError: without a mel, when it has too few frames, or z not those of `length`.
        """
        spectrum = from_channels(z) * self.deviation(mel, z.shape[-1])[..., None]
        return self.istft(torch.view_as_complex(spectrum.contiguous()), length)

    def deviation(self, mel: Tensor | None, frames: int) -> Tensor:
        """Deviation of a bin's real part over `scale`, [B, n_fft / 2 + 1, frames].

        A front-end that is not centred leaves the last, partial frame out: the last mel frame
        then serves for it too. Further mel frames are cut.
        """
        if mel is None:
            raise ValueError("WhitenedSTFT needs the mel to encode and decode")
        if mel.ndim != 3 or mel.shape[1] != self.mel.n_mels or mel.shape[2] < max(frames - 1, 1):
            raise ValueError(
                f"mel must be [batch, {self.mel.n_mels}, at least {frames}], got {list(mel.shape)}"
            )
        with torch.autocast(mel.device.type, enabled=False):
            bands = self.mel.band_magnitude(mel[..., :frames])
            if bands.shape[-1] < frames:
                bands = torch.cat([bands, bands[..., -1:]], dim=-1)
            mean = (self.envelope_matrix.to(bands.dtype) @ bands).clamp_min(self.floor)
            return math.sqrt(2 / math.pi) / self.scale * mean


def envelope_matrix(mel: MelFrontEnd, n_fft: int) -> Tensor:
    """Matrix [n_fft / 2 + 1, n_mels] from a mel's band magnitudes to mean STFT magnitudes.

    Interpolates between the neighbouring bands, each divided by its filter's sum.
    """
    area = mel.filters.cpu().double().sum(dim=1)
    # For noise-like sound magnitudes grow with the root of the window's energy.
    window_norm = math.sqrt(3 / 8 * n_fft) / (1 if mel.normalized else mel.window_norm)
    gain = window_norm / area.clamp_min(1e-12) ** (1 / mel.power)
    return band_interpolation(mel, n_fft) * gain


def band_interpolation(mel: MelFrontEnd, n_fft: int) -> Tensor:
    """Matrix [n_fft / 2 + 1, n_mels] that spreads one number per band over the bins, float64.

    Each row interpolates linearly in frequency between the two neighbouring bands' centres; below
    the first and above the last it is held. Bands so narrow that they share their only bin, or
    have none, are passed over.
    """
    filters = mel.filters.cpu().double().numpy()
    area = filters.sum(axis=1)
    bins = np.linspace(0, mel.sample_rate / 2, filters.shape[1])
    centres = np.full(mel.n_mels, -1.0)
    np.divide(filters @ bins, area, out=centres, where=area > 0)
    centres, used = np.unique(centres, return_index=True)
    centres, used = centres[area[used] > 0], used[area[used] > 0]

    at = np.linspace(0, mel.sample_rate / 2, n_fft // 2 + 1)
    matrix = np.zeros((len(at), mel.n_mels))
    for row, band in zip(np.eye(len(used)), used, strict=True):
        matrix[:, band] = np.interp(at, centres, row)
    return torch.from_numpy(matrix)
