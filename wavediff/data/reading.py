"""Opening an audio file of any kind that is read, and what is wrong with it."""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from wavediff.data import chunks, media, mp3
from wavediff.data.bit_rate import bit_rate
from wavediff.data.chained import is_chained, mp3_streams
from wavediff.data.joined import Joined
from wavediff.data.members import Member
from wavediff.errors import UserError, named, shorten
from wavediff.inputs import MEDIA_SUFFIXES

INTEGERS = 100  # times full scale, above which floating-point samples seem to be integers
LOUDEST = 1e6  # samples beyond it, 120 dB above full scale, are errors
MP3_SLACK = 1200  # samples by which the length of an intact mp3 file may be wrong: a frame
USED = "what is there is used"
IN_BLOCKS = (  # codecs of blocks of samples
    "IMA_ADPCM", "MS_ADPCM", "G721_32", "GSM610", "NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32",
)  # fmt: skip
MOST_PADDING = 8192  # samples
RESYNC = 1024  # bytes in which libsndfile looks for the next mp3 frame before it gives up
FLAC_DISTANCES = (*range(1024, 32_769, 1024), *(1 << n for n in range(16, 32)))  # samples
LAST_PAGE = 1 << 17  # bytes at the end of an Ogg file that hold its last page


class BadAudio(UserError):
    """A file that is not usable audio.

    Attributes:
        reason: one or two words, by which such files are counted.
    """

    def __init__(self, message: str, reason: str = "unreadable"):
        super().__init__(message)
        self.reason = reason


SKIPPED = 1 << 16  # samples that are read and dropped at once


class AudioReader:
    """An open file that is read block by block, whatever decodes it.

    Attributes:
        path: of the file.
        name: of the file, for messages.
        sample_rate: in Hz.
        channels: their number.
        container: format as named by soundfile.
        subtype: sample format as named by soundfile.
        frames: samples per channel, by the header; a compressed file that is cut off has fewer.
        layout: of the chunks, for a file that has some.
        missing: fraction of the samples declared in the header that the file lacks, for a
            compressed file known at its end; 0 if the header declares none, as for a file that was
            written to a pipe.
    """

    def __init__(self, path: Path, file: Any, layout: chunks.Layout | None) -> None:
        self.path, self._file, self.layout = path, file, layout
        self.name = named(path)
        self._decoder = file
        self._at = 0  # the next sample
        self._limit: int | None = None
        self._peak = 0.0  # of floating-point samples
        self.sample_rate, self.channels = file.samplerate, file.channels
        self.container, self.subtype, self.frames = file.format, file.subtype, file.frames
        self.missing = 0.0 if layout is None else layout.missing
        if self.container == "NIST" and (declared := chunks.declared_frames(path)):
            self.missing = max(0.0, 1 - self.frames / declared)
        if layout is not None and self.subtype in IN_BLOCKS:
            spoken = chunks.fact(path, layout)
            if 0 < self.frames - spoken < MOST_PADDING:  # the last block is filled up
                self.frames = spoken
                self._limit = spoken
        self._damage: int | None = None  # where it is damaged first, in samples
        self._lost = 0  # samples of silence to come, in place of damaged ones
        self._silent = 0  # of them in all
        self._attempts = 0  # to read on behind damage
        self._whole = self.container != "OGG" or _ends_with_a_page(path)

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        """Yield float64 ``[channels, size]`` to the end; the last block may be shorter.

        Raises:
            BadAudio: if the file cannot be decoded, is empty, or holds NaN or infinite samples.
        """
        with reading(self.path):
            empty, frame = True, 0
            while len(block := self.read(size, "float64")):
                check_samples(self.path, block, frame)
                empty, frame = False, frame + len(block)
                yield np.ascontiguousarray(block.T)
            if empty:
                raise BadAudio(f"{self.path} is empty: it holds no samples.", "empty")

    def seek(self, frame: int) -> None:
        """Go to a sample; in a file that cannot be sought in, such as GSM, on to a later one."""
        self._lost = 0
        try:
            self._file.seek(frame)
        except soundfile.SoundFileError:
            if self.container == "FLAC":
                self._at = frame
                return self._go_on(frame)
            while self._at < frame and len(self.read(min(frame - self._at, SKIPPED), "float32")):
                pass
        self._at = frame

    def read(self, frames: int, dtype: str) -> np.ndarray:
        """Read up to ``frames`` samples, ``[frames, channels]``; none at the end.

        What cannot be decoded after samples that can be is left out, in a FLAC file silence.
        """
        if self._limit is not None:
            frames = max(0, min(frames, self._limit - self._at))
        # libsndfile raises where it stops, when it has written the samples before that
        block = np.full((frames, self.channels), np.nan, dtype)
        filled, failed = 0, True
        while failed and filled < frames:
            lost = min(self._lost, frames - filled)
            block[filled : filled + lost] = 0
            self._lost -= lost
            filled += lost
            rest = block[filled:]
            try:
                count, failed = len(self._file.read(out=rest)), False
            except soundfile.SoundFileError:
                unread = np.isnan(rest[:, 0])
                count = int(unread.argmax()) if unread.any() else len(rest)
                if not self._at + filled + count:
                    raise
                self._go_on(self._at + filled + count)
            filled += count
        block = block[:filled]
        self._at += filled
        if self.subtype in ("FLOAT", "DOUBLE") and len(block):
            self._peak = max(self._peak, float(block.max()), -float(block.min()))
        if len(block) < frames:
            self._compare(self._at)
        return block

    @property
    def fault(self) -> str:
        """What is wrong with the file, a sentence without its name, known once it
        is read to the end; empty if nothing is wrong."""
        if self.layout is not None and self.layout.excess:
            here, said = self.layout.present, self.layout.declared
            return f"declares {said} of its {here} bytes of samples: it is read to the end"
        if isinstance(self._decoder, media.MediaFile) and self._decoder.damage:
            self._damage = self._decoder.damage[0]
        if self._damage is not None:
            return self._damaged
        if self.missing:
            share = f"{self.missing:.0%}" if self.missing >= 0.005 else "less than 1%"
            return f"is truncated, {share} of what its header promises is missing: {USED}"
        if self._peak > INTEGERS:
            return (
                f"reaches {self._peak:.4g} times full scale: are its samples whole numbers, to be "
                "divided by 32768?"
            )
        if not isinstance(self._decoder, Joined) and is_chained(self.path, self.container):
            other = ", and another is of another format" if self.container == "MP3" else ""
            return (
                f"holds several streams one after the other, of which the first is used{other}: "
                "`ffmpeg -i IN OUT.wav` may join them"
            )
        if not self._whole:
            return f"is truncated, its last page is missing, and how much else is not known: {USED}"
        return ""

    @property
    def _damaged(self) -> str:
        place = f"is damaged at {self._damage / self.sample_rate:.1f} s"
        if isinstance(self._file, _End):
            place += " or ends there"
        if self._silent:
            place += f", {self._silent / self.sample_rate:.2g} s of it are silence"
        if self.missing:
            place += f", {self.missing:.0%} of what its header promises is missing"
        return f"{place}: {USED}"

    @property
    def strings(self) -> dict[str, str]:
        """What the decoder tells of the recording: name -> value."""
        return self._decoder.copy_metadata()

    @property
    def bit_rate(self) -> float | None:
        """Bit rate of a lossy file, of all channels together, in kbit/s; None if not known."""
        if isinstance(self._decoder, media.MediaFile):
            return self._decoder.bit_rate
        return bit_rate(self.path, self.container, self.subtype, self.frames / self.sample_rate)

    def _go_on(self, at: int) -> None:
        """Find what can be decoded behind damage at a sample, if anything."""
        self._damage = at if self._damage is None else self._damage
        self._attempts += 1
        if self.container == "MP3" and self._attempts < self.path.stat().st_size // RESYNC + 100:
            return  # the decoder searches on where it stopped
        if self.container == "FLAC":  # the decoder is of no use any more, but a new one is
            for distance in FLAC_DISTANCES:
                if at + distance >= self.frames:
                    break
                with suppress(soundfile.SoundFileError):
                    file = _open(self.path, self.layout)
                    file.seek(at + distance)
                    if len(file.read(1)):
                        file.seek(at + distance)
                        self._file, self._lost = file, distance
                        self._silent += distance
                        return
        self._file = _End(at)

    def _compare(self, end: int) -> None:
        """Compare the samples of a compressed file with those that its header declares."""
        slack: float | None = None
        if isinstance(self._file, media.MediaFile):
            slack = media.TOLERANCE * self.sample_rate if self._file.exact else None
        elif self.container == "MP3":
            slack = MP3_SLACK if mp3.declares_length(self.path) else None
        elif self.container == "FLAC":
            slack = 0
        if slack is not None and end < self.frames - slack:
            self.missing = 1 - end / self.frames


class _End:
    """What follows the last sample of a file that can be decoded."""

    def __init__(self, position: int) -> None:
        self._position = position

    def tell(self) -> int:
        return self._position

    def seek(self, frame: int) -> None:
        self._position = frame

    def read(self, out: np.ndarray) -> np.ndarray:
        return out[:0]


@contextmanager
def audio_reader(path: str | Path | Member) -> Iterator[AudioReader]:
    """Yield a reader of a file at its own rate and channels.

    Raises:
        BadAudio: if the file is missing, not audio or empty.
    """
    if isinstance(path, Member):
        with _member_reader(path) as reader:
            yield reader
        return
    path = Path(path)
    with reading(path):
        layout = chunks.layout(path)
        file = _open(path, layout)
    with closing(file):
        _check_header(path, file.frames, file.samplerate)
        yield AudioReader(path, file, layout)


@contextmanager
def _member_reader(member: Member) -> Iterator[AudioReader]:
    try:
        with member.on_disk() as path:
            try:
                with audio_reader(path) as reader:
                    reader.name = str(member)
                    yield reader
            except BadAudio as error:
                message = str(error).replace(str(path), str(member))
                raise BadAudio(message, error.reason) from error
    except OSError as error:
        raise BadAudio(f"{member.shard} cannot be read ({brief(error)}).") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors of decoding in the block into a ``BadAudio`` that names the file."""
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
    except media.NoDecoder as error:
        raise BadAudio(
            f"{path} needs a decoder that is not installed: {media.INSTALL}.", "without a decoder"
        ) from error
    except (
        soundfile.SoundFileError,
        media.BadMedia,
        OSError,
        TypeError,
        MemoryError,
    ) as error:
        raise BadAudio(
            f"{path} is not audio that can be read ({brief(error)}). Give wav, flac, ogg, opus, "
            "aiff, mp3 or m4a; ffmpeg -i IN OUT.wav converts most others."
        ) from error


def check_samples(path: object, block: np.ndarray, frame: int) -> None:
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


def brief(error: BaseException) -> str:
    """The first line of an error's text, for a message."""
    text = getattr(error, "error_string", None) or str(error) or type(error).__name__
    return shorten(text.strip().splitlines()[0].rstrip("."))


def _open(path: Path, layout: chunks.Layout | None) -> Any:
    """Open by libsndfile, with sizes mended where the header is wrong, else as media."""
    try:
        if (
            layout
            and layout.open_end
            and (layout.excess or (layout.kind == "CAF" and layout.missing))
        ):
            return soundfile.SoundFile(_Mended(path, layout.open_end))
        file = soundfile.SoundFile(os.fsencode(path))
        if file.format == "MP3" and (frame := mp3.length_frame(path, file.frames)):
            file.close()
            file = soundfile.SoundFile(_Mended(path, {}, frame))
        return _joined(path, file) if file.format == "MP3" else file
    except (soundfile.SoundFileError, TypeError):
        if not media.is_media(path) and path.suffix.lower() not in MEDIA_SUFFIXES:
            raise
    return media.MediaFile(path)


def _joined(path: Path, first: soundfile.SoundFile) -> soundfile.SoundFile | Joined:
    """The streams of an MP3 file one after the other, if they are of one format."""
    files = [first]
    for start in mp3_streams(path)[1:]:
        with suppress(soundfile.SoundFileError):
            files.append(soundfile.SoundFile(_Mended(path, {}, (start, b""))))
    shapes = {(file.samplerate, file.channels) for file in files}
    return Joined(files) if len(files) > 1 and len(shapes) == 1 else first


class _Mended(io.RawIOBase):
    """A file in which some bytes read as others, or with bytes put in. Closes the file.

    Args:
        path: of the file.
        changes: offset -> bytes that are there instead.
        inserted: (offset, bytes) put in before the byte there; what is before that is left out.
    """

    def __init__(
        self, path: Path, changes: Mapping[int, bytes], inserted: tuple[int, bytes] = (0, b"")
    ) -> None:
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115
        self._changes, (self._skip, self._first) = changes, inserted
        self._size = os.fstat(self._file.fileno()).st_size - self._skip + len(self._first)
        self._at = 0

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        parts = self._first[self._at : self._at + len(view)]
        self._file.seek(max(0, self._at - len(self._first)) + self._skip)
        data = bytearray(parts + self._file.read(len(view) - len(parts)))
        for start, new in self._changes.items():
            for place, byte in enumerate(new, start - self._at):
                if 0 <= place < len(data):
                    data[place] = byte
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def _check_header(path: Path, frames: int, sample_rate: int) -> None:
    if frames == 0:
        raise BadAudio(f"{path} is empty: it holds no samples.", "empty")
    if not 1_000 <= sample_rate <= 768_000:
        raise BadAudio(
            f"{path}: a sample rate of {sample_rate} Hz is out of range (1000 to 768000). The file "
            "may be damaged."
        )


def _ends_with_a_page(path: Path) -> bool:
    """Whether an Ogg file ends with the whole of a page that is marked as the last."""
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_PAGE))
        tail = file.read()
    at = tail.rfind(b"OggS")
    page = tail[at:]
    if at < 0 or len(page) < 27 or not page[5] & 4:
        return False
    table = page[27 : 27 + page[26]]
    return len(page) >= 27 + len(table) + sum(table)
