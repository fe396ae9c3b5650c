"""The levels of speech and of pauses in a recording before and after its enhancement.

Frames of 20 ms are classified by their power in the enhanced recording, where speech stands out:
frames within 30 dB of the loudest 0.4 s are speech, the others (or the quietest tenth of all, if
there are fewer) are pauses. Files are read in blocks, so that a long one takes little memory.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wavediff.data.reading import audio_reader, reading

FRAME_SECONDS = 0.02
LOUDEST_FRAMES = 20
SPEECH_DB = 30.0  # below the loudest part
PAUSE_QUANTILE = 0.1  # of the frames
FLOOR_DB = -100.0  # below the quantisation noise of 16 bits


@dataclass(frozen=True)
class Levels:
    """RMS levels in dBFS (0 is a full-scale square wave), floored at -100."""

    speech: float
    pauses: float


def frame_powers(path: Path) -> np.ndarray:
    """Return the mean squares of frames of 20 ms over all channels.

    The last frame may be shorter.

    Returns:
        float64 ``[frames]``, at least one frame.

    Raises:
        UserError: if the file cannot be read.
    """
    powers = []
    with audio_reader(path) as reader, reading(reader.path):
        size = max(1, round(FRAME_SECONDS * reader.sample_rate))
        while len(block := reader.read(500 * size, "float32")):
            squares = np.mean(np.nan_to_num(block).astype(np.float64) ** 2, axis=1)
            starts = np.arange(0, len(squares), size)
            counts = np.diff(np.append(starts, len(squares)))
            powers.append(np.add.reduceat(squares, starts) / counts)
    return np.concatenate(powers)


def levels(before: np.ndarray, after: np.ndarray) -> tuple[Levels, Levels]:
    """Return the levels before and after from the frame powers ``[frames]`` of both.

    The longer recording is cut to the shorter.
    """
    count = min(len(before), len(after))
    before, after = before[:count], after[:count]
    width = min(LOUDEST_FRAMES, count)
    loudest = np.convolve(after, np.full(width, 1 / width), "valid").max()
    threshold = loudest * 10 ** (-SPEECH_DB / 10)
    speech = after >= threshold
    pauses = after <= max(threshold, np.quantile(after, PAUSE_QUANTILE))
    return _levels(before, speech, pauses), _levels(after, speech, pauses)


def _levels(powers: np.ndarray, speech: np.ndarray, pauses: np.ndarray) -> Levels:
    return Levels(_decibels(powers[speech]), _decibels(powers[pauses]))


def _decibels(powers: np.ndarray) -> float:
    return max(FLOOR_DB, 10 * float(np.log10(max(np.mean(powers), 1e-30))))
