"""The index of a shard: which clips a tar archive holds, and where in it.

The layout is WebDataset's: the members of a clip have one name up to the first dot. ``KEY.flac``
(or another audio file) is the recording, ``KEY.noisy.flac`` a noisy recording of it, and
``KEY.json`` may name its ``label`` or ``speaker``.

An index is a file of JSON lines, the first about the shard and each other about a clip.
"""

import json
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

from wavediff.data.audio import BadAudio, audio_info
from wavediff.data.members import Member
from wavediff.errors import shorten
from wavediff.files import atomic_path
from wavediff.inputs import AUDIO_SUFFIXES

if TYPE_CHECKING:
    from wavediff.data.shards import Shard

FORMAT = "wavediff-shard-1"
LARGEST_JSON = 1 << 20  # bytes of the JSON of a clip
BLOCK = 512  # bytes, of which every header and content of a tar archive takes a whole number
NOISY = ".noisy"


@dataclass(frozen=True)
class Entry:
    """A clip of a shard.

    Attributes:
        key: the name that its members share.
        suffix: of the recording, such as ``.flac``.
        offset: of the recording's first byte in the archive.
        size: of the recording in bytes.
        frames: of the recording, at its own rate; 0 if it cannot be used.
        sample_rate: in Hz.
        label: for example the speaker.
        noisy: (suffix, offset, size) of the noisy recording, if there is one.
        problem: why it cannot be used, one or two words; empty if it can.
    """

    key: str
    suffix: str
    offset: int
    size: int
    frames: int = 0
    sample_rate: int = 0
    label: str | None = None
    noisy: tuple[str, int, int] | None = None
    problem: str = ""


@dataclass(frozen=True)
class ShardIndex:
    """The clips of a shard in their order, and what is wrong with it; empty if nothing is."""

    entries: tuple[Entry, ...]
    damage: str = ""


def write_index(path: Path, name: str, size: int, index: ShardIndex) -> None:
    """Write an index of the shard ``name`` of ``size`` bytes atomically."""
    head = {"format": FORMAT, "shard": name, "bytes": size, "clips": len(index.entries)}
    head["damage"] = index.damage
    empty = asdict(Entry("", "", 0, 0))
    rows = [{k: v for k, v in asdict(e).items() if v != empty[k]} for e in index.entries]
    with atomic_path(path) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in (head, *rows)), "utf-8")


def is_index(path: Path, size: int) -> bool:
    """Whether a file is the index of a shard of ``size`` bytes, by its first line."""
    try:
        with open(path, encoding="utf-8") as file:
            head = json.loads(file.readline(LARGEST_JSON))
        return head["format"] == FORMAT and head["bytes"] == size
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def read_index(path: Path) -> ShardIndex | None:
    """Read an index; None if there is none, or if it is damaged."""
    try:
        head, *rows = map(json.loads, path.read_text("utf-8").splitlines())
        if head["format"] != FORMAT or head["clips"] != len(rows):
            return None
        for row in rows:
            if "noisy" in row:
                row["noisy"] = tuple(row["noisy"])
        entries = tuple(Entry(**row) for row in rows)
        return ShardIndex(entries, str(head["damage"])) if all(map(_is_valid, entries)) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_valid(entry: Entry) -> bool:
    numbers = [entry.offset, entry.size, entry.frames, entry.sample_rate, *(entry.noisy or ())[1:]]
    return all(type(n) is int and n >= 0 for n in numbers) and (
        bool(entry.problem) or (entry.frames > 0 and entry.sample_rate > 0)
    )


def fits(shard: "Shard", index: ShardIndex) -> bool:
    """Whether the first and the last clip of an index are where it says.

    Raises:
        OSError: if the archive cannot be read.
    """
    with shard.open() as file:
        for entry in (*index.entries[:1], *index.entries[-1:]):
            file.seek(max(0, entry.offset - BLOCK))
            try:
                info = tarfile.TarInfo.frombuf(file.read(BLOCK), "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                return False
            if info.size != entry.size:
                return False
    return True


def make_index(shard: "Shard") -> ShardIndex:
    """Read the whole of a shard. What is damaged in it is left out.

    Raises:
        OSError: if it cannot be read at all.
    """
    damage = ""
    groups: dict[str, dict[str, Member]] = {}  # key -> suffixes from the first dot on
    with shard.open() as file:
        size = file.seek(0, 2)
        for name, offset, length, lost in _members(file):
            if lost:
                damage = damage or f"is damaged at byte {lost - 1}"
                continue
            if offset + length > size:
                damage = f"is truncated: {shorten(name)} is not whole"
                continue
            folder, _, base = name.rpartition("/")
            stem, dot, suffix = base.partition(".")
            key = f"{folder}/{stem}" if folder else stem
            groups.setdefault(key, {})[dot + suffix.lower()] = Member(shard, name, offset, length)
    entries = []
    for key, members in groups.items():
        if (entry := _entry(key, members)) is not None:
            entries.append(entry)
    if not entries and not damage:
        damage = "holds no audio"
    return ShardIndex(tuple(entries), damage)


def _members(file: BinaryIO) -> Iterator[tuple[str, int, int, int]]:
    """Yield (name, offset, size, 0) of every file; where bytes are damaged, ("", 0, 0, place + 1).

    Behind damage the archive is searched for the next header.
    """
    file.seek(0)
    try:
        archive = tarfile.open(fileobj=file, mode="r:", ignore_zeros=True)  # noqa: SIM115
    except tarfile.TarError:
        yield "", 0, 0, 1
        return
    with archive:
        expected = 0
        while True:
            try:
                info = archive.next()
            except (tarfile.TarError, ValueError, OverflowError):
                yield "", 0, 0, expected + 1
                return
            if info is None:
                break
            archive.members = []  # type: ignore[attr-defined]  # else it keeps all of them
            if _is_damaged(file, expected, info.offset):
                yield "", 0, 0, expected + 1
            if info.isreg():
                yield info.name, info.offset_data, info.size, 0
            expected = (
                info.offset_data + -(-info.size // BLOCK) * BLOCK
                if info.isreg()
                else (info.offset_data)
            )
        end = file.seek(0, 2)
        if _is_damaged(file, expected, end):
            yield "", 0, 0, expected + 1


def _is_damaged(file: BinaryIO, start: int, stop: int) -> bool:
    """Whether there is anything but zeros, which fill an archive up, where a header should be."""
    if stop <= start:
        return False
    file.seek(start)
    while start < stop and (part := file.read(min(1 << 20, stop - start))):
        if part.strip(b"\0"):
            return True
        start += len(part)
    return False


def _entry(key: str, members: Mapping[str, Member]) -> Entry | None:
    """Return the clip of some members, or None if none of them is a recording."""
    audio = {s: m for s, m in members.items() if PurePosixPath(f"x{s}").suffix in AUDIO_SUFFIXES}
    noisy = next((m for suffix, m in audio.items() if suffix.startswith(NOISY)), None)
    clean = next((m for suffix, m in audio.items() if not suffix.startswith(NOISY)), None)
    if clean is None:
        return None
    suffix = next(suffix for suffix, member in audio.items() if member is clean)
    entry = Entry(key, suffix, clean.offset, clean.size, label=_label(members))
    if noisy is not None:
        end = next(suffix for suffix, member in audio.items() if member is noisy)
        entry = replace(entry, noisy=(end, noisy.offset, noisy.size))
    try:
        frames, rate = audio_info(clean)
        if noisy is not None and audio_info(noisy) != (frames, rate):
            raise BadAudio(f"{noisy} and {clean} differ in length or sample rate", "mismatched")
    except BadAudio as error:
        return replace(entry, problem=error.reason)
    return replace(entry, frames=frames, sample_rate=rate)


def _label(members: Mapping[str, Member]) -> str | None:
    """Return the label in the JSON of a clip, or in its ``cls``; None without."""
    if (member := members.get(".json")) and member.size <= LARGEST_JSON:
        try:
            found: Any = json.loads(member.read())
        except (ValueError, RecursionError):
            return None
        if isinstance(found, dict):
            label = found.get("label", found.get("speaker"))
            return None if label in (None, "") else str(label)
    if (member := members.get(".cls")) and member.size <= LARGEST_JSON:
        return member.read().decode("utf-8", "replace").strip() or None
    return None
