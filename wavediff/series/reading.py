"""How series come from tables and arrays."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas

from wavediff.errors import UserError
from wavediff.series import frequency
from wavediff.series.frequency import text
from wavediff.series.series_set import Origin, Series, SeriesSet
from wavediff.series.table import ITEM_NAMES, Table, read_table

# An item of more steps than this, of which there are rows for less than one in so many, has a stamp
# that is surely wrong.
LONGEST, SPARSEST = 100_000, 1000
# A value is told to be very large above the first, or above the second times the median size.
LARGE, OUTLYING = 1e15, 1e6


def read_series(
    source: str | Path | pandas.DataFrame | np.ndarray,
    *,
    time: str | None = None,
    item: str | None = None,
    targets: Sequence[str] | None = None,
    known: Sequence[str] = (),
    static: Sequence[str] = (),
    freq: str | None = None,
    progress: bool = True,
) -> SeriesSet:
    """The series in a table: a CSV (.gz too) or Parquet file, a frame, or an array [T, V] or
    [N, T, V] (one variable: [T]), whose steps are plain numbers unless it has a `freq`.

    A table has one row per stamp and a column for each variable ("wide"), or one per stamp and item
    ("long", with an item column). The time column and the item column are found where there is no
    doubt; `notes` says what was taken.

    targets: the columns to model (None: all with numbers). known: columns whose future is known
    when forecasting, in rows beyond the last target. static: columns that are constant for an item.
    freq: the frequency, where it cannot be found, as in one row, or where it is to be another one.
    progress: a bar on stderr where reading takes longer than a second.

    Absent rows are missing steps. Rows may be in any order. Raises UserError for no time column,
    a stamp that comes twice, mixed frequencies, text in a number column, and the like.
    """
    freq = None if freq is None else frequency.normalize(freq)
    if isinstance(source, np.ndarray):
        return _array(source, freq)
    if not isinstance(source, pandas.DataFrame):
        source = Path(source).expanduser()
        if source.is_dir():
            raise UserError(f"{source} is a folder: give a CSV or Parquet file")
        if not source.exists():
            raise UserError(f"{source} does not exist: give a CSV or Parquet file")
    named = [*known, *static, *([item] if item else [])]
    only = None if targets is None else [*targets, *known]
    text_columns = [item] if item else []
    table = read_table(source, time, text_columns, only, static, progress)
    notes = table.notes
    item_column = item or _item_column(table, notes, set(named))
    targets = _targets(table, targets, {*named, item_column}, notes)
    codes, names = _items(table, item_column)
    rows, bounds = _order(table, codes, names, item_column, notes)
    groups = [table.time[rows[a:b]] for a, b in pairwise(bounds)]
    for number, (name, times) in enumerate(zip(names, groups, strict=True)):
        own = rows[bounds[number] : bounds[number + 1]]
        _unique(table, own, times.astype(np.int64), times, name, item_column)
    counted = table.time.dtype == np.int64
    if counted and freq is not None:
        raise UserError(
            f"{table.name}: freq={freq} needs stamps, and {table.time_name} has plain numbers: "
            "give stamps, or no freq"
        )
    stride = _stride(groups) if counted else 1
    if not counted and freq is None:
        freq = _about(table, frequency.infer, groups, names)
    items = []
    step = np.empty(len(rows), np.int64)
    for number, (name, times) in enumerate(zip(names, groups, strict=True)):
        own = rows[bounds[number] : bounds[number + 1]]
        steps = (
            (times - times[0]) // stride
            if counted
            else _about(table, frequency.positions, times, freq)
        )
        _unique(table, own, steps, times, name, item_column)
        step[own] = steps
        length = int(steps[-1]) + 1
        if length > LONGEST and length > SPARSEST * len(steps):
            raise UserError(
                f"{table.name}: from {_stamp(times[0])} to {_stamp(times[-1])} there would be "
                f"{length} steps for {len(steps)} rows: correct the stamps, or give a coarser "
                "--freq"
            )
        values = _grid(table, targets, own, steps, length)
        covariates = _known(table, known, own, steps, length, notes) if known else None
        if known:  # rows at the end that have covariates only are the future
            present = ~np.isnan(values).all(0)
            values = values[:, : len(present) - int(np.argmax(present[::-1]))]
        begin = int(times[0]) if counted else pandas.Timestamp(times[0], tz=table.zone)
        constant = {column: _constant(table, column, own, name) for column in static}
        items.append(Series(name, begin, values, covariates, constant))
    _tell(table, items, freq, item_column, targets, notes)
    origin = Origin(
        source, table.time_name, item_column, codes.astype(np.int64), step, table.time_format
    )
    return SeriesSet(items, targets, freq, tuple(known), tuple(notes), origin, stride)


def _array(values: np.ndarray, freq: str | None) -> SeriesSet:
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or 0 in values.shape or values.dtype.kind not in "fiub":
        raise UserError(
            f"an array of {values.dtype} of shape {list(values.shape)} is no series: give numbers "
            "as [steps], [steps, variables] or [items, steps, variables]"
        )
    values = values.astype(np.float64)
    if (np.abs(values) > 1e37).any():
        raise UserError("the array has values above 1e37 or infinite ones: make them NaN (missing)")
    if np.isnan(values).all():
        raise UserError("the array has no value: all of them are NaN")
    start = 0 if freq is None else frequency.first(pandas.Timestamp("2000-01-01"), freq)
    items = [Series(str(i), start, np.ascontiguousarray(each.T)) for i, each in enumerate(values)]
    return SeriesSet(items, [f"v{i}" for i in range(values.shape[2])], freq)


def _item_column(table: Table, notes: list[str], taken: set[str]) -> str | None:
    """The text column that tells series apart; None where stamps are unique without. Raises
    UserError where stamps come twice and no one column, or more than one, tells their rows apart.
    """
    order = np.argsort(table.time, kind="stable")
    twice = np.flatnonzero(table.time[order][1:] == table.time[order][:-1])
    candidates = {name: column for name, column in table.texts.items() if name not in taken}
    if not len(twice):
        named = [name for name in candidates if name.lower() in ITEM_NAMES]
        repeated = [name for name in named if len(candidates[name][1]) <= len(table.time) // 2]
        return repeated[0] if len(repeated) == 1 else None
    fitting = [name for name in candidates if not _comes_twice(table, candidates[name][0])]
    if len(fitting) > 1:
        partitions = {_renumbered(candidates[name][0]).tobytes() for name in fitting}
        by_name = [name for name in fitting if name.lower() in ITEM_NAMES]
        if len(partitions) == 1:
            fitting = (by_name or fitting)[:1]
        elif len(by_name) == 1:
            fitting = by_name
    if len(fitting) == 1:
        return fitting[0]
    first, second = sorted(order[twice[0] : twice[0] + 2])
    where = (
        f"{table.name}: {_stamp(table.time[first])} comes twice ({table.row(first)} and "
        f"{table.row(second)})"
    )
    named = [name for name in candidates if name.lower() in ITEM_NAMES] or list(candidates)
    if not fitting and len(named) == 1 and len(candidates[named[0]][1]) > 1:
        return named[0]  # and which of its stamps come twice is told later
    if fitting:
        raise UserError(
            f"{where}, and several columns tell the rows apart ({', '.join(fitting)}): say by "
            "--item (in Python item=) which one names the series"
        )
    together = f" (such as {' and '.join(candidates)} in one)" if len(candidates) > 1 else ""
    raise UserError(
        f"{where}: keep one row for each stamp, or for each stamp and item with one column that "
        f"names the item{together}"
    )


def _comes_twice(table: Table, codes: np.ndarray) -> bool:
    order = np.lexsort((table.time, codes))
    same = (np.diff(codes[order]) == 0) & (table.time[order][1:] == table.time[order][:-1])
    return bool(same.any())


def _renumbered(codes: np.ndarray) -> np.ndarray:
    return pandas.factorize(codes)[0]


def _targets(
    table: Table, targets: Sequence[str] | None, taken: set[str | None], notes: list[str]
) -> list[str]:
    if targets is not None:
        for name in targets:
            if name in table.texts or name == table.time_name:
                raise UserError(f"{table.name}: column {name} cannot be a target: it is no number")
            if np.isnan(table.numbers[name]).all():
                raise UserError(f"{table.name}: column {name} has no value: leave it out")
        if not len(targets):
            raise UserError("targets is empty: name one column at least")
        return list(targets)
    left_out = [name for name in table.texts if name not in taken]
    if left_out:
        notes.append(f"columns without numbers are left out: {', '.join(left_out)}")
    found = []
    for name, values in table.numbers.items():
        if name in taken:
            continue
        counts = name.startswith("Unnamed: ") or name.lower() in {"index", "no", "row"}
        if counts and len(values) > 1 and (np.diff(values) == 1).all():
            notes.append(f"column {name} only counts the rows and is left out")
        elif np.isnan(values).all():
            notes.append(f"column {name} has no value and is left out")
        else:
            found.append(name)
    if not found:
        raise UserError(
            f"{table.name} has no column with numbers beside the time column {table.time_name}: "
            "give one column with numbers at least"
        )
    return found


def _items(table: Table, column: str | None) -> tuple[np.ndarray, list[str]]:
    """The item of each row, numbered in the order of appearance, and the items' names."""
    if column is None:
        name = table.name if "." not in table.name else table.name.split(".")[0]
        return np.zeros(len(table.time), np.int32), ["series" if name == "the frame" else name]
    codes, names = table.texts[column]
    if (codes < 0).any():
        raise UserError(
            f"{table.name}: the item column {column} is empty in "
            f"{table.row(int(np.argmax(codes < 0)))}: every row needs its item"
        )
    return codes, names


def _order(
    table: Table, codes: np.ndarray, names: list[str], column: str | None, notes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows by item, then time, and where each item begins in them. Says when they were not in
    order of time; raises UserError for a stamp that comes twice in an item."""
    rows = np.lexsort((table.time, codes))
    bounds = np.searchsorted(codes[rows], np.arange(len(names) + 1))
    by_item = np.argsort(codes, kind="stable")
    if (rows != by_item).any():
        notes.append("the rows were not in the order of time: they are sorted")
    return rows, bounds


def _unique(table, rows, steps, times, name, item_column) -> None:
    same = np.flatnonzero(np.diff(steps) == 0)
    if len(same):
        first, second = sorted(rows[same[0] : same[0] + 2])
        of = f" of {item_column} {name}" if item_column else ""
        what = (
            f"{_stamp(times[same[0]])} comes twice"
            if times[same[0]] == times[same[0] + 1]
            else f"{_stamp(times[same[0]])} and {_stamp(times[same[0] + 1])} fall in one step"
        )
        raise UserError(
            f"{table.name}: {what}{of} ({table.row(first)} and {table.row(second)}): keep one row "
            "for each stamp"
        )


def _stride(groups: Sequence[np.ndarray]) -> int:
    """How far apart the numbers of steps are, the same for all items."""
    gaps = [np.diff(times) for times in groups if len(times) > 1]
    return max(int(np.gcd.reduce(np.concatenate(gaps))), 1) if gaps else 1


def _grid(table, columns, rows, steps, length) -> np.ndarray:
    values = np.full((len(columns), length), np.nan)
    for line, column in zip(values, columns, strict=True):
        line[steps] = table.numbers[column][rows]
    return values


def _known(table, columns, rows, steps, length, notes) -> np.ndarray:
    """Covariates on the grid; where they are missing, on the line between their neighbours."""
    for column in columns:
        if column not in table.columns:
            raise UserError(
                f"{table.name} has no column {column}: it has {', '.join(table.columns)}"
            )
        if column not in table.numbers:
            raise UserError(f"{table.name}: column {column} cannot be known: it is no number")
    values = _grid(table, columns, rows, steps, length)
    for line, column in zip(values, columns, strict=True):
        missing = np.isnan(line)
        if missing.all():
            raise UserError(f"{table.name}: the known column {column} has no value for an item")
        if missing.any():
            line[missing] = np.interp(
                np.flatnonzero(missing), np.flatnonzero(~missing), line[~missing]
            )
            note = f"missing values of the known column {column} are interpolated"
            if note not in notes:
                notes.append(note)
    return values


def _constant(table: Table, column: str, rows: np.ndarray, name: str) -> str | float:
    if column in table.texts:
        codes, names = table.texts[column]
        found = [names[code] for code in np.unique(codes[rows]) if code >= 0]
    else:
        values = table.numbers[column][rows]
        found = np.unique(values[~np.isnan(values)]).tolist()
    if len(found) != 1:
        raise UserError(
            f"{table.name}: the static column {column} has {len(found)} values for {name}: it must "
            "have one for each item"
        )
    return found[0]


def _about(table: Table, function, *arguments):
    """What the function returns; what it complains about gets the table's name."""
    try:
        return function(*arguments)
    except UserError as error:
        raise UserError(f"{table.name}: {error}") from error


def _stamp(time) -> str:
    return str(time) if isinstance(time, np.integer) else text(time)


def _odd(items: Sequence[Series], targets: Sequence[str]) -> list[str]:
    """Sentences about variables that are used as they are, but may not be what was meant."""
    constant, large = [], []
    for v, name in enumerate(targets):
        values = np.concatenate([item.values[v] for item in items])
        values = values[~np.isnan(values)]
        if len(values) < 2:
            continue
        low, high = values.min(), values.max()
        if low == high:
            constant.append(f"{name} ({low:g})")
            continue
        sizes = np.abs(values, out=values)
        largest, usual = sizes.max(), np.median(sizes)
        if largest > LARGE or largest > OUTLYING * usual > 0:
            large.append(f"{name} (up to {largest:.3g}, half of them below {usual:.3g})")
    notes = []
    if constant:
        notes.append(f"the same value in every row: {_listed(constant)}")
    if large:
        notes.append(
            "very large values, which are used as they are (empty their cells if they are errors): "
            f"{_listed(large)}"
        )
    return notes


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _tell(table, items, freq, item_column, targets, notes) -> None:
    steps = sum(series.length for series in items)
    missing = sum(int(np.isnan(series.values).sum()) for series in items)
    each = f"{len(items)} items by {item_column}" if item_column else "one item"
    notes.insert(
        0,
        f"{table.name}: {each}, {steps} steps by {table.time_name} at frequency "
        f"{freq or 'none (plain numbers)'}, variables {_listed(targets)}, "
        f"{100 * missing / (steps * len(targets)):.3g} % missing",
    )
    notes += _odd(items, targets)
