"""Manifests of Lhotse: recordings, supervisions and cuts as JSON lines."""

import gzip
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wavediff.data.source import Source, Span, labelled
from wavediff.errors import UserError, shorten
from wavediff.inputs import expanded

ALTERED = ("transforms", "affixes")  # what changes the samples


def lhotse(root: str, supervisions: str | None = None, labels: bool = False) -> Source:
    """Return the clips of Lhotse manifests (.jsonl or .jsonl.gz), read without Lhotse.

    Relative paths are taken from the working folder, as Lhotse does, or else from the manifest's
    folder. Each source of a recording is a file; URLs and commands are not fetched.

    Args:
        root: a manifest of cuts or of recordings.
        supervisions: a manifest of the segments of the recordings, which then are the clips.
        labels: whether the speakers of the supervisions are the labels.

    Raises:
        UserError: if a manifest cannot be read, or a line of one is invalid.
    """
    path = expanded(root)
    rows = dict(_rows(path))
    if not rows:
        raise UserError(f"{path} is empty. Give a manifest of cuts or recordings.")
    is_cuts = "recording" in next(iter(rows.values()))
    if is_cuts and supervisions is not None:
        raise UserError(
            f"{path} is a manifest of cuts, which have their supervisions: leave out "
            "data.supervisions, or give the manifest of the recordings."
        )
    clips: list[tuple[Path, Span, str | None]] = []
    if is_cuts:
        for line, row in rows.items():
            where = f"{path}, line {line}"
            clips.append(_clip(where, path.parent, row, _get(where, row, "recording", dict)))
    elif supervisions is None:
        for line, row in rows.items():
            where = f"{path}, line {line}"
            clips.append(_clip(where, path.parent, {"id": row.get("id"), "start": 0}, row))
    else:
        recordings = {row.get("id"): row for row in rows.values()}
        segments = expanded(supervisions)
        for line, row in _rows(segments):
            where = f"{segments}, line {line}"
            recording = recordings.get(_get(where, row, "recording_id", str))
            if recording is None:
                name = shorten(row["recording_id"])
                raise UserError(f"{where}: the recording {name!r} is not in {path}. Add it.")
            row = {**row, "supervisions": [row]}
            clips.append(_clip(where, path.parent, row, recording))
    if not clips:
        raise UserError(f"{supervisions} is empty. Give a manifest of supervisions.")
    files, spans, speakers = map(list, zip(*clips, strict=True))
    if not labels:
        return Source(path.parent, files, spans=spans)
    if None in speakers:
        name = shorten(spans[speakers.index(None)].name)
        raise UserError(f"{path}: {name} has no speaker. Add it, or set data.labels=false.")
    return labelled(path.parent, files, speakers, spans)


def _clip(
    where: str, folder: Path, row: Mapping[str, Any], recording: Mapping[str, Any]
) -> tuple[Path, Span, str | None]:
    """Return (file, part, speaker) of a cut or a supervision of a recording."""
    if row.get("type", "MonoCut") not in ("MonoCut", "MultiCut"):
        raise UserError(
            f"{where}: a {shorten(row['type'])} is not a part of one recording. Write it to a file "
            "with Lhotse's save_audios."
        )
    if any(recording.get(name) for name in ALTERED):
        raise UserError(
            f"{where}: the recording is to be transformed. Write it to a file with Lhotse's "
            "save_audios."
        )
    sources = _get(where, recording, "sources", list)
    if len(sources) != 1 or not isinstance(sources[0], Mapping) or sources[0].get("type") != "file":
        kind = sources[0].get("type") if sources and isinstance(sources[0], Mapping) else None
        found = f"{len(sources)} sources" if len(sources) != 1 else f"of type {shorten(kind)!r}"
        raise UserError(
            f"{where}: the recording is {found}, and one file is read. Write it to a file with "
            "Lhotse's save_audios."
        )
    start = _number(where, row, "start", 0.0)
    whole = "duration" not in row
    seconds = None if whole else _number(where, row, "duration", None)
    if start < 0 or (seconds is not None and seconds <= 0):
        raise UserError(
            f"{where}: start {start:g} and duration {seconds} (in seconds) are invalid."
        )
    channel = _channel(where, row, sources[0])
    name = str(row.get("id") or recording.get("id"))
    file = expanded(_get(where, sources[0], "source", str))
    file = file if file.is_absolute() or file.exists() else folder / file
    return file, Span(name, start, seconds, channel), _speaker(row)


def _channel(where: str, row: Mapping[str, Any], source: Mapping[str, Any]) -> int | None:
    """Return the place in the file of the channel of a cut; None for all of them."""
    channels = source.get("channels")
    channel = row.get("channel")
    if isinstance(channel, list):
        channel = channel[0] if len(channel) == 1 else None
    if channel is None or not isinstance(channels, list) or len(channels) < 2:
        return None
    if channel not in channels:
        raise UserError(
            f"{where}: channel {shorten(channel)} is not among those of the recording, "
            f"{shorten(channels)}. Correct it."
        )
    return channels.index(channel)


def _speaker(row: Mapping[str, Any]) -> str | None:
    """Return the speaker of a cut's only or first supervision."""
    found = row.get("supervisions") or [{}]
    first = found[0] if isinstance(found, list) and isinstance(found[0], Mapping) else {}
    speaker = first.get("speaker")
    return None if speaker in (None, "") else str(speaker)


def _get(where: str, row: Mapping[str, Any], key: str, kind: type) -> Any:
    if not isinstance(row.get(key), kind):
        raise UserError(f"{where}: {key} is missing or invalid. Give a manifest of Lhotse.")
    return row[key]


def _number(where: str, row: Mapping[str, Any], key: str, default: float | None) -> float:
    value = row.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{where}: {key} is not a number of seconds. Give a manifest of Lhotse.")
    return float(value)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield (line number, object) of a file of JSON lines, compressed or not."""
    if not path.is_file():
        raise UserError(f"{path} does not exist. Give a manifest of Lhotse (.jsonl, .jsonl.gz).")
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise UserError(
                        f"{path}, line {number} is not JSON. Give a manifest of Lhotse as JSON "
                        "lines."
                    ) from error
                if not isinstance(row, dict):
                    raise UserError(f"{path}, line {number} is not a JSON object.")
                yield number, row
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({shorten(error)}).") from error
