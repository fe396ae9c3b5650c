"""The encoding of a CSV file: UTF-8, or what spreadsheets write else."""

from __future__ import annotations

import codecs
import gzip
import zlib
from functools import lru_cache
from pathlib import Path
from typing import IO

UTF_8, UTF_16, WINDOWS = "utf-8-sig", "utf-16", "cp1252"
PIECE, MOST = 2**20, 2**27  # bytes that are read at once, and that decide at most
CONTROLS = bytes({*range(32)} - set(b"\t\n\v\f\r\x1a"))  # that are in no text


def encoding_of(path: Path) -> str:
    """``UTF_8``, ``UTF_16`` where a file begins with its byte order mark, or ``WINDOWS`` where no
    character of a text beyond ASCII is in UTF-8. Of what is no text, ``UTF_8``."""
    stat = path.stat()
    return _encoding(path, stat.st_mtime_ns, stat.st_size)


def is_gzip(path: Path) -> bool:
    """Whether a file is compressed by gzip, by its first bytes."""
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


@lru_cache(8)
def _encoding(path: Path, _time: int, _size: int) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with gzip.open(path) if is_gzip(path) else open(path, "rb") as file:
            for place in range(0, MOST, PIECE):
                piece = file.read(PIECE)
                if not place and piece.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    return UTF_16
                try:
                    text = decoder.decode(piece, final=not piece)
                except UnicodeDecodeError as error:
                    before = error.object[: error.start]
                    return WINDOWS if before.isascii() and _is_windows(piece) else UTF_8
                if not (piece and text.isascii()):  # the end, or UTF-8
                    return UTF_8
    except (OSError, EOFError, zlib.error):  # told when it is read
        pass
    return UTF_8


def _is_windows(piece: bytes) -> bool:
    try:
        piece.decode(WINDOWS)
    except UnicodeDecodeError:
        return False
    return len(piece.translate(None, CONTROLS)) == len(piece)


class InUtf8:
    """Reads ``source``, which is in another encoding, as UTF-8."""

    def __init__(self, source: IO[bytes] | gzip.GzipFile, encoding: str) -> None:
        self.source, self.left = source, b""
        self.decoder = codecs.getincrementaldecoder(encoding)()

    def read(self, size: int) -> bytes:
        """So many bytes at most; none at the end."""
        while not self.left:
            found = self.source.read(size)
            self.left = self.decoder.decode(found, final=not found).encode("utf-8")
            if not found:
                break
        piece, self.left = self.left[:size], self.left[size:]
        return piece
