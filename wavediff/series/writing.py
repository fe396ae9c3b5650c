"""Tables written: frames, and the file that series were read from with its gaps imputed."""

import csv
import gzip
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas

from wavediff.errors import UserError
from wavediff.files import atomic_path
from wavediff.inputs import is_parquet
from wavediff.series.amounts import has_decimal_comma
from wavediff.series.parquet_files import whole_frame
from wavediff.series.series_set import Origin, SeriesSet
from wavediff.series.stamp_parts import separated
from wavediff.series.table_bytes import LINE, head_of, is_gzip
from wavediff.series.table_files import COMMA
from wavediff.series.table_layout import layout_of

# of each variable: rows of the table that are missing, their medians and standard deviations
Columns = Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]

DIGITS = 7  # of a number, at least


def write_imputed(
    series: SeriesSet,
    medians: Sequence[np.ndarray],
    stds: Sequence[np.ndarray],
    output: Path,
) -> None:
    """Write the file that ``series`` was read from with its missing values imputed.

    Rows, columns and the text of all other cells stay as they are. Beside a variable that had
    missing values is a column ``NAME_std``, 0 where the value was known.

    Args:
        series: read from a file.
        medians: ``[V, T]`` of each item; where a median is NaN the cell stays missing.
        stds: like ``medians``.
        output: of the same format as the input.

    Raises:
        UserError: for an output of another format, or one that cannot be written.
    """
    source = _origin(series).source
    if isinstance(source, pandas.DataFrame):
        raise UserError("the series are from a frame, not from a file: use Forecaster.impute")
    if is_parquet(source) or is_parquet(output):
        if not (is_parquet(source) and is_parquet(output)):
            raise UserError(f"{output} must be of the format of {source}: give it the same ending")
        frame = whole_frame(source)
        for name, (at, values, std) in _columns(series, medians, stds).items():
            place = [str(column) for column in frame.columns].index(name)
            column = frame.iloc[:, place].to_numpy(float, na_value=np.nan, copy=True)
            spread = np.zeros(len(frame))
            column[at], spread[at] = values, std
            frame.isetitem(place, column)
            frame.insert(place + 1, _free(name, list(map(str, frame.columns))), spread)
        write_table(frame, output)
        return
    columns = _columns(series, medians, stds)
    opened = gzip.open if output.suffix == ".gz" else open
    with (
        atomic_path(output) as path,
        opened(path, "wt", encoding="utf-8", newline="") as out,
    ):
        _copy(source, out, columns)


def write_table(frame: pandas.DataFrame, output: Path) -> None:
    """Write a frame as CSV or Parquet, by the name of ``output``, atomically.

    Raises:
        UserError: where pyarrow is not installed.
    """
    with atomic_path(output) as path:
        if is_parquet(output):
            try:
                frame.to_parquet(path)
            except ImportError as error:
                raise UserError(
                    'Parquet needs pyarrow: pip install "wavediff[series]", or give CSV'
                ) from error
        else:
            frame.to_csv(path, index=False, float_format=f"%.{_digits(frame)}g")


def as_columns(frame: pandas.DataFrame, series: SeriesSet) -> pandas.DataFrame:
    """A frame whose timestamps are as written, in the columns of the table that was read."""
    columns = series.origin.time_columns if series.origin else ()
    if not columns:
        return frame
    cells = separated(frame[series.time_name], columns)
    others = frame.drop(columns=series.time_name)
    return pandas.concat([pandas.DataFrame(cells, index=frame.index), others], axis=1)


def _origin(series: SeriesSet) -> Origin:
    if series.origin is None:
        raise UserError("the series are from an array, not from a file: use Forecaster.impute")
    return series.origin


def _columns(
    series: SeriesSet, medians: Sequence[np.ndarray], stds: Sequence[np.ndarray]
) -> Columns:
    """The missing rows of each variable with gaps."""
    origin = _origin(series)
    found = {}
    for v, name in enumerate(series.variables):
        given, values, std = (
            np.full(len(origin.item), np.nan), np.full(len(origin.item), np.nan),
            np.zeros(len(origin.item)),
        )  # fmt: skip
        for number, item in enumerate(series.items):
            rows = np.flatnonzero((origin.item == number) & (origin.step < item.length))
            steps = origin.step[rows]
            given[rows] = item.values[v, steps]
            values[rows], std[rows] = medians[number][v, steps], stds[number][v, steps]
        at = np.flatnonzero(np.isnan(given) & ~np.isnan(values))
        if len(at):
            rows = at if origin.rows is None else origin.rows[at]
            found[name] = rows, values[at], std[at]
    return found


def _copy(source: Path, out: TextIO, columns: Columns) -> None:
    """Copy CSV with those cells replaced; delimiter and line ends stay as they are."""
    with _opened(source, "utf-8") as text:
        if text.read(1) == "\ufeff":
            out.write("\ufeff")
    layout = layout_of(head_of(source))
    sep, above = layout.sep, len(layout.above)
    with _opened(source) as text:
        out.writelines(itertools.islice(text, above))
        first = next(line for line in text if line.strip())
    with _opened(source) as text:
        names = list(pandas.read_csv(text, sep=sep, skiprows=above, nrows=0).columns)
    writer = csv.writer(out, delimiter=sep, lineterminator="\r\n" if "\r\n" in first else "\n")
    places = {name: names.index(name) for name in columns}
    commas = _commas(source, sep, above, places)
    parts = []
    for name, gaps in columns.items():
        place = names.index(name)
        column = _free(name, names)
        names.insert(place + 1, column)
        parts.append((place, column, commas[name], _Next(zip(*gaps, strict=True))))
    number = -1  # of the row; the header's
    for row in _rows(source, sep, above):
        # empty lines are not rows of the table
        if len(row) > 1 or any(cell.strip() for cell in row):
            for place, column, comma, gap in parts:
                row.extend([""] * (place + 1 - len(row)))
                spread = 0.0
                if number == gap.row:
                    row[place], spread = _number(gap.value, comma, gap.std), gap.std
                    gap.move()
                row.insert(place + 1, column if number < 0 else _number(spread, comma))
            number += 1
        writer.writerow(row)


class _Next:
    """The next missing row of a variable, its value and std; row is None after the last."""

    def __init__(self, gaps: Iterable[tuple[int, float, float]]) -> None:
        self.gaps = iter(gaps)
        self.move()

    def move(self) -> None:
        self.row: int | None
        self.row, self.value, self.std = next(self.gaps, (None, 0.0, 0.0))


def _opened(path: Path, encoding: str = "utf-8-sig") -> TextIO:
    if is_gzip(path):
        return gzip.open(path, "rt", encoding=encoding, newline="")
    return open(path, encoding=encoding, newline="")


def _rows(path: Path, sep: str, above: int) -> Iterator[list[str]]:
    csv.field_size_limit(max(LINE, csv.field_size_limit()))
    with _opened(path) as text:
        yield from csv.reader(itertools.islice(text, above, None), delimiter=sep)


def _commas(path: Path, sep: str, above: int, places: Mapping[str, int]) -> Mapping[str, bool]:
    """Whether each of these columns has decimal commas."""
    found = dict.fromkeys(places, False)
    for row in _rows(path, sep, above):
        for name, place in places.items():
            cell = row[place].strip() if len(row) > place else ""
            found[name] = found[name] or bool(
                (sep == ";" and COMMA.fullmatch(cell)) or has_decimal_comma(cell)
            )
        if all(found.values()):
            break
    return found


def _free(name: str, taken: Sequence[str]) -> str:
    """``NAME_std``, with a number where that is taken."""
    names = [f"{name}_std", *(f"{name}_std{k}" for k in range(2, len(taken) + 3))]
    return next(column for column in names if column not in taken)


def _digits(frame: pandas.DataFrame) -> int:
    """Digits that show four of the distance between the quantiles of a variable; at least seven."""
    variables: dict[str, list[str]] = {}
    for name in frame.columns[frame.dtypes == np.float64]:
        variables.setdefault(str(name).rpartition("_q")[0], []).append(name)
    most = DIGITS
    for names in variables.values():
        values = frame[names].to_numpy()
        with np.errstate(all="ignore"):
            ratio = np.abs(values).max(1) / np.ptp(values, axis=1)
        ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
        if len(ratio):
            most = max(most, math.ceil(math.log10(np.median(ratio))) + 4)
    return min(most, 17)


def _number(value: float, comma: bool, std: float = 0.0) -> str:
    """Seven digits, more where ``std`` is small, an exponent for very large or small values."""
    digits = DIGITS
    if std > 0 and value != 0:
        digits = min(17, max(DIGITS, math.ceil(math.log10(abs(value) / std)) + 3))
    if value == 0 or 1e-5 <= abs(value) < 1e15:
        text = np.format_float_positional(value, precision=digits, fractional=False, trim="-")
    else:
        text = f"{value:.{digits}g}"
    return text.replace(".", ",") if comma else text
