"""Tables of numbers with a time column, read in pieces.

Only numbers, timestamps and the codes of texts are kept, so that a large file needs little more
memory than its numbers do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from pathlib import Path

import numpy as np
import pandas

from wavediff.errors import UserError, listed, shorten
from wavediff.inputs import is_parquet
from wavediff.series import amounts, parquet_files, table_files
from wavediff.series.amounts import Notation
from wavediff.series.columns import ITEM_NAMES, is_date, is_text, mostly_numbers
from wavediff.series.encodings import WINDOWS
from wavediff.series.stamp_parts import joined, joined_format
from wavediff.series.stamps import Stamps
from wavediff.series.table_files import ABOVE, DECIMAL, DOUBTFUL, ENCODING, NAME, SAMPLE
from wavediff.series.time_column import split_name, time_columns

LARGEST = 1e37  # values above cannot be computed with in float32


@dataclass
class Table:
    """Columns of equal length.

    Attributes:
        name: of the file, or ``the frame``.
        time_name: name of the time column; of several, with + between.
        time_columns: the columns that hold the timestamps.
        time: datetime64[us], or int64 where the column numbers steps.
        zone: time zone of the column; None where there is none.
        universal: whether ``time`` is in UTC, whatever the zone; else it is local to it.
        time_format: how a CSV file writes its timestamps (strftime), where all have one format.
        numbers: float64 columns by name, NaN where missing.
        texts: (codes, texts) by name; the codes are int32, -1 where missing.
        columns: names of all columns of the source.
        notes: sentences about what was decided.
        first_line: the number of row 0 in messages: 2 in a CSV file whose header is line 1; 0 for
            other sources.
        rows: the number of each row in the source, where empty ones are left out.
        notations: of the numbers, by column.
    """

    name: str
    time_name: str
    time: np.ndarray
    zone: tzinfo | None = None
    universal: bool = False
    time_format: str | None = None
    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    texts: dict[str, tuple[np.ndarray, list[str]]] = field(default_factory=dict)
    time_columns: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    first_line: int = 0
    rows: np.ndarray | None = None
    notations: dict[str, Notation] = field(default_factory=dict)

    def row(self, number: int) -> str:
        """What messages call row ``number``."""
        number = number if self.rows is None else int(self.rows[number])
        return f"{'line' if self.first_line else 'row'} {number + self.first_line}"


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
        time: its time column, or several with + between; None finds them.
        texts: columns that are taken as text whatever they look like.
        only: the columns with numbers to read, beside the columns with text; None for all.
        also: further columns of either kind.
        progress: whether to show a bar on stderr when reading takes longer than a second.
        date_format: (strftime) of the time column; None finds it.
        tz: time zone of the time column; None takes its own.

    Raises:
        UserError: for a file that cannot be read, or a value that cannot be used.
    """
    notes: list[str] = []
    if isinstance(source, pandas.DataFrame):
        name, frames, first_line = "the frame", iter([table_files.plain(source)]), 0
    elif is_parquet(source):
        named = [*(split_name(time) if time else ()), *texts, *(only or ()), *also]
        frames = parquet_files.read_parquet(source, named, notes, progress)
        name, first_line = source.name, 0
    else:
        parts = split_name(time) if time and "+" in time else []
        frames = table_files.read_csv(source, texts, parts, progress)
        name, first_line = source.name, 2
    reader = _Reader(name, time, texts, only, also, first_line, date_format, tz, notes)
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
        notes: list[str],
    ) -> None:
        self.name, self.time, self.texts = name, time, set(texts)
        self.named, self.long = {*texts, *also}, set[str]()
        self.only, self.also, self.date_format, self.tz = only, also, date_format, tz
        self.result = Table(name, time or "", np.zeros(0), first_line=first_line, notes=notes)
        self.rows, self.read, self.empty = 0, 0, 0
        self.width = 8  # columns by which empty rows are looked for
        self.times: list[np.ndarray] = []
        self.wanted: list[str] = []
        self.pieces: dict[str, list[np.ndarray]] = {}
        self.codes: dict[str, dict[str, int]] = {}
        self.notations: dict[str, Notation] = {}
        self.stamps: Stamps | None = None

    def add(self, frame: pandas.DataFrame) -> None:
        """The next rows."""
        frame = self._without_empty(frame)
        if self.stamps is None:
            self.stamps = self._begin(frame)
        if not len(frame):
            return
        self.times.append(self.stamps(self._stamps_of(frame)))
        for name in self.wanted:
            read = self._coded if name in self.texts else self._floats
            self.pieces[name].append(read(name, frame[name]))
        self.rows += len(frame)

    def _without_empty(self, frame: pandas.DataFrame) -> pandas.DataFrame:
        """A piece without the rows that have no cell at all, as spreadsheets leave them."""
        first, self.read = self.read, self.read + len(frame)
        empty = np.flatnonzero(frame.iloc[:, : self.width].isna().all(axis=1))
        if len(empty):
            empty = empty[frame.iloc[empty].isna().all(axis=1).to_numpy()]
        if not len(empty) and self.result.rows is None:
            return frame
        self.empty += len(empty)
        kept = np.delete(np.arange(first, self.read), empty)
        before = np.arange(first) if self.result.rows is None else self.result.rows
        self.result.rows = np.concatenate([before, kept])
        return frame.drop(frame.index[empty])

    def table(self) -> Table:
        """All rows."""
        if self.stamps is None or not self.rows:
            raise self._no_rows()
        table = self.result
        stamps = self.stamps
        table.time_format, table.zone = stamps.format, stamps.zone
        table.universal = stamps.universal
        table.notes += self.stamps.notes
        if self.empty:
            table.notes.append(f"rows without any cell are left out: {self.empty}")
        table.time = np.concatenate(self.times)
        self.times.clear()
        for name in self.wanted:
            if (doubtful := self.notations[name].doubtful) is not None:
                table.notes.append(
                    f"numbers like {shorten(doubtful)} in column {shorten(name)} are read with a "
                    "thousands separator: write them without one if it is a decimal mark"
                )
            column = np.concatenate(self.pieces.pop(name))
            if name in self.texts:
                column = np.minimum(column, 0) if name in self.long else column
                table.texts[name] = (column, list(self.codes[name]) or [""])
            else:
                table.numbers[name] = column
                table.notations[name] = self.notations[name]
        marked = [name for name, notation in table.notations.items() if notation.is_marked]
        if marked:
            shown = (f"{shorten(name, 30)} ({_marks(table.notations[name])})" for name in marked)
            table.notes.append(f"numbers are read without their marks: {listed(shown)}")
        return table

    def _begin(self, frame: pandas.DataFrame) -> Stamps:
        """Decide on the columns by the first rows."""
        columns = list(frame.columns)
        for name in [*self.texts, *(self.only or ()), *self.also]:
            if name not in columns:
                raise UserError(
                    f"{self.name} has no column {shorten(name)}: it has {listed(columns)}"
                )
        if not len(frame):
            raise self._no_rows()
        above = frame.attrs.get(ABOVE, ())
        self.result.first_line += len(above)
        if any(line.strip() for line in above):
            titles = shorten(" ".join(line.strip() for line in above))
            several = f"lines 1 to {len(above)} are" if len(above) > 1 else "line 1 is"
            self.result.notes.append(f"{several} above the header and left out: {titles}")
        if frame.attrs.get(ENCODING) == WINDOWS:
            self.result.notes.append("the text is not in UTF-8: it is read as Windows-1252")
        named = {*(self.only or ()), *self.also, *self.texts}
        parts = time_columns(frame.head(SAMPLE), self.name, self.time, self.texts, named)
        time = "+".join(parts)
        self.result.time_name, self.result.columns = time, columns
        self.result.time_columns = parts
        date_format = self.date_format
        if len(parts) > 1:
            self.result.notes.append(f"the columns {listed(parts)} are read as one timestamp")
            date_format = date_format and joined_format(date_format, frame, parts)
        for name in columns:
            column = frame[name].head(SAMPLE)
            by_name = name.lower() in ITEM_NAMES and not pandas.api.types.is_float_dtype(column)
            text = is_text(column) and not mostly_numbers(column)
            if name not in parts and (by_name or text) and not (self.only and name in self.only):
                self.texts.add(name)
        named |= self.texts
        dates = [name for name in columns if name not in {*parts, *named} and is_date(frame[name])]
        if dates:
            self.result.notes.append(f"columns of timestamps are left out: {listed(dates)}")
        wanted = set(columns) - set(dates) if self.only is None else named
        self.wanted = [name for name in columns if name in wanted and name not in parts]
        self.pieces = {name: [] for name in self.wanted}
        self.codes = {name: {} for name in self.texts}
        for name, number in frame.attrs.get(DOUBTFUL, {}).items():
            if name in self.wanted:
                self.result.notes.append(
                    f"numbers like {shorten(number)} in column {shorten(name)} are read with a "
                    "decimal comma: write them without it if it separates thousands"
                )
        notation = Notation(likely=frame.attrs.get(DECIMAL, "."))
        self.notations = dict.fromkeys(self.wanted, notation)
        sample = self._stamps_of(frame)
        return Stamps(self.name, time, self.result.row, sample, date_format, self.tz)

    def _stamps_of(self, frame: pandas.DataFrame) -> pandas.Series:
        parts = self.result.time_columns
        return frame[parts[0]] if len(parts) == 1 else joined(frame, parts)

    def _no_rows(self) -> UserError:
        return UserError(f"{self.name} has no rows: give a table with a header and rows")

    def _coded(self, name: str, column: pandas.Series) -> np.ndarray:
        try:
            codes, found = pandas.factorize(column)
        except TypeError:  # lists and the like
            codes, found = pandas.factorize(column.map(str, na_action="ignore"))
        longest = max(map(len, map(str, found)), default=0)
        if longest > NAME and name not in self.long:
            self.long.add(name)
            self.codes[name] = {}
        known = self.codes[name]
        if name in self.long:  # not the names of items, but notes and the like
            if name in self.named:
                raise UserError(
                    f"{self.name}: column {shorten(name)} has texts of {longest} characters, more "
                    f"than {NAME}: name another column"
                )
            return np.minimum(codes, 0).astype(np.int32)
        numbers = [known.setdefault(str(value), len(known)) for value in found]
        return np.array([*numbers, -1], np.int32)[codes]

    def _floats(self, name: str, column: pandas.Series) -> np.ndarray:
        if pandas.api.types.is_numeric_dtype(column):
            values = column.to_numpy(np.float64, na_value=np.nan)
            known = self.notations[name]
            if known.decimal == "," or known.signs:
                column = column.map("{:.17g}".format, na_action="ignore")
            elif not known.bare and np.nan_to_num(values).any():
                self.notations[name] = replace(known, bare=True)
        if not pandas.api.types.is_numeric_dtype(column):
            found = amounts.numbers(column, self.notations[name])
            if isinstance(found, int):
                where = self.result.row(self.rows + found)
                raise amounts.refused(self.name, name, where, column.iloc[found])
            values, self.notations[name] = found
        large = np.abs(values) > LARGEST
        if large.any():
            row = int(np.argmax(large))
            raise UserError(
                f"{self.name}: {values[row]:g} in column {shorten(name)}, "
                f"{self.result.row(self.rows + row)}, is too large to be computed with: correct "
                "it, or leave the cell empty where the value is missing"
            )
        return values


def _marks(notation: Notation) -> str:
    """The signs and separators of a column for messages."""
    names = {" ": "spaces"}
    return " and ".join(names.get(mark, mark) for mark in sorted(notation.signs | notation.marks))
