"""Mel front-ends: the log-mel spectrograms of common vocoders, by name.

Each name is a file in ``conf/mel/``. From Python: ``mel_front_end("tacotron", n_mels=100)``.
``MelFrontEnd.check`` detects arrays that are not from a front-end.
"""

import inspect
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wavediff.errors import UserError
from wavediff.files import conf_folder
from wavediff.representations.mel_check import check_mel
from wavediff.representations.mel_filters import mel_filters

LOGS = {
    "ln": "natural logarithms",
    "log10": "decadic logarithms",
    "unit_db": "decibels mapped to [0, 1]",
}

MOST_FFT, MOST_BANDS = 65_536, 1024  # their product is a matrix
FRAMES_AT_ONCE = 8192  # bounds the memory of long recordings; 95 s at hop 256 and 22.05 kHz


class MelFrontEnd(nn.Module):
    """Log-mel spectrogram of audio.

    m = max(filters @ |STFT|^power, floor), then

        log = "ln":      ln m
        log = "log10":   log10 m
        log = "unit_db": clip((20 log10 m - 20 + 100) / 100, 0, 1)

    Args:
        name: in messages and checkpoints.
        sample_rate: in Hz.
        n_fft, win_length, hop_length: frame, window (periodic Hann) and hop in samples.
        n_mels: number of bands.
        f_min, f_max: edges of the filter bank in Hz; None is half the sample rate.
        mel_scale: ``slaney`` or ``htk``.
        norm: ``slaney`` (filters of unit area) or None (unit peak).
        power: 1 for magnitudes, 2 for energies.
        center: True centres frame m on sample m hop_length (padding n_fft / 2 by reflection);
            False pads (n_fft - hop_length) / 2 as HiFi-GAN does, which centres frame m on sample
            (m + 1/2) hop_length.
        normalized: whether the STFT is divided by the root of the window's energy, as with
            torchaudio's ``normalized=True``.
        magnitude_eps: |X| is sqrt(re^2 + im^2 + magnitude_eps).
        log: ``ln``, ``log10`` or ``unit_db``, see above.
        floor: lower bound before the logarithm, positive.

    Raises:
        ValueError: if a parameter is out of range.
    """

    filters: Tensor
    window: Tensor

    def __init__(
        self,
        name: str,
        sample_rate: int,
        n_fft: int,
        win_length: int,
        hop_length: int,
        n_mels: int,
        f_min: float = 0.0,
        f_max: float | None = None,
        mel_scale: str = "slaney",
        norm: str | None = "slaney",
        power: float = 1.0,
        center: bool = True,
        normalized: bool = False,
        magnitude_eps: float = 0.0,
        log: str = "ln",
        floor: float = 1e-5,
    ) -> None:
        super().__init__()
        f_max = sample_rate / 2 if f_max is None else f_max
        for size in (sample_rate, n_fft, win_length, hop_length, n_mels):
            if not isinstance(size, int) or size < 1:
                raise ValueError(
                    "sample_rate, n_fft, win_length, hop_length and n_mels must be positive "
                    f"integers, got {size!r}"
                )
        if n_fft > MOST_FFT or n_mels > MOST_BANDS:
            raise ValueError(
                f"n_fft is at most {MOST_FFT} and n_mels at most {MOST_BANDS}, not {n_fft} and "
                f"{n_mels}"
            )
        if win_length > n_fft or hop_length > n_fft:
            raise ValueError(f"win_length and hop_length must not exceed n_fft = {n_fft}")
        if not 0 <= f_min < f_max <= sample_rate / 2:
            raise ValueError(
                f"f_min and f_max must be 0 <= f_min < f_max <= {sample_rate / 2}, "
                f"not {f_min} and {f_max}"
            )
        if mel_scale not in ("slaney", "htk") or norm not in ("slaney", None):
            raise ValueError("mel_scale must be 'slaney' or 'htk' and norm 'slaney' or None")
        if log not in LOGS or floor <= 0 or not 0 < power <= 4 or magnitude_eps < 0:
            raise ValueError(f"log must be one of {list(LOGS)}, floor positive, power in (0, 4]")
        self.name = name
        self.sample_rate = sample_rate
        self.n_fft = n_fft
        self.win_length = win_length
        self.hop_length = hop_length
        self.n_mels = n_mels
        self.f_min = f_min
        self.f_max = f_max
        self.mel_scale = mel_scale
        self.norm = norm
        self.power = power
        self.center = center
        self.normalized = normalized
        self.magnitude_eps = magnitude_eps
        self.log = log
        self.floor = floor

        top = sample_rate / 2 if f_max is None else f_max
        filters = mel_filters(sample_rate, n_fft, n_mels, f_min, top, mel_scale, norm)
        window = torch.hann_window(win_length, dtype=torch.float64)
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", window, persistent=False)

    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {key: getattr(self, key) for key in inspect.signature(MelFrontEnd).parameters}

    @property
    def silence(self) -> float:
        """The mel value of digital silence."""
        zeros = torch.zeros(1, self.n_fft, device=self.filters.device)
        return float(self(zeros).min())

    def frames(self, length: int) -> int:
        """Number of mel frames of ``length`` samples."""
        return (length + 2 * self._padding - self.n_fft) // self.hop_length + 1

    @property
    def _padding(self) -> int:
        return self.n_fft // 2 if self.center else (self.n_fft - self.hop_length) // 2

    def forward(self, audio: Tensor | np.ndarray) -> Tensor | np.ndarray:
        """The mel ``[batch, n_mels, frames(time)]`` of audio.

        Args:
            audio: ``[batch, 1, time]``, ``[batch, time]`` or ``[time]`` (which gives ``[n_mels,
                frames(time)]``), full scale +-1. float64 is computed in float64, other types in
                float32.

        Returns:
            A tensor for a tensor, an array for an array.

        Raises:
            ValueError: for another shape, or audio too short for one frame.
        """
        if isinstance(audio, np.ndarray):
            return self(torch.from_numpy(audio)).numpy()
        if audio.ndim == 1:
            return self(audio[None])[0]
        shape = list(audio.shape)
        audio = audio.squeeze(1) if audio.ndim == 3 and audio.shape[1] == 1 else audio
        if audio.ndim != 2 or audio.shape[1] < 1 or self.frames(audio.shape[1]) < 1:
            raise ValueError(f"audio must be [batch, 1, time] or [batch, time], got {shape}")
        with torch.autocast(audio.device.type, enabled=False):
            audio = audio if audio.dtype == torch.float64 else audio.float()
            padded = reflect(audio, self._padding)
            frames = self.frames(audio.shape[1])
            chunks = []
            for first in range(0, frames, FRAMES_AT_ONCE):
                count = min(FRAMES_AT_ONCE, frames - first)
                start, stop = first * self.hop_length, (first + count - 1) * self.hop_length
                chunks.append(self._frames_of(padded[:, start : stop + self.n_fft]))
            return torch.cat(chunks, dim=-1)

    def _frames_of(self, audio: Tensor) -> Tensor:
        """The mel of padded audio ``[batch, time]``."""
        spectrum = torch.stft(
            audio,
            self.n_fft,
            self.hop_length,
            self.win_length,
            window=self.window.to(audio.dtype),
            center=False,
            return_complex=True,
        )
        if self.normalized:
            spectrum = spectrum / self.window_norm
        if self.magnitude_eps:
            energy = torch.view_as_real(spectrum).square().sum(dim=-1)
            magnitude = (energy + self.magnitude_eps).sqrt()
        else:
            magnitude = spectrum.abs()
        if self.power != 1:
            magnitude = magnitude**self.power
        return self.to_log(self.filters.to(audio.dtype) @ magnitude)

    @property
    def window_norm(self) -> float:
        """Root of the energy of the window."""
        return math.sqrt(float(self.window.square().sum()))

    def to_log(self, linear: Tensor) -> Tensor:
        linear = linear.clamp_min(self.floor)
        if self.log == "ln":
            return linear.log()
        if self.log == "log10":
            return linear.log10()
        return ((20 * linear.log10() - 20 + 100) / 100).clamp(0, 1)

    def band_magnitude(self, mel: Tensor) -> Tensor:
        """Linear magnitudes of the bands, like ``mel``: the inverse of logarithm and power."""
        mel = mel if mel.dtype == torch.float64 else mel.float()
        if self.log == "ln":
            linear = mel.exp()
        elif self.log == "log10":
            linear = 10**mel
        else:
            linear = 10 ** (5 * mel - 4)
        return linear if self.power == 1 else linear ** (1 / self.power)

    @property
    def largest(self) -> float:
        """An upper bound of the mel values of audio within full scale (+-1).

        By Cauchy-Schwarz and Parseval, |filter . |X|| <= |filter| sqrt(n_fft sum(window^2)).
        """
        norm = math.sqrt(self.n_fft) * (1 if self.normalized else self.window_norm)
        if self.power == 1:
            bound = float(self.filters.norm(dim=1).max()) * norm
        else:
            bound = float(self.filters.sum(dim=1).max()) * norm**self.power
        return float(self.to_log(torch.tensor(bound)))

    def check(
        self, array: np.ndarray | Tensor, source: str = "the mel", scale: str | None = None
    ) -> Tensor:
        """Check that an array may be a mel of this front-end.

        Args:
            array: ``[n_mels, frames]`` or ``[batch, n_mels, frames]``.
            source: its name in messages, such as the name of the file.
            scale: of its values, a name in ``mel_scales.SCALES``, from which it is converted; None
                is the front-end's own, where other scales are recognised.

        Returns:
            The mel, a float32 tensor like ``array``.

        Raises:
            UserError: for another shape, NaN or infinite values, or values outside the range of
                this front-end; the message names the likely front-end.
        """
        return check_mel(self, array, source, known=front_ends(), scale=scale)


def reflect(audio: Tensor, padding: int) -> Tensor:
    """Pad ``audio [batch, time]`` by (repeated) reflection on both sides."""
    length = audio.shape[-1]
    if length > padding:
        return nn.functional.pad(audio, (padding, padding), mode="reflect")
    period = max(2 * (length - 1), 1)
    index = torch.arange(-padding, length + padding, device=audio.device) % period
    return audio[..., torch.where(index < length, index, period - index)]


def front_ends() -> dict[str, dict[str, Any]]:
    """The parameters of the named front-ends, by name."""
    return {name: dict(parameters) for name, parameters in _front_ends(conf_folder()).items()}


@cache  # a stream checks many blocks
def _front_ends(folder: Path) -> dict[str, dict[str, Any]]:
    named = {file.stem: _read(file) for file in sorted((folder / "mel").glob("*.yaml"))}
    for parameters in named.values():
        del parameters["_target_"]
    return named


def _read(file: Path) -> dict[str, Any]:
    """A front-end's file, over the one that it begins with."""
    from omegaconf import OmegaConf  # takes 0.1 s, which models do not need

    config: Any = OmegaConf.to_container(OmegaConf.load(file))
    first = config.pop("defaults", ["_self_"])[0]
    return config if first == "_self_" else _read(file.with_stem(first)) | config


def mel_front_end(name: str, **overrides: Any) -> MelFrontEnd:
    """A front-end by name, such as ``mel_front_end("tacotron", n_mels=100)``.

    Args:
        name: a file in ``conf/mel/``.
        overrides: parameters of ``MelFrontEnd`` that differ.

    Raises:
        UserError: for an unknown name or parameter, or a parameter out of range.
    """
    known = front_ends()
    if name not in known:
        raise UserError(f"unknown mel front-end {name!r}: use one of {', '.join(known)}.")
    unknown = sorted(set(overrides) - set(known[name]))
    if unknown:
        raise UserError(
            f"unknown parameter of a mel front-end {', '.join(map(repr, unknown))}: "
            f"use {', '.join(known[name])}."
        )
    try:
        return MelFrontEnd(**known[name] | overrides)
    except (TypeError, ValueError) as error:
        raise UserError(f"invalid parameters of the mel front-end {name}: {error}.") from error
