"""Time columns of tables: which column it is, and its values as timestamps or steps."""

import re
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, tzinfo

import numpy as np
import pandas

from wavediff.errors import UserError
from wavediff.series.columns import ITEM_NAMES, TIME_NAMES, is_date, is_text

YEAR_FIRST = re.compile(r"\d{4}")
DOTTED = re.compile(r"\d{1,2}\.\d{1,2}\.")
DATE = re.compile(
    r"\s*('?\d{4}[-/.]?\d{1,2}([-/.]?\d{1,2})?([ T].*)?|\d{1,2}[-/. ]\d{1,2}[-/. ]\d{2,4}.*"
    r"|\d{4}-?Q[1-4]|.*\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b.*\d.*)\s*",
    re.IGNORECASE,
)
FORMATS = ("%d/%m/%Y", "%Y-%m", "%Y/%m", "%Y.%m", "%Y%m", "%b-%y", "%b %Y")  # that pandas misses


def find_time(frame: pandas.DataFrame, name: str, texts: Sequence[str] = ()) -> str:
    """The time column, found by its values and, among several, by its name.

    Numbers are taken as timestamps only in a column with a name like ``time``.

    Args:
        frame: the first rows of the table.
        name: of the table, for messages.
        texts: columns that are text.

    Raises:
        UserError: where there is no such column, or more than one.
    """
    dates, counters = [], []
    for column in frame.columns:
        values = frame[column].dropna()
        if column in texts or column.lower() in ITEM_NAMES or not len(values):
            continue
        if is_date(values):
            dates.append(column)
        elif is_text(values):
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
            "(in Python time=), or add one with timestamps like 2024-01-31 or 2024-01-31 13:00"
        )
    raise UserError(
        f"{name} has several time columns ({', '.join(found)}): name one by --time (in Python "
        "time=)"
    )


class Stamps:
    """Parses a time column, one piece after the other.

    Calling it with the next piece returns datetime64[us], or int64 where the column numbers steps.

    Args:
        table: name of the table, for messages.
        column: name of the column.
        row: what messages call a row, by its number.
        sample: the first values of the column, which decide on the format.

    Attributes:
        format: (strftime) of the text, where all of it has one; ``quarters`` for 2024Q1.
        zone: the time zone of the values, which are local to it; None where there is none.
        notes: sentences about what was decided.
    """

    def __init__(
        self, table: str, column: str, row: Callable[[int], str], sample: pandas.Series
    ) -> None:
        self.table, self.column, self.row = table, column, row
        self.rows = 0
        self.format: str | None = None
        self.zone: tzinfo | None = None
        self.notes: list[str] = []
        sample = sample.dropna()
        self.kind = "text"
        if isinstance(sample.dtype, pandas.PeriodDtype):
            self.kind = "period"
        elif is_date(sample):
            self.kind = "stamp"
        elif pandas.api.types.is_numeric_dtype(sample):
            self.kind = _counted(sample, column)
        elif len(sample):
            self.format = self._format(sample.astype(str))

    def __call__(self, column: pandas.Series) -> np.ndarray:
        missing = column.isna().to_numpy()
        if missing.any():
            raise UserError(
                f"{self.table}: the time column {self.column} is empty in "
                f"{self._row(missing)}: every row needs a timestamp"
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
                    f"{self.table}: the time column {self.column} has numbers that are not whole: "
                    "give timestamps, or numbers of steps"
                )
            self.rows += len(column)
            return values.astype(np.int64)
        else:
            times = self._numbers(column)
        self.rows += len(column)
        if times.tz is not None:
            times = self._local(times)
        return times.as_unit("us").to_numpy()

    def _row(self, which: np.ndarray) -> str:
        """The first row of this piece where ``which`` is true."""
        return self.row(self.rows + int(np.argmax(which)))

    def _format(self, sample: pandas.Series) -> str | None:
        """The one format of the sample; None where there is none and each is parsed by itself.

        A day of the month above 12 shows which of two numbers it is. Without one, 1.2. is taken as
        day first and 1/2/ as month first, with a note.
        """
        sample = sample.str.strip()
        if sample.str.fullmatch(r"\d{4}-?Q[1-4]").all():
            return "quarters"
        value = sample.iloc[0]
        guess = pandas.tseries.api.guess_datetime_format
        orders = [True, False] if DOTTED.match(value) else [False, True]
        orders = [False] if YEAR_FIRST.match(value) else orders
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that one of the orders does not fit
            guesses = dict.fromkeys([guess(value, dayfirst=day_first) for day_first in orders])
        fitting = [form for form in guesses if form and _all_parse(sample, form)]
        if len(fitting) > 1:
            first = "day" if fitting[0].startswith("%d") else "month"
            self.notes.append(
                f"dates like {value} are read {first} first: write 2024-01-31 to be sure"
            )
        fitting = fitting or [form for form in FORMATS if _all_parse(sample, form)]
        return fitting[0] if fitting else None

    def _texts(self, column: pandas.Series) -> pandas.DatetimeIndex:
        column = column.str.strip()
        if self.format == "quarters":
            times = pandas.PeriodIndex(column.str.replace("-", ""), freq="Q").to_timestamp()
        else:
            times = _parsed(column, self.format)
        wrong = times.isna()
        if wrong.any():
            raise UserError(
                f"{self.table}: {column.iloc[int(np.argmax(wrong))]!r} in the time column "
                f"{self.column}, {self._row(wrong)}, is not a timestamp like the others: write all "
                "of them alike, as 2024-01-31 or 2024-01-31 13:00"
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
        """Timestamps without their zone.

        A fixed distance from UTC is kept. A zone with daylight saving time becomes UTC, except for
        whole days.
        """
        local = times.tz_localize(None)
        fixed = times.tz.utcoffset(None) is not None
        if not fixed and (local == local.normalize()).all():
            return local
        if self.zone is None:
            self.zone = times.tz if fixed else UTC
        return times.tz_convert(self.zone).tz_localize(None)


def _parsed(column: pandas.Series, form: str | None) -> pandas.DatetimeIndex:
    """The timestamps, NaT for those of another format; those of several zones are in UTC."""
    options = {"format": form or "mixed", "errors": "coerce"}
    try:
        return pandas.DatetimeIndex(pandas.to_datetime(column, **options))
    except (ValueError, TypeError):
        return pandas.DatetimeIndex(pandas.to_datetime(column, **options, utc=True))


def _all_parse(sample: pandas.Series, form: str) -> bool:
    return bool(_parsed(sample, form).notna().all())


def _counted(sample: pandas.Series, name: str) -> str:
    """What whole numbers in a time column count.

    Returns:
        ``year``, ``day`` (as 20240131), a unit since 1970 (``s`` to ``ns``) or ``step``.
    """
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
