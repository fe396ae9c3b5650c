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
from wavediff.series.amounts import Notation
from wavediff.series.columns import is_text
from wavediff.series.encodings import UTF_8, encoding_of, is_gzip
from wavediff.series.parquet_files import whole_frame
from wavediff.series.series_set import Origin, SeriesSet
from wavediff.series.stamp_parts import separated
from wavediff.series.table_bytes import LINE, head_of
from wavediff.series.table_layout import Layout, layout_of
from wavediff.series.written_amounts import DIGITS, Style, plain, style_of

# of each variable: rows of the table that are missing, their medians and standard deviations
Columns = Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]

# rows that show how numbers are written: with marks, and without
STYLED, PLAIN = 100_000, 2_000


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
            spread = np.zeros(len(frame))
            spread[at] = std
            column = _with_values(frame.iloc[:, place], at, values, std, series)
            frame.isetitem(place, column)
            frame.insert(place + 1, _free(name, list(map(str, frame.columns))), spread)
        write_table(frame, output)
        return
    columns = _columns(series, medians, stds)
    opened = gzip.open if output.suffix == ".gz" else open
    encoding = encoding_of(source)
    encoding = "utf-8" if encoding == UTF_8 else encoding
    with (
        atomic_path(output) as path,
        opened(path, "wt", encoding=encoding, newline="") as out,
    ):
        _copy(source, out, columns, series)


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


def _with_values(
    column: pandas.Series, at: np.ndarray, values: np.ndarray, std: np.ndarray, series: SeriesSet
) -> np.ndarray:
    """A column of a frame with missing cells replaced; in one of text they are text."""
    if not (is_text(column) and all(isinstance(cell, str) for cell in column.dropna())):
        found = column.to_numpy(float, na_value=np.nan, copy=True)
        found[at] = values
        return found
    cells = column.to_numpy(object, copy=True)
    notation = _origin(series).notations.get(str(column.name), Notation())
    style = style_of(notation).with_cells(column.dropna().head(STYLED))
    cells[at] = [style.number(*each) for each in zip(values, std, strict=True)]
    return cells


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


def _copy(source: Path, out: TextIO, columns: Columns, series: SeriesSet) -> None:
    """Copy CSV with those cells replaced; delimiter and line ends stay as they are."""
    layout = layout_of(head_of(source))
    utf_8 = encoding_of(source) == UTF_8
    with _opened(source, "utf-8" if utf_8 else None) as text:
        if utf_8 and text.read(1) == "\ufeff":
            out.write("\ufeff")
    with _opened(source) as text:
        out.writelines(itertools.islice(text, len(layout.above)))
        first = next(line for line in text if line.strip())
    names = _names(source, layout)
    end = "\r\n" if "\r\n" in first else "\n"
    writer = csv.writer(out, delimiter=layout.sep, lineterminator=end)
    styles = _styles(source, layout, list(columns), series)
    parts = []
    for (name, gaps), style in zip(columns.items(), styles, strict=True):
        place = names.index(name)
        column = _free(name, names)
        names.insert(place + 1, column)
        parts.append((place, column, style, _Next(zip(*gaps, strict=True))))
    number = -1  # of the row; the header's
    for row in _rows(source, layout):
        # empty lines are not rows of the table
        if len(row) > 1 or any(cell.strip() for cell in row):
            for place, column, style, gap in parts:
                row.extend([""] * (place + 1 - len(row)))
                spread = 0.0
                if number == gap.row:
                    row[place], spread = style.number(gap.value, gap.std), gap.std
                    gap.move()
                std = plain(spread).replace(".", style.decimal) if any(row) else ""
                row.insert(place + 1, column if number < 0 else std)
            number += 1
        writer.writerow(row)


def _names(source: Path, layout: Layout) -> list[str]:
    with _opened(source) as text:
        options = {"sep": layout.sep, "skiprows": len(layout.above)}
        return list(pandas.read_csv(text, nrows=0, **options).columns)


class _Next:
    """The next missing row of a variable, its value and std; row is None after the last."""

    def __init__(self, gaps: Iterable[tuple[int, float, float]]) -> None:
        self.gaps = iter(gaps)
        self.move()

    def move(self) -> None:
        self.row: int | None
        self.row, self.value, self.std = next(self.gaps, (None, 0.0, 0.0))


def _opened(path: Path, encoding: str | None = None) -> TextIO:
    encoding = encoding or encoding_of(path)
    if is_gzip(path):
        return gzip.open(path, "rt", encoding=encoding, newline="")
    return open(path, encoding=encoding, newline="")


def _rows(path: Path, layout: Layout) -> Iterator[list[str]]:
    csv.field_size_limit(max(LINE, csv.field_size_limit()))
    with _opened(path) as text:
        yield from csv.reader(itertools.islice(text, len(layout.above), None), delimiter=layout.sep)


def _styles(path: Path, layout: Layout, names: Sequence[str], series: SeriesSet) -> list[Style]:
    """How the numbers of each of these columns are written."""
    notations = _origin(series).notations
    known = [notations.get(name, Notation()) for name in names]
    styles = [style_of(notation) for notation in known]
    rows = [STYLED if notation.decimal else PLAIN for notation in known]
    header = _names(path, layout)
    places = [header.index(name) for name in names]
    for number, row in enumerate(_rows(path, layout)):
        if number > max(rows, default=0):
            break
        for k, place in enumerate(places):
            if 0 < number <= rows[k] and len(row) > place and not styles[k].is_complete:
                styles[k] = styles[k].with_cells([row[place]])
    return styles


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
