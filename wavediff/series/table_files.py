"""Tables as a sequence of pandas frames of bounded size: CSV, a frame."""

import csv
import io
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas
from tqdm import tqdm

from wavediff.errors import UserError, shorten
from wavediff.series.amounts import has_decimal_comma
from wavediff.series.columns import ITEM_NAMES, is_number, is_text, mostly_numbers
from wavediff.series.encodings import encoding_of
from wavediff.series.stamp_parts import is_named_as_part
from wavediff.series.table_bytes import DAMAGED, LINE, head_of, is_damaged, opened
from wavediff.series.table_layout import layout_of
from wavediff.series.time_column import DATED, time_columns

CELLS = 2_000_000  # of a frame
BYTES = 2**24  # of a file that are parsed at once
SAMPLE = 1000  # rows by which columns are judged
MOST_COLUMNS = 20_000
NAME = 1000  # characters of a column's name at most
MEMORY, EXPANSION = 1.5e9, 100  # bytes of a table, and the times of its file that are one too much
MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
PARSER = "Error tokenizing data. C error: "  # how pandas' messages begin
POINTS = re.compile(r"-?(?:[1-9]\d{0,2}(?:\.\d{3})+|\d{1,3})")
COMMA = re.compile(r"\s*-?\d+,\d+-?\s*")
# months that look like numbers: 01.2019, 2019.01
MONTHS = re.compile(
    r"\s*((0?[1-9]|1[0-2])\.(1[5-9]|2[01])\d\d|(1[5-9]|2[01])\d\d\.(0[1-9]|1[0-2]))\s*"
)
# keys of a frame's attrs: its columns, the decimal mark of its numbers, numbers by column in which
# a decimal comma may as well separate thousands, the lines above the header, and the encoding
COLUMNS, DECIMAL, DOUBTFUL, ABOVE = "columns", "decimal", "doubtful", "above"
ENCODING = "encoding"
GROUPED = re.compile(r"\s*-?(?!0+,)\d{1,3}(,\d{3})+\s*")
DAY = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")
OPEN_QUOTE = re.compile(r"EOF inside string starting at row (\d+)")


def plain(frame: pandas.DataFrame, table: object = "the frame") -> pandas.DataFrame:
    """``frame`` with its index as columns, unless that only counts the rows; names as text.

    Raises:
        UserError: for two columns of one name.
    """
    if isinstance(frame.columns, pandas.MultiIndex):
        frame = frame.set_axis([" ".join(map(str, name)).strip() for name in frame.columns], axis=1)
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    check_columns(table, list(frame.columns))
    decimals = [name for name in frame.columns if _is_of_decimals(frame[name])]
    frame = frame.astype(dict.fromkeys(decimals, "float64"))
    index = frame.index
    if isinstance(index, pandas.DatetimeIndex | pandas.PeriodIndex):
        name = index.name
        if name is None:
            name = next(free for free in ("time", "index", "") if free not in frame.columns)
        frame = _with_index(frame.set_axis(index.rename(name), axis=0), table)
    elif isinstance(index, pandas.MultiIndex) or index.name is not None:
        frame = _with_index(frame, table)
    return frame.set_axis([str(name) for name in frame.columns], axis=1)


def _is_of_decimals(column: pandas.Series) -> bool:
    """Whether cells are decimal numbers of Python or Arrow."""
    if column.dtype == object:
        return pandas.api.types.infer_dtype(column, skipna=True) == "decimal"
    return str(column.dtype).startswith("decimal")


def _with_index(frame: pandas.DataFrame, table: object) -> pandas.DataFrame:
    for name in frame.index.names:
        if name in frame.columns:
            raise UserError(
                f"{table} has an index and a column of the name {shorten(name)}: rename one, or "
                "drop the index"
            )
    return frame.reset_index()


def check_columns(table: object, names: Sequence[str]) -> None:
    """See that the names of columns can be used.

    Raises:
        UserError: for too many, a name that is too long, or one that comes twice.
    """
    if len(names) > MOST_COLUMNS:
        raise UserError(
            f"{table} has {len(names)} columns, more than {MOST_COLUMNS}: give fewer, or a long "
            "table, with one row per timestamp and item and a column that names the item"
        )
    seen = set()
    for number, name in enumerate(names, 1):
        if len(name) > NAME:
            raise UserError(
                f"{table}: the name of column {number} has {len(name)} characters "
                f"({shorten(name)}), more than {NAME}: shorten it"
            )
        if name in seen:
            raise UserError(f"{table} has two columns of the name {shorten(name)!r}: rename one")
        seen.add(name)


def check_size(path: Path, rows: int, columns: int) -> None:
    """See that a table is not much larger in memory than its file is.

    Raises:
        UserError: where it would take gigabytes.
    """
    need = rows * (64 + 24 * columns)
    if need > MEMORY and need > EXPANSION * path.stat().st_size:
        raise UserError(
            f"{path} has {rows} rows or more, which would take {need / 1e9:.0f} GB of memory: give "
            "a file of fewer rows or columns"
        )


def read_csv(
    path: Path, items: Collection[str], parts: Collection[str], progress: bool
) -> Iterator[pandas.DataFrame]:
    """The frames of a CSV file, whose delimiter and decimal point are found.

    Args:
        path: in UTF-8, UTF-16 with its mark, or Windows-1252; compressed by gzip or not.
        items: columns of names, in which only empty cells are missing.
        parts: columns of timestamps, to be read as text.
        progress: whether to show a bar on stderr when reading takes longer than a second.

    Raises:
        UserError: for a file that cannot be read, is empty or has no header.
    """
    options: dict[str, Any] = {"encoding": "utf-8-sig"}
    texts = {*items, *parts}
    try:
        head = head_of(path)
        if not head.strip():
            raise UserError(f"{path} is empty: give a table with a header and a time column")
        layout = layout_of(head)
        options |= {"sep": layout.sep, "skiprows": len(layout.above)}
        csv.field_size_limit(max(LINE, csv.field_size_limit()))
        lines = csv.reader(io.StringIO(head), delimiter=options["sep"])
        named = (line for line in lines if line and lines.line_num > len(layout.above))
        header = next(named, [])
        if len(header) > MOST_COLUMNS:
            check_columns(path, header)
        sample = _sample(path, options, len(header))
        if months := _months(path, options, sample):
            options["dtype"] = dict.fromkeys(months, str)
            sample = _sample(path, options, len(header))
        attrs = {COLUMNS: len(header), DECIMAL: ".", ABOVE: layout.above}
        attrs[ENCODING] = encoding_of(path)
        if _has_decimal_commas(sample, options["sep"]):
            attrs |= {DECIMAL: ",", DOUBTFUL: _doubtful(sample) if options["sep"] == ";" else {}}
            options["decimal"] = ","
            sample = _sample(path, options, len(header))
        elif options["sep"] == ";" and _has_points_for_thousands(
            _sample(path, options | {"dtype": str}, len(header))
        ):
            attrs[DECIMAL] = options["decimal"] = ","
            sample = _sample(path, options, len(header))
        check_columns(path, list(sample.columns))
        if all(is_number(name) or DAY.match(name) for name in sample.columns):
            raise UserError(
                f"{path} has no header: its first line must name the columns, one of them the time"
            )
        stamps = _stamp_parts(sample, texts)
        options["dtype"] = {
            name: str
            for name, column in sample.items()
            if name in texts
            or name.lower() in ITEM_NAMES
            or name in stamps  # with their leading zeros
            or is_text(column)  # so that no piece of it is read in another way
        }
        own = {
            name: [one for one in MISSING if one != "NA"]
            for name, column in sample.items()
            if _is_of_names(column)
        }
        own |= {
            name: [""] for name in sample.columns if name in items or name.lower() in ITEM_NAMES
        }
        if own:
            options["na_values"] = {name: own.get(name, MISSING) for name in sample.columns}
            options["keep_default_na"] = False
        yield from _pieces(path, options, head, attrs, progress)
    except pandas.errors.EmptyDataError as error:
        raise UserError(f"{path} is empty: give a table with a header and rows") from error
    except (pandas.errors.ParserError, csv.Error, UnicodeError, *DAMAGED) as error:
        raise UserError(_reason(path, error)) from error


def _stamp_parts(sample: pandas.DataFrame, texts: Collection[str]) -> list[str]:
    """The columns that together hold the timestamps, if several do."""
    if not any(map(is_named_as_part, sample.columns)):
        return []  # all of them are text anyway
    try:
        found = time_columns(sample, "", None, texts)
    except UserError:  # told when all columns are known
        return []
    return found if len(found) > 1 else []


def _is_of_names(column: pandas.Series) -> bool:
    """Whether cells are words, as codes of countries: NA is one of them, not a missing value."""
    return is_text(column) and not column.dropna().astype(str).str.contains(r"\d").any()


def _pieces(
    path: Path, options: dict[str, Any], head: str, attrs: dict[str, Any], progress: bool
) -> Iterator[pandas.DataFrame]:
    """The frames, of so many rows that they take little memory."""
    size, read = path.stat().st_size, 0
    columns = attrs[COLUMNS]
    most = max(SAMPLE, CELLS // max(columns, 1))
    rows = min(most, max(SAMPLE, BYTES * (head.count("\n") + 1) // len(head)))
    with (
        opened(path) as (handle, raw),
        bar(path.name, size, "B", progress) as shown,
        pandas.read_csv(handle, iterator=True, low_memory=False, **options) as reader,
    ):
        while True:
            try:
                with _told():
                    frame = reader.get_chunk(rows)
            except StopIteration:
                return
            if not isinstance(frame.index, pandas.RangeIndex):
                line = 2 + len(attrs[ABOVE])
                raise UserError(
                    f"{path} has more fields in its rows than names in its header, line {line - 1}"
                    ": name each column there, or delete delimiters at the ends of rows"
                )
            read += len(frame)
            check_size(path, read, columns)
            frame.attrs |= attrs
            yield frame
            shown.update(raw.tell() - shown.n)
            each = max(1, handle.raw.begin_piece() // max(len(frame), 1))
            rows = min(most, max(SAMPLE, BYTES // each))


@contextmanager
def _told() -> Iterator[None]:
    """A first row of more fields than the header, an error inside pandas, as one of the table."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith("zip()"):
            raise
        raise pandas.errors.ParserError("the first row has more fields than the header") from error


def _reason(path: Path, error: Exception) -> str:
    """Why a CSV file cannot be read."""
    if is_damaged(path):
        return f"{path} is a damaged gzip file, as one that ends early: make it again"
    if isinstance(error, UnicodeError):
        return f"{path} is not text in UTF-8: save it as CSV in UTF-8"
    if not isinstance(error, pandas.errors.ParserError | csv.Error):
        return f"{path} cannot be read: {getattr(error, 'strerror', None) or first_line(error)}"
    reason = first_line(error).removeprefix(PARSER)
    quote = OPEN_QUOTE.fullmatch(reason)
    if quote:
        reason = f"a quote that begins in line {int(quote[1]) + 1} never ends"
    return f"{path} cannot be read as CSV: {reason}: correct that line"


def _sample(path: Path, options: dict[str, Any], columns: int) -> pandas.DataFrame:
    """The first rows."""
    rows = min(SAMPLE, max(20, CELLS // max(columns, 1)))
    with opened(path) as (handle, _), _told():
        return pandas.read_csv(handle, nrows=rows, **options)


def _months(path: Path, options: dict[str, Any], sample: pandas.DataFrame) -> list[str]:
    """Columns of months like 01.2019, which were read as numbers, by their names or zeros."""
    floats = sample.select_dtypes("float64")
    low, high = floats.min(), floats.max()
    fits = ((low > 1.1) & (high < 13)) | ((low > 1500) & (high < 2200))
    found = []
    for name in floats.columns[fits.to_numpy()]:
        one = {"dtype": str, "usecols": [sample.columns.get_loc(name)]}
        texts = _sample(path, options | one, 1).iloc[:, 0].dropna()
        dated = DATED.search(name) or texts.str.match(r"\s*0").any()
        if dated and texts.map(lambda cell: bool(MONTHS.fullmatch(cell))).all():
            found.append(name)
    return found


def _has_decimal_commas(sample: pandas.DataFrame, sep: str) -> bool:
    """Whether numbers have a decimal comma; 1,234 has one where semicolons separate columns."""
    return any(
        COMMA.fullmatch(cell) if sep == ";" else has_decimal_comma(cell)
        for _, column in sample.items()
        if is_text(column) and mostly_numbers(column)
        for cell in column.dropna().astype(str)
    )


def _has_points_for_thousands(sample: pandas.DataFrame) -> bool:
    """Whether all numbers of a column are whole, with points as in 1.234, or below 1000."""
    for name in sample.columns:
        cells = sample[name].dropna().str.strip()
        points = cells.str.contains(".", regex=False)
        if points.sum() > 1 and cells.map(lambda cell: bool(POINTS.fullmatch(cell))).all():
            return True
    return False


def _doubtful(sample: pandas.DataFrame) -> dict[str, str]:
    """A number of each column whose commas all come before three digits."""
    found = {}
    for name, column in sample.items():
        if is_text(column) and mostly_numbers(column):
            commas = [cell for cell in column.dropna().astype(str) if "," in cell]
            if commas and all(map(GROUPED.fullmatch, commas)):
                found[str(name)] = commas[0]
    return found


@contextmanager
def bar(title: str, total: int, unit: str, shown: bool) -> Iterator[tqdm]:
    """A progress bar of reading."""
    with tqdm(
        None, f"reading {title}", total, unit=unit, unit_scale=True, leave=False, delay=1,
        disable=not shown,
    ) as found:  # fmt: skip
        yield found


def first_line(error: Exception) -> str:
    """The first line of a library's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
