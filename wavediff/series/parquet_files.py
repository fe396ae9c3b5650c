"""Parquet files as a sequence of pandas frames of bounded size."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pandas

from wavediff.errors import UserError, listed, shorten
from wavediff.series.table_files import (
    BYTES,
    CELLS,
    bar,
    check_columns,
    check_size,
    first_line,
    plain,
)

if TYPE_CHECKING:
    from pyarrow import DataType, RecordBatch, Schema, Table
    from pyarrow.parquet import ParquetFile

DICTIONARY = 2**25  # bytes of a column that is read as a dictionary at most


def read_parquet(
    path: Path, named: Collection[str], notes: list[str], progress: bool
) -> Iterator[pandas.DataFrame]:
    """The frames of a Parquet file.

    Args:
        path: of the file.
        named: columns that are asked for by name.
        notes: receives a sentence about columns of types that are left out.
        progress: whether to show a bar on stderr when reading takes longer than a second.

    Raises:
        UserError: for a file that cannot be read, or where pyarrow is not installed.
    """
    with _opened(path) as file:
        texts = _short_dictionaries(file)
    with _opened(path, texts) as file:
        schema = file.schema_arrow
        check_columns(path, schema.names)
        odd = {field.name: field.type for field in schema if not _is_cell(field.type)}
        for name in named:
            if name in odd:
                raise UserError(
                    f"{path}: the column {shorten(name)} is of type {shorten(odd[name])}: "
                    "store numbers, text or timestamps"
                )
        if odd:
            kinds = " and ".join(sorted({str(kind).split("<")[0] for kind in odd.values()}))
            notes.append(f"columns of {kinds} are left out: {listed(odd)}")
        columns = [name for name in schema.names if name not in odd]
        rows = file.metadata.num_rows
        check_size(path, rows, len(columns))
        groups = [file.metadata.row_group(k) for k in range(file.metadata.num_row_groups)]
        each = sum(group.total_byte_size for group in groups) // max(rows, 1)
        size = max(100, min(CELLS // max(len(columns), 1), BYTES // max(each, 1)))
        with bar(path.name, rows, "rows", progress) as shown:
            for batch in file.iter_batches(size, columns=columns):
                yield plain(to_frame(batch), path)
                shown.update(batch.num_rows)


def whole_frame(path: Path) -> pandas.DataFrame:
    """The whole table of a Parquet file, to be written again with other values.

    Raises:
        UserError: as ``read_parquet``.
    """
    with _opened(path) as file:
        return to_frame(file.read())


def to_frame(table: RecordBatch | Table) -> pandas.DataFrame:
    """A frame, by the metadata that pandas has written where they can be used."""
    if not _has_usable_metadata(table.schema):
        table = table.replace_schema_metadata(None)
    return table.to_pandas()


def _has_usable_metadata(schema: Schema) -> bool:
    """Whether the metadata of pandas in a file are as pandas writes them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            schema.empty_table().to_pandas()
    except Exception:  # they are any JSON, and pyarrow takes them as they are
        return False
    return True


def _is_cell(kind: DataType) -> bool:
    """Whether values of a type are numbers, text, timestamps or missing."""
    from pyarrow import types
    from pyarrow.lib import string_to_tzinfo

    if types.is_dictionary(kind):
        kind = kind.value_type
    tests = (
        types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null,
        types.is_timestamp, types.is_date,
    )  # fmt: skip
    if types.is_timestamp(kind) and kind.tz is not None:
        try:
            string_to_tzinfo(kind.tz)
        except Exception:  # of several kinds, by what pyarrow finds installed
            return False
    return _is_text(kind) or any(test(kind) for test in tests)


def _is_text(kind: DataType) -> bool:
    return str(kind) in ("string", "large_string", "string_view")


def _short_dictionaries(file: ParquetFile) -> list[str]:
    """The columns of text that are to be read as dictionaries.

    A long text that comes often may be stored once, and only is once in memory then. The values of
    a dictionary are converted with every batch, so that it must not be large.
    """
    texts = {field.name for field in file.schema_arrow if _is_text(field.type)}
    size = dict.fromkeys(texts, 0)
    for k in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(k)
        for number in range(group.num_columns):
            column = group.column(number)
            if column.path_in_schema in texts:
                size[column.path_in_schema] += column.total_uncompressed_size
    return [name for name, total in size.items() if total < DICTIONARY]


@contextmanager
def _opened(path: Path, texts: Sequence[str] = ()) -> Iterator[ParquetFile]:
    """The file, with ``texts`` as dictionaries; errors of pyarrow become UserError."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise UserError(
            f'{path}: reading Parquet needs pyarrow. pip install "wavediff[series]", or give CSV.'
        ) from error
    try:
        with parquet.ParquetFile(path, read_dictionary=list(texts)) as file:
            yield file
    except (ArrowException, OSError, UnicodeError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {first_line(error)}") from error
