"""Data folders of Kaldi: wav.scp, and segments and utt2spk if they are there."""

import math
import shlex
from collections.abc import Iterator
from pathlib import Path

from wavediff.data.source import Source, Span, labelled
from wavediff.errors import UserError, shorten
from wavediff.inputs import expanded


def kaldi(root: str, labels: bool = False) -> Source:
    """Return the utterances of a Kaldi data folder.

    Relative paths in wav.scp are taken from the working folder, as Kaldi does, or else from
    ``root``. Commands in wav.scp are not run.

    Args:
        root: the folder with ``wav.scp``; utterances are those of ``segments`` if it exists, and
            the recordings of wav.scp otherwise.
        labels: whether the speakers of ``utt2spk`` are the labels.

    Raises:
        UserError: if the folder lacks a file, or a line of one is invalid.
    """
    folder = expanded(root)
    scp = folder / "wav.scp"
    if not scp.is_file():
        raise UserError(f"data.root={root} has no wav.scp. Give a Kaldi data folder.")
    recordings = {
        key: _found(folder, _recording(scp, number, rest)) for number, key, rest in _lines(scp)
    }
    files: list[Path] = []
    spans: list[Span] = []
    segments = folder / "segments"
    if segments.is_file():
        for number, key, rest in _lines(segments):
            recording, start, seconds, channel = _segment(segments, number, rest)
            if recording not in recordings:
                raise UserError(
                    f"{segments}, line {number}: {shorten(recording)!r} is not in {scp}. Add it."
                )
            files.append(recordings[recording])
            spans.append(Span(key, start, seconds, channel))
    else:
        for key, path in recordings.items():
            files.append(path)
            spans.append(Span(key))
    if not files:
        raise UserError(f"{folder} lists no utterances. Give another folder.")
    if not labels:
        return Source(folder, files, spans=spans)
    speakers = _speakers(folder, [span.name for span in spans])
    return labelled(folder, files, speakers, spans)


def _found(folder: Path, path: Path) -> Path:
    return path if path.is_absolute() or path.exists() else folder / path


def _lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line number, first word, rest) of the lines that are not empty; no key comes twice."""
    seen: dict[str, int] = {}
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split(maxsplit=1)
        if not words:
            continue
        if len(words) < 2:
            raise UserError(
                f"{path}, line {number}: {shorten(line)!r} is a name only. Complete it."
            )
        if words[0] in seen:
            raise UserError(
                f"{path}, line {number}: {shorten(words[0])!r} is on line {seen[words[0]]} too. "
                "Remove one of them."
            )
        seen[words[0]] = number
        yield number, words[0], words[1].strip()


def _recording(scp: Path, number: int, rest: str) -> Path:
    if rest.endswith("|") or rest.startswith("|"):
        raise UserError(
            f"{scp}, line {number}: {shorten(rest)!r} is a command, and commands are not run. "
            "Write the audio to files first, for example with Kaldi's wav-copy, and list those."
        )
    if ".ark:" in rest:
        raise UserError(
            f"{scp}, line {number}: {shorten(rest)!r} is in a Kaldi archive, which is not read. "
            "Write the audio to files first, for example with Kaldi's wav-copy."
        )
    words = shlex.split(rest) if rest[:1] in "\"'" else [rest]
    return expanded(words[0])


def _segment(path: Path, number: int, rest: str) -> tuple[str, float, float | None, int | None]:
    """Return (recording, start and length in seconds, channel); -1 is the end of the file."""
    words = rest.split()
    try:
        recording, start, end = words[0], float(words[1]), float(words[2])
        channel = int(words[3]) if len(words) > 3 else None
        valid = math.isfinite(start) and math.isfinite(end) and start >= 0 and len(words) <= 4
        if not valid or not (end > start or end == -1) or (channel or 0) < 0:
            raise ValueError(rest)
    except (ValueError, IndexError) as error:
        raise UserError(
            f"{path}, line {number}: {shorten(rest)!r} is not RECORDING START END in seconds. "
            "Correct it."
        ) from error
    return recording, start, None if end == -1 else end - start, channel


def _speakers(folder: Path, names: list[str]) -> list[str]:
    path = folder / "utt2spk"
    if not path.is_file():
        raise UserError(f"{folder} has no utt2spk. Add it, or set data.labels=false.")
    speakers = {key: rest for _, key, rest in _lines(path)}
    missing = [name for name in names if name not in speakers]
    if missing:
        raise UserError(
            f"{path} has no speaker of {len(missing)} of {len(names)} utterances; the first is "
            f"{shorten(missing[0])}. Add them, or set data.labels=false."
        )
    return [speakers[name] for name in names]
