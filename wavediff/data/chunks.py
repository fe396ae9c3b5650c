"""The chunks of a sound file, and whether its header says truly how many samples there are."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

PIPED = 0x7FFF0000  # sizes from here on stand for "to the end", as in a file written to a pipe
MOST = 10_000  # chunks
JUNK = 1024  # bytes after the samples that are not taken for samples
KNOWN = (  # chunks that programs add after the samples, which may be cut off
    b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"smpl", b"fact", b"PEAK", b"JUNK", b"PAD ",
    b"FLLR", b"iXML", b"axml", b"aXML", b"_PMX", b"cart", b"DISP", b"inst", b"plst", b"afsp",
    b"MARK", b"COMT", b"INST", b"NAME", b"AUTH", b"ANNO", b"(c) ", b"APPL", b"CHAN", b"info",
    b"strg", b"chan", b"free", b"uuid", b"pakt", b"kuki", b"RIFF", b"FORM",
)  # fmt: skip
TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICS")  # that follow the last chunk


@dataclass(frozen=True)
class Chunk:
    """A chunk: its name, where its content begins, and the size that its header declares."""

    name: bytes
    start: int
    size: int


@dataclass
class Layout:
    """Where the samples of a file are.

    Attributes:
        kind: WAV, AIFF, SVX, CAF, W64 or AU.
        chunks: all but the one with the samples.
        declared: bytes of samples by the header; None if it leaves that open.
        present: bytes of samples in the file.
        open_end: sizes of the header as they must be to read to the end: offset -> bytes.
    """

    kind: str
    declared: int | None
    present: int
    chunks: list[Chunk] = field(default_factory=list)
    open_end: dict[int, bytes] = field(default_factory=dict)

    @property
    def missing(self) -> float:
        """Fraction of the declared samples that the file lacks."""
        return 0.0 if not self.declared else max(0.0, 1 - self.present / self.declared)

    @property
    def excess(self) -> bool:
        """Whether the file holds more samples than its header declares."""
        return self.declared is not None and self.present > self.declared


@dataclass(frozen=True)
class _Format:
    kind: str
    first: int  # offset of the first chunk
    name: int  # bytes of a chunk's name
    width: int  # bytes of a chunk's size
    order: Literal["big", "little"]
    data: bytes  # name of the chunk with the samples
    inclusive: bool = False  # whether the size counts the header of the chunk
    align: int = 2

    def size_of(self, raw: bytes) -> int:
        return int.from_bytes(raw, self.order)

    def size_as_bytes(self, value: int) -> bytes:
        return min(value, (1 << 8 * self.width) - 1).to_bytes(self.width, self.order)


W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0O\x8e\xdb\x8a"


def _format(head: bytes) -> _Format | None:
    match head[:4], head[8:12]:
        case (b"RIFF" | b"RF64", b"WAVE"):
            return _Format("WAV", 12, 4, 4, "little", b"data")
        case (b"RIFX", b"WAVE"):
            return _Format("WAV", 12, 4, 4, "big", b"data")
        case (b"FORM", b"AIFF" | b"AIFC"):
            return _Format("AIFF", 12, 4, 4, "big", b"SSND")
        case (b"FORM", b"8SVX" | b"16SV"):
            return _Format("SVX", 12, 4, 4, "big", b"BODY")
        case (b"caff", _):
            return _Format("CAF", 8, 4, 8, "big", b"data", align=1)
        case (b"riff", _):
            return _Format("W64", 40, 16, 8, "little", W64_DATA, True, 8)
    return None


def layout(path: str | Path) -> Layout | None:
    """Return the layout of a wav, RF64, aiff, caf, w64 or au file; None for another or without
    samples.

    Raises:
        OSError: if the file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(40)
        size = os.fstat(file.fileno()).st_size
        if head[:4] == b".snd":
            return _au(head, size)
        form = _format(head)
        return None if form is None else _chunked(file, form, head, size)


def declared_frames(path: str | Path) -> int | None:
    """Return the samples per channel by the header of a NIST Sphere file; None for another."""
    with open(path, "rb") as file:
        head = file.read(1024)
    found = re.search(rb"^sample_count -i (\d+)", head, re.M) if head[:7] == b"NIST_1A" else None
    return int(found[1]) if found else None


def fact(path: str | Path, found: Layout) -> int:
    """Return the samples per channel that a wav file of a codec declares; 0 if it does not."""
    chunk = next((c for c in found.chunks if c.name == b"fact"), None)
    if found.kind != "WAV" or chunk is None:
        return 0
    with open(path, "rb") as file:
        file.seek(chunk.start)
        return int.from_bytes(file.read(4), "little")


def _au(head: bytes, size: int) -> Layout | None:
    start, declared = (int.from_bytes(head[at : at + 4], "big") for at in (4, 8))
    if not 24 <= start < size:
        return None
    known = None if declared == 0xFFFFFFFF else declared
    return Layout("AU", known, size - start, open_end={8: b"\xff" * 4})


def _chunked(file: BinaryIO, form: _Format, head: bytes, size: int) -> Layout | None:
    found, wide = None, 0
    chunks = []
    for chunk in _walk(file, form, form.first, size):
        if chunk.name == b"ds64":
            file.seek(chunk.start)
            wide = int.from_bytes(file.read(16)[8:], "little")
        if chunk.name == form.data:
            found = chunk
            break
        chunks.append(chunk)
    if found is None:
        return None
    start, declared = found.start, found.size
    size_at = start - form.width
    fixes = {size_at: form.size_as_bytes(size - start + (24 if form.inclusive else 0))}
    if form.kind == "CAF" and declared == (1 << 64) - 1:
        return Layout("CAF", None, size - start, chunks)
    if form.kind in ("WAV", "AIFF", "SVX"):
        fixes[4] = form.size_as_bytes(size - 8)
    if form.kind == "W64":
        fixes[16] = form.size_as_bytes(size)
    if wide and declared == 0xFFFFFFFF:
        declared, at = wide, next(c.start for c in chunks if c.name == b"ds64")
        fixes = {at: (size - 8).to_bytes(8, "little"), at + 8: (size - start).to_bytes(8, "little")}
    elif form.width == 4 and declared >= PIPED and declared > size - start:
        return Layout(form.kind, None, size - start, chunks)
    end = start + declared
    if end >= size:
        return Layout(form.kind, declared, size - start, chunks, fixes)
    for after in (end + -end % form.align, end):
        later = _following(file, form, after, size, JUNK if declared else 0)
        if later is not None:
            return Layout(form.kind, declared, declared, chunks + later, fixes)
    return Layout(form.kind, declared, size - start, chunks, fixes)


def _walk(file: BinaryIO, form: _Format, at: int, size: int) -> Iterator[Chunk]:
    header = form.name + form.width
    for _ in range(MOST):
        if at + header > size:
            return
        file.seek(at)
        raw = file.read(header)
        length = form.size_of(raw[form.name :]) - (header if form.inclusive else 0)
        yield Chunk(raw[: form.name], at + header, length)
        if length < 0:
            return
        at += header + length
        at += -at % form.align


def _following(file: BinaryIO, form: _Format, at: int, size: int, junk: int) -> list[Chunk] | None:
    """Return the chunks after the samples; None where there are samples instead of chunks."""
    chunks: list[Chunk] = []
    for chunk in _walk(file, form, at, size):
        name = chunk.name[:4]
        whole = chunk.size >= 0 and chunk.start + chunk.size <= size
        if not (name in KNOWN or (whole and all(32 <= byte < 127 for byte in name))):
            break
        if whole:
            chunks.append(chunk)
    if chunks or size - at <= junk:
        return chunks
    file.seek(at)
    if file.read(8).startswith((*KNOWN, *TAGS)):
        return []
    file.seek(at)
    padding = junk and not any(any(block) for block in iter(lambda: file.read(1 << 16), b""))
    return [] if padding else None
