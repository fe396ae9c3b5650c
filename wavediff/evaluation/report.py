"""The report of an enhancement: one HTML page with levels, spectrograms and players.

The page is self-contained and loads nothing from the network; its parts are in ``web``. Its size is
limited: it shows the first 2 minutes of long recordings, the first 50 of many, and half an hour in
all, as MP3. Levels are those of whole files, for all recordings. Without JavaScript, the player of
a recording is two of the browser's own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from wavediff.data.audio import audio_info
from wavediff.errors import UserError
from wavediff.evaluation.comparison import Parts, Version, duration, escaped, section
from wavediff.evaluation.levels import FLOOR_DB, Levels, frame_powers, levels
from wavediff.evaluation.web import RECORDING, RECORDING_STYLE, STYLE, WEB, joined, policy_hash
from wavediff.files import atomic_path

TITLE = "<title>Enhancement report</title>"  # identifies a report
SHOWN = 50  # recordings with spectrograms and players
SECONDS, ALL_SECONDS = 120, 1800  # maximum of audio, per recording and in total


@dataclass(frozen=True)
class Entry:
    """A recording before and after enhancement; ``name`` is displayed."""

    name: str
    before: Path
    after: Path


@dataclass(frozen=True)
class _Row:
    """An entry with its levels."""

    entry: Entry
    seconds: float
    sample_rate: int
    before: Levels
    after: Levels


@dataclass(frozen=True)
class _Unreadable:
    """An entry whose files cannot be read."""

    entry: Entry
    error: str


def write_report(path: str | Path, entries: Sequence[Entry]) -> None:
    """Write the page atomically.

    An entry that cannot be read is listed on the page with the reason.

    Raises:
        UserError: if there is no entry, or ``path`` cannot be written.
    """
    if not entries:
        raise UserError(f"cannot write {path}: the report has no recordings. Give at least one.")
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", encoding="utf-8", errors="replace", newline="\n") as file,
    ):
        file.writelines(_page(entries))


def _page(entries: Sequence[Entry]) -> Iterator[str]:
    rows = [_row(entry) for entry in entries]
    readable = {number: row for number, row in enumerate(rows) if isinstance(row, _Row)}
    shown = dict(islice(readable.items(), SHOWN))
    seconds = min(SECONDS, ALL_SECONDS // max(1, len(shown)))
    html = Parts("report.html")
    script = joined(*RECORDING, WEB / "report.js")
    style = joined(STYLE, RECORDING_STYLE, WEB / "report.css")
    yield html(
        "head",
        title=TITLE,
        style=style,
        style_hash=policy_hash(style),
        script_hash=policy_hash(script),
        count=f"{len(rows)} recording{'s' * (len(rows) > 1)}",
    )
    if len(readable) > len(shown):
        yield html("shown", shown=len(shown))
    yield html("table")
    for number, row in enumerate(rows):
        yield _table_row(html, row, number if number in shown else None)
    yield html("table end")
    for number, row in shown.items():
        yield _section(row, number, seconds)
    yield html("end", script=script)


def _row(entry: Entry) -> _Row | _Unreadable:
    try:
        frames, sample_rate = audio_info(entry.after)
        before, after = levels(frame_powers(entry.before), frame_powers(entry.after))
    except UserError as error:
        return _Unreadable(entry, str(error))
    return _Row(entry, frames / sample_rate, sample_rate, before, after)


def _table_row(html: Parts, row: _Row | _Unreadable, number: int | None) -> str:
    name = escaped(row.entry.name)
    if number is not None:
        name = html("link", number=number, name=name).strip()
    if isinstance(row, _Unreadable):
        return html("unreadable", name=name, error=escaped(row.error))
    return html(
        "row",
        name=name,
        length=duration(row.seconds),
        speech_before=_level(row.before.speech),
        speech_after=_level(row.after.speech),
        pauses_before=_level(row.before.pauses),
        pauses_after=_level(row.after.pauses),
        reduction=_reduction(row),
    )


def _section(row: _Row, number: int, seconds: float) -> str:
    """The heading, the player, and spectrograms and sound of before and after."""
    facts = f"{duration(row.seconds)}, {row.sample_rate} Hz, noise reduction {_reduction(row)}"
    if row.seconds > seconds:
        facts += f". Below: the first {duration(seconds)}"
    versions = [
        Version(
            title,
            path,
            f"{title}: speech {_level(level.speech)}, pauses {_level(level.pauses)} dBFS",
        )
        for title, path, level in (
            ("Before", row.entry.before, row.before),
            ("After", row.entry.after, row.after),
        )
    ]
    return section(number, row.entry.name, facts, versions, seconds)


def _level(decibels: float) -> str:
    return f"under {FLOOR_DB:.0f}" if decibels <= FLOOR_DB else f"{decibels:.1f}"


def _reduction(row: _Row) -> str:
    reduction = round(row.before.pauses - row.after.pauses, 1) + 0.0  # no minus zero
    more = "over " if row.after.pauses <= FLOOR_DB < row.before.pauses else ""
    return f"{more}{reduction:.1f} dB"
