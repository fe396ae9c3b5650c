"""Files that hold several streams one after the other, of which decoders read the first."""

import mmap
from pathlib import Path

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
        first = _declaration(data, 0, SKIPPED)
        if first < 0 or not data[first + 7] & 2:  # without a number of bytes
            return False
        at = 8 + 4 * (data[first + 7] & 1) + first
        end = first + int.from_bytes(data[at : at + 4], "big")
        return _declaration(data, end, end + SKIPPED) > 0


def _declaration(data: mmap.mmap, start: int, stop: int) -> int:
    """Where the header with the length of an mp3 stream begins; -1 for none."""
    return max(data.find(mark, start, stop) for mark in DECLARING)
