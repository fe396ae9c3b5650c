"""Files that hold several streams one after the other, of which decoders read the first."""

import mmap
from pathlib import Path

from wavediff.data import mp3

FLAC = b"fLaC\0\0\0\x22"  # with the header of the block that comes first
OGG = b"OggS\0\2"  # the first page of a stream
DECLARING = (b"Xing", b"Info")
SKIPPED = 1 << 16  # bytes of tags between two mp3 streams


def is_chained(path: Path, container: str) -> bool:
    """Whether another stream follows the first of a FLAC, Ogg or MP3 file.

    Args:
        path: the file.
        container: as named by soundfile.
    """
    if container not in ("FLAC", "OGG", "MP3"):
        return False
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        match container:
            case "FLAC":
                return data.find(FLAC, data.find(b"fLaC") + 4) > 0
            case "OGG":
                at = 0
                while data[at : at + 6] == OGG:  # those of streams side by side come first
                    table = data[at + 27 : at + 27 + data[at + 26]]
                    at += 27 + len(table) + sum(table)
                return data.find(OGG, at) > 0
        return len(_mp3_streams(data)) > 1


def mp3_streams(path: Path) -> list[int]:
    """Where the first frame of each stream of an MP3 file is, as far as they declare their size."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _mp3_streams(data)


def _mp3_streams(data: mmap.mmap) -> list[int]:
    starts: list[int] = []
    at = 0
    while True:
        while data[at : at + 3] in (b"ID3", b"TAG"):
            at += mp3.tag_size(data[at : at + 10]) or 128
        mark = _declaration(data, at, at + SKIPPED)
        start = next((n for n in (mark - 36, mark - 21, mark - 13) if _begins(data, n, mark)), -1)
        if mark < 0 or start < 0:
            return starts
        starts.append(start)
        if not data[mark + 7] & 2:  # without a number of bytes
            return starts
        count = mark + 8 + 4 * (data[mark + 7] & 1)
        at = start + max(4, int.from_bytes(data[count : count + 4], "big"))


def _begins(data: mmap.mmap, start: int, mark: int) -> bool:
    """Whether a frame begins at ``start`` that has its declaration at ``mark``."""
    frame = mp3.parsed(data[start : start + 4]) if start >= 0 else None
    return frame is not None and start + 4 + frame.side == mark


def _declaration(data: mmap.mmap, start: int, stop: int) -> int:
    """Where the header with the length of an mp3 stream begins; -1 for none."""
    return min((n for mark in DECLARING if (n := data.find(mark, start, stop)) >= 0), default=-1)
