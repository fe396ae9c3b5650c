"""Datasets of Hugging Face, streamed or from the disk."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from wavediff.data.corpus import Corpus
from wavediff.data.packing import Packed, ShardWriter
from wavediff.data.shards import Shard, cache_folder, digest
from wavediff.errors import UserError, shorten
from wavediff.inputs import AUDIO_SUFFIXES, expanded

CLIPS = 1000  # of a shard of a dataset on the disk
SIGNATURES = {b"fLaC": ".flac", b"RIFF": ".wav", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff": ".mp3"}


def hf(
    root: str,
    name: str | None = None,
    part: str = "train",
    column: str = "audio",
    label: str | None = None,
    streaming: bool = True,
    files: Any = None,
    window: int = 4,
    cache_dir: str | None = None,
) -> Corpus:
    """Return the clips of a dataset of Hugging Face.

    Its shards, as many as the dataset has files, are kept as tar archives while they are needed.

    Args:
        root: its name on the hub, the folder of ``save_to_disk``, or a loader of the package
            datasets, such as ``parquet`` or ``audiofolder``.
        name: of the configuration.
        part: its split.
        column: with the audio.
        label: the column with the labels; None without.
        streaming: fetch the rows when they are needed; false downloads all of them first.
        files: those of a loader, ``data_files``.
        window: the number of shards whose clips are shuffled together.
        cache_dir: folder for shards, of which ``3 * window`` are kept; None for wavediff/shards in
            the user's folder of caches.

    Raises:
        UserError: if the package is missing, or the dataset cannot be opened.
    """
    if type(window) is not int or window < 1:
        raise UserError(f"data.window={shorten(window)} is invalid. Use, for example, 4.")
    spec = (root, name, part, streaming, _frozen(files))
    dataset = _dataset(*spec)
    for wanted in filter(None, (column, label)):
        if dataset.features is not None and wanted not in dataset.features:
            raise UserError(
                f"data.root={shorten(root)} has no column {shorten(wanted)!r}. Set data.column or "
                f"data.label to one of {shorten(', '.join(dataset.features), 200)}."
            )
    count = dataset.num_shards if streaming else -(-len(dataset) // CLIPS)
    cache, version = cache_folder(cache_dir), getattr(dataset, "_fingerprint", "")
    shards = []
    for number in range(count):
        path = cache / f"{digest(spec, version, column, label, number, count)}.tar"
        fetch = partial(_write, spec, column, label, number, count)
        title = f"{root}, shard {number}"
        shards.append(Shard(title, path, path.with_suffix(".jsonl"), fetch, 3 * window))
    if not shards:
        raise UserError(f"data.root={shorten(root)} has no rows in {shorten(part)!r}.")
    return Corpus(shorten(root), shards, window, label is not None)


def _frozen(files: Any) -> Any:
    return tuple(files) if isinstance(files, list) else files


@lru_cache(maxsize=2)
def _dataset(root: str, name: str | None, part: str, streaming: bool, files: Any) -> Any:
    """Open a dataset. No code from it is executed: the package has no loading scripts any more."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(
            'data=hf needs the package datasets: pip install "wavediff[corpora]"'
        ) from (error)
    path = expanded(root)
    try:
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            found = datasets.load_from_disk(str(path))
            found = found[part] if isinstance(found, dict) else found
            return found.to_iterable_dataset(_parts(len(found))) if streaming else found
        given = None if files is None else list(files) if isinstance(files, tuple) else files
        return datasets.load_dataset(
            str(path) if path.exists() else root,
            name,
            split=part,
            streaming=streaming,
            data_files=given,
        )
    except Exception as error:  # the package raises any kind of error
        raise UserError(
            f"data.root={shorten(root)} cannot be opened ({shorten(error, 200)}). Give the name of "
            "a dataset on the hub, or a folder."
        ) from error


def _parts(rows: int) -> int:
    return max(1, -(-rows // CLIPS))


def _write(
    spec: tuple[Any, ...], column: str, label: str | None, number: int, count: int, path: Path
) -> str:
    """Write a shard of a dataset as a tar archive.

    Raises:
        UserError: if its rows cannot be fetched, or have no audio.
    """
    import datasets

    root = spec[0]
    try:
        rows = _dataset(*spec).shard(num_shards=count, index=number)
        rows = rows.cast_column(column, datasets.Audio(decode=False))
        with open(path, "wb") as file:
            writer = ShardWriter(file)
            for place, row in enumerate(rows):
                writer.add(_packed(row, f"{number:05d}-{place:08d}", column, label))
            writer.close()
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"data.root={shorten(root)}: shard {number} cannot be fetched ({shorten(error, 200)}). "
            "The same command resumes."
        ) from error
    return ""


def _packed(row: Any, key: str, column: str, label: str | None) -> Packed:
    """Return the clip of a row, as it is, with its label in a JSON."""
    audio = row[column] or {}
    content = audio.get("bytes") or b""
    if not content and audio.get("path"):
        with suppress(OSError):  # a clip without content is counted
            content = Path(audio["path"]).read_bytes()
    suffix = Path(audio.get("path") or "").suffix.lower()
    if suffix not in AUDIO_SUFFIXES:
        found = (end for start, end in SIGNATURES.items() if content.startswith(start))
        suffix = next(found, ".wav")
    about = {} if label is None else {"label": row[label]}
    members = {suffix: content, ".json": json.dumps(about, default=str).encode()}
    return Packed(key, members, suffix, None, 0, 1, None)
