"""Rooms as impulse responses: recorded, or simulated without geometry."""

from dataclasses import dataclass

import numpy as np
from scipy import fft

BEFORE = 0.002  # seconds of a recorded response that are kept before the direct sound


@dataclass(frozen=True)
class Room:
    """float32 response [time] and the place in it of the direct sound, its greatest value."""

    response: np.ndarray
    direct: int

    def early(self, samples: int) -> np.ndarray:
        """The response up to ``samples`` after the direct sound."""
        return self.response[: self.direct + samples + 1]

    def apply(self, audio: np.ndarray, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """(all of the sound in the room, direct sound and reflections within ``samples`` of it), each
        [time] like ``audio``, with no delay of the direct sound, and the second about as loud as
        ``audio``."""
        length = len(audio)
        early = self.early(samples)
        size = fft.next_fast_len(length + len(self.response), real=True)
        spectrum = fft.rfft(audio, size) / np.float32(np.sqrt(np.sum(np.square(early))))
        part = slice(self.direct, self.direct + length)
        return tuple(
            fft.irfft(spectrum * fft.rfft(response, size), size)[part]
            for response in (self.response, early)
        )

    def around(self, noise: np.ndarray) -> np.ndarray:
        """``noise`` [time] in the room as if it had gone on for ever: circular convolution."""
        length = len(noise)
        return fft.irfft(fft.rfft(noise) * fft.rfft(self.response[:length], length), length)


def recorded(response: np.ndarray, sample_rate: int) -> Room | None:
    """A room from a recorded response [time], without the time that sound takes to the microphone;
    None when there is nothing in it."""
    direct = int(np.argmax(np.abs(response)))
    if response[direct] == 0:
        return None
    start = max(0, direct - int(BEFORE * sample_rate))
    return Room(response[start:] / response[direct], direct - start)


def simulated(sample_rate: int, rt60: float, rng: np.random.Generator) -> Room:
    """A made-up room whose sound decays by 60 dB in ``rt60`` seconds, sooner at high frequencies.

    Direct sound, a few early reflections, and exponentially decaying noise (Polack, 1988; Moorer,
    1979), with a direct-to-reverberant ratio of -3 to 15 dB.
    """
    length = max(int(rt60 * sample_rate), 2)
    time = np.arange(length, dtype=np.float32) / sample_rate
    gap = rng.uniform(0.001, 0.01)  # seconds to the first reflection
    decay = np.exp(np.float32(-6.91 / rt60) * time)  # 6.91 = 3 ln 10
    noise = rng.standard_normal(length, dtype=np.float32)
    pole = np.float32(rng.uniform(0.3, 0.8))
    from scipy.signal import lfilter  # a second to import, which other commands need not wait

    dull = lfilter(np.array([1 - pole]), np.array([1, -pole], np.float32), noise).astype(np.float32)
    tail = decay * (dull + decay * (noise - dull))  # what is above the filter decays twice as fast
    tail *= np.minimum(1, time / 0.03)  # reflections come more and more densely
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
    np.clip(tail, -0.9, 0.9, out=tail)  # the direct sound stays the greatest
    tail[0] = 1
    return Room(tail, 0)
