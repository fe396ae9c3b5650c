"""Chunks besides the samples, such as cue points, bext and INFO, from one file to another."""

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from wavediff.data.chunks import Chunk, Layout, layout

# Chunks that describe the samples or the file itself, which the new file has of its own.
OWN = (
    b"fmt ", b"fact", b"PEAK", b"ds64", b"JUNK", b"junk", b"PAD ", b"FLLR", b"levl", b"COMM",
    b"FVER", b"slnt", b"wavl",
)  # fmt: skip
LARGEST = 1 << 28  # bytes of a chunk that is copied


def copy_chunks(source: Path, found: Layout, target: Path, ratio: float = 1.0) -> bool:
    """Append the chunks of a wav or aiff file to another of the same kind.

    Args:
        source: the file.
        found: its layout.
        target: the file that is changed.
        ratio: of the sample rates, new to old, by which positions in samples are multiplied.

    Returns:
        Whether the files are of the same kind.
    """
    other = layout(target)
    with open(source, "rb") as file:
        swapped = file.read(4) == b"RIFX"
        if other is None or other.kind != found.kind or found.kind not in ("WAV", "AIFF"):
            return False
        if swapped:  # its numbers are in another order
            return False
        order = "<" if found.kind == "WAV" else ">"
        chunks = [c for c in found.chunks if c.name not in OWN and c.size <= LARGEST]
        if chunks:
            _append(target, order, ((c.name, _content(file, c, ratio)) for c in chunks))
    return True


def _append(target: Path, order: str, chunks: Iterator[tuple[bytes, bytes]]) -> None:
    with open(target, "r+b") as file:
        wide = file.read(4) == b"RF64"
        file.seek(0, os.SEEK_END)
        file.write(bytes(file.tell() % 2))
        for name, content in chunks:
            file.write(name + struct.pack(f"{order}I", len(content)) + content)
            file.write(bytes(len(content) % 2))
        size = file.tell() - 8
        file.seek(20 if wide else 4)  # of a RF64 file it is in the chunk ds64, which is the first
        file.write(struct.pack("<Q" if wide else f"{order}I", size))


def _content(file: BinaryIO, chunk: Chunk, ratio: float) -> bytes:
    file.seek(chunk.start)
    content = bytearray(file.read(chunk.size))
    if ratio != 1:
        _scale(chunk.name, content, ratio)
    return bytes(content)


def _scale(name: bytes, content: bytearray, ratio: float) -> None:
    """Multiply the positions in samples in a chunk of a wav file, in place."""

    def scale(at: int, form: str = "<I", by: float = ratio) -> None:
        if at + struct.calcsize(form) <= len(content):
            (value,) = struct.unpack_from(form, content, at)
            largest = 2 ** (8 * struct.calcsize(form)) - 1
            struct.pack_into(form, content, at, min(round(value * by), largest))

    match name:
        case b"cue ":
            for at in range(4, len(content), 24):
                scale(at + 4)
                scale(at + 20)
        case b"plst":
            for at in range(4, len(content), 12):
                scale(at + 4)
        case b"smpl":
            scale(8, by=1 / ratio)  # the period of a sample
            for at in range(36, len(content), 24):
                scale(at + 8)
                scale(at + 12)
        case b"bext":
            scale(338, "<Q")  # samples since midnight
        case b"LIST" if content[:4] == b"adtl":
            _scale_labels(content, scale)


def _scale_labels(content: bytearray, scale: Callable[[int], None]) -> None:
    """Multiply the lengths of the regions that labelled cue points have."""
    at = 4
    while at + 8 <= len(content):
        (size,) = struct.unpack_from("<I", content, at + 4)
        if content[at : at + 4] == b"ltxt":
            scale(at + 12)
        at += 8 + size + size % 2
