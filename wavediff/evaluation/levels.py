"""How loud speech and pauses are in a recording before and after its enhancement.

Powers of frames of 20 ms decide, read block by block, so that a long file takes little memory. What
is speech and what a pause is told from the recording after, where speech stands out: speech is what
lies within 30 dB of the loudest 0.4 s, pauses are the other frames, or the quietest tenth of all.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from wavediff.data.audio import audio_info
from wavediff.errors import UserError

FRAME = 0.02  # seconds
LOUDEST = 20  # frames over which the loudest part is sought
SPEECH_DB = 30.0
QUIETEST = 0.1  # of the frames, where none is quiet enough for a pause
FLOOR_DB = -100.0  # below what 16 bits hold


@dataclass(frozen=True)
class Levels:
    """RMS levels in dBFS (0: a full-scale square wave), -100 at the least."""

    speech: float
    pauses: float


def frame_powers(path: Path) -> np.ndarray:
    """Mean squares of frames of 20 ms, over all channels: float64 [frames], at least one.

    The last frame may be shorter. Raises ``UserError`` for a file that cannot be read.
    """
    _, rate = audio_info(path)
    size = max(1, round(FRAME * rate))
    powers = []
    try:
        with soundfile.SoundFile(str(path)) as file:
            for block in file.blocks(500 * size, dtype="float32", always_2d=True):
                squares = np.mean(np.nan_to_num(block).astype(np.float64) ** 2, axis=1)
                starts = np.arange(0, len(squares), size)
                counts = np.diff(np.append(starts, len(squares)))
                powers.append(np.add.reduceat(squares, starts) / counts)
    except soundfile.SoundFileError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return np.concatenate(powers)


def levels(before: np.ndarray, after: np.ndarray) -> tuple[Levels, Levels]:
    """(before, after) from the powers [frames] of both, over the same frames.

    The longer is cut to the shorter. Without speech its level is that of the whole.
    """
    count = min(len(before), len(after))
    before, after = before[:count], after[:count]
    width = min(LOUDEST, count)
    loudest = np.convolve(after, np.full(width, 1 / width), "valid").max()
    threshold = loudest * 10 ** (-SPEECH_DB / 10)
    speech = after >= threshold
    pauses = after <= max(threshold, np.quantile(after, QUIETEST))
    return tuple(Levels(_decibels(x[speech]), _decibels(x[pauses])) for x in (before, after))


def _decibels(powers: np.ndarray) -> float:
    return max(FLOOR_DB, 10 * float(np.log10(max(np.mean(powers), 1e-30))))
