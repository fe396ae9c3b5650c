"""Audio as complex STFT frames: real and imaginary parts as channels at the frame rate."""

import math

import torch
from torch import Tensor, nn

from wavediff.representations.mel import MelFrontEnd
from wavediff.representations.representation import Representation


class STFT(Representation):
    """Short-time Fourier transform, laid out as real channels and exactly invertible.

    Frame m is centred on sample m * hop_length (periodic Hann window, zeros outside the signal),
    so that it lines up with a centred mel of the same hop. With p = compression, a bin X becomes
    scale * |X|^p e^{j arg X}. Channels are the n_fft / 2 + 1 real parts, then the n_fft / 2 - 1
    imaginary parts that are not zero by symmetry: n_fft channels, as many numbers as a frame has.

    Amplitude compression: Braun and Tashev, 2021; Richter et al., 2023 (SGMSE+), eq. 22.

    Args:
        n_fft: frame and window length in samples, even.
        hop_length: samples between frames; at most n_fft / 3, so that the last samples are still
            well inside a window.
        compression: exponent p in (0, 1]; 1 leaves magnitudes alone.
        scale: factor on the result.
        mel: accepted for uniform construction; not used.

    Raises:
        ValueError: for an odd n_fft, a hop that is too long, or p outside (0, 1].
    """

    window: Tensor

    # Below this magnitude (-140 dB against a full-scale sine) compression is linear: its gradient
    # stays finite and its inverse exact.
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
        if n_fft % 2:
            raise ValueError(f"n_fft must be even, got {n_fft}")
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
        """Frequencies of the channels in cycles per sample, [n_fft], float64."""
        bins = torch.arange(self.n_fft // 2 + 1, dtype=torch.float64) / self.n_fft
        return torch.cat([bins, bins[1:-1]])

    def encode(self, audio: Tensor, mel: Tensor | None = None) -> Tensor:
        """Audio [B, 1, T] to z [B, n_fft, ceil(T / hop_length)]."""
        spectrum = torch.view_as_real(self.stft(audio))
        return to_channels(self.scale * power_law(spectrum, self.compression, self.LINEAR_BELOW))

    def decode(self, z: Tensor, length: int, mel: Tensor | None = None) -> Tensor:
        """z [B, n_fft, F] to audio [B, 1, length].

        Raises:
            ValueError: when z has not the channels or frames of `length` samples.
        """
        compressed = from_channels(z) / self.scale
        below = self.LINEAR_BELOW**self.compression
        spectrum = power_law(compressed, 1 / self.compression, below)
        return self.istft(torch.view_as_complex(spectrum.contiguous()), length)

    def stft(self, audio: Tensor) -> Tensor:
        """Audio [B, 1, T] to complex frames [B, n_fft / 2 + 1, ceil(T / hop_length)].

        Raises:
            ValueError: when audio is not [B, 1, T] with T >= 1.
        """
        if audio.ndim != 3 or audio.shape[1] != 1 or audio.shape[2] < 1:
            raise ValueError(f"audio must be [batch, 1, time >= 1], got {list(audio.shape)}")
        with torch.autocast(audio.device.type, enabled=False):
            audio = audio.squeeze(1) if audio.dtype == torch.float64 else audio.squeeze(1).float()
            window = self.window.to(audio.dtype)
            spectrum = torch.stft(
                audio,
                self.n_fft,
                self.hop_length,
                window=window,
                center=True,
                pad_mode="constant",
                return_complex=True,
            )
        return spectrum[..., : self.frames(audio.shape[-1])]

    def istft(self, spectrum: Tensor, length: int) -> Tensor:
        """The least-squares inverse of `stft` (Griffin and Lim, 1984, eq. 6).

        Complex frames [B, n_fft / 2 + 1, ceil(length / hop_length)] to audio [B, 1, length].

        Raises:
            ValueError: when the number of frames is not that of `length` samples.
        """
        if length < 1 or spectrum.shape[-1] != self.frames(length):
            raise ValueError(
                f"{length} samples have {self.frames(length)} frames, got {spectrum.shape[-1]}"
            )
        with torch.autocast(spectrum.device.type, enabled=False):
            window = self.window.to(spectrum.real.dtype)
            frames = torch.fft.irfft(spectrum.transpose(1, 2), self.n_fft).mul_(window)
            energy = window.square().expand(1, frames.shape[1], -1)
            inside = slice(self.n_fft // 2, self.n_fft // 2 + length)
            audio, energy = (overlap_add(x, self.hop_length)[:, inside] for x in (frames, energy))
        return (audio / energy).unsqueeze(1)


def overlap_add(frames: Tensor, hop_length: int) -> Tensor:
    """Frames [B, F, N] added up, each hop_length after the one before: [B, >= (F - 1) hop + N].

    torch.istft does this by way of `fold`, and for the window too: several times slower on a CPU.
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
    """[B, n_fft / 2 + 1, F, 2] to [B, n_fft, F]: all real parts, then the free imaginary ones."""
    return torch.cat([spectrum[..., 0], spectrum[:, 1:-1, :, 1]], dim=1)


def from_channels(z: Tensor) -> Tensor:
    """The inverse of `to_channels`; the imaginary parts of DC and Nyquist are zero.

    Computes in float32 (float64 where z is). Raises ValueError when z is not [B, even, F].
    """
    if z.ndim != 3 or z.shape[1] % 2:
        raise ValueError(f"z must be [batch, n_fft, frames], got {list(z.shape)}")
    z = z if z.dtype == torch.float64 else z.float()
    bins = z.shape[1] // 2 + 1
    imaginary = nn.functional.pad(z[:, bins:], (0, 0, 1, 1))
    return torch.stack([z[:, :bins], imaginary], dim=-1)


def magnitude(z: Tensor) -> Tensor:
    """|z| per bin, [B, n_fft, F] to [B, n_fft / 2 + 1, F], with a finite gradient at 0."""
    return (from_channels(z).square().sum(-1) + 1e-12).sqrt()


def power_law(spectrum: Tensor, exponent: float, linear_below: float) -> Tensor:
    """Raise magnitudes to `exponent`, keeping phases; linear where |X| < linear_below.

    spectrum is [..., 2] (real, imaginary). The linear part joins the power continuously, so the
    inverse is the power 1 / exponent with linear_below ** exponent.
    """
    if exponent == 1:
        return spectrum
    energy = spectrum.square().sum(dim=-1, keepdim=True)
    return spectrum * energy.clamp_min(linear_below**2) ** ((exponent - 1) / 2)
