"""Reading and writing audio files by soundfile (libsndfile): wav, flac, ogg, opus, mp3.

A signal is a float32 tensor ``[channels, time]``; full scale is [-1, 1].
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from wavediff.data.resampling import resample
from wavediff.errors import UserError, shorten
from wavediff.files import atomic_path
from wavediff.inputs import CONTAINERS

PCM_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
FLOATS = {"FLOAT": np.float32, "DOUBLE": np.float64}
READ_AT_ONCE = 1 << 20  # samples: bounds the memory for a long file
SUBTYPES = {".wav": ("PCM_16", "PCM_24", "PCM_32", "FLOAT"), ".flac": ("PCM_16", "PCM_24")}


class BadAudio(UserError):
    """A file that is not usable audio.

    Attributes:
        reason: one or two words, by which such files are counted.
    """

    def __init__(self, message: str, reason: str = "unreadable"):
        super().__init__(message)
        self.reason = reason


def audio_info(path: str | Path) -> tuple[int, int]:
    """Return (frames, sample_rate in Hz) from the header of a file.

    Raises:
        BadAudio: if the file is missing, not audio or empty.
    """
    with _reading(path):
        info = soundfile.info(os.fsencode(path))
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
    """Read a file.

    Args:
        path: the file.
        sample_rate: in Hz, to resample to; None keeps the file's rate.
        mono: average the channels to one.
        start: first frame to read, at the file's rate.
        frames: number of frames to read, at the file's rate; -1 reads to the end.

    Returns:
        The audio, float32 ``[channels, time]``, and its sample rate in Hz.

    Raises:
        BadAudio: if the file is missing, not audio, empty, or holds samples that cannot be sound.
    """
    with _reading(path), soundfile.SoundFile(os.fsencode(path)) as file:
        _check_header(path, file.frames, file.samplerate)
        if start:
            file.seek(min(start, file.frames))
        rate = file.samplerate
        blocks: list[
            Tensor
        ] = []  # by block, because all channels of a long file may not fit in memory
        for block in file.blocks(READ_AT_ONCE, frames=frames, dtype="float32", always_2d=True):
            _check_samples(path, block, sum(part.shape[-1] for part in blocks) + start)
            part = torch.from_numpy(np.ascontiguousarray(block.T))
            blocks.append(part.mean(0, keepdim=True) if mono and len(part) > 1 else part)
    if not blocks:
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
    path: str | Path, sample_rate: int, subtype: str = "PCM_16", *, channels: int = 1
) -> Iterator["AudioWriter"]:
    """Yield a writer of one .wav or .flac file, which appears on success only.

    Arguments and errors are those of ``write_audio``.
    """
    path = Path(path)
    known = SUBTYPES.get(path.suffix.lower())
    if known is None:
        raise UserError(f"cannot write {path}: the name must end in .wav or .flac.")
    if subtype not in known:
        raise UserError(
            f"cannot write {path} as {subtype}: use one of {', '.join(known)} for {path.suffix}."
        )
    shape = sample_rate, channels
    _check_codec(path, path.suffix[1:].upper(), subtype, *shape)
    try:
        with (
            atomic_path(path) as temporary,
            soundfile.SoundFile(
                os.fsencode(temporary), "w", sample_rate, channels, subtype
            ) as file,
        ):
            writer = AudioWriter(path, file)
            yield writer
            if not writer.samples:
                raise UserError(f"cannot write {path}: there are no samples.")
    except soundfile.LibsndfileError as error:
        raise UserError(f"cannot write {path}: {_brief(error)}") from error


LOSSY = {"VORBIS": "OGG", "OPUS": "OGG", "MPEG_LAYER_III": "MP3"}  # subtype -> container
EXACT = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
LOUDEST = 1e6  # samples beyond it, 120 dB above full scale, are errors
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
CODECS: dict[str, tuple[int | tuple[int, ...], int]] = {  # sample rates, channels
    "VORBIS": (200_000, 255),
    "OPUS": ((8000, 12000, 16000, 24000, 48000), 255),
    "MPEG_LAYER_III": (MP3_RATES, 2),
    "FLAC": (655_350, 8),
}
WAV_BYTES = 4_290_000_000  # a wav file stores its size in 32 bits


class AudioReader:
    """An open file that is read block by block.

    Attributes:
        path: of the file.
        sample_rate: in Hz.
        channels: their number.
        container: format as named by soundfile.
        subtype: sample format as named by soundfile.
        frames: samples per channel, by the header.
        missing: fraction of the samples declared in the header that the file lacks; 0 if the
            header declares none, as for a file that was written to a pipe.
    """

    def __init__(self, path: Path, file: soundfile.SoundFile):
        self.path, self._file = path, file
        self.sample_rate, self.channels = file.samplerate, file.channels
        self.container, self.subtype, self.frames = file.format, file.subtype, file.frames
        sizes = re.search(r"^\s*(?:data|SSND) : (\d+) \(should be (\d+)\)", file.extra_info, re.M)
        promised, there = (int(size) for size in sizes.groups()) if sizes else (0, 0)
        self.missing = 1 - there / promised if there < promised < 0x7FFF0000 else 0.0

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Yield float64 ``[channels, size]`` to the end; the last block may be shorter.

        Raises:
            BadAudio: if the file cannot be decoded, is empty, or holds NaN or infinite samples.
        """
        with _reading(self.path):
            empty, frame = True, 0
            while len(block := self._file.read(size, dtype="float64", always_2d=True)):
                _check_samples(self.path, block, frame)
                empty, frame = False, frame + len(block)
                yield np.ascontiguousarray(block.T)
            if empty:
                raise BadAudio(f"{self.path} is empty: it holds no samples.", "empty")


def _check_samples(path: str | Path, block: np.ndarray, frame: int) -> None:
    """Refuse samples that cannot be sound.

    Args:
        path: of the file.
        block: ``[time, channels]``.
        frame: number of its first frame in the file.

    Raises:
        BadAudio: for NaN, infinite samples and those beyond ``LOUDEST``.
    """
    wrong = ~(np.abs(block) <= LOUDEST)  # NaN too
    if wrong.any():
        at, channel = np.argwhere(wrong)[0]
        raise BadAudio(
            f"{path}: sample {frame + at} is {block[at, channel]:g}, and full scale is 1. Export "
            "the file again.",
            "not finite",
        )


def _check_codec(path: Path, container: str, subtype: str, rate: int, channels: int) -> None:
    """Refuse what a codec cannot hold, before it is opened: libvorbis crashes at some rates.

    Raises:
        UserError: for a sample rate or number of channels that it cannot hold.
    """
    codec = subtype if subtype in CODECS else container
    if codec not in CODECS:
        return
    rates, most = CODECS[codec]
    fits = rate in rates if isinstance(rates, tuple) else rate <= rates
    if fits and channels <= most:
        return
    allowed = f"up to {rates} Hz" if isinstance(rates, int) else f"{', '.join(map(str, rates))} Hz"
    raise UserError(
        f"cannot write {path} with {channels} channel{'s' * (channels != 1)} at {rate} Hz: the "
        f"codec {codec} holds {allowed} and up to {most} channels. Use a name ending in .wav."
    )


@contextmanager
def audio_reader(path: str | Path) -> Iterator[AudioReader]:
    """Yield a reader of a file at its own rate and channels.

    Raises:
        BadAudio: if the file is missing, not audio or empty.
    """
    path = Path(path)
    with _reading(path):
        file = soundfile.SoundFile(os.fsencode(path))
    with file:
        _check_header(path, file.frames, file.samplerate)
        yield AudioReader(path, file)


def kept_format(suffix: str, source: AudioReader) -> tuple[str, str]:
    """Choose the format of a file ending in ``suffix`` for audio like ``source``.

    It is the source's if the suffix allows, else the subtype with the least loss (24 bits for more
    than that, 16 bits for a lossy source). A wav file above 4 GB becomes RF64.

    Returns:
        (container, subtype) as named by soundfile.

    Raises:
        UserError: for an unknown suffix.
    """
    containers = CONTAINERS.get(suffix.lower())
    if containers is None:
        raise UserError(
            f"cannot write a file ending in {suffix!r}: use one of {', '.join(CONTAINERS)}."
        )
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
    """Yield a writer with the rate, channels and format (``kept_format``) of ``source``.

    The file appears on success only.

    Raises:
        UserError: as ``audio_writer``.
    """
    path = Path(path)
    container, subtype = kept_format(path.suffix, source)
    shape = (source.sample_rate, source.channels, subtype)
    _check_codec(path, container, subtype, source.sample_rate, source.channels)
    try:
        with (
            atomic_path(path) as temporary,
            soundfile.SoundFile(os.fsencode(temporary), "w", *shape, format=container) as file,
        ):
            yield AudioWriter(path, file)
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"cannot write {path} with {source.channels} channels at {source.sample_rate} Hz "
            f"({_brief(error)}): use a name ending in .wav."
        ) from error


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
            self._file.write(_to_integers(samples, PCM_BITS.get(self._file.subtype, 16)))

    @property
    def clipping(self) -> str:
        """A sentence about the clipped samples."""
        return f"{self.path}: {self.clipped} samples beyond full scale were clipped"


def _to_integers(samples: np.ndarray, bits: int) -> np.ndarray:
    """Round [-1, 1] to the nearest of 2^bits steps.

    libsndfile scales by 2^(bits-1) - 1 when writing and by 2^(bits-1) when reading, and so would
    not reproduce the samples that it read.
    """
    full_scale = 2.0 ** (bits - 1)
    integers = np.clip(np.round(samples * full_scale), -full_scale, full_scale - 1)
    if bits <= 16:
        return integers.astype(np.int16) << (16 - bits)
    return integers.astype(np.int32) << (32 - bits)


@contextmanager
def _reading(path: str | Path) -> Iterator[None]:
    """Turn errors of soundfile in the block into a ``BadAudio`` that names the file."""
    path = Path(path)
    try:
        if not path.exists():
            raise BadAudio(f"{path} does not exist.", "missing")
        if not path.is_file():
            raise BadAudio(f"{path} is not a file. Give an audio file.")
        if path.stat().st_size == 0:
            raise BadAudio(f"{path} is empty: it has no bytes.", "empty")
        yield
    except PermissionError as error:
        raise BadAudio(f"{path} cannot be read: check its permissions.") from error
    except (soundfile.SoundFileError, OSError, TypeError, MemoryError) as error:
        raise BadAudio(
            f"{path} is not audio that can be read ({_brief(error)}). Give wav, flac, ogg, opus, "
            "aiff or mp3; ffmpeg -i IN OUT.wav converts most others."
        ) from error


def _check_header(path: str | Path, frames: int, sample_rate: int) -> None:
    if frames == 0:
        raise BadAudio(f"{path} is empty: it holds no samples.", "empty")
    if not 1_000 <= sample_rate <= 768_000:
        raise BadAudio(
            f"{path}: a sample rate of {sample_rate} Hz is out of range (1000 to 768000). The file "
            "may be damaged."
        )


def _brief(error: BaseException) -> str:
    """The first line of an error's text, for a message."""
    text = getattr(error, "error_string", None) or str(error) or type(error).__name__
    return shorten(text.strip().splitlines()[0].rstrip("."))
