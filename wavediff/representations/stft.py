"""Complex STFT frames, with real and imaginary parts as channels."""

import math

import torch
from torch import Tensor, nn

from wavediff.representations.mel import MOST_FFT, MelFrontEnd
from wavediff.representations.representation import Representation


class STFT(Representation):
    """The short-time Fourier transform as real channels, exactly invertible.

    A bin X becomes scale |X|^p e^(j arg X) with p = compression (Braun & Tashev 2021; SGMSE+,
    Richter et al. 2023, eq. 22). Frame m is centred on sample m hop_length (periodic Hann window,
    zeros outside the signal) and aligned with a centred mel of the same hop. The n_fft channels are
    the n_fft / 2 + 1 real parts, then the n_fft / 2 - 1 imaginary parts that are not 0 by symmetry.

    Args:
        n_fft: frame and window length in samples, even.
        hop_length: samples between frames, 1 to n_fft / 3, so that the last samples are well within
            a window.
        compression: exponent p in (0, 1]; 1 is no compression.
        scale: factor on the result.
        mel: not used; all representations accept it.

    Raises:
        ValueError: if ``n_fft`` is odd, or ``hop_length`` or ``compression`` is out of range.
    """

    window: Tensor

    # Below this magnitude (-140 dB relative to a full-scale sine) compression is linear, for a
    # finite gradient and an exact inverse.
    LINEAR_BELOW = 2.5e-5

    def __init__(
        self,
        n_fft: int = 1024,
        hop_length: int = 256,
        compression: float = 1.0,
        scale: float = 1.0,
        mel: MelFrontEnd | None = None,
    ) -> None:
        super().__init__()
        if n_fft % 2 or not 2 <= n_fft <= MOST_FFT:
            raise ValueError(f"n_fft must be even and from 2 to {MOST_FFT}, got {n_fft}")
        if not 1 <= hop_length <= n_fft // 3:
            raise ValueError(f"hop_length must be in 1..n_fft / 3, got {hop_length} for {n_fft}")
        if not 0 < compression <= 1:
            raise ValueError(f"compression must be in (0, 1], got {compression}")
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.compression = compression
        self.scale = scale
        self.channels = n_fft
        self.halo = math.ceil(n_fft / 2 / hop_length)
        window = torch.hann_window(n_fft, dtype=torch.float64)
        self.register_buffer("window", window, persistent=False)

    @property
    def centres(self) -> Tensor:
        """Frequencies of the channels in cycles per sample, float64 ``[n_fft]``."""
        bins = torch.arange(self.n_fft // 2 + 1, dtype=torch.float64) / self.n_fft
        return torch.cat([bins, bins[1:-1]])

    def encode(self, audio: Tensor, mel: Tensor | None = None) -> Tensor:
        """z ``[batch, n_fft, frames(time)]`` of ``audio [batch, 1, time]``.

        Raises:
            ValueError: for another shape.
        """
        return self.compressed(self.stft(audio))

    def decode(self, z: Tensor, length: int, mel: Tensor | None = None) -> Tensor:
        """Audio ``[batch, 1, length]`` of ``z [batch, n_fft, frames(length)]``.

        Raises:
            ValueError: for another shape.
        """
        return self.istft(self.expanded(z), length)

    def compressed(self, spectrum: Tensor) -> Tensor:
        """z ``[batch, n_fft, frames]`` of a complex ``spectrum [batch, n_fft / 2 + 1, frames]``."""
        parts = torch.view_as_real(spectrum)
        return to_channels(self.scale * power_law(parts, self.compression, self.LINEAR_BELOW))

    def expanded(self, z: Tensor) -> Tensor:
        """The complex spectrum of ``z``, see ``compressed``."""
        below = self.LINEAR_BELOW**self.compression
        parts = power_law(from_channels(z) / self.scale, 1 / self.compression, below)
        return torch.view_as_complex(parts.contiguous())

    def stft(self, audio: Tensor) -> Tensor:
        """Complex frames ``[batch, n_fft / 2 + 1, frames(time)]`` of ``audio [batch, 1, time]``.

        Raises:
            ValueError: for another shape.
        """
        if audio.ndim != 3 or audio.shape[1] != 1 or audio.shape[2] < 1:
            raise ValueError(f"audio must be [batch, 1, time >= 1], got {list(audio.shape)}")
        with torch.autocast(audio.device.type, enabled=False):
            audio = audio.squeeze(1) if audio.dtype == torch.float64 else audio.squeeze(1).float()
            return self._analysed(audio)

    def istft(self, spectrum: Tensor, length: int) -> Tensor:
        """The least-squares inverse of ``stft`` (Griffin & Lim 1984, eq. 6).

        Args:
            spectrum: complex, ``[batch, n_fft / 2 + 1, frames(length)]``.
            length: samples of the audio, at least 1.

        Returns:
            Audio, ``[batch, 1, length]``.

        Raises:
            ValueError: if the number of frames is not that of ``length`` samples.
        """
        if length < 1 or spectrum.shape[-1] != self.frames(length):
            raise ValueError(
                f"{length} samples have {self.frames(length)} frames, got {spectrum.shape[-1]}"
            )
        with torch.autocast(spectrum.device.type, enabled=False):
            return self._synthesised(spectrum, length).unsqueeze(1)

    def _analysed(self, audio: Tensor) -> Tensor:
        """Frames ``[batch, n_fft / 2 + 1, frames(time)]`` of ``audio [batch, time]``."""
        # as torch.stft centres frames, but no more of them than are wanted
        half = self.n_fft // 2
        after = (self.frames(audio.shape[-1]) - 1) * self.hop_length + half - audio.shape[-1]
        return torch.stft(
            nn.functional.pad(audio, (half, after)),
            self.n_fft,
            self.hop_length,
            window=self.window.to(audio.dtype),
            center=False,
            return_complex=True,
        )

    def _synthesised(self, spectrum: Tensor, length: int) -> Tensor:
        """The inverse of ``_analysed``, ``[batch, length]``."""
        window = self.window.to(spectrum.real.dtype)
        frames = torch.fft.irfft(spectrum.transpose(1, 2), self.n_fft).mul_(window)
        energy = window.square().expand(1, frames.shape[1], -1)
        inside = slice(self.n_fft // 2, self.n_fft // 2 + length)
        audio, energy = (overlap_add(x, self.hop_length)[:, inside] for x in (frames, energy))
        return audio / energy


def overlap_add(frames: Tensor, hop_length: int) -> Tensor:
    """Overlap-add of frames, several times as fast on a CPU as ``torch.nn.functional.fold``.

    Args:
        frames: ``[batch, frames, length]``.
        hop_length: samples between frames.

    Returns:
        ``[batch, time]`` with at least (frames - 1) hop_length + length samples.
    """
    short = -frames.shape[-1] % hop_length
    blocks = nn.functional.pad(frames, (0, short)) if short else frames
    blocks = blocks.unflatten(-1, (-1, hop_length))
    count, per_frame = blocks.shape[1:3]
    audio = blocks.new_zeros(len(blocks), count + per_frame - 1, hop_length)
    for k in range(per_frame):
        audio[:, k : k + count] += blocks[:, :, k]
    return audio.flatten(1)


def to_channels(spectrum: Tensor) -> Tensor:
    """Real parts, then the non-zero imaginary parts of a spectrum.

    Args:
        spectrum: real and imaginary parts, ``[batch, n_fft / 2 + 1, frames, 2]``.

    Returns:
        ``[batch, n_fft, frames]``.
    """
    return torch.cat([spectrum[..., 0], spectrum[:, 1:-1, :, 1]], dim=1)


def from_channels(z: Tensor) -> Tensor:
    """The inverse of ``to_channels``, with zero imaginary parts of DC and Nyquist.

    Args:
        z: ``[batch, n_fft, frames]``, n_fft even.

    Returns:
        ``[batch, n_fft / 2 + 1, frames, 2]``, float64 for float64 and float32 for other types.

    Raises:
        ValueError: for another shape.
    """
    if z.ndim != 3 or z.shape[1] % 2:
        raise ValueError(f"z must be [batch, n_fft, frames], got {list(z.shape)}")
    z = z if z.dtype == torch.float64 else z.float()
    bins = z.shape[1] // 2 + 1
    imaginary = nn.functional.pad(z[:, bins:], (0, 0, 1, 1))
    return torch.stack([z[:, :bins], imaginary], dim=-1)


def magnitude(z: Tensor) -> Tensor:
    """Magnitude of each bin, ``[batch, n_fft / 2 + 1, frames]``, with a finite gradient at 0.

    Args:
        z: ``[batch, n_fft, frames]``.
    """
    return (from_channels(z).square().sum(-1) + 1e-12).sqrt()


def power_law(spectrum: Tensor, exponent: float, linear_below: float) -> Tensor:
    """Raise magnitudes to a power, with unchanged phases; linear for small magnitudes.

    The function is continuous, and its inverse has the exponent 1 / exponent and the threshold
    linear_below^exponent.

    Args:
        spectrum: real and imaginary parts, ``[..., 2]``.
        exponent: positive.
        linear_below: magnitude below which the function is linear.
    """
    if exponent == 1:
        return spectrum
    energy = spectrum.square().sum(dim=-1, keepdim=True)
    return spectrum * energy.clamp_min(linear_below**2) ** ((exponent - 1) / 2)
