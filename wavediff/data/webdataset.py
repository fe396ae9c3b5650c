"""Corpora in the WebDataset layout: tar archives on the disk, behind URLs or from commands."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Sequence
from functools import partial
from glob import glob, has_magic
from pathlib import Path
from typing import BinaryIO

from wavediff.data.corpus import Corpus
from wavediff.data.shard_index import is_index
from wavediff.data.shard_manifest import MANIFEST, ShardRow, file_sha256, parse_manifest
from wavediff.data.shards import Fetch, Shard, cache_folder, digest
from wavediff.errors import UserError, shorten
from wavediff.inputs import expanded

PIPE = "pipe:"
REMOTE = ("http://", "https://")
COMPRESSED = (".tar.gz", ".tgz")
SUFFIXES = (".tar", *COMPRESSED)
GZIP = 16 + zlib.MAX_WBITS
ATTEMPTS = 5
TIMEOUT = 60  # seconds without a byte
TRANSIENT = {408, 425, 429}  # HTTP status below 500, after which it is worth to try again


def webdataset(
    root: str | Sequence[str],
    window: int = 4,
    labels: bool = False,
    noisy: bool = False,
    cache_dir: str | None = None,
) -> Corpus:
    """Return the clips in tar archives of the WebDataset layout.

    Args:
        root: a folder of shards, a manifest ``shards.json`` of ``wavediff pack``, a path, a glob
            or a URL, with ``{000..127}``, or ``pipe:COMMAND``, which is run by the shell and
            writes a shard to stdout; or several of them.
        window: the number of shards whose clips are shuffled together, and of which that many are
            fetched ahead.
        labels: whether to use the label or speaker that the clips' JSON names.
        noisy: whether to use the noisy recordings of the clips, ``KEY.noisy.flac``.
        cache_dir: folder for fetched shards, of which ``3 * window`` are kept, and for the indices
            of shards that have none; None for wavediff/shards in the user's folder of caches.

    Raises:
        UserError: if there are no such files.
    """
    if type(window) is not int or window < 1:
        raise UserError(f"data.window={shorten(window)} is invalid. Use, for example, 4.")
    given = [root] if isinstance(root, str) else list(root)
    cache = cache_folder(cache_dir)
    found: dict[Path, Shard] = {}
    for words in given:
        if not isinstance(words, str) or not words:
            raise UserError(f"data.root={shorten(words)} is not a path, URL or command.")
        for place in _braces(words):
            for shard in _shards(place, cache, 3 * window):
                found.setdefault(shard.path, shard)
    if not found:
        raise UserError("data.root is empty. Give a folder of tar files, URLs, or a manifest.")
    return Corpus(shorten(given[0]), list(found.values()), window, labels, noisy)


def _braces(words: str) -> list[str]:
    """Expand ``{00..12}`` and ``{a,b}``."""
    if "{" not in words:
        return [words]
    try:
        from braceexpand import braceexpand
    except ImportError as error:
        raise UserError(
            f"data.root={shorten(words)}: braces need the package webdataset: pip install "
            '"wavediff[corpora]", or give a glob or a list.'
        ) from error
    if words.startswith(PIPE) and ".." not in words:
        return [words]  # braces of the shell, such as ${HOME} and awk's
    try:
        return list(braceexpand(words))
    except ValueError as error:
        raise UserError(f"data.root={shorten(words)}: a brace has no counterpart.") from error


def _shards(place: str, cache: Path, keep: int) -> list[Shard]:
    """Return the shards that a place without braces means."""
    if place.startswith(PIPE):
        command = place.removeprefix(PIPE)
        return [_fetched(shorten(place), place, partial(fetch_command, command), cache, keep)]
    if place.startswith(REMOTE):
        return _remote(place, cache, keep)
    if "://" in place:
        raise UserError(
            f"data.root={shorten(place)}: such URLs are not read. Use a command that writes the "
            f"shard to stdout: 'pipe:aws s3 cp {shorten(place)} -'."
        )
    path = expanded(place)
    if path.is_dir():
        manifest = path / MANIFEST
        if manifest.is_file():
            return _listed_locally(manifest, cache)
        paths = sorted(p for p in path.iterdir() if p.name.endswith(SUFFIXES) and p.name[0] != ".")
    elif path.suffix == ".json" and path.is_file():
        return _listed_locally(path, cache)
    elif path.is_file():
        paths = [path]
    else:
        paths = sorted(map(Path, glob(str(path), recursive=True))) if has_magic(place) else []
    if not paths:
        raise UserError(
            f"data.root={shorten(place)}: there are no such files. Give a folder of tar files, a "
            "glob, URLs, or pipe:COMMAND; `wavediff pack` makes shards of a folder of audio."
        )
    return [_local(path, cache, keep) for path in paths]


def _local(path: Path, cache: Path, keep: int = 0) -> Shard:
    real = path.absolute()
    size, changed = real.stat().st_size, real.stat().st_mtime_ns
    identity = f"{real} {size} {changed}"
    if path.name.endswith(COMPRESSED):
        return _fetched(str(path), identity, partial(unpack_file, real), cache, keep)
    index = path.with_suffix(".jsonl")
    if not is_index(index, size):
        index = cache / f"{digest(identity)}.jsonl"
    return Shard(str(path), real, index)


def _fetched(
    name: str, identity: str, fetch: Fetch, cache: Path, keep: int, index: Path | None = None
) -> Shard:
    path = cache / f"{digest(identity)}.tar"
    return Shard(name, path, index or path.with_suffix(".jsonl"), fetch, keep)


def _listed_locally(manifest: Path, cache: Path) -> list[Shard]:
    paths = [manifest.parent / row.shard for row in _rows(manifest, manifest.read_bytes())]
    for path in paths:
        if not path.is_file():
            raise UserError(
                f"{manifest} lists {path.name}, which does not exist: copy it there, or run "
                f"`wavediff pack --check {manifest.parent}`."
            )
    return [_local(path, cache) for path in paths]


def _remote(url: str, cache: Path, keep: int) -> list[Shard]:
    parts = urllib.parse.urlsplit(url)
    if not parts.path.endswith(".json"):
        return [_fetched(url, url, partial(fetch_url, url), cache, keep)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MANIFEST
        fetch_url(url, path)
        content = path.read_bytes()
    shards = []
    for row in _rows(url, content):
        place = urllib.parse.urljoin(url, urllib.parse.quote(row.shard))
        fetch = partial(fetch_url, place, checksum=row.sha256)
        shards.append(_fetched(place, f"{place} {row.sha256}", fetch, cache, keep))
    return shards


def _rows(name: Path | str, content: bytes) -> list[ShardRow]:
    manifest = parse_manifest(name, content)
    if not manifest.complete:
        raise UserError(f"{name}: the shards are not complete. Run `wavediff pack` again.")
    return manifest.shards


class Unavailable(OSError):
    """A shard that cannot be fetched, and will not be at another time."""


def fetch_url(url: str, path: Path, checksum: str | None = None) -> str:
    """Fetch a shard by HTTP, several times if need be.

    Returns:
        What is wrong with it; empty if nothing is.

    Raises:
        Unavailable: if the server says that there is no such file.
        UserError: if the server cannot be reached.
    """
    reason, damage = "", ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(2.0 ** (attempt - 1))
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as response, open(path, "wb") as out:
                shutil.copyfileobj(response, out, 1 << 20)
                promised = response.headers.get("Content-Length")
            size = path.stat().st_size
            if promised is not None and size != int(promised):
                reason = f"{size} of {promised} bytes were received"
                continue
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code}: {error.reason}"
            if error.code < 500 and error.code not in TRANSIENT:
                raise Unavailable(reason) from error
        except (OSError, ValueError, urllib.error.URLError) as error:
            if path.exists() and isinstance(error, OSError) and error.filename == str(path):
                raise
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        else:
            damage = "" if checksum is None else _compare(path, checksum)
            if damage and attempt < 2:
                continue
            return _unpacked(path) or damage
    raise UserError(
        f"cannot fetch {shorten(url, 200)} ({shorten(reason)}) in {ATTEMPTS} attempts. Look after "
        "the server; the same command resumes."
    )


def fetch_command(command: str, path: Path) -> str:
    """Write what a command of the user's writes to stdout. Returns what is wrong with it.

    Raises:
        UserError: if it fails several times.
    """
    reason = ""
    for attempt in range(3):
        if attempt:
            time.sleep(2.0 ** (attempt - 1))
        with open(path, "wb") as out:
            done = subprocess.run(
                command, shell=True, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE
            )
        if not done.returncode:
            return _unpacked(path)
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = f"exit code {done.returncode}" + (f", {lines[-1]}" if lines else "")
    raise UserError(
        f"data.root: the command {shorten(command)!r} failed ({shorten(reason, 200)}). Try it in "
        "a shell."
    )


def unpack_file(source: Path, path: Path) -> str:
    """Unpack a compressed shard. Returns what is wrong with it."""
    with open(source, "rb") as file, open(path, "wb") as out:
        return _unpack(file, out)


def _unpacked(path: Path) -> str:
    """Unpack a file in its place if it is compressed."""
    with open(path, "rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return ""
    with tempfile.TemporaryFile(dir=path.parent) as packed:
        with open(path, "rb") as file:
            shutil.copyfileobj(file, packed, 1 << 20)
        packed.seek(0)
        with open(path, "wb") as out:
            return _unpack(packed, out)


def _unpack(file: BinaryIO, out: BinaryIO) -> str:
    """Unpack what can be: of a damaged file, all that is before the damage."""
    decoder = zlib.decompressobj(GZIP)
    while packed := file.read(1 << 16):
        try:
            out.write(decoder.decompress(packed))
            while decoder.eof and decoder.unused_data.strip(b"\0"):  # another part of the file
                packed, decoder = decoder.unused_data, zlib.decompressobj(GZIP)
                out.write(decoder.decompress(packed))
        except zlib.error as error:
            return f"is damaged ({shorten(error)})"
    return "" if decoder.eof else "is truncated"


def _compare(path: Path, checksum: str) -> str:
    return "" if file_sha256(path) == checksum else "differs from its checksum"
