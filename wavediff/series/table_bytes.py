"""The bytes of a CSV file, plain or compressed by gzip, checked before they are parsed."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from wavediff.errors import UserError
from wavediff.series.encodings import UTF_8, InUtf8, encoding_of, is_gzip

LINE = 2**25  # bytes of a line at most
PIECE = 2**28  # bytes that are parsed at once at most
HEAD = 2**16  # bytes by which the kind of a file is judged
OTHERS = {  # how a file that is not CSV begins
    b"PAR1": "a Parquet file: end its name in .parquet",
    b"PK\x03\x04": "a zip archive or a workbook of Excel: unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "a workbook of Excel: save the sheet as CSV",
    b"BZh": "compressed by bzip2: unpack it, or compress it by gzip",
    b"\xfd7zXZ": "compressed by xz: unpack it, or compress it by gzip",
    b"(\xb5/\xfd": "compressed by Zstandard: unpack it, or compress it by gzip",
    b"\x1f\x8b": "compressed twice: unpack it once",
    b"SQLite": "a database of SQLite: export the table as CSV",
    b"%PDF": "a PDF: save the table as CSV",
    b"<!doctype": "a web page: download the file that it shows",
    b"<html": "a web page: download the file that it shows",
    b"<?xml": "XML: save the table as CSV",
    b"{": "JSON: save the table as CSV",
    b"[": "JSON: save the table as CSV",
}
DAMAGED = (OSError, EOFError, zlib.error)  # what the gzip module raises


def head_of(path: Path) -> str:
    """The first lines of a file.

    Raises:
        UserError: for a file that is not text, or whose lines are too long.
    """
    with opened(path) as (handle, _):
        found = handle.read(HEAD)
        for begin, what in OTHERS.items():
            if found.lower().startswith(begin.lower()):
                raise UserError(f"{path} is {what}")
        if b"\0" in found:
            raise UserError(
                f"{path} is not text in UTF-8 but has NUL bytes, as UTF-16 does: save it as CSV in "
                "UTF-8"
            )
        end = max(found.rfind(b"\n"), found.rfind(b"\r"))
        found = found[: end + 1] if end >= 0 else found + handle.readline()
    return found.decode("utf-8-sig")


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, IO[bytes]]]:
    """The checked bytes of a file, uncompressed and in UTF-8, and the file itself."""
    encoding = encoding_of(path)
    with open(path, "rb") as raw:
        source: Any = gzip.GzipFile(fileobj=raw) if is_gzip(path) else raw
        source = source if encoding == UTF_8 else InUtf8(source, encoding)
        with io.BufferedReader(Checked(source, path), 2**18) as handle:
            yield handle, raw


def is_damaged(path: Path) -> bool:
    """Whether a gzip file ends early or differs from its checksum."""
    if not is_gzip(path):
        return False
    try:
        with gzip.open(path) as file:
            while file.read(2**20):
                pass
    except DAMAGED:
        return True
    return False


class Checked(io.RawIOBase):
    """Reads ``source``, and raises UserError for a line that is longer than ``LINE``, or for more
    than ``PIECE`` bytes after ``begin_piece``, as where a quote is never closed."""

    def __init__(self, source: IO[bytes] | gzip.GzipFile | InUtf8, path: Path) -> None:
        self.source, self.path = source, path
        self.line, self.length, self.piece = 1, 0, 0

    def readable(self) -> bool:
        return True

    def begin_piece(self) -> int:
        """Count from here; returns the bytes since the last call."""
        read, self.piece = self.piece, 0
        return read

    def readinto(self, buffer: Any) -> int:
        found = self.source.read(len(buffer))
        buffer[: len(found)] = found
        last = max(found.rfind(b"\n"), found.rfind(b"\r"))
        self.length = self.length + len(found) if last < 0 else len(found) - last - 1
        self.line += found.count(b"\n")
        self.piece += len(found)
        if self.length > LINE:
            raise UserError(
                f"{self.path}: line {self.line} is longer than {LINE >> 20} MB: give a table with "
                "one row per timestamp"
            )
        if self.piece > PIECE:
            raise UserError(
                f"{self.path}: a row before line {self.line} does not end within "
                f"{PIECE >> 20} MB: close its quotes"
            )
        return len(found)
