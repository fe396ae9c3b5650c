"""Writing shards: audio files and what is known of them into tar archives."""

import hashlib
import io
import json
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import soundfile

from wavediff.data.audio import AudioReader, BadAudio, audio_reader, warn
from wavediff.data.formats import PCM_BITS, to_integers
from wavediff.data.shard_index import BLOCK, Entry, ShardIndex
from wavediff.inputs import AUDIO_SUFFIXES

LOSSLESS = {"PCM_16": "PCM_16", "PCM_24": "PCM_24", "PCM_S8": "PCM_S8", "PCM_U8": "PCM_S8"}
FLAC_RATES = 655_350  # Hz, the highest
FLAC_CHANNELS = 8
AT_ONCE = 1 << 18  # frames

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Recording:
    """What becomes a clip of a shard.

    Attributes:
        key: the name of its members.
        path: the file.
        name: of the file, for the clip's JSON.
        label: for example the speaker.
        noisy: a noisy recording of it.
    """

    key: str
    path: Path
    name: str
    label: str | None = None
    noisy: Path | None = None


@dataclass(frozen=True)
class Packed:
    """A clip as it is written: its members in order, suffix -> content."""

    key: str
    members: dict[str, bytes]
    suffix: str
    noisy: str | None
    frames: int
    sample_rate: int
    label: str | None

    @property
    def size(self) -> int:
        """The bytes that it takes in an archive."""
        return sum(_padded(len(content)) + BLOCK for content in self.members.values())


def pack(recording: Recording) -> Packed:
    """Read a recording, and encode it as FLAC where that is smaller and loses nothing.

    Raises:
        BadAudio: if it, or its noisy recording, cannot be used.
    """
    suffix, content, frames, rate = _encoded(recording.path)
    members, noisy = {suffix: content}, None
    if recording.noisy is not None:
        end, other, *shape = _encoded(recording.noisy)
        if shape != [frames, rate]:
            raise BadAudio(
                f"{recording.noisy} and {recording.path} differ in length or sample rate",
                "mismatched",
            )
        noisy = f".noisy{end}"
        members[noisy] = other
    about: dict[str, Any] = {"path": recording.name, "sample_rate": rate, "frames": frames}
    about["seconds"] = round(frames / rate, 6)
    if recording.label is not None:
        about["label"] = recording.label
    members[".json"] = json.dumps(about).encode()
    text = recording.path.with_suffix(".txt")
    if text.is_file() and text != recording.path:
        members[".txt"] = text.read_bytes()
    return Packed(recording.key, members, suffix, noisy, frames, rate, recording.label)


def _encoded(path: Path) -> tuple[str, bytes, int, int]:
    """Return (suffix, content, frames, sample rate) of a recording; every sample is decoded."""
    with audio_reader(path) as reader:
        subtype = LOSSLESS.get(reader.subtype)
        to_flac = (
            subtype is not None
            and reader.container != "FLAC"
            and reader.channels <= FLAC_CHANNELS
            and reader.sample_rate <= FLAC_RATES
        )
        frames, content = _flac(reader, subtype) if subtype and to_flac else (_length(reader), b"")
        warn(reader)
        rate, suffix = reader.sample_rate, path.suffix.lower()
        if suffix not in AUDIO_SUFFIXES:
            suffix = f".{reader.container.lower()}"
    if to_flac:
        return ".flac", content, frames, rate
    return suffix, path.read_bytes(), frames, rate


def _length(reader: AudioReader) -> int:
    return sum(block.shape[1] for block in reader.blocks(AT_ONCE))


def _flac(reader: AudioReader, subtype: str) -> tuple[int, bytes]:
    out, frames = io.BytesIO(), 0
    shape = reader.sample_rate, reader.channels, subtype
    with soundfile.SoundFile(out, "w", *shape, format="FLAC") as file:
        for block in reader.blocks(AT_ONCE):
            file.write(to_integers(np.ascontiguousarray(block.T), PCM_BITS.get(subtype, 16)))
            frames += block.shape[1]
    return frames, out.getvalue()


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[tuple[Item, Future[Result]]]:
    """Yield (item, its finished future) in the order of the items; few are worked on at once."""
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > 2 * threads:
                yield waiting.popleft()
        yield from waiting


@dataclass
class ShardWriter:
    """Writes the members of an open tar archive.

    Attributes:
        file: the archive.
        entries: the clips so far.
        size: in bytes, so far.
        seconds: of the clips.
    """

    file: BinaryIO
    entries: list[Entry] = field(default_factory=list)
    size: int = 0
    seconds: float = 0.0
    _checksum: Any = field(default_factory=hashlib.sha256)

    def add(self, packed: Packed) -> None:
        """Append a clip."""
        places = {suffix: self._member(packed.key + suffix, content)
                  for suffix, content in packed.members.items()}  # fmt: skip
        noisy = None if packed.noisy is None else (packed.noisy, *places[packed.noisy])
        self.entries.append(
            Entry(packed.key, packed.suffix, *places[packed.suffix], packed.frames,
                  packed.sample_rate, packed.label, noisy)
        )  # fmt: skip
        self.seconds += packed.frames / packed.sample_rate

    def close(self) -> str:
        """End the archive; return its SHA-256."""
        self._write(bytes(2 * BLOCK))
        return self._checksum.hexdigest()

    @property
    def index(self) -> ShardIndex:
        """The index of the shard."""
        return ShardIndex(tuple(self.entries))

    def _member(self, name: str, content: bytes) -> tuple[int, int]:
        info = tarfile.TarInfo(name)  # without times and owners: the same files, the same shard
        info.size = len(content)
        info.mode = 0o644
        self._write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        offset = self.size
        self._write(content)
        self._write(bytes(_padded(len(content)) - len(content)))
        return offset, len(content)

    def _write(self, content: bytes) -> None:
        self.file.write(content)
        self._checksum.update(content)
        self.size += len(content)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
