"""A user's own audio: a folder, or a manifest that lists files."""

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from wavediff.data.audio import find_audio
from wavediff.data.source import Source, labelled
from wavediff.errors import UserError

MANIFESTS = (".csv", ".tsv", ".txt", ".jsonl", ".json")


def folder(root: str | Sequence[str], labels: bool = False) -> Source:
    """All audio below the folder `root`, sorted by path; or what the manifest `root` lists; or the
    one after the other of several such.

    A manifest is CSV with a header (separated by commas, tabs or bars) or JSON lines. It has a
    column `path`, relative to the manifest's folder, and may have a column `label` or `speaker`.

    labels: in a folder, take the name of the first folder below `root` as a file's label.
    Raises UserError when there is no audio, or a row cannot be understood.
    """
    return gather(root, labels, "data.root")


def gather(root: str | Sequence[str], labels: bool, setting: str) -> Source:
    """What `folder` does; errors call `root` by the name of the setting it is from."""
    roots = [root] if isinstance(root, str | os.PathLike) else list(root)
    if not roots:
        raise UserError(f"{setting} is empty: give a folder of audio, or a manifest")
    sources = [_one(place, labels, setting) for place in roots]
    if len(sources) == 1:
        return sources[0]
    common = Path(os.path.commonpath([source.root.absolute() for source in sources]))
    files = [file.absolute() for source in sources for file in source.files]
    if all(source.labels is None for source in sources):
        return Source(common, files)
    for place, source in zip(roots, sources, strict=True):
        if source.labels is None:
            raise UserError(f"{setting}: {place} has no labels, and the others have")
    names = [source.label_names[label] for source in sources for label in source.labels]
    return labelled(common, files, names)


def _one(root: str, labels: bool, setting: str) -> Source:
    path = Path(root).expanduser()
    if path.suffix.lower() in MANIFESTS and path.is_file():
        return _manifest(path)
    if not path.is_dir():
        raise UserError(f"{setting}={root} does not exist: give a folder of audio, or a manifest")
    files = find_audio([path])
    if not labels:
        return Source(path, files)
    for file in files:
        if file.parent == path:
            raise UserError(f"{file} is in no folder of its own, so data.labels=true has no label")
    return labelled(path, files, [file.relative_to(path).parts[0] for file in files])


def _manifest(path: Path) -> Source:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a manifest: {error}") from error
    rows = _json_rows(path, text) if path.suffix.lower() in (".jsonl", ".json") else _csv_rows(text)
    files, names = [], []
    for number, row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("path"), str):
            raise UserError(f"{path}, line {number}: a manifest needs a column named path")
        name = row.get("label", row.get("speaker"))
        files.append(path.parent / Path(row["path"]).expanduser())
        names.append(None if name in (None, "") else str(name))
    if not files:
        raise UserError(f"{path} lists no files")
    if all(name is None for name in names):
        return Source(path.parent, files)
    if None in names:
        raise UserError(
            f"{path} gives a label to some files only: {files[names.index(None)]} has none"
        )
    return labelled(path.parent, files, names)


def _csv_rows(text: str) -> Iterable[tuple[int, dict]]:
    header = text.split("\n", 1)[0]
    delimiter = next((mark for mark in "\t|," if mark in header), ",")
    return enumerate(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter), start=2)


def _json_rows(path: Path, text: str) -> Iterable[tuple[int, dict]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number} is not JSON: {error}") from error
