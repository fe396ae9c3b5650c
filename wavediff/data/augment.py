"""Levels and filters of the mixing of noise, for float32 signals ``[time]``."""

import math

import numpy as np
import torch
from scipy import fft

from wavediff.data.resampling import resample

FRAME_SECONDS = 0.02  # of the detection of activity
ACTIVITY = 1e-4  # threshold relative to the power of the loudest frame: -40 dB
MIN_POWER = 1e-6  # floor for the power of speech, so that noise over silence has a level too


def active_power(speech: np.ndarray, sample_rate: int) -> float:
    """Return the mean square of ``[time]`` over frames of 20 ms within 40 dB of the loudest."""
    size = min(max(1, round(FRAME_SECONDS * sample_rate)), len(speech))
    frames = speech[: len(speech) // size * size].reshape(-1, size)
    power = np.einsum("ft,ft->f", frames, frames, dtype=np.float64) / size
    return float(power[power >= ACTIVITY * power.max()].mean())


def noise_gain(
    speech: np.ndarray, noise: np.ndarray, snr_db: float, sample_rate: int
) -> np.float32:
    """Return the gain of ``noise`` ``[time]`` for ``snr_db`` below the active speech ``[time]``.

    It is 0 for silent noise.
    """
    power = float(np.mean(np.square(noise, dtype=np.float64)))
    if power < 1e-12:
        return np.float32(0)
    wanted = max(active_power(speech, sample_rate), MIN_POWER) / 10 ** (snr_db / 10)
    return np.float32(np.sqrt(wanted / power))


def cut(audio: np.ndarray, length: int, fade: int, rng: np.random.Generator) -> np.ndarray:
    """Cut a random part ``[length]`` of ``[time]``.

    Short audio is repeated with cross-fades of ``fade`` samples.
    """
    if len(audio) >= length:
        start = int(rng.integers(len(audio) - length + 1))
        return audio[start : start + length]
    fade = min(fade, len(audio) // 2)
    period = audio[: len(audio) - fade].copy()
    if fade:
        angle = np.linspace(0, np.pi / 2, fade, dtype=np.float32)  # equal power
        period[:fade] = np.sin(angle) * audio[:fade] + np.cos(angle) * audio[-fade:]
    return np.resize(np.roll(period, -int(rng.integers(len(period)))), length)


def at_speed(audio: np.ndarray, speed: float, length: int, sample_rate: int) -> np.ndarray:
    """Play ``[time]`` at ``speed`` times its speed; cut or pad with zeros to ``[length]``."""
    if speed != 1:
        part = torch.tensor(audio[: math.ceil(speed * length)])
        # medium quality: its errors are inaudible here, and every item of a batch comes this way
        audio = resample(part, speed * sample_rate, sample_rate, "MQ").numpy()
    return np.pad(audio[:length], (0, max(0, length - len(audio))))


def coloured(
    audio: np.ndarray, max_db: float, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Filter ``[time]`` by a random smooth response, drawn per octave within +-``max_db``."""
    frequency = fft.rfftfreq(len(audio), 1 / sample_rate)
    octaves = 62.5 * 2.0 ** np.arange(max(int(np.log2(sample_rate / 62.5)), 2))
    gains = 10 ** (rng.uniform(-max_db, max_db, len(octaves)) / 20)
    gain = np.interp(frequency, octaves, gains).astype(np.float32)
    return fft.irfft(fft.rfft(audio) * gain, len(audio))


def low_pass(audio: np.ndarray, edge: float, sample_rate: int) -> np.ndarray:
    """Low-pass ``[time]`` at ``edge`` Hz (-6 dB), with zero phase."""
    if edge >= sample_rate / 2:
        return audio
    size = fft.next_fast_len(len(audio) + sample_rate // 16, real=True)
    frequency = fft.rfftfreq(size, 1 / sample_rate)
    place = np.clip((frequency / edge - 0.95) / 0.1, 0, 1)
    gain = (0.5 + 0.5 * np.cos(np.pi * place)).astype(np.float32)
    return fft.irfft(fft.rfft(audio, size) * gain, size)[: len(audio)]


def unit_power(audio: np.ndarray) -> np.ndarray:
    """Scale to power 1, as float32; silence stays silent."""
    power = float(np.mean(np.square(audio, dtype=np.float64)))
    return (audio / max(np.sqrt(power), 1e-6)).astype(np.float32)
