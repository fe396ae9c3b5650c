"""What a set's manifest says of its files: a CSV file with a row for each and a column ``name``."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from wavediff.errors import UserError

Manifest = dict[str, dict[str, str]]  # name -> column -> value


def read_manifest(path: Path, columns: Sequence[str], names: Iterable[str]) -> Manifest:
    """The values in ``columns`` for those of ``names`` (relative paths without suffix) that are there.

    In the manifest a name may have its suffix. Raises ``UserError`` for a file that is no such table,
    lacks one of ``columns``, names a file twice or names none of ``names``.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header, rows = reader.fieldnames or [], list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the manifest {path} ({reason}): give a CSV file") from error
    absent = [column for column in ("name", *columns) if column not in header]
    if absent:
        raise UserError(
            f"{path} has no column {', '.join(absent)}, only {', '.join(header) or 'an empty line'}"
        )
    names = set(names)
    manifest: Manifest = {}
    for row in rows:
        name = row["name"].strip()
        if name not in names:
            name = Path(name).with_suffix("").as_posix() if Path(name).name else name
        if name in manifest:
            raise UserError(f"{path} has two rows of {name}: take one of them out")
        if name in names:
            manifest[name] = {column: (row[column] or "").strip() for column in columns}
    if not manifest:
        raise UserError(
            f"{path} names none of the files: its column name must hold their paths below the "
            f"folder, as {min(names)}"
        )
    return manifest


def groups(manifest: Manifest, column: str) -> dict[str, set[str]]:
    """Value -> names, in the order of the numbers where all values are numbers, else of the text;
    files without a value are in no group."""
    found: dict[str, set[str]] = {}
    for name, row in manifest.items():
        if row[column]:
            found.setdefault(row[column], set()).add(name)
    try:
        order = sorted(found, key=float)
    except ValueError:
        order = sorted(found)
    return {value: found[value] for value in order}
