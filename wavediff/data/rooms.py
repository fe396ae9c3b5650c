"""Room impulse responses: recorded, or simulated without geometry."""

from dataclasses import dataclass

import numpy as np
from scipy import fft

PRE_DELAY = 0.002  # seconds of a recorded response kept before the direct sound


@dataclass(frozen=True)
class Room:
    """An impulse response, float32 ``[time]``, and the index of the direct sound, its maximum."""

    response: np.ndarray
    direct: int

    def early(self, samples: int) -> np.ndarray:
        """Return the response up to ``samples`` after the direct sound."""
        return self.response[: self.direct + samples + 1]

    def apply(self, audio: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Convolve ``audio`` ``[time]`` with the response, and with its early part alone.

        The direct sound is not delayed, and the second signal is about as loud as ``audio``.

        Returns:
            The reverberant signal, and the one with reflections within ``samples`` only, ``[time]``
            each.
        """
        length = len(audio)
        early = self.early(samples)
        size = fft.next_fast_len(length + len(self.response), real=True)
        spectrum = fft.rfft(audio, size) / np.float32(np.sqrt(np.sum(np.square(early))))
        part = slice(self.direct, self.direct + length)
        reverberant, dry = (
            fft.irfft(spectrum * fft.rfft(response, size), size)[part]
            for response in (self.response, early)
        )
        return reverberant, dry

    def around(self, noise: np.ndarray) -> np.ndarray:
        """Convolve stationary ``noise`` ``[time]`` with the response, circularly."""
        length = len(noise)
        return fft.irfft(fft.rfft(noise) * fft.rfft(self.response[:length], length), length)


def recorded(response: np.ndarray, sample_rate: int) -> Room | None:
    """Make a room from a recorded response ``[time]``, without its initial delay.

    Returns:
        None for a silent response.
    """
    direct = int(np.argmax(np.abs(response)))
    if response[direct] == 0:
        return None
    start = max(0, direct - int(PRE_DELAY * sample_rate))
    return Room(response[start:] / response[direct], direct - start)


def simulated(sample_rate: int, rt60: float, rng: np.random.Generator) -> Room:
    """Simulate a room whose sound decays by 60 dB in ``rt60`` seconds, faster at high frequencies.

    The response consists of the direct sound, a few early reflections and exponentially decaying
    noise (Polack, 1988; Moorer, 1979), at a direct-to-reverberant ratio of -3 to 15 dB.
    """
    length = max(int(rt60 * sample_rate), 2)
    time = np.arange(length, dtype=np.float32) / sample_rate
    gap = rng.uniform(0.001, 0.01)  # seconds to the first reflection
    decay = np.exp(np.float32(-6.91 / rt60) * time)  # 6.91 = 3 ln 10
    noise = rng.standard_normal(length, dtype=np.float32)
    pole = np.float32(rng.uniform(0.3, 0.8))
    from scipy.signal import lfilter  # the import takes a second

    dull = lfilter(np.array([1 - pole]), np.array([1, -pole], np.float32), noise).astype(np.float32)
    tail = decay * (dull + decay * (noise - dull))  # high frequencies decay twice as fast
    tail *= np.minimum(1, time / 0.03)  # the density of reflections increases
    first, last = int(gap * sample_rate), min(int((gap + 0.04) * sample_rate), length)
    places = rng.integers(first, max(last, first + 1), size=int(rng.integers(3, 9)))
    loudest = float(np.abs(tail).max()) + 1e-6
    np.add.at(
        tail,
        np.minimum(places, length - 1),
        (loudest * rng.uniform(-2, 2, len(places))).astype(np.float32),
    )
    tail[: max(first, 1)] = 0
    energy = float(np.sum(np.square(tail))) + 1e-12
    tail *= np.float32(np.sqrt(10 ** (rng.uniform(-15, 3) / 10) / energy))
    np.clip(tail, -0.9, 0.9, out=tail)  # the direct sound stays the maximum
    tail[0] = 1
    return Room(tail, 0)
