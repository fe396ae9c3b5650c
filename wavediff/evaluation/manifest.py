"""The manifest of a test set: a CSV file with a column ``name`` and a row per file."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from wavediff.errors import UserError, shorten

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
            reader = csv.DictReader(file)
            header, rows = reader.fieldnames or [], list(reader)
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
        name = row["name"].strip()
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
        order = sorted(found, key=float)
    except ValueError:
        order = sorted(found)
    return {value: found[value] for value in order}
