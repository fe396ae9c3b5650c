"""Tables of numbers with a time column, read in pieces.

Only numbers, timestamps and the codes of texts are kept, so that a large file needs little more
memory than its numbers do.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from pathlib import Path

import numpy as np
import pandas

from wavediff.errors import UserError
from wavediff.inputs import is_parquet
from wavediff.series import table_files
from wavediff.series.columns import ITEM_NAMES, is_text, mostly_numbers
from wavediff.series.stamps import Stamps, find_time
from wavediff.series.table_files import SAMPLE

# -$1,234.56, 1 234 EUR, 12.5 %: a sign before or after, groups of three digits, a decimal mark
SIGN = r"[$\u20ac\u00a3\u00a5%]|[A-Z]{3}"
AMOUNTS = [
    re.compile(
        rf"(?P<minus>-)?(?P<before>{SIGN})?\s*(?P<inner>-)?"
        rf"(?P<whole>\d{{1,3}}(?:(?P<mark>[{marks}])\d{{3}}(?:(?P=mark)\d{{3}})*)?|\d+)"
        rf"(?P<rest>{decimal}\d+)?\s*(?P<after>{SIGN})?"
    )
    for marks, decimal in (("' ,\u00a0\u202f", r"\."), ("' .\u00a0\u202f", ","))
]
LARGEST = 1e37  # values above cannot be computed with in float32


@dataclass
class Table:
    """Columns of equal length.

    Attributes:
        name: of the file, or ``the frame``.
        time_name: name of the time column.
        time: datetime64[us], or int64 where the column numbers steps.
        zone: time zone of the column; None where there is none.
        universal: whether ``time`` is in UTC, whatever the zone; else it is local to it.
        time_format: how a CSV file writes its timestamps (strftime), where all have one format.
        numbers: float64 columns by name, NaN where missing.
        texts: (codes, texts) by name; the codes are int32, -1 where missing.
        columns: names of all columns of the source.
        notes: sentences about what was decided.
        first_line: the number of row 0 in messages: 2 in a CSV file, whose header is line 1.
    """

    name: str
    time_name: str
    time: np.ndarray
    zone: tzinfo | None = None
    universal: bool = False
    time_format: str | None = None
    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    texts: dict[str, tuple[np.ndarray, list[str]]] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    first_line: int = 0

    def row(self, number: int) -> str:
        """What messages call row ``number``."""
        return f"{'line' if self.first_line == 2 else 'row'} {number + self.first_line}"


def read_table(
    source: Path | pandas.DataFrame,
    time: str | None,
    texts: Sequence[str] = (),
    only: Sequence[str] | None = None,
    also: Sequence[str] = (),
    progress: bool = True,
    date_format: str | None = None,
    tz: str | None = None,
) -> Table:
    """Read the table in a file (.csv, .csv.gz, .txt, .parquet) or frame.

    Args:
        source: the file or frame.
        time: its time column; None finds it.
        texts: columns that are taken as text whatever they look like.
        only: the columns with numbers to read, beside the columns with text; None for all.
        also: further columns of either kind.
        progress: whether to show a bar on stderr when reading takes longer than a second.
        date_format: (strftime) of the time column; None finds it.
        tz: time zone of the time column; None takes its own.

    Raises:
        UserError: for a file that cannot be read, or a value that cannot be used.
    """
    if isinstance(source, pandas.DataFrame):
        name, frames, first_line = "the frame", iter([table_files.plain(source)]), 0
    elif is_parquet(source):
        name, frames, first_line = source.name, table_files.read_parquet(source, progress), 0
    else:
        name, frames, first_line = source.name, table_files.read_csv(source, texts, progress), 2
    reader = _Reader(name, time, texts, only, also, first_line, date_format, tz)
    for frame in frames:
        reader.add(frame)
    return reader.table()


class _Reader:
    """Collects the columns of a table from its pieces; see ``read_table``."""

    def __init__(
        self,
        name: str,
        time: str | None,
        texts: Sequence[str],
        only: Sequence[str] | None,
        also: Sequence[str],
        first_line: int,
        date_format: str | None,
        tz: str | None,
    ) -> None:
        self.name, self.time, self.texts = name, time, set(texts)
        self.only, self.also, self.date_format, self.tz = only, also, date_format, tz
        self.result = Table(name, time or "", np.zeros(0), first_line=first_line)
        self.rows = 0
        self.times: list[np.ndarray] = []
        self.wanted: list[str] = []
        self.pieces: dict[str, list[np.ndarray]] = {}
        self.codes: dict[str, dict[str, int]] = {}
        self.stamps: Stamps | None = None

    def add(self, frame: pandas.DataFrame) -> None:
        """The next rows."""
        if self.stamps is None:
            self.stamps = self._begin(frame)
        if not len(frame):
            return
        self.times.append(self.stamps(frame[self.result.time_name]))
        for name in self.wanted:
            read = self._coded if name in self.texts else self._floats
            self.pieces[name].append(read(name, frame[name]))
        self.rows += len(frame)

    def table(self) -> Table:
        """All rows."""
        if self.stamps is None or not self.rows:
            raise self._no_rows()
        table = self.result
        stamps = self.stamps
        table.time_format, table.zone = stamps.format, stamps.zone
        table.universal = stamps.universal
        table.notes += self.stamps.notes
        table.time = np.concatenate(self.times)
        self.times.clear()
        for name in self.wanted:
            column = np.concatenate(self.pieces.pop(name))
            if name in self.texts:
                table.texts[name] = (column, list(self.codes[name]))
            else:
                table.numbers[name] = column
        return table

    def _begin(self, frame: pandas.DataFrame) -> Stamps:
        """Decide on the columns by the first rows."""
        columns = list(frame.columns)
        for name in [self.time, *self.texts, *(self.only or ()), *self.also]:
            if name is not None and name not in columns:
                raise UserError(
                    f"{self.name} has no column {name}: it has {', '.join(map(str, columns))}"
                )
        if not len(frame):
            raise self._no_rows()
        time = self.time or find_time(frame.head(SAMPLE), self.name, list(self.texts))
        self.result.time_name, self.result.columns = time, columns
        for name in columns:
            column = frame[name].head(SAMPLE)
            by_name = name.lower() in ITEM_NAMES and not pandas.api.types.is_float_dtype(column)
            text = is_text(column) and not mostly_numbers(column)
            if name != time and (by_name or text) and not (self.only and name in self.only):
                self.texts.add(name)
        wanted = columns if self.only is None else [*self.texts, *self.only, *self.also]
        self.wanted = [name for name in columns if name in wanted and name != time]
        self.pieces = {name: [] for name in self.wanted}
        self.codes = {name: {} for name in self.texts}
        return Stamps(self.name, time, self.result.row, frame[time], self.date_format, self.tz)

    def _no_rows(self) -> UserError:
        return UserError(f"{self.name} has no rows: give a table with a header and rows")

    def _coded(self, name: str, column: pandas.Series) -> np.ndarray:
        codes, found = pandas.factorize(column)
        known = self.codes[name]
        numbers = [known.setdefault(str(value), len(known)) for value in found]
        return np.array([*numbers, -1], np.int32)[codes]

    def _floats(self, name: str, column: pandas.Series) -> np.ndarray:
        if pandas.api.types.is_numeric_dtype(column):
            values = column.to_numpy(np.float64, na_value=np.nan)
        else:
            column = column.map(lambda cell: cell if not isinstance(cell, str) else cell.strip())
            column = column.mask(column == "")  # a cell of spaces is missing
            values = pandas.to_numeric(column, errors="coerce")
            values = values.to_numpy(np.float64, na_value=np.nan)
            wrong = np.isnan(values) & column.notna().to_numpy()
            if wrong.any() and (amounts := _amounts(column)) is not None:
                return amounts
            if wrong.any():
                row = int(np.argmax(wrong))
                raise UserError(
                    f"{self.name}: {str(column.iloc[row])!r} in column {name}, "
                    f"{self.result.row(self.rows + row)}, is not a number: correct it, leave the "
                    "cell empty where the value is missing, or leave the column out by naming the "
                    "others as --targets"
                )
        large = np.abs(values) > LARGEST
        if large.any():
            row = int(np.argmax(large))
            raise UserError(
                f"{self.name}: {values[row]:g} in column {name}, "
                f"{self.result.row(self.rows + row)}, is too large to be computed with: correct "
                "it, or leave the cell empty where the value is missing"
            )
        return values


def _amounts(column: pandas.Series) -> np.ndarray | None:
    """The values of a column of amounts: thousands separators, a currency or per cent sign.

    None unless all cells agree on the separator and the sign.
    """
    cells = column.dropna().astype(str)
    tried = ([pattern.fullmatch(cell) for cell in cells] for pattern in AMOUNTS)
    matches = next((matches for matches in tried if matches and all(matches)), [])
    found = [match.groupdict() for match in matches if match]
    if not found:
        return None
    signs = {part[side] for part in found for side in ("before", "after")} - {None}
    marks = {mark for part in found for mark in re.sub(r"\d", "", part["whole"])}
    if len(signs) > 1 or len(marks) > 1:
        return None
    values = column.astype(object).copy()
    numbers = [
        float(
            ("-" if part["minus"] or part["inner"] else "")
            + re.sub(r"\D", "", part["whole"])
            + (part["rest"] or "").replace(",", ".")
        )
        for part in found
    ]
    values[cells.index] = numbers
    return pandas.to_numeric(values).to_numpy(np.float64, na_value=np.nan)
