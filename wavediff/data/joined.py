"""Several sound files one after the other, as one."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from soundfile import SoundFile


class Joined:
    """Files of one format, with the attributes and methods of ``SoundFile`` in use.

    Args:
        files: open, of one sample rate and number of channels.
    """

    def __init__(self, files: Sequence[SoundFile]) -> None:
        self._files, self._current = files, 0
        first = files[0]
        self.samplerate, self.channels = first.samplerate, first.channels
        self.format, self.subtype, self.extra_info = first.format, first.subtype, first.extra_info
        self._ends = list(accumulate(file.frames for file in files))
        self.frames = self._ends[-1]

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()

    def copy_metadata(self) -> dict[str, str]:
        """Return what the first tells of the recording."""
        return self._files[0].copy_metadata()

    def seek(self, frame: int) -> None:
        """Go to a sample."""
        self._current = sum(end <= frame for end in self._ends[:-1])
        start = self._ends[self._current] - self._files[self._current].frames
        self._files[self._current].seek(frame - start)
        for file in self._files[self._current + 1 :]:
            file.seek(0)

    def read(self, out: np.ndarray) -> np.ndarray:
        """Fill ``out [time, channels]``, and return the part that is filled: less at the end."""
        filled = 0
        while True:
            filled += len(self._files[self._current].read(out=out[filled:]))
            if filled == len(out) or self._current + 1 == len(self._files):
                return out[:filled]
            self._current += 1
