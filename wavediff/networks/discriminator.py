"""Discriminators of adversarial training, see ``wavediff.diffusion.adversarial``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

SLOPE = 0.2  # of the leaky ReLUs
MIN_POWER = 1e-9  # of a bin: bounds the gradients of root and logarithm
LOG_SCALE = 5.0  # nepers: log magnitudes x become 1 + x / LOG_SCALE


class MultiResolutionSpectrogram(nn.Module):
    """UnivNet's multi-resolution spectrogram discriminator (Jang et al. 2021).

    The input of each part is the magnitude of an STFT, divided by the root of the window's energy:
    white noise of standard deviation 1 has magnitudes around 1 at every resolution.

    Args:
        resolutions: ``(n_fft, hop_length, win_length)`` of each part, in samples.
        width: channels of the hidden layers.
        log: whether the input is the logarithm of the magnitude, which gives quiet components more
            weight and trains several times faster.

    Raises:
        ValueError: without resolutions, for a window longer than its FFT, or if ``log`` is not a
            bool.
    """

    def __init__(
        self,
        resolutions: Sequence[Sequence[int]] = (
            (1024, 120, 600),
            (2048, 240, 1200),
            (512, 50, 240),
        ),
        width: int = 32,
        log: bool = False,
    ) -> None:
        super().__init__()
        if not resolutions:
            raise ValueError("a discriminator needs at least one resolution")
        if not isinstance(log, bool):
            raise ValueError(f"log must be true or false, got {log}")
        self.parts = nn.ModuleList(
            Spectrogram(n_fft, hop_length, win_length, width, log)
            for n_fft, hop_length, win_length in resolutions
        )

    def forward(self, audio: Tensor, label: Tensor | None = None) -> list[list[Tensor]]:
        """The layers' outputs of each part, the score last, for ``audio [batch, 1, time]``.

        The score does not depend on the ``label``.
        """
        return [part(audio) for part in self.parts]


class Spectrogram(nn.Module):
    """One part: 2-D convolutions over the magnitudes of an STFT, with strides in time.

    Args:
        n_fft, hop_length, win_length: in samples, 1 <= hop_length <= win_length <= n_fft.
        width: channels of the hidden layers.
        log: whether the input is the logarithm of the magnitude.

    Raises:
        ValueError: if the lengths are inconsistent.
    """

    window: Tensor

    def __init__(
        self, n_fft: int, hop_length: int, win_length: int, width: int = 32, log: bool = False
    ) -> None:
        super().__init__()
        if not 1 <= hop_length <= win_length <= n_fft:
            raise ValueError(
                "a resolution needs 1 <= hop_length <= win_length <= n_fft, "
                f"not {hop_length}, {win_length}, {n_fft}"
            )
        self.n_fft, self.hop_length, self.log = n_fft, hop_length, log
        window = torch.hann_window(win_length)
        self.register_buffer("window", window / window.square().sum().sqrt(), persistent=False)
        self.layers = nn.ModuleList(
            [
                _conv(1, width, (3, 9)),
                *(_conv(width, width, (3, 9), stride=(1, 2)) for _ in range(3)),
                _conv(width, width, (3, 3)),
            ]
        )
        self.score = _conv(width, 1, (3, 3))

    def forward(self, audio: Tensor) -> list[Tensor]:
        """Features ``[batch, width, bins, frames]`` of each layer, then the one-channel score."""
        x, outputs = self.magnitudes(audio)[:, None], []
        if self.log:
            x = 1 + x.log() / LOG_SCALE
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x), SLOPE)
            outputs.append(x)
        return [*outputs, self.score(x)]

    def magnitudes(self, audio: Tensor) -> Tensor:
        """Magnitudes ``[batch, bins, frames]`` of ``audio [batch, 1, time]``, padded with zeros."""
        with torch.autocast(audio.device.type, enabled=False):
            spectrum = torch.stft(
                audio[:, 0].float(),
                self.n_fft,
                self.hop_length,
                len(self.window),
                self.window,
                pad_mode="constant",
                return_complex=True,
            )
            return torch.view_as_real(spectrum).square().sum(-1).clamp_min(MIN_POWER).sqrt()


def _conv(
    inside: int, outside: int, kernel: tuple[int, int], stride: tuple[int, int] = (1, 1)
) -> nn.Module:
    padding = (kernel[0] // 2, kernel[1] // 2)
    return weight_norm(nn.Conv2d(inside, outside, kernel, stride, padding))
