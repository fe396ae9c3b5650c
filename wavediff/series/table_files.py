"""Tables as a sequence of pandas frames of bounded size: CSV, Parquet, a frame."""

import csv
import gzip
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pandas
from tqdm import tqdm

from wavediff.errors import UserError
from wavediff.series.columns import ITEM_NAMES, is_number, is_text, mostly_numbers

CELLS = 2_000_000  # of a frame
SAMPLE = 1000  # rows by which columns are judged
PARSER = "Error tokenizing data. C error: "  # how pandas' messages begin
DAY = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")


def is_gzip(path: Path) -> bool:
    """Whether a file is compressed by gzip, by its first bytes."""
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def delimiter(head: str) -> str:
    """The delimiter that the first line of ``head`` has most of."""
    header = head.splitlines()[0] if head else ""
    return max(",;\t|", key=header.count)


def plain(frame: pandas.DataFrame) -> pandas.DataFrame:
    """``frame`` with its index as columns, unless that only counts the rows; names as text."""
    if isinstance(frame.columns, pandas.MultiIndex):
        frame = frame.set_axis([" ".join(map(str, name)).strip() for name in frame.columns], axis=1)
    index = frame.index
    if isinstance(index, pandas.DatetimeIndex | pandas.PeriodIndex):
        frame = frame.reset_index(names=index.name or "time")
    elif isinstance(index, pandas.MultiIndex) or index.name is not None:
        frame = frame.reset_index()
    return frame.set_axis([str(name) for name in frame.columns], axis=1)


def read_parquet(path: Path, progress: bool) -> Iterator[pandas.DataFrame]:
    """The frames of a Parquet file.

    Raises:
        UserError: for a file that cannot be read, or where pyarrow is not installed.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UserError(
            f'{path}: reading Parquet needs pyarrow. pip install "wavediff[series]", or give CSV.'
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            rows = max(1000, CELLS // max(len(file.schema_arrow.names), 1))
            with _bar(path.name, file.metadata.num_rows, "rows", progress) as bar:
                for batch in file.iter_batches(rows):
                    yield plain(batch.to_pandas())
                    bar.update(batch.num_rows)
    except (ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {_first_line(error)}") from error


def read_csv(path: Path, texts: Sequence[str], progress: bool) -> Iterator[pandas.DataFrame]:
    """The frames of a CSV file, whose delimiter and decimal point are found.

    Args:
        path: in UTF-8, compressed by gzip or not.
        texts: columns to be read as text.
        progress: whether to show a bar on stderr when reading takes longer than a second.

    Raises:
        UserError: for a file that cannot be read, is empty or has no header.
    """
    options: dict[str, Any] = {"encoding": "utf-8-sig"}
    try:
        with _opened(path) as (handle, _):
            head = "".join(line for line, _ in zip(_lines(handle), range(20), strict=False))
        if not head.strip():
            raise UserError(f"{path} is empty: give a table with a header and a time column")
        options["sep"] = delimiter(head)
        sample = _sample(path, options)
        if options["sep"] == ";" and _has_decimal_commas(sample):
            options["decimal"] = ","
            sample = _sample(path, options)
        if all(is_number(name) or DAY.match(name) for name in sample.columns):
            raise UserError(
                f"{path} has no header: its first line must name the columns, one of them the time"
            )
        options["dtype"] = {
            name: str
            for name, column in sample.items()
            if name in texts
            or name.lower() in ITEM_NAMES
            or (is_text(column) and not mostly_numbers(column))
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
        reason = _first_line(error).removeprefix(PARSER)
        raise UserError(f"{path} cannot be read as CSV: {reason}: correct that line") from error
    except UnicodeError as error:
        raise UserError(f"{path} is not text in UTF-8: save it as CSV in UTF-8") from error
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or _first_line(error)
        raise UserError(f"{path} cannot be read: {reason}") from error


def _sample(path: Path, options: dict[str, Any]) -> pandas.DataFrame:
    with _opened(path) as (handle, _):
        return pandas.read_csv(handle, nrows=SAMPLE, **options)


def _has_decimal_commas(sample: pandas.DataFrame) -> bool:
    return any(
        column.dropna().astype(str).str.fullmatch(r"\s*-?\d+,\d+\s*").any()
        for _, column in sample.items()
        if is_text(column)
    )


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes] | gzip.GzipFile, IO[bytes]]]:
    """The bytes of a file, uncompressed where it is gzip, and the file itself."""
    with open(path, "rb") as raw:
        if is_gzip(path):
            with gzip.open(raw) as handle:
                yield handle, raw
        else:
            yield raw, raw


def _lines(handle: IO[bytes] | gzip.GzipFile) -> Iterator[str]:
    for line in handle:
        yield line.decode("utf-8-sig")


def _bar(title: str, total: int, unit: str, shown: bool) -> tqdm:
    return tqdm(
        None, f"reading {title}", total, unit=unit, unit_scale=True, leave=False, delay=1,
        disable=not shown,
    )  # fmt: skip


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
