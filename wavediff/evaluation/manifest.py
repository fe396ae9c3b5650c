"""The manifest of a test set: a CSV file with a column ``name`` and a row per file.

Cells are separated by commas, semicolons, tabs or bars.
"""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

from wavediff.errors import UserError, shorten

DELIMITERS = ",;\t|"
Manifest = dict[str, dict[str, str]]  # name -> column -> value


def read_manifest(path: Path, columns: Sequence[str], names: Iterable[str]) -> Manifest:
    """Read the values in ``columns`` of the files ``names``.

    Args:
        path: the CSV file; its names may have suffixes.
        columns: the columns to read.
        names: relative paths without suffix; files that are not in the manifest are left out.

    Raises:
        UserError: if the file cannot be read, lacks a column, names a file twice or names none of
            ``names``.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header, rows = _read(file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = shorten(getattr(error, "strerror", None) or error)
        raise UserError(f"cannot read the manifest {path} ({reason}). Give a CSV file.") from error
    absent = [column for column in ("name", *columns) if column not in header]
    if absent:
        raise UserError(
            f"{path}: column {', '.join(absent)} is missing; the header is "
            f"{shorten(', '.join(header)) or 'empty'}. Add the column, or name another."
        )
    names = set(names)
    manifest: Manifest = {}
    for row in rows:
        name = (row["name"] or "").strip()
        if not name:
            continue
        if name not in names:
            name = Path(name).with_suffix("").as_posix() if Path(name).name else name
        if name in manifest:
            raise UserError(f"{path} has two rows of {shorten(name)}. Remove one of them.")
        if name in names:
            manifest[name] = {column: (row[column] or "").strip() for column in columns}
    if not manifest:
        raise UserError(
            f"{path}: none of the files is in the column name. It must hold their paths below the "
            f"folder, for example {min(names)}."
        )
    return manifest


def _read(file: TextIO) -> tuple[list[str], list[dict[str, str]]]:
    """The header and the rows, cells separated as the header has it."""
    head = file.readline()
    file.seek(0)
    found = [c for c in DELIMITERS if "name" in [cell.strip(' "\r\n') for cell in head.split(c)]]
    reader = csv.DictReader(file, delimiter=(found or DELIMITERS)[0], skipinitialspace=True)
    reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
    return list(reader.fieldnames), list(reader)


def groups(manifest: Manifest, column: str) -> dict[str, set[str]]:
    """Group the names by their value in ``column``.

    Values are sorted as numbers if all are numbers, else as text. Files without a value are in no
    group.
    """
    found: dict[str, set[str]] = {}
    for name, row in manifest.items():
        if row[column]:
            found.setdefault(row[column], set()).add(name)
    try:
        order = sorted(found, key=lambda value: float(value.replace(",", ".")))
    except ValueError:
        order = sorted(found)
    return {value: found[value] for value in order}
