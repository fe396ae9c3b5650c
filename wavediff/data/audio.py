"""Reading and writing whole audio files, and writing them piece by piece.

A signal is a float32 tensor ``[channels, time]``; full scale is [-1, 1].
"""

import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor
from tqdm import tqdm

from wavediff.data.bit_rate import encoder_options
from wavediff.data.carried import Carried
from wavediff.data.formats import (
    FLOATS,
    LOSSY,
    PCM_BITS,
    SUBTYPES,
    check_codec,
    kept_format,
    to_integers,
)
from wavediff.data.members import Member
from wavediff.data.reading import AudioReader, BadAudio, audio_reader, brief, check_samples, reading
from wavediff.data.resampling import resample
from wavediff.errors import UserError, first_time, named
from wavediff.files import atomic_path

__all__ = [
    "AudioReader",
    "AudioWriter",
    "BadAudio",
    "audio_info",
    "audio_reader",
    "audio_writer",
    "audio_writer_like",
    "format_like",
    "read_audio",
    "warn",
    "write_audio",
]

READ_AT_ONCE = 1 << 20  # samples: bounds the memory for a long file


def audio_info(path: str | Path | Member) -> tuple[int, int]:
    """Return (frames, sample_rate in Hz) from the header of a file.

    Raises:
        BadAudio: if the file is missing, not audio or empty.
    """
    with audio_reader(path) as reader:
        return reader.frames, reader.sample_rate


def warn(reader: AudioReader) -> None:
    """Say on stderr, once a command, what is wrong with a file that was read all the same."""
    fault = reader.fault
    if fault and first_time((Path(reader.name).absolute(), fault)):
        tqdm.write(f"{reader.name} {fault}", file=sys.stderr)


def read_audio(
    path: str | Path | Member,
    sample_rate: int | None = None,
    mono: bool = True,
    *,
    start: int = 0,
    frames: int = -1,
    channel: int | None = None,
) -> tuple[Tensor, int]:
    """Read a file.

    Args:
        path: the file.
        sample_rate: in Hz, to resample to; None keeps the file's rate.
        mono: average the channels to one.
        start: first frame to read, at the file's rate.
        frames: number of frames to read, at the file's rate; -1 reads to the end.
        channel: the only one to keep, from 0; None for all.

    Returns:
        The audio, float32 ``[channels, time]``, and its sample rate in Hz.

    Raises:
        BadAudio: if the file is missing, not audio, empty, lacks the channel, or holds samples that
            cannot be sound.
    """
    blocks: list[Tensor] = []  # because all channels of a long file may not fit in memory
    with audio_reader(path) as reader, reading(reader.path):
        if channel is not None and channel >= reader.channels:
            raise BadAudio(
                f"{path} has no channel {channel}, only {reader.channels}.", "mismatched"
            )
        if start:
            reader.seek(min(start, reader.frames))
        rate, at = reader.sample_rate, start
        end = math.inf if frames < 0 else start + frames
        while at < end:
            # beyond what the header declares there is rarely more
            size = int(min(READ_AT_ONCE, max(reader.frames - at, 4096), end - at))
            block = reader.read(size, "float32")
            check_samples(path, block, at)
            at += len(block)
            part = torch.from_numpy(np.ascontiguousarray(block.T))
            part = part if channel is None else part[channel : channel + 1]
            blocks.append(part.mean(0, keepdim=True) if mono and len(part) > 1 else part)
            if len(block) < size:
                break
        warn(reader)
    if at == start:
        raise BadAudio(f"{path} is empty: it holds no samples.", "empty")
    audio = torch.cat(blocks, dim=1)
    del blocks
    if sample_rate is not None and sample_rate != rate:
        audio, rate = resample(audio, rate, sample_rate), sample_rate
    return audio, rate


def write_audio(path: str | Path, audio: Tensor, sample_rate: int, subtype: str = "PCM_16") -> int:
    """Write a .wav or .flac file atomically. Clipping is reported on stderr.

    Args:
        path: the file.
        audio: ``[channels, time]`` or ``[time]``.
        sample_rate: in Hz.
        subtype: PCM_16 or PCM_24, and for wav PCM_32 or FLOAT, which does not clip.

    Returns:
        The number of samples beyond full scale, which are clipped.

    Raises:
        UserError: for another suffix or subtype, NaN or infinite samples, or a path that cannot be
            written.
    """
    channels = len(torch.atleast_2d(audio))
    with audio_writer(path, sample_rate, subtype, channels=channels) as writer:
        writer.write(audio)
    if writer.clipped:
        print(writer.clipping, file=sys.stderr)
    return writer.clipped


@contextmanager
def audio_writer(
    path: str | Path,
    sample_rate: int,
    subtype: str = "PCM_16",
    *,
    channels: int = 1,
    source: AudioReader | None = None,
) -> Iterator["AudioWriter"]:
    """Yield a writer of one .wav or .flac file, which appears on success only.

    Arguments and errors are those of ``write_audio``; tags are taken over from ``source``.
    """
    path = Path(path)
    known = SUBTYPES.get(path.suffix.lower())
    if known is None:
        raise UserError(f"cannot write {path}: the name must end in .wav or .flac.")
    if subtype not in known:
        raise UserError(
            f"cannot write {path} as {subtype}: use one of {', '.join(known)} for {path.suffix}."
        )
    form = path.suffix[1:].upper(), subtype
    with _writing(path, form, sample_rate, channels, source, {}) as writer:
        yield writer
        if not writer.samples:
            raise UserError(f"cannot write {path}: there are no samples.")


@contextmanager
def audio_writer_like(
    source: AudioReader, path: str | Path, bit_rate: float | None = None
) -> Iterator["AudioWriter"]:
    """Yield a writer with the rate, channels, format (``kept_format``) and tags of ``source``.

    The file appears on success only.

    Args:
        source: the file.
        path: of the new file.
        bit_rate: of a lossy file, in kbit/s; None for that of ``source``.

    Raises:
        UserError: as ``audio_writer``, and for a bit rate that the codec does not have.
    """
    path = Path(path)
    form, options = format_like(source, path, bit_rate)
    changed = form[0] == source.container and form[1] != source.subtype not in LOSSY
    if changed and first_time(source.subtype):
        old, new = (name.replace("_", " ") for name in (source.subtype, form[1]))
        tqdm.write(f"{named(source.path)}: {old} is read only, it becomes {new}", file=sys.stderr)
    shape = source.sample_rate, source.channels
    with _writing(path, form, *shape, source, options) as writer:
        yield writer


def format_like(
    source: AudioReader, path: Path, bit_rate: float | None = None
) -> tuple[tuple[str, str], dict[str, Any]]:
    """Return what ``audio_writer_like`` would write: (container, subtype), and encoder options.

    Raises:
        UserError: where it cannot, as far as that is known before writing.
    """
    form = kept_format(path.suffix, source)
    shape = source.sample_rate, source.channels
    check_codec(path, *form, *shape)
    if form[1] not in LOSSY:
        return form, {}
    wanted = source.bit_rate if bit_rate is None else bit_rate
    return form, encoder_options(form[1], *shape, wanted, exact=bit_rate is not None)


@contextmanager
def _writing(
    path: Path,
    form: tuple[str, str],
    sample_rate: int,
    channels: int,
    source: AudioReader | None,
    options: Mapping[str, Any],
) -> Iterator["AudioWriter"]:
    container, subtype = form
    check_codec(path, container, subtype, sample_rate, channels)
    carried = None if source is None else Carried(source)
    shape = sample_rate, channels, subtype
    try:
        with atomic_path(path) as temporary:
            name = os.fsencode(temporary)
            with soundfile.SoundFile(name, "w", *shape, format=container, **options) as file:
                if carried is not None:
                    carried.write_strings(file)
                writer = AudioWriter(path, file)
                yield writer
            if subtype in LOSSY:
                _require_whole(name, writer.samples)
            if carried is not None:
                carried.write(temporary, container, subtype, sample_rate)
    except soundfile.LibsndfileError as error:
        what = f"{channels} channel{'s' * (channels != 1)} at {sample_rate} Hz"
        raise UserError(
            f"cannot write {path} with {what} ({brief(error)}): use a name ending in .wav."
        ) from error


def _require_whole(name: bytes, samples: int) -> None:
    """See that a file holds what was written: libvorbis does not say that a disk was full.

    Raises:
        RuntimeError: where it is shorter.
    """
    with soundfile.SoundFile(name) as file:
        if file.frames < samples:
            raise RuntimeError(f"{samples} samples were written, and {file.frames} are there")


class AudioWriter:
    """An open file that is written piece by piece.

    Attributes:
        samples: number written so far, per channel.
        clipped: number of samples beyond full scale, over all channels.
    """

    def __init__(self, path: Path, file: soundfile.SoundFile):
        self.path, self._file = path, file
        self.samples = self.clipped = 0

    def write(self, audio: Tensor) -> None:
        """Append ``[channels, time]`` or ``[time]``.

        Raises:
            UserError: for another shape, NaN or infinite samples.
        """
        samples = torch.atleast_2d(audio.detach().cpu()).double().numpy().T
        if samples.ndim != 2 or samples.shape[1] != self._file.channels:
            raise UserError(
                f"cannot write {self.path}: the audio's shape is {list(audio.shape)}, not "
                f"[{self._file.channels}, time]."
            )
        if not np.isfinite(samples).all():
            raise UserError(f"cannot write {self.path}: the audio holds NaN or infinite samples.")
        self.samples += len(samples)
        if self._file.subtype in ("FLOAT", "DOUBLE"):
            self._file.write(samples.astype(FLOATS[self._file.subtype]))
            return
        self.clipped += int((np.abs(samples) > 1).sum())
        if self._file.subtype in LOSSY:
            self._file.write(np.clip(samples, -1, 1).astype(np.float32))
        else:
            self._file.write(to_integers(samples, PCM_BITS.get(self._file.subtype, 16)))

    @property
    def clipping(self) -> str:
        """A sentence about the clipped samples."""
        return f"{named(self.path)}: {self.clipped} samples beyond full scale were clipped"
