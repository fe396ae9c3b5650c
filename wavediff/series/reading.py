"""Time series from tables and arrays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas

from wavediff.errors import UserError, listed, shorten
from wavediff.inputs import expanded
from wavediff.series import checks, frequency
from wavediff.series.column_roles import clock_advice, find_item_column, find_targets
from wavediff.series.frequency import text
from wavediff.series.reading_notes import longer, odd, summary
from wavediff.series.series_set import Origin, Series, SeriesSet
from wavediff.series.sources import of_array, table_or_array
from wavediff.series.table import Table, read_table

T = TypeVar("T")

# An item of more steps than the first, with rows for less than one in the second, has a wrong
# timestamp.
MAX_STEPS, MAX_SPARSITY = 100_000, 1000
# With a frequency that is given, so many steps for a row are those of a finer one.
FEWEST, SPARSE = 12, 20


def read_series(
    source: Any,
    *,
    time: str | None = None,
    item: str | None = None,
    targets: Sequence[str] | None = None,
    known: Sequence[str] = (),
    static: Sequence[str] = (),
    freq: str | None = None,
    date_format: str | None = None,
    tz: str | None = None,
    progress: bool = True,
) -> SeriesSet:
    """Read the series in a table or array.

    A table has one row per timestamp and a column for each variable ("wide"), or one per timestamp
    and item ("long", with an item column). The time column and the item column are found where
    they are unambiguous; ``notes`` says what was taken. Absent rows are missing steps. Rows may be
    in any order.

    Args:
        source: a CSV (.gz too) or Parquet file, a frame or series of pandas or polars, or an array
            or list ``[T]``, ``[T, V]`` or ``[N, T, V]``, or a dict of arrays ``[T]`` by variable,
            whose steps are plain numbers unless there is a ``freq``.
        time: the time column, or several with + between, as Date+Time; None finds them.
        item: the item column; None finds it.
        targets: the columns to model; None for all with numbers.
        known: columns whose future is known when forecasting, in rows beyond the last target.
        static: columns that are constant for an item.
        freq: the frequency, where it cannot be found, as in one row, or is to be another one.
        date_format: (strftime) of the time column, where several fit; None finds it.
        tz: time zone of the time column, such as Europe/Berlin; None takes its own.
        progress: whether to show a bar on stderr when reading takes longer than a second.

    Raises:
        UserError: for no time column, a timestamp that comes twice, mixed frequencies, text in a
            column of numbers, and the like.
    """
    texts = {"time": time, "item": item, "freq": freq, "date_format": date_format, "tz": tz}
    time, item, freq, date_format, tz = (checks.text(name, text) for name, text in texts.items())
    targets = None if targets is None else checks.names("targets", targets)
    known, static = checks.names("known", known), checks.names("static", static)
    freq = None if freq is None else frequency.normalize(freq)
    _one_role({"time": time, "item": item, "targets": targets, "known": known, "static": static})
    source, variables = table_or_array(source)
    if isinstance(source, np.ndarray):
        series = of_array(source, freq)
        return series if variables is None else replace(series, variables=variables)
    if not isinstance(source, pandas.DataFrame):
        source = _file(source)
    named = [*known, *static, *([item] if item else [])]
    only = None if targets is None else [*targets, *known]
    text_columns = [item] if item else []
    table = read_table(source, time, text_columns, only, static, progress, date_format, tz)
    _no_part(table, {"item": [item] if item else [], "targets": targets or [], "known": known,
                     "static": static})  # fmt: skip
    notes = table.notes
    item_column = item or find_item_column(table, set(named))
    targets = find_targets(table, targets, {*named, item_column}, notes)
    codes, names = _items(table, item_column)
    rows, bounds = _order(table, codes, len(names), notes)
    groups = [table.time[rows[a:b]] for a, b in pairwise(bounds)]
    for number, (name, times) in enumerate(zip(names, groups, strict=True)):
        own = rows[bounds[number] : bounds[number + 1]]
        _unique(table, own, times.astype(np.int64), times, name, item_column)
    counted = table.time.dtype == np.int64
    if counted and freq is not None:
        raise UserError(
            f"{table.name}: freq={freq} needs timestamps, and {table.time_name} has plain numbers: "
            "give timestamps, or no freq"
        )
    stride = _stride(groups) if counted else 1
    for times in groups if counted else ():
        slots = int(times[-1] - times[0]) // stride + 1
        if len(times) >= frequency.MIN_ROWS and slots > frequency.MAX_GAPS * len(times):
            raise UserError(
                f"{table.name}: {len(times)} numbers from {times[0]} to {times[-1]} in the time "
                f"column {shorten(table.time_name)} would be {slots} steps, more than half of them "
                "empty: number the rows to take them as consecutive steps, or give timestamps, or "
                "--date-format (in Python date_format=) if they are some"
            )
    given = freq is not None
    if not counted and freq is None:
        freq = _about(table, lambda: frequency.infer(groups, names))
    items = []
    step = np.empty(len(rows), np.int64)
    for number, (name, times) in enumerate(zip(names, groups, strict=True)):
        own = rows[bounds[number] : bounds[number + 1]]
        if freq is None:
            steps = (times - times[0]) // stride
        else:
            steps = _about(table, partial(frequency.positions, times, freq))
        _unique(table, own, steps, times, name, item_column)
        step[own] = steps
        length = int(steps[-1]) + 1
        if length > MAX_STEPS and length > MAX_SPARSITY * len(steps):
            raise UserError(
                f"{table.name}: from {text(times[0])} to {text(times[-1])} there would be "
                f"{length} steps for {len(steps)} rows: correct the timestamps, or give a "
                "coarser --freq"
            )
        if given and len(steps) >= FEWEST and length > SPARSE * len(steps):
            empty = 100 * (1 - len(steps) / length)
            raise UserError(
                f"{table.name}: freq={freq} would leave {empty:.0f} % of the steps empty, from "
                f"{text(times[0])} to {text(times[-1])}: give a coarser --freq, or none"
            )
        values = _grid(table, targets, own, steps, length)
        covariates = None
        if known:  # rows at the end that have covariates only are the future
            present = ~np.isnan(values).all(0)
            values = values[:, : len(present) - int(np.argmax(present[::-1]))]
            covariates = _known(table, known, own, steps, (length, values.shape[1]), notes)
            _hold(covariates, values.shape[1], known, notes)
        begin = int(times[0]) if counted else _begin(times[0], table)
        constant = {column: _constant(table, column, own, name) for column in static}
        items.append(Series(name, begin, values, covariates, constant))
    if not known:
        notes += longer(items, targets)
    notes = [summary(table, items, freq, item_column, targets), *notes, *odd(items, targets)]
    origin = Origin(
        source, table.time_name, item_column, codes.astype(np.int64), step, table.time_format,
        table.time_columns if len(table.time_columns) > 1 else (), table.rows,
        table.notations,
    )  # fmt: skip
    return SeriesSet(items, targets, freq, tuple(known), tuple(notes), origin, stride)


def _file(source: str | Path) -> Path:
    """The path of a table that exists.

    Raises:
        UserError: for another one.
    """
    path = expanded(source)
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder: give a CSV or Parquet file")
        if path.exists():
            return path
    except (OSError, ValueError):  # too long, a NUL
        pass
    raise UserError(f"{shorten(source, 200)} does not exist: give a CSV or Parquet file")


def _one_role(roles: Mapping[str, str | Sequence[str] | None]) -> None:
    """Raises UserError where a column has two roles."""
    seen: dict[str, str] = {}
    for role, names in roles.items():
        for name in [names] if isinstance(names, str) else names or ():
            if seen.setdefault(name, role) != role:
                raise UserError(
                    f"the column {shorten(name)} is named for {seen[name]} and for {role}: leave "
                    "it out of one of them"
                )


def _no_part(table: Table, roles: Mapping[str, Sequence[str]]) -> None:
    """Raises UserError where a column that holds a part of the timestamps has a role too."""
    for role, names in roles.items():
        for name in names:
            if len(table.time_columns) > 1 and name in table.time_columns:
                raise UserError(
                    f"{table.name}: the column {shorten(name)} is named for {role}, and holds a "
                    f"part of the timestamps ({shorten(table.time_name)}): leave it out of one"
                )


def _begin(time: np.datetime64, table: Table) -> pandas.Timestamp:
    """The first timestamp of an item in the zone of its table."""
    if table.universal:
        return pandas.Timestamp(time, tz="UTC").tz_convert(table.zone)
    return frequency.localized(pandas.DatetimeIndex([time]), table.zone)[0]


def _items(table: Table, column: str | None) -> tuple[np.ndarray, list[str]]:
    """The item of each row, numbered in the order of appearance, and the items' names."""
    if column is None:
        name = table.name if "." not in table.name else table.name.split(".")[0]
        return np.zeros(len(table.time), np.int32), ["series" if name == "the frame" else name]
    codes, names = table.texts[column]
    if (codes < 0).any():
        raise UserError(
            f"{table.name}: the item column {shorten(column)} is empty in "
            f"{table.row(int(np.argmax(codes < 0)))}: every row needs its item"
        )
    return codes, names


def _order(
    table: Table, codes: np.ndarray, count: int, notes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows by item, then time, and where each item begins in them; a change of order is noted."""
    rows = np.lexsort((table.time, codes))
    bounds = np.searchsorted(codes[rows], np.arange(count + 1))
    by_item = np.argsort(codes, kind="stable")
    if (rows != by_item).any():
        notes.append("the rows were not in the order of time: they are sorted")
    return rows, bounds


def _unique(
    table: Table,
    rows: np.ndarray,
    steps: np.ndarray,
    times: np.ndarray,
    name: str,
    item_column: str | None,
) -> None:
    """Raises UserError where two rows of an item are the same step."""
    same = np.flatnonzero(np.diff(steps) == 0)
    if len(same):
        first, second = sorted(rows[same[0] : same[0] + 2])
        of = f" of {shorten(item_column)} {shorten(name)}" if item_column else ""
        what = (
            f"{text(times[same[0]])} comes twice"
            if times[same[0]] == times[same[0] + 1]
            else f"{text(times[same[0]])} and {text(times[same[0] + 1])} fall in one step"
        )
        raise UserError(
            f"{table.name}: {what}{of} ({table.row(first)} and {table.row(second)}): keep one row "
            f"for each timestamp{clock_advice(table)}"
        )


def _stride(groups: Sequence[np.ndarray]) -> int:
    """The distance of consecutive steps that are plain numbers, the same for all items."""
    gaps = [np.diff(times) for times in groups if len(times) > 1]
    return max(int(np.gcd.reduce(np.concatenate(gaps))), 1) if gaps else 1


def _grid(
    table: Table, columns: Sequence[str], rows: np.ndarray, steps: np.ndarray, length: int
) -> np.ndarray:
    """Columns ``[V, length]`` of rows at their steps, NaN elsewhere."""
    values = np.full((len(columns), length), np.nan)
    for line, column in zip(values, columns, strict=True):
        line[steps] = table.numbers[column][rows]
    return values


def _known(
    table: Table,
    columns: Sequence[str],
    rows: np.ndarray,
    steps: np.ndarray,
    lengths: tuple[int, int],
    notes: list[str],
) -> np.ndarray:
    """Known covariates on the grid of ``lengths[0]`` steps; missing ones before the future, which
    begins at step ``lengths[1]``, are linearly interpolated; NaN after the last one."""
    for column in columns:
        if column not in table.columns:
            raise UserError(
                f"{table.name} has no column {shorten(column)}: it has {listed(table.columns)}"
            )
        if column not in table.numbers:
            raise UserError(
                f"{table.name}: the known column {shorten(column)} is not a column of numbers"
            )
    values = _grid(table, columns, rows, steps, lengths[0])
    for line, column in zip(values, columns, strict=True):
        missing = np.isnan(line)
        if missing.all():
            raise UserError(
                f"{table.name}: the known column {shorten(column)} has no value for an item"
            )
        last = len(line) - 1 - int(np.argmax(~missing[::-1]))
        missing[min(last, lengths[1]) :] = False
        if missing.any():
            line[missing] = np.interp(
                np.flatnonzero(missing), np.flatnonzero(~np.isnan(line)), line[~np.isnan(line)]
            )
            note = f"missing values of the known column {shorten(column)} are interpolated"
            if note not in notes:
                notes.append(note)
    return values


def _hold(covariates: np.ndarray, length: int, names: Sequence[str], notes: list[str]) -> None:
    """Continue covariates that end before the values do, up to their end."""
    for line, name in zip(covariates, names, strict=True):
        ended = np.isnan(line[:length])
        if ended.any():
            line[:length][ended] = line[:length][~ended][-1]
            note = (
                f"the known column {shorten(name)} ends before the values: its last value is "
                "repeated"
            )
            if note not in notes:
                notes.append(note)


def _constant(table: Table, column: str, rows: np.ndarray, name: str) -> str | float:
    found: list[str] | list[float]
    if column == table.time_name:
        raise UserError(f"{table.name}: {shorten(column)} is the time column, not a static one")
    if column in table.texts:
        codes, names = table.texts[column]
        found = [names[code] for code in np.unique(codes[rows]) if code >= 0]
    else:
        values = table.numbers[column][rows]
        found = np.unique(values[~np.isnan(values)]).tolist()
    if len(found) != 1:
        raise UserError(
            f"{table.name}: the static column {shorten(column)} has {len(found)} values for "
            f"{shorten(name)}: it must have one for each item"
        )
    return found[0]


def _about(table: Table, function: Callable[[], T]) -> T:
    """Call the function; a UserError gets the table's name."""
    try:
        return function()
    except UserError as error:
        raise UserError(f"{table.name}: {error}") from error
