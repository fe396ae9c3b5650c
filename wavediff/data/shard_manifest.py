"""The manifest of packed shards: their checksums and what they hold."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wavediff.data.shard_index import read_index
from wavediff.errors import UserError, shorten
from wavediff.files import atomic_path

MANIFEST = "shards.json"
FORMAT = "wavediff-shards-1"


@dataclass(frozen=True)
class ShardRow:
    """A shard in a manifest.

    Attributes:
        shard: the name of its file.
        sha256: of the file.
        bytes: its size.
        clips: their number.
        seconds: of audio.
        files: number of the inputs that were read for it, bad ones included.
        index: SHA-256 of its index, which has the same name and the suffix .jsonl.
    """

    shard: str
    sha256: str
    bytes: int
    clips: int
    seconds: float
    files: int
    index: str


@dataclass
class Manifest:
    """What ``shards.json`` holds.

    Attributes:
        source: identifies the inputs and the options, by which packing is resumed.
        shards: those that are whole, in order.
        skipped: inputs that could not be used: {"path", "reason"}.
        complete: whether all inputs are packed.
    """

    source: str
    shards: list[ShardRow] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    complete: bool = False

    def write(self, folder: Path) -> None:
        """Write it to a folder atomically."""
        totals = {
            "clips": sum(row.clips for row in self.shards),
            "seconds": round(sum(row.seconds for row in self.shards), 3),
        }
        content = {"format": FORMAT, "complete": self.complete, **totals, "source": self.source}
        content |= {"shards": [asdict(row) for row in self.shards], "skipped": self.skipped}
        with atomic_path(folder / MANIFEST) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def parse_manifest(name: Path | str, content: bytes) -> Manifest:
    """Return the manifest in a file's content; messages call it ``name``.

    Raises:
        UserError: if it is not a manifest, or lists anything but files beside it.
    """
    try:
        found: Mapping[str, Any] = json.loads(content)
        if found["format"] != FORMAT:
            raise ValueError("another format")
        rows = [ShardRow(**row) for row in found["shards"]]
        skipped = [dict(row) for row in found["skipped"]]
        manifest = Manifest(str(found["source"]), rows, skipped, found["complete"] is True)
        texts = [text for row in rows for text in (row.shard, row.sha256, row.index)]
        numbers = [n for row in rows for n in (row.bytes, row.clips, row.files)]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("not a text")
        if not all(type(number) is int for number in numbers):
            raise TypeError("not a number")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{name} is not a manifest of shards. Give one written by `wavediff pack`."
        ) from error
    for row in rows:
        if not row.shard.endswith(".tar") or Path(row.shard).name != row.shard:
            raise UserError(f"{name} lists {shorten(row.shard)!r}, which is not a file beside it.")
    return manifest


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest in a folder; None without.

    Raises:
        UserError: if it cannot be read.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        return parse_manifest(path, path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error


def check_shard(folder: Path, row: ShardRow) -> str:
    """Return what is wrong with a shard or its index, as after its name; empty if nothing is."""
    path = folder / row.shard
    try:
        if (size := path.stat().st_size) != row.bytes:
            return f"has {size} of {row.bytes} bytes"
        if file_sha256(path) != row.sha256:
            return "does not match its checksum"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    index = path.with_suffix(".jsonl")
    try:
        if file_sha256(index) != row.index:
            return f"has an index, {index.name}, that does not match its checksum"
    except OSError:
        return f"has no index {index.name}"
    found = read_index(index)
    if found is None or len(found.entries) != row.clips:
        return f"has an index, {index.name}, of other clips"
    return ""


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_digest(inputs: Sequence[Sequence[object]], options: Mapping[str, object]) -> str:
    """Return what identifies inputs and options."""
    return hashlib.sha256(json.dumps([inputs, options]).encode()).hexdigest()
