"""A user's own audio: a folder, or a manifest that lists files."""

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from wavediff.data.audio import find_audio
from wavediff.data.source import Source, labelled, paired
from wavediff.errors import UserError

MANIFESTS = (".csv", ".tsv", ".txt", ".jsonl", ".json")


def folder(
    root: str | Sequence[str], labels: bool = False, noisy: str | Sequence[str] | None = None
) -> Source:
    """All audio below the folder ``root``, sorted by path; or what the manifest ``root`` lists; or the
    one after the other of several such.

    A manifest is CSV with a header (separated by commas, tabs or bars) or JSON lines. It has a
    column ``path``, relative to the manifest's folder; it may have a column ``label`` or ``speaker``, and
    a column ``noisy``, which is like ``path``, for noisy recordings of the same.

    labels: in a folder, take the name of the first folder below ``root`` as a file's label.
    noisy: a folder that has a noisy recording of every file in ``root``, under the same name; or as
    many folders as there are in ``root``.
    Raises UserError when there is no audio, or a row cannot be understood.
    """
    return gather(root, labels, "data.root", noisy)


def gather(
    root: str | Sequence[str],
    labels: bool,
    setting: str,
    noisy: str | Sequence[str] | None = None,
) -> Source:
    """What ``folder`` does; errors call ``root`` by the name of the setting it is from."""
    roots = [root] if isinstance(root, str | os.PathLike) else list(root)
    pairs = [noisy] if noisy is None or isinstance(noisy, str | os.PathLike) else list(noisy)
    if noisy is None:
        pairs = [None] * len(roots)
    if not roots:
        raise UserError(f"{setting} is empty: give a folder of audio, or a manifest")
    if len(pairs) != len(roots):
        raise UserError(f"data.noisy needs as many folders as {setting}, which has {len(roots)}")
    sources = [_one(place, labels, setting) for place in roots]
    sources = [s if n is None else paired(s, n) for s, n in zip(sources, pairs, strict=True)]
    if len(sources) == 1:
        return sources[0]
    common = Path(os.path.commonpath([source.root.absolute() for source in sources]))
    files = _joined(source.files for source in sources)
    result = Source(common, files)
    for name in ("labels", "noisy"):
        lack = [getattr(source, name) is None for source in sources]
        if any(lack) and not all(lack):
            raise UserError(f"{setting}: {roots[lack.index(True)]} has no {name}, and others have")
    if sources[0].labels is not None:
        names = [source.label_names[label] for source in sources for label in source.labels]
        result = labelled(common, files, names)
    if sources[0].noisy is not None:
        result = replace(result, noisy=_joined(source.noisy for source in sources))
    return result


def _joined(parts: Iterable[Sequence[Path]]) -> list[Path]:
    return [file.absolute() for part in parts for file in part]


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
    files, names, noisy = [], [], []
    for number, row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("path"), str):
            raise UserError(f"{path}, line {number}: a manifest needs a column named path")
        files.append(path.parent / Path(row["path"]).expanduser())
        name, pair = row.get("label", row.get("speaker")), row.get("noisy")
        names.append(None if name in (None, "") else str(name))
        noisy.append(None if pair in (None, "") else path.parent / Path(str(pair)).expanduser())
    if not files:
        raise UserError(f"{path} lists no files")
    for values, word in ((names, "label"), (noisy, "noisy recording")):
        if None in values and any(value is not None for value in values):
            without = files[values.index(None)]
            raise UserError(f"{path} gives a {word} to some files only: {without} has none")
    source = Source(path.parent, files)
    if names[0] is not None:
        source = labelled(path.parent, files, names)
    return source if noisy[0] is None else replace(source, noisy=noisy)


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
