"""Complex STFT frames with a short delay: a long window to analyse, a short one to synthesise."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from wavediff.representations.mel import MelFrontEnd
from wavediff.representations.stft import STFT, overlap_add


class AsymmetricSTFT(STFT):
    """The STFT with asymmetric windows (Mauler & Martin 2007, sec. 2; Wood & Rouat 2019).

    Frame m ends with sample (m + 1) hop_length. Its window rises over n_fft - hop_length samples
    and falls over the last hop_length, so that its resolution in frequency is that of a long one.
    Only the last 2 hop_length samples are synthesised, with a window that makes the product of both
    a Hann window: the delay is 2 hop_length samples, whatever n_fft is.

    Args:
        n_fft: frame length in samples, even.
        hop_length: samples between frames, 1 to n_fft / 3.
        compression, scale, mel: see ``STFT``.

    Attributes:
        latency: samples of a signal after a sample that its synthesis needs, itself included.

    Raises:
        ValueError: see ``STFT``.
    """

    extra = 1  # each hop is in two frames
    synthesis_window: Tensor

    def __init__(
        self,
        n_fft: int = 1024,
        hop_length: int = 256,
        compression: float = 1.0,
        scale: float = 1.0,
        mel: MelFrontEnd | None = None,
    ) -> None:
        super().__init__(n_fft, hop_length, compression, scale, mel)
        self.latency = 2 * hop_length
        self.halo = math.ceil(n_fft / hop_length)  # of the encoding: more than decoding needs
        rise = _sine(n_fft - hop_length)
        fall = _sine(hop_length).flip(0)
        self.window = torch.cat([rise, fall])
        hann = torch.cat([_sine(hop_length).square(), fall.square()])
        synthesis = hann / self.window[-2 * hop_length :]
        self.register_buffer("synthesis_window", synthesis, persistent=False)

    def _analysed(self, audio: Tensor) -> Tensor:
        length = audio.shape[-1]
        after = self.frames(length) * self.hop_length - length
        padded = nn.functional.pad(audio, (self.n_fft - self.hop_length, after))
        frames = padded.unfold(1, self.n_fft, self.hop_length)
        return torch.fft.rfft(frames * self.window.to(audio.dtype)).mT

    def _synthesised(self, spectrum: Tensor, length: int) -> Tensor:
        window = self.synthesis_window.to(spectrum.real.dtype)
        frames = torch.fft.irfft(spectrum.mT, self.n_fft)[..., -2 * self.hop_length :] * window
        # the first hop is before the signal
        return overlap_add(frames, self.hop_length)[:, self.hop_length :][:, :length]


def _sine(length: int) -> Tensor:
    """The rising half of a sine window, float64: its square and its mirror's add up to 1."""
    return torch.sin((torch.arange(length, dtype=torch.float64) + 0.5) * (math.pi / 2 / length))
