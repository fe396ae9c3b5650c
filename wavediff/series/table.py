"""Tables of numbers with a time column, read in pieces: CSV, Parquet, pandas frames.

Only numbers, stamps and the codes of texts are kept, so that a large file needs little more memory
than its numbers do.
"""

import csv
import gzip
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path

import numpy as np
import pandas
from tqdm import tqdm

from wavediff.errors import UserError

PARSER = "Error tokenizing data. C error: "  # how its messages begin
SAMPLE = 1000  # rows by which the columns are judged
CELLS = 2_000_000  # of a piece
TIME_NAMES = ("ds", "time", "date", "datetime", "timestamp", "timestep", "period", "year", "step")
TIME_NAMES += ("t",)
ITEM_NAMES = ("unique_id", "item_id", "item", "series_id", "series", "id", "key", "name", "symbol")
ITEM_NAMES += ("ticker", "station", "sensor", "store", "sku", "product", "entity", "group")
YEAR_FIRST = re.compile(r"\d{4}")
DOTTED = re.compile(r"\d{1,2}\.\d{1,2}\.")
DAY = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")
NUMBER = re.compile(r"\s*[-+]?[$€£]?\s*\d[\d,.' ]*\s*[%$€£]?\s*")  # nearly one
DATE = re.compile(
    r"\s*('?\d{4}[-/.]?\d{1,2}([-/.]?\d{1,2})?([ T].*)?|\d{1,2}[-/. ]\d{1,2}[-/. ]\d{2,4}.*"
    r"|\d{4}-?Q[1-4]|.*\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b.*\d.*)\s*",
    re.IGNORECASE,
)


@dataclass
class Table:
    """Columns of equal length: `time` datetime64[us] (of the zone `zone`) or int64 (steps), numbers
    as float64 (NaN: missing) and texts as (codes int32, -1: missing; the texts).

    time_format: how a CSV's stamps are written (strftime), where they all are of one format.
    first_line: the number of row 0 for people (2 in a CSV, whose header is line 1).
    """

    name: str
    time_name: str
    time: np.ndarray
    zone: object = None
    time_format: str | None = None
    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    texts: dict[str, tuple[np.ndarray, list[str]]] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    first_line: int = 0

    def row(self, number: int) -> str:
        """Row `number`, for people."""
        return f"{'line' if self.first_line == 2 else 'row'} {number + self.first_line}"


def read_table(
    source: Path | pandas.DataFrame,
    time: str | None,
    texts: Sequence[str] = (),
    only: Sequence[str] | None = None,
    also: Sequence[str] = (),
    progress: bool = True,
) -> Table:
    """The table in a file (.csv, .csv.gz, .txt, .parquet) or frame.

    time: its time column; None finds it. texts: columns that are taken as text whatever they look
    like. only: the columns with numbers to read, beside the columns with text; None for all. also:
    further columns of either kind. progress: a bar on stderr where reading takes longer than a
    second. Raises UserError for whatever is wrong with it.
    """
    if isinstance(source, pandas.DataFrame):
        name, frames, first_line = "the frame", iter([_plain(source)]), 0
    elif source.name.lower().endswith((".parquet", ".pq")):
        name, frames, first_line = source.name, _parquet(source, progress), 0
    else:
        name, frames, first_line = source.name, _csv(source, texts, progress), 2
    reader = _Reader(name, time, texts, only, also, first_line)
    for frame in frames:
        reader.add(frame)
    return reader.table()


def _plain(frame: pandas.DataFrame) -> pandas.DataFrame:
    """`frame` with its index as columns, unless that only counts the rows; names as text."""
    if isinstance(frame.columns, pandas.MultiIndex):
        frame = frame.set_axis([" ".join(map(str, name)).strip() for name in frame.columns], axis=1)
    index = frame.index
    if isinstance(index, pandas.DatetimeIndex | pandas.PeriodIndex):
        frame = frame.reset_index(names=index.name or "time")
    elif isinstance(index, pandas.MultiIndex) or index.name is not None:
        frame = frame.reset_index()
    return frame.set_axis([str(name) for name in frame.columns], axis=1)


def _parquet(path: Path, progress: bool) -> Iterator[pandas.DataFrame]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UserError(
            f'{path} is a Parquet file: pip install "wavediff[series]" to read such, or give CSV'
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            rows = max(1000, CELLS // max(len(file.schema_arrow.names), 1))
            with _bar(path.name, file.metadata.num_rows, "rows", progress) as bar:
                for batch in file.iter_batches(rows):
                    yield _plain(batch.to_pandas())
                    bar.update(batch.num_rows)
    except (ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {_line(error)}") from error


def _bar(title: str, total: int, unit: str, shown: bool) -> tqdm:
    return tqdm(
        None, f"reading {title}", total, unit=unit, unit_scale=True, leave=False, delay=1,
        disable=not shown,
    )  # fmt: skip


def _csv(path: Path, texts: Sequence[str], progress: bool) -> Iterator[pandas.DataFrame]:
    options = {"encoding": "utf-8-sig"}
    try:
        with _opened(path) as (handle, _):
            head = "".join(line for line, _ in zip(_lines(handle), range(20), strict=False))
        if not head.strip():
            raise UserError(f"{path} is empty: give a table with a header and a time column")
        options["sep"] = delimiter(head)
        with _opened(path) as (handle, _):
            sample = pandas.read_csv(handle, nrows=SAMPLE, **options)
        if options["sep"] == ";" and any(
            column.dropna().astype(str).str.fullmatch(r"\s*-?\d+,\d+\s*").any()
            for _, column in sample.items()
            if _is_text(column)
        ):
            options["decimal"] = ","
            with _opened(path) as (handle, _):
                sample = pandas.read_csv(handle, nrows=SAMPLE, **options)
        if all(_number(name) or DAY.match(name) for name in sample.columns):
            raise UserError(
                f"{path} has no header: its first line must name the columns, one of them the time"
            )
        options["dtype"] = {
            name: str
            for name, column in sample.items()
            if name in texts
            or name.lower() in ITEM_NAMES
            or (_is_text(column) and not _mostly_numbers(column))
        }
        rows = max(1000, CELLS // max(len(sample.columns), 1))
        size = path.stat().st_size
        with _opened(path) as (handle, raw), _bar(path.name, size, "B", progress) as bar:
            for chunk in pandas.read_csv(handle, chunksize=rows, low_memory=False, **options):
                if not isinstance(chunk.index, pandas.RangeIndex):
                    raise UserError(f"{path} has more fields in its rows than names in its header")
                yield chunk
                bar.update(raw.tell() - bar.n)
    except pandas.errors.EmptyDataError as error:
        raise UserError(f"{path} is empty: give a table with a header and rows") from error
    except (pandas.errors.ParserError, csv.Error) as error:
        raise UserError(
            f"{path} cannot be read as CSV: {_line(error).removeprefix(PARSER)}: correct that line"
        ) from error
    except UnicodeError as error:
        raise UserError(f"{path} is no text in UTF-8: save it as CSV in UTF-8") from error
    except (OSError, EOFError) as error:
        raise UserError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or _line(error)}"
        ) from error


class _opened:
    """A file's text and the raw file below it, unpacked where it is gzip."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self):
        self.raw = open(self.path, "rb")
        magic = self.raw.read(2)
        self.raw.seek(0)
        self.handle = gzip.open(self.raw) if magic == b"\x1f\x8b" else self.raw
        return self.handle, self.raw

    def __exit__(self, *error) -> None:
        self.handle.close()
        self.raw.close()


def _lines(handle) -> Iterator[str]:
    for line in handle:
        yield line.decode("utf-8-sig")


def delimiter(head: str) -> str:
    """Of the delimiters of tables the one that the header has most of."""
    header = head.splitlines()[0] if head else ""
    return max(",;\t|", key=header.count)


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _is_text(column: pandas.Series) -> bool:
    return not (
        pandas.api.types.is_numeric_dtype(column)
        or pandas.api.types.is_datetime64_any_dtype(column)
        or isinstance(column.dtype, pandas.PeriodDtype)
    )


def _mostly_numbers(column: pandas.Series) -> bool:
    column = column.dropna()
    return bool(len(column)) and column.astype(str).map(_nearly_number).mean() > 0.5


def _nearly_number(value: str) -> bool:
    return _number(value) or bool(NUMBER.fullmatch(value))


def _number(name: str) -> bool:
    try:
        float(re.sub(r"\.\d+$", "", name) if name.count(".") > 1 else name)
    except ValueError:
        return False
    return True


class _Reader:
    """Pieces of a table in, the whole of it out."""

    def __init__(self, name, time, texts, only, also, first_line):
        self.name, self.time, self.texts = name, time, set(texts)
        self.only, self.also = only, also
        self.table_ = Table(name, time or "", np.zeros(0), first_line=first_line)
        self.rows = 0
        self.times: list[np.ndarray] = []
        self.pieces: dict[str, list[np.ndarray]] = {}
        self.codes: dict[str, dict[str, int]] = {}
        self.parse = None

    def add(self, frame: pandas.DataFrame) -> None:
        if self.parse is None:
            self._begin(frame)
        if not len(frame):
            return
        self.times.append(self.parse(frame[self.time]))
        for name in self.wanted:
            column = frame[name]
            if name in self.texts:
                self.pieces[name].append(self._coded(name, column))
            else:
                self.pieces[name].append(self._floats(name, column))
        self.rows += len(frame)

    def table(self) -> Table:
        if self.parse is None or not self.rows:
            raise UserError(f"{self.name} has no rows: give a table with a header and rows")
        table = self.table_
        table.time = np.concatenate(self.times)
        self.times.clear()
        for name in self.wanted:
            column = np.concatenate(self.pieces.pop(name))
            if name in self.texts:
                table.texts[name] = (column, list(self.codes[name]))
            else:
                table.numbers[name] = column
        return table

    def _begin(self, frame: pandas.DataFrame) -> None:
        columns = list(frame.columns)
        for name in [self.time, *self.texts, *(self.only or ()), *self.also]:
            if name is not None and name not in columns:
                raise UserError(
                    f"{self.name} has no column {name}: it has {', '.join(map(str, columns))}"
                )
        if not len(frame):
            raise UserError(f"{self.name} has no rows: give a table with a header and rows")
        self.time = self.time or find_time(frame.head(SAMPLE), self.name, self.texts)
        self.table_.time_name, self.table_.columns = self.time, columns
        self.parse = _Stamps(self.table_, frame[self.time])
        for name in columns:
            column = frame[name].head(SAMPLE)
            by_name = name.lower() in ITEM_NAMES and not pandas.api.types.is_float_dtype(column)
            text = _is_text(column) and not _mostly_numbers(column)
            if name != self.time and (by_name or text) and not (self.only and name in self.only):
                self.texts.add(name)
        wanted = columns if self.only is None else [*self.texts, *self.only, *self.also]
        self.wanted = [name for name in columns if name in wanted and name != self.time]
        self.pieces = {name: [] for name in self.wanted}
        self.codes = {name: {} for name in self.texts}

    def _coded(self, name: str, column: pandas.Series) -> np.ndarray:
        codes, found = pandas.factorize(column)
        known = self.codes[name]
        numbers = [known.setdefault(str(value), len(known)) for value in found]
        return np.array([*numbers, -1], np.int32)[codes]

    def _floats(self, name: str, column: pandas.Series) -> np.ndarray:
        if pandas.api.types.is_numeric_dtype(column):
            values = column.to_numpy(np.float64, na_value=np.nan)
        else:
            values = pandas.to_numeric(column, errors="coerce")
            values = values.to_numpy(np.float64, na_value=np.nan)
            wrong = np.isnan(values) & column.notna().to_numpy()
            if wrong.any():
                row = int(np.argmax(wrong))
                raise UserError(
                    f"{self.name}: {str(column.iloc[row])!r} in column {name}, "
                    f"{self.table_.row(self.rows + row)}, is no number: correct it, leave the cell "
                    "empty where the value is missing, or leave the column out by naming the "
                    "others as --targets"
                )
        wrong = np.abs(values) > 1e37
        if wrong.any():
            row = int(np.argmax(wrong))
            raise UserError(
                f"{self.name}: {values[row]:g} in column {name}, "
                f"{self.table_.row(self.rows + row)}, is too large to be computed with: correct "
                "it, or leave the cell empty where the value is missing"
            )
        return values


def find_time(frame: pandas.DataFrame, name: str, texts: Sequence[str] = ()) -> str:
    """The one column of stamps, by what is in it and, among several, by its name. Numbers count as
    stamps only in a column of such a name. Raises UserError for none, and for several."""
    dates, counters = [], []
    for column in frame.columns:
        values = frame[column].dropna()
        if column in texts or column.lower() in ITEM_NAMES or not len(values):
            continue
        if pandas.api.types.is_datetime64_any_dtype(values) or isinstance(
            values.dtype, pandas.PeriodDtype
        ):
            dates.append(column)
        elif _is_text(values):
            if values.astype(str).map(lambda value: bool(DATE.fullmatch(value))).mean() > 0.5:
                dates.append(column)
        elif column.strip().lower() in TIME_NAMES and (values == values.round()).all():
            counters.append(column)
    found = dates or counters
    if len(found) > 1:
        found = [column for column in found if column.strip().lower() in TIME_NAMES] or found
    if len(found) == 1:
        return found[0]
    columns = ", ".join(map(str, frame.columns[:8])) + (", ..." if frame.shape[1] > 8 else "")
    if not found:
        raise UserError(
            f"{name} has no time column (its columns: {columns}): name it by --time "
            "(in Python time=), or add one with "
            "stamps like 2024-01-31 or 2024-01-31 13:00"
        )
    raise UserError(
        f"{name} has several time columns ({', '.join(found)}): name one by --time (in Python "
        "time=)"
    )


class _Stamps:
    """Pieces of a time column -> datetime64[us], or int64 where they are plain numbers."""

    def __init__(self, table: Table, sample: pandas.Series):
        self.table, self.rows = table, 0
        sample = sample.dropna()
        self.kind = "text"
        if isinstance(sample.dtype, pandas.PeriodDtype):
            self.kind = "period"
        elif pandas.api.types.is_datetime64_any_dtype(sample):
            self.kind = "stamp"
        elif pandas.api.types.is_numeric_dtype(sample):
            self.kind = _counted(sample, table.time_name)
        elif len(sample):
            self.format = table.time_format = self._format(sample.astype(str))

    def __call__(self, column: pandas.Series) -> np.ndarray:
        missing = column.isna().to_numpy()
        if missing.any():
            raise UserError(
                f"{self.table.name}: the time column {self.table.time_name} is empty in "
                f"{self.table.row(self.rows + int(np.argmax(missing)))}: give every row its stamp"
            )
        if self.kind == "text":
            times = self._texts(column.astype(str))
        elif self.kind == "period":
            times = pandas.DatetimeIndex(column.dt.to_timestamp())
        elif self.kind == "stamp":
            times = pandas.DatetimeIndex(column)
        elif self.kind == "step":
            values = pandas.to_numeric(column, errors="coerce").to_numpy(float)
            if not np.array_equal(values, np.round(values)):
                raise UserError(
                    f"{self.table.name}: the time column {self.table.time_name} has numbers that "
                    "are not whole: give stamps, or numbers of steps"
                )
            self.rows += len(column)
            return values.astype(np.int64)
        else:
            times = self._numbers(column)
        self.rows += len(column)
        if times.tz is not None:
            times = self._local(times)
        return times.as_unit("us").to_numpy()

    def _format(self, sample: pandas.Series) -> str | None:
        """The one format of the sample; None where there is none (then each is parsed by itself).
        A day of the month above 12 tells which of two numbers it is; without one, 1.2. is a day
        first, and 1/2/ a month, with a note."""
        sample = sample.str.strip()
        if sample.str.fullmatch(r"\d{4}-?Q[1-4]").all():
            return "quarters"
        value = sample.iloc[0]
        guess = pandas.tseries.api.guess_datetime_format
        orders = (True, False) if DOTTED.match(value) else (False, True)
        orders = (False,) if YEAR_FIRST.match(value) else orders
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that one of the orders does not fit
            guesses = dict.fromkeys([guess(value, dayfirst=day_first) for day_first in orders])
        fitting = [form for form in guesses if form and _all_parse(sample, form)]
        if len(fitting) > 1:
            first = "day" if fitting[0].startswith("%d") else "month"
            self.table.notes.append(
                f"dates like {value} are read {first} first: write 2024-01-31 to be sure"
            )
        forms = ("%d/%m/%Y", "%Y-%m", "%Y/%m", "%Y.%m", "%Y%m", "%b-%y", "%b %Y")
        fitting = fitting or [form for form in forms if _all_parse(sample, form)]
        return fitting[0] if fitting else None

    def _texts(self, column: pandas.Series) -> pandas.DatetimeIndex:
        column = column.str.strip()
        if self.format == "quarters":
            times = pandas.PeriodIndex(column.str.replace("-", ""), freq="Q").to_timestamp()
        else:
            times = _parsed(column, self.format)
        if times.isna().any():
            row = int(np.argmax(times.isna()))
            raise UserError(
                f"{self.table.name}: {column.iloc[row]!r} in the time column "
                f"{self.table.time_name}, {self.table.row(self.rows + row)}, is no stamp like the "
                "others: write all of them alike, as 2024-01-31 or 2024-01-31 13:00"
            )
        return times

    def _numbers(self, column: pandas.Series) -> pandas.DatetimeIndex:
        if self.kind == "year":
            return pandas.DatetimeIndex(
                pandas.to_numeric(column).to_numpy(int).astype(str).astype("M8[Y]").astype("M8[us]")
            )
        if self.kind == "day":
            column = column.astype("int64").astype(str)
            return pandas.DatetimeIndex(pandas.to_datetime(column, format="%Y%m%d"))
        return pandas.DatetimeIndex(pandas.to_datetime(column, unit=self.kind))

    def _local(self, times: pandas.DatetimeIndex) -> pandas.DatetimeIndex:
        """Stamps without their zone, which the table has then: a fixed distance from UTC stays, a
        zone with summer time becomes UTC, but for whole days."""
        local = times.tz_localize(None)
        fixed = times.tz.utcoffset(None) is not None
        if not fixed and (local == local.normalize()).all():
            return local
        if self.table.zone is None:
            self.table.zone = times.tz if fixed else UTC
        return times.tz_convert(self.table.zone).tz_localize(None)


def _parsed(column: pandas.Series, form: str | None) -> pandas.DatetimeIndex:
    """The stamps, NaT for those of another format; those of several zones are in UTC."""
    try:
        return pandas.DatetimeIndex(
            pandas.to_datetime(column, format=form or "mixed", errors="coerce")
        )
    except (ValueError, TypeError):
        return pandas.DatetimeIndex(
            pandas.to_datetime(column, format=form or "mixed", errors="coerce", utc=True)
        )


def _all_parse(sample: pandas.Series, form: str) -> bool:
    return bool(_parsed(sample, form).notna().all())


def _counted(sample: pandas.Series, name: str) -> str:
    """What whole numbers in a time column count: years, days as 20240131, s to ns since 1970 (the
    unit), or steps."""
    low, high = sample.min(), sample.max()
    if name.strip().lower() in {"year", "years"} or (
        name.strip().lower() not in {"t", "step", "timestep"} and low >= 1500 and high <= 2200
    ):
        return "year"
    if low >= 15000101 and high <= 22001231 and (sample % 100).between(1, 31).all():
        return "day"
    for unit, size in (("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)):
        if 1e8 * size < low and high < 1e10 * size:
            return unit
    return "step"
