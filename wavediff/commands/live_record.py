"""The recording of ``wavediff live``: what came in, and what was played for it, aligned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from wavediff.commands.live_blocks import Block
from wavediff.data.audio import AudioWriter, audio_writer
from wavediff.data.formats import WAV_BYTES
from wavediff.errors import UserError

SUBTYPE, BYTES = "PCM_16", 2


class Recording:
    """Two files that are written block by block.

    Attributes:
        fault: why nothing more can be written, or None. What is written is kept.
    """

    def __init__(self, writers: list[AudioWriter], most: int, tell: Callable[[str], None]) -> None:
        self._writers, self._most, self._tell = writers, most, tell
        self.fault: str | None = None

    def write(self, before: Block, after: Block) -> None:
        """Append two blocks ``[channels, time]`` of one length."""
        if self.fault is not None:
            return
        if self._writers and self._writers[0].samples + before.shape[1] > self._most:
            self._end("a wav file holds 4 GB: give --record names that end in .flac")
            return
        for writer, block in zip(self._writers, (before, after), strict=False):
            try:
                writer.write(torch.from_numpy(block))
            except (OSError, RuntimeError) as error:  # libsndfile says that a disk is full so
                self._end(f"{writer.path} cannot be written on ({error}): is the disk full?")
                return

    def _end(self, fault: str) -> None:
        self.fault = fault
        self._tell(f"the recording ends here: {fault}")


@contextmanager
def recording(
    paths: tuple[Path, Path] | None, sample_rate: int, channels: int, tell: Callable[[str], None]
) -> Iterator[Recording]:
    """Yield a recording; its files appear when the block ends, also by an error in it.

    Args:
        paths: BEFORE and AFTER, .wav or .flac; None records nothing.
        sample_rate, channels: of the blocks.
        tell: is called with a sentence when nothing more can be written.

    Raises:
        UserError: where a file cannot be written.
    """
    with ExitStack() as stack:
        writers = [
            stack.enter_context(audio_writer(path, sample_rate, SUBTYPE, channels=channels))
            for path in paths or ()
        ]
        wav = any(path.suffix.lower() == ".wav" for path in paths or ())
        most = WAV_BYTES // (BYTES * channels) if wav else 1 << 62
        failure: UserError | None = None
        try:
            yield Recording(writers, most, tell)
        except UserError as error:
            failure = error  # of the devices or the model: the recording is whole all the same
    if failure is not None:
        raise failure
