"""Audio of the user: a folder, or a manifest that lists files."""

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from wavediff.data.source import Source, labelled, paired
from wavediff.errors import UserError
from wavediff.inputs import expanded, find_audio

Value = TypeVar("Value")

MANIFESTS = (".csv", ".tsv", ".txt", ".jsonl", ".json")


def folder(
    root: str | Sequence[str], labels: bool = False, noisy: str | Sequence[str] | None = None
) -> Source:
    """Return all audio below a folder, sorted by path, or the files that a manifest lists.

    A manifest is CSV with a header (separated by commas, tabs or bars) or JSON lines. It has a
    column ``path``, relative to the manifest's folder. It may have a column ``label`` or
    ``speaker``, and a column ``noisy`` with the paths of the noisy recordings.

    Args:
        root: a folder or manifest, or several, which are concatenated.
        labels: whether the first folder below ``root`` is the label of a file.
        noisy: the folder with the noisy recording of every file in ``root`` under the same name;
            one for each ``root``.

    Raises:
        UserError: if there is no audio, or a row of a manifest is invalid.
    """
    return gather(root, labels, "data.root", noisy)


def gather(
    root: str | Sequence[str],
    labels: bool,
    setting: str,
    noisy: str | Sequence[str] | None = None,
) -> Source:
    """Do the same as ``folder``; messages call ``root`` by the name of its ``setting``."""
    roots = [root] if isinstance(root, str | os.PathLike) else list(root)
    pairs: list[str | None]
    if noisy is None:
        pairs = [None] * len(roots)
    else:
        pairs = [noisy] if isinstance(noisy, str | os.PathLike) else list(noisy)
    if not roots:
        raise UserError(f"{setting} is empty. Give a folder of audio, or a manifest.")
    if len(pairs) != len(roots):
        raise UserError(
            f"data.noisy has {len(pairs)} folders and {setting} has {len(roots)}. Give a noisy "
            "folder for each."
        )
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
            raise UserError(
                f"{setting}: {roots[lack.index(True)]} has no {name}, but others have. Give all of "
                "them or none."
            )
    if sources[0].labels is not None:
        result = labelled(common, files, [name for source in sources for name in _names(source)])
    if sources[0].noisy is not None:
        result = replace(result, noisy=_joined(source.noisy or () for source in sources))
    return result


def _joined(parts: Iterable[Sequence[Path]]) -> list[Path]:
    return [file.absolute() for part in parts for file in part]


def _names(source: Source) -> list[str]:
    """Return the name of each file's label."""
    names = source.label_names or ()
    return [names[label] for label in source.labels or ()]


def _one(root: str, labels: bool, setting: str) -> Source:
    path = expanded(root)
    if path.suffix.lower() in MANIFESTS and path.is_file():
        return _manifest(path)
    if not path.is_dir():
        raise UserError(f"{setting}={root} does not exist. Give a folder of audio, or a manifest.")
    files = find_audio([path])
    if not labels:
        return Source(path, files)
    for file in files:
        if file.parent == path:
            raise UserError(
                f"{file} is not in a subfolder, the name of which is the label. Move it into one, "
                "or set data.labels=false."
            )
    return labelled(path, files, [file.relative_to(path).parts[0] for file in files])


def _manifest(path: Path) -> Source:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a manifest. Give a text file in UTF-8.") from error
    rows = _json_rows(path, text) if path.suffix.lower() in (".jsonl", ".json") else _csv_rows(text)
    files: list[Path] = []
    names: list[str | None] = []
    noisy: list[Path | None] = []
    for number, row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("path"), str):
            raise UserError(f"{path}, line {number}: column path is missing or empty. Add it.")
        files.append(path.parent / expanded(row["path"]))
        name, pair = row.get("label", row.get("speaker")), row.get("noisy")
        names.append(None if name in (None, "") else str(name))
        noisy.append(None if pair in (None, "") else path.parent / expanded(str(pair)))
    if not files:
        raise UserError(f"{path} lists no files. Add rows below the header.")
    labels = _complete(path, files, names, "label")
    recordings = _complete(path, files, noisy, "noisy recording")
    source = Source(path.parent, files) if not labels else labelled(path.parent, files, labels)
    return replace(source, noisy=recordings) if recordings else source


def _complete(
    path: Path, files: Sequence[Path], values: Sequence[Value | None], word: str
) -> list[Value]:
    """Return the values of a column without None; empty if the manifest has none at all."""
    present = [value for value in values if value is not None]
    if present and len(present) < len(files):
        without = files[list(values).index(None)]
        raise UserError(
            f"{path} gives a {word} to some files only: {without} has none. Give one to all files "
            "or to none."
        )
    return present


def _csv_rows(text: str) -> Iterable[tuple[int, Any]]:
    header = text.split("\n", 1)[0]
    delimiter = next((mark for mark in "\t|," if mark in header), ",")
    return enumerate(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter), start=2)


def _json_rows(path: Path, text: str) -> Iterable[tuple[int, Any]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(
                    f"{path}, line {number} is not JSON. Use one object per line, such as "
                    '{"path": "a.wav"}.'
                ) from error
