"""Audio files in and out, through soundfile (libsndfile): wav, flac, ogg, opus, mp3.

A signal is a float32 tensor ``[channels, time]``; full scale is [-1, 1].
"""

import glob
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from wavediff.data.resampling import resample
from wavediff.errors import UserError
from wavediff.files import atomic_path

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff")
PCM_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
FLOATS = {"FLOAT": np.float32, "DOUBLE": np.float64}
READ_AT_ONCE = 1 << 20  # samples: bounds the memory for a long file
SUBTYPES = {".wav": ("PCM_16", "PCM_24", "PCM_32", "FLOAT"), ".flac": ("PCM_16", "PCM_24")}


class BadAudio(UserError):
    """A file that is no usable audio. ``reason`` is a word or two by which such files are counted."""

    def __init__(self, message: str, reason: str = "unreadable"):
        super().__init__(message)
        self.reason = reason


def audio_info(path: str | Path) -> tuple[int, int]:
    """(frames, sample_rate) from the file's header, nothing decoded. Raises BadAudio."""
    with _reading(path):
        info = soundfile.info(str(path))
    _check_header(path, info.frames, info.samplerate)
    return info.frames, info.samplerate


def read_audio(
    path: str | Path,
    sample_rate: int | None = None,
    mono: bool = True,
    *,
    start: int = 0,
    frames: int = -1,
) -> tuple[Tensor, int]:
    """Read a file as (float32 [channels, time], sample_rate in Hz).

    sample_rate: resample to it; None keeps the file's own.
    mono: average the channels to one.
    start, frames: read only this part, counted at the file's own rate; -1 is up to the end.
    Raises BadAudio (a UserError) when the file is missing, no audio, empty, or not finite.
    """
    with _reading(path), soundfile.SoundFile(str(path)) as file:
        _check_header(path, file.frames, file.samplerate)
        if start:
            file.seek(min(start, file.frames))
        rate = file.samplerate
        blocks = []  # a long file in several channels would not fit beside its mean
        for block in file.blocks(READ_AT_ONCE, frames=frames, dtype="float32", always_2d=True):
            if not np.isfinite(block).all():
                raise BadAudio(
                    f"{path} holds NaN or infinite samples: export it again", "not finite"
                )
            part = torch.from_numpy(np.ascontiguousarray(block.T))
            blocks.append(part.mean(0, keepdim=True) if mono and len(part) > 1 else part)
    if not blocks:
        raise BadAudio(f"{path} is empty: it holds no samples", "empty")
    audio = torch.cat(blocks, dim=1)
    del blocks
    if sample_rate is not None and sample_rate != rate:
        audio, rate = resample(audio, rate, sample_rate), sample_rate
    return audio, rate


def write_audio(path: str | Path, audio: Tensor, sample_rate: int, subtype: str = "PCM_16") -> int:
    """Write [channels, time] or [time] as .wav or .flac, whole or not at all.

    subtype: PCM_16 or PCM_24, and for wav PCM_32 or FLOAT (which keeps what is above full scale).
    Returns how many samples were beyond full scale; these are clipped, and stderr is told.
    Raises UserError for another kind of file, NaN or Inf, or a place that cannot be written to.
    """
    channels = len(torch.atleast_2d(audio))
    with audio_writer(path, sample_rate, subtype, channels=channels) as writer:
        writer.write(audio)
    if writer.clipped:
        print(writer.clipping, file=sys.stderr)
    return writer.clipped


@contextmanager
def audio_writer(
    path: str | Path, sample_rate: int, subtype: str = "PCM_16", *, channels: int = 1
) -> Iterator["AudioWriter"]:
    """Yield a writer of one .wav or .flac file piece by piece; the file is there on success only.

    Arguments and errors are those of ``write_audio``, which writes all at once.
    """
    path = Path(path)
    known = SUBTYPES.get(path.suffix.lower())
    if known is None:
        raise UserError(f"cannot write {path}: give the name of a .wav or .flac file")
    if subtype not in known:
        raise UserError(f"cannot write {path} as {subtype}: {path.suffix} takes {', '.join(known)}")
    try:
        with (
            atomic_path(path) as temporary,
            soundfile.SoundFile(str(temporary), "w", sample_rate, channels, subtype) as file,
        ):
            writer = AudioWriter(path, file)
            yield writer
            if not writer.samples:
                raise UserError(f"cannot write {path}: there is no audio")
    except soundfile.LibsndfileError as error:
        raise UserError(f"cannot write {path}: {_brief(error)}") from error


CONTAINERS = {  # by suffix; the first is for audio that comes from another container
    ".wav": ("WAV", "WAVEX", "RF64"),
    ".w64": ("W64",),
    ".flac": ("FLAC",),
    ".aif": ("AIFF",),
    ".aiff": ("AIFF",),
    ".ogg": ("OGG",),
    ".opus": ("OGG",),
    ".mp3": ("MP3",),
}
LOSSY = {"VORBIS": "OGG", "OPUS": "OGG", "MPEG_LAYER_III": "MP3"}  # and where they are at home
EXACT = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
WAV_BYTES = 4_290_000_000  # a wav file's sizes are 32 bits wide


class AudioReader:
    """An open file whose audio comes block by block.

    Attributes:
        path, sample_rate, channels, container, subtype: as soundfile names the last two.
        frames: samples per channel by the header.
        missing: share of the samples promised by the header that the file lacks; 0 where it
            promises nothing, as one that was written to a pipe.
    """

    def __init__(self, path: Path, file: soundfile.SoundFile):
        self.path, self._file = path, file
        self.sample_rate, self.channels = file.samplerate, file.channels
        self.container, self.subtype, self.frames = file.format, file.subtype, file.frames
        sizes = re.search(r"^\s*(?:data|SSND) : (\d+) \(should be (\d+)\)", file.extra_info, re.M)
        promised, there = (int(size) for size in sizes.groups()) if sizes else (0, 0)
        self.missing = 1 - there / promised if there < promised < 0x7FFF0000 else 0.0

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """float64 [channels, at most ``size``] to the end. Raises BadAudio, also for NaN."""
        with _reading(self.path):
            empty = True
            while len(block := self._file.read(size, dtype="float64", always_2d=True)):
                if not np.isfinite(block).all():
                    raise BadAudio(
                        f"{self.path} holds NaN or infinite samples: export it again", "not finite"
                    )
                empty = False
                yield np.ascontiguousarray(block.T)
            if empty:
                raise BadAudio(f"{self.path} is empty: it holds no samples", "empty")


@contextmanager
def audio_reader(path: str | Path) -> Iterator[AudioReader]:
    """Yield a reader of a file's own rate, channels and samples. Raises BadAudio."""
    path = Path(path)
    with _reading(path):
        file = soundfile.SoundFile(str(path))
    with file:
        _check_header(path, file.frames, file.samplerate)
        yield AudioReader(path, file)


def kept_format(suffix: str, source: AudioReader) -> tuple[str, str]:
    """(container, subtype) of a file ending in ``suffix`` for audio that is like ``source``.

    Those of the source where the suffix allows; else the subtype that loses least (24 bits for
    more than these, 16 bits for a lossy source). A wav that would pass 4 GB becomes RF64.
    Raises UserError for an unknown suffix.
    """
    containers = CONTAINERS.get(suffix.lower())
    if containers is None:
        raise UserError(f"cannot write a {suffix or 'nameless'} file: {', '.join(CONTAINERS)} can")
    container = source.container if source.container in containers else containers[0]
    subtype = source.subtype
    if suffix.lower() == ".opus":
        subtype = "OPUS"
    elif LOSSY.get(subtype) != container and not (
        subtype in EXACT and soundfile.check_format(container, subtype)
    ):
        fine = subtype in ("PCM_24", "PCM_32", "FLOAT", "DOUBLE")
        subtype = soundfile.default_subtype(container)
        if fine and soundfile.check_format(container, "PCM_24"):
            subtype = "PCM_24"
    width = {"DOUBLE": 8, "FLOAT": 4}.get(subtype, PCM_BITS.get(subtype, 16) // 8)
    if container in ("WAV", "WAVEX") and source.frames * source.channels * width > WAV_BYTES:
        container = "RF64"
    return container, subtype


@contextmanager
def audio_writer_like(source: AudioReader, path: str | Path) -> Iterator["AudioWriter"]:
    """Yield a writer of audio with the rate, channels and (``kept_format``) format of ``source``.

    The file is there on success only. Raises UserError as ``audio_writer`` does.
    """
    path = Path(path)
    container, subtype = kept_format(path.suffix, source)
    shape = (source.sample_rate, source.channels, subtype)
    try:
        with (
            atomic_path(path) as temporary,
            soundfile.SoundFile(str(temporary), "w", *shape, format=container) as file,
        ):
            yield AudioWriter(path, file)
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"cannot write {path} with {source.channels} channels at {source.sample_rate} Hz "
            f"({_brief(error)}): give the name of a .wav file"
        ) from error


class AudioWriter:
    """An open file that takes audio piece by piece.

    ``samples`` counts what was written (per channel), ``clipped`` the samples beyond full scale.
    """

    def __init__(self, path: Path, file: soundfile.SoundFile):
        self.path, self._file = path, file
        self.samples = self.clipped = 0

    def write(self, audio: Tensor) -> None:
        """Append [channels, time] or [time]. Raises UserError for another shape, NaN or Inf."""
        samples = torch.atleast_2d(audio.detach().cpu()).double().numpy().T
        if samples.ndim != 2 or samples.shape[1] != self._file.channels:
            raise UserError(
                f"cannot write {self.path}: the audio's shape is {list(audio.shape)}, not "
                f"[{self._file.channels}, time]"
            )
        if not np.isfinite(samples).all():
            raise UserError(f"cannot write {self.path}: the audio holds NaN or infinite samples")
        self.samples += len(samples)
        if self._file.subtype in ("FLOAT", "DOUBLE"):
            self._file.write(samples.astype(FLOATS[self._file.subtype]))
            return
        self.clipped += int((np.abs(samples) > 1).sum())
        if self._file.subtype in LOSSY:
            self._file.write(np.clip(samples, -1, 1).astype(np.float32))
        else:
            self._file.write(_to_integers(samples, PCM_BITS.get(self._file.subtype, 16)))

    @property
    def clipping(self) -> str:
        """A sentence about what was clipped."""
        return f"{self.path}: {self.clipped} samples beyond full scale were clipped"


def _to_integers(samples: np.ndarray, bits: int) -> np.ndarray:
    """[-1, 1] to the nearest of 2^bits steps. By hand because libsndfile scales by 2^(bits-1) - 1
    when writing and by 2^(bits-1) when reading, and so would not give back what it read."""
    full_scale = 2.0 ** (bits - 1)
    integers = np.clip(np.round(samples * full_scale), -full_scale, full_scale - 1)
    if bits <= 16:
        return integers.astype(np.int16) << (16 - bits)
    return integers.astype(np.int32) << (32 - bits)


def find_audio(paths: Sequence[str | Path], suffixes: Sequence[str] = AUDIO_SUFFIXES) -> list[Path]:
    """The files meant by ``paths``: files as they are, folders (with all below them) and globs by
    suffix and sorted; none twice. Raises UserError when one of ``paths`` matches nothing."""
    found: dict[Path, None] = {}
    for path in [paths] if isinstance(paths, str | Path) else paths:
        expanded = Path(path).expanduser()
        if expanded.is_dir():
            matches = _below(expanded, suffixes)
        elif expanded.exists():
            matches = [expanded]
        elif glob.has_magic(str(path)):
            matches = []
            for match in sorted(map(Path, glob.glob(str(expanded), recursive=True))):
                if match.is_dir():
                    matches += _below(match, suffixes)
                elif match.suffix.lower() in suffixes:
                    matches.append(match)
        else:
            raise UserError(f"{path} does not exist: give a file, a folder or a quoted glob")
        if not matches:
            raise UserError(f"no files ending in {', '.join(suffixes)} in {path}")
        found.update(dict.fromkeys(matches))
    if not found:
        raise UserError("no input: give at least one file, folder or glob")
    return list(found)


def _below(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Sorted files below a folder, through symbolic links, without hidden ones (macOS's ._x)."""
    files, seen = [], set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:  # a link back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [
            Path(here, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes
        ]
    return sorted(files)


@contextmanager
def _reading(path: str | Path) -> Iterator[None]:
    """Turns whatever soundfile raises in the block into a BadAudio that names the file."""
    path = Path(path)
    try:
        if not path.exists():
            raise BadAudio(f"{path} does not exist", "missing")
        if not path.is_file():
            raise BadAudio(f"{path} is not a file: give an audio file")
        if path.stat().st_size == 0:
            raise BadAudio(f"{path} is empty: the file has no bytes", "empty")
        yield
    except PermissionError as error:
        raise BadAudio(f"{path} may not be read: check its permissions") from error
    except (soundfile.SoundFileError, OSError, TypeError, MemoryError) as error:
        raise BadAudio(
            f"{path} is not audio that can be read ({_brief(error)}): give wav, flac, ogg, opus, "
            "aiff or mp3; ffmpeg -i IN OUT.wav converts most others"
        ) from error


def _check_header(path: str | Path, frames: int, sample_rate: int) -> None:
    if frames == 0:
        raise BadAudio(f"{path} is empty: it holds no samples", "empty")
    if not 1_000 <= sample_rate <= 768_000:
        raise BadAudio(f"{path} claims a sample rate of {sample_rate} Hz: its header is damaged")


def _brief(error: BaseException) -> str:
    text = getattr(error, "error_string", None) or str(error) or type(error).__name__
    return text.strip().splitlines()[0].rstrip(".")
