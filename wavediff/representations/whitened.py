"""STFT frames divided by the spectral envelope that the mel determines."""

import math

import numpy as np
import torch
from torch import Tensor

from wavediff.representations.mel import MelFrontEnd
from wavediff.representations.stft import STFT, from_channels, to_channels


class WhitenedSTFT(STFT):
    """Complex STFT frames divided by the standard deviation of each bin given the mel.

    The bands of the mel give the mean magnitude E|X| at their centres. It is interpolated between
    the centres, and constant below the first and above the last (times ``beyond`` above f_max,
    where fricatives have energy). The real and imaginary parts of a complex Gaussian bin have the
    standard deviation sqrt(2 / pi) E|X|, so z has about unit variance in every channel at every
    level. This is the energy prior of PriorGrad (Lee et al. 2022) for each bin, applied to both
    signal and noise.

    Args:
        n_fft, hop_length: as in ``STFT``.
        floor: lower bound of the envelope, as a mean STFT magnitude (full scale +-1, unnormalised
            Hann window); bounds the gain in silence and outside the bands.
        beyond: factor on the envelope above f_max of the front-end.
        scale: factor on the result.
        mel: the front-end of the mels that ``encode`` and ``decode`` receive, with the same hop.

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
        """z ``[batch, n_fft, frames(time)]`` of ``audio [batch, 1, time]`` and its mel.

        Raises:
            ValueError: for another shape, without a mel, or if it has too few frames.
        """
        spectrum = torch.view_as_real(self.stft(audio))
        return to_channels(spectrum / self.deviation(mel, spectrum.shape[2])[..., None])

    def decode(self, z: Tensor, length: int, mel: Tensor | None = None) -> Tensor:
        """Audio ``[batch, 1, length]`` of ``z [batch, n_fft, frames(length)]`` and the same mel.

        Raises:
            ValueError: for another shape, without a mel, or if it has too few frames.
        """
        spectrum = from_channels(z) * self.deviation(mel, z.shape[-1])[..., None]
        return self.istft(torch.view_as_complex(spectrum.contiguous()), length)

    def deviation(self, mel: Tensor | None, frames: int) -> Tensor:
        """Standard deviation of the real part of each bin over ``scale``.

        Args:
            mel: ``[batch, n_mels, mel_frames]``. The last frame is repeated if one is missing, as
                for a front-end that is not centred; excess frames are ignored.
            frames: of the STFT.

        Returns:
            ``[batch, n_fft / 2 + 1, frames]``.

        Raises:
            ValueError: without a mel, or for another shape.
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
    """Matrix ``[n_fft / 2 + 1, n_mels]`` from band magnitudes to mean STFT magnitudes.

    Interpolates between adjacent bands, each divided by the sum of its filter.
    """
    area = mel.filters.cpu().double().sum(dim=1)
    # magnitudes of noise are proportional to the root of the window's energy
    window_norm = math.sqrt(3 / 8 * n_fft) / (1 if mel.normalized else mel.window_norm)
    gain = window_norm / area.clamp_min(1e-12) ** (1 / mel.power)
    return band_interpolation(mel, n_fft) * gain


def band_interpolation(mel: MelFrontEnd, n_fft: int) -> Tensor:
    """Matrix that interpolates values of bands to bins, float64 ``[n_fft / 2 + 1, n_mels]``.

    The interpolation is linear in frequency between the centres of adjacent bands, and constant
    below the first and above the last. Bands without a bin of their own are skipped.
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
