"""The values of time columns as timestamps or steps."""

import re
from collections.abc import Callable
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas
from pandas.api.types import is_numeric_dtype as is_numeric

from wavediff.errors import UserError, shorten
from wavediff.series import centuries, frequency
from wavediff.series.columns import cells, is_date
from wavediff.series.counted_stamps import EXCEL, FORMATS, TEMPLATES, both_first, kind_of, steps
from wavediff.series.counted_stamps import times as counted_times
from wavediff.series.date_formats import (
    ISO,
    fitting,
    numbered_quarters,
    odd,
    parsed,
    periods,
    template,
)
from wavediff.series.readings import differ, order, reading
from wavediff.series.time_column import LONGEST, WHOLE, mostly
from wavediff.series.written_stamps import EPOCH, exact

FIRST_YEAR, END_OF_YEARS = np.datetime64("0001-01-01"), np.datetime64("10000-01-01")
UNITS = {"year": "years", "s": "seconds since 1970", "ms": "milliseconds since 1970"}
UNITS |= {"us": "microseconds since 1970", "ns": "nanoseconds since 1970"}
UNITS |= {EXCEL: "days since 1899-12-30, as a spreadsheet counts them"}


def _texts(column: pandas.Series, digits: int = 0) -> pandas.Series:
    """Cells as text, cut where they are far too long for a timestamp; whole numbers have at least
    so many digits."""
    if is_numeric(column):
        whole = column.map("{:.17g}".format, na_action="ignore")
        return whole.str.zfill(digits)
    if isinstance(column.dtype, pandas.StringDtype):
        return column.str.slice(stop=2 * LONGEST)
    texts = [str(cell)[: 2 * LONGEST] for cell in cells(column)]
    return pandas.Series(texts, column.index, dtype=str)


TOTAL = re.compile(  # how the cell of a row of totals begins
    r"\s*((grand|sub)[- ]?)?(total|sum|gesamt|somme|suma|totaal|average|avg|mean|mittel|schnitt"
    r"|durchschnitt|moyenne|promedio|media|ergebnis|saldo|anzahl|count)",
    re.IGNORECASE,
)
YEARLY = re.compile(r"\d{4}\t(M13|Q05|S03|A01)")  # a mean among months or quarters
OFFSET = r"\s*(Z|[+-]\d\d:?\d\d)$"  # from UTC


class Stamps:
    """Parses a time column, one piece after the other.

    Calling it with the next piece returns datetime64[us], or int64 where the column numbers steps.

    Args:
        table: name of the table, for messages.
        column: name of the column.
        row: what messages call a row, by its number.
        sample: the first values of the column, which decide on the format.
        date_format: (strftime) instead of the one that is found.
        tz: time zone of the column, instead of its own.

    Attributes:
        format: of the text, of ``strftime`` or ``date_formats.template``.
        zone: the time zone of the column; None where there is none.
        universal: whether the values are in UTC, whatever the zone; else they are local to it.
        notes: sentences about what was decided.
    """

    def __init__(
        self,
        table: str,
        column: str,
        row: Callable[[int], str],
        sample: pandas.Series,
        date_format: str | None = None,
        tz: str | None = None,
    ) -> None:
        self.table, self.column, self.row = table, column, row
        self.rows = 0
        self._last: int | None = None  # year of two digits
        self.format: str | None = None
        self._form = date_format
        self._digits = 0 if date_format is None else _digits(date_format)
        self.zone: tzinfo | None = None
        self.universal = False
        self.tz = None if tz is None else _zone(tz)
        self.notes: list[str] = []
        sample = sample.dropna()
        self.kind = "text"
        if isinstance(sample.dtype, pandas.PeriodDtype):
            self.kind = "period"
        elif is_date(sample):
            self.kind = "stamp"
        elif is_numeric(sample) and date_format is None:
            self.kind = kind_of(sample, column)
        elif len(sample):
            sample = _texts(sample, self._digits)
            self._form = self._format(sample)
            if self._form == ISO:
                self.format = None
            elif self._form is not None:
                moved = self.tz is not None
                self.format = self._form if "{" in self._form else exact(self._form, sample, moved)
        self.numeric = self.kind not in ("text", "period", "stamp")
        if self.kind in TEMPLATES:
            self.format = TEMPLATES[self.kind]
        elif self.kind in FORMATS:
            self.format = FORMATS[self.kind]
            self._note_numbers(sample)
        elif self.kind == "year":
            self.format = "year"
        elif self.kind in (*EPOCH, EXCEL):
            if self.kind == EXCEL:
                self.notes.append(f"the numbers in {shorten(column)} are {UNITS[EXCEL]}")
            whole = (sample == sample.round()).all() if is_numeric(sample) else True
            self.format = self.kind if whole else f"{self.kind}.f"

    def _note_numbers(self, sample: pandas.Series) -> None:
        """Choose between day and month first, and say how numbers are read where others may fit."""
        if not self.kind.endswith("first"):
            if self.kind == "short year":
                self.notes.append("numbers like 240131 are read as %y%m%d: --date-format decides")
            return
        numbers = pandas.to_numeric(sample)
        text = _texts(numbers, 8)
        found = [FORMATS[kind] for kind in ("day first", "month first")]
        if both_first(numbers) and differ(text, *found):
            self.format = self._chosen(text, found)
            self.kind = next(kind for kind, form in FORMATS.items() if form == self.format)
        elif self.kind == "day first":
            self.notes.append("numbers like 31012024 are read day first")

    def __call__(self, column: pandas.Series) -> np.ndarray:
        missing = column.isna().to_numpy()
        if missing.any():
            raise UserError(
                f"{self.table}: the time column {shorten(self.column)} is empty in "
                f"{self._row(missing)}: every row needs a timestamp{self._foreign(missing)}"
            )
        if self.numeric:
            column = self._as_numbers(column)
        if self.kind == "step":
            found, wrong = steps(column)
            if wrong.any():
                raise self._wrong(column, wrong, "a whole number of a step")
            self.rows += len(column)
            return found
        if self.kind == "text":
            times = self._parsed(_texts(column, self._digits))
            if self._form and ("%y" in self._form or "{s" in self._form):
                times = self._in_century(times)
        elif self.kind == "period":
            times = pandas.DatetimeIndex(column.dt.to_timestamp())
        elif self.kind == "stamp":
            times = pandas.DatetimeIndex(column)
        else:
            times = pandas.DatetimeIndex(counted_times(column, self.kind))
            if times.isna().any():
                what = (
                    "a date"
                    if self.kind in (*FORMATS, *TEMPLATES)
                    else f"a timestamp in {UNITS[self.kind]}"
                )
                raise self._wrong(column, times.isna(), what)
            if self.kind == "short year":
                times = self._in_century(times)
        if times.tz is not None or self.tz is not None:
            times = self._in_zone(times)
        found = times.as_unit("us").to_numpy()
        wrong = (found < FIRST_YEAR) | (found >= END_OF_YEARS)
        if wrong.any():
            raise self._wrong(column, wrong, "in the years 1 to 9999")
        self.rows += len(column)
        return found

    def _in_century(self, times: pandas.DatetimeIndex) -> pandas.DatetimeIndex:
        """Timestamps of two-digit years, in order; the first piece decides."""
        if not self.rows:
            self._last = centuries.last_year(times)
            if self._last is not None:
                self.notes.append(
                    f"two-digit years are read as {self._last - 99} to {self._last}: so the rows "
                    "are in order"
                )
        return centuries.before(times, self._last)

    def _as_numbers(self, column: pandas.Series) -> pandas.Series:
        """A column of text with numbers as numbers."""
        if is_numeric(column):
            return column
        texts = _texts(column)
        wrong = ~texts.map(lambda cell: len(cell) <= LONGEST and bool(WHOLE.fullmatch(cell)))
        if wrong.any():
            raise self._wrong(column, wrong.to_numpy(), "a number as the others")
        found = pandas.to_numeric(texts)
        return found.astype(np.float64) if found.dtype == object else found

    def _wrong(self, column: pandas.Series, wrong: np.ndarray, what: str) -> UserError:
        """The error for the first cell where ``wrong`` is true."""
        cell = column.iloc[int(np.argmax(wrong))]
        return UserError(
            f"{self.table}: {shorten(cell)} in the time column {shorten(self.column)}, "
            f"{self._row(wrong)}, is not {what}: correct it{self._foreign(wrong, cell)}"
        )

    def _foreign(self, wrong: np.ndarray, cell: object = "") -> str:
        """The end of a sentence about a row without a timestamp, which may be none of the table."""
        place = int(np.argmax(wrong))
        if YEARLY.match(str(cell)[:LONGEST]):
            return ", or delete the lines of whole years"
        if wrong.sum() == 1 and place == self.rows == 0:
            return ", or delete that line if it has units or a second header"
        if TOTAL.match(str(cell)[:LONGEST]) or (place and wrong[place:].all()):
            return ", or delete that line if it has totals or a remark"
        return ""

    def _row(self, which: np.ndarray) -> str:
        """The first row of this piece where ``which`` is true."""
        return self.row(self.rows + int(np.argmax(which)))

    def _format(self, sample: pandas.Series) -> str | None:
        """The one format of the sample, of ``strftime`` or ``date_formats.template``; None for
        numbers, whose ``kind`` is set.

        A day of the month above 12 shows which of two numbers it is. Without one, 1.2. is taken as
        day first and 1/2/ as month first, with a note.
        """
        sample = sample.str.strip()
        if self._form is not None:
            _check_format(self._form, sample)
            return self._form
        if periods(sample) is not None:
            return template(sample)
        if numbered_quarters(sample) is not None:
            self.notes.append(
                f"{sample.iloc[0]} and the like are read as quarters: no month above 4 comes"
            )
            return template(sample)
        found = fitting(sample)
        if not found and mostly(sample, WHOLE):
            whole = sample[sample.map(lambda cell: bool(WHOLE.fullmatch(cell[:LONGEST])))]
            self.kind = kind_of(pandas.to_numeric(whole), self.column)
            return None
        if not found:
            wrong = odd(sample)
            if wrong.all() and len(sample) > 1 and fitting(sample.iloc[1:]):
                wrong[1:] = False
            raise UserError(
                f"{self.table}: {shorten(sample.iloc[int(np.argmax(wrong))])!r} in the time column "
                f"{shorten(self.column)}, {self._row(wrong)}, is not a timestamp like the "
                "others: write all of them alike, as 2024-01-31 or 2024-01-31 13:00, or give "
                "--date-format (in Python date_format=)"
                f"{self._foreign(wrong, sample.iloc[int(np.argmax(wrong))])}"
            )
        return self._chosen(sample, found) if len(found) > 1 else found[0]

    def _chosen(self, sample: pandas.Series, found: list[str]) -> str:
        """One of several formats that fit: of a regular series, or else the first of them."""
        taken = {form: reading(sample, form) for form in found}
        found.sort(key=lambda form: taken[form].startswith("at no"))  # stable: regular first
        others = [form for form in found[1:] if differ(sample, found[0], form)]
        if others:
            one, other = parsed(sample, found[0]), parsed(sample, others[0])
            shown = sample.iloc[int(np.argmax(one != other))]
            but = " and ".join(f"{order(form)} ({taken[form]}) by {form}" for form in others)
            fit = "fits" if len(others) == 1 else "fit"
            self.notes.append(
                f"dates like {shorten(shown)} are read {order(found[0])} ({found[0]}, "
                f"{taken[found[0]]}), but {but} {fit} too: --date-format decides"
            )
        return found[0]

    def _parsed(self, column: pandas.Series) -> pandas.DatetimeIndex:
        column = column.str.strip()
        assert self._form is not None
        if "{" in self._form:
            found = periods(column)
            found = numbered_quarters(column) if found is None else found
            times = pandas.DatetimeIndex([pandas.NaT] * len(column)) if found is None else found
            if found is None:
                single = [periods(pandas.Series([value])) for value in column]
                times = pandas.DatetimeIndex([pandas.NaT if x is None else x[0] for x in single])
        else:
            times = self._by_format(column, self._form)
        wrong = times.isna()
        if wrong.any():
            raise UserError(
                f"{self.table}: {shorten(column.iloc[int(np.argmax(wrong))])!r} in the time column "
                f"{shorten(self.column)}, {self._row(wrong)}, is not a timestamp like the "
                "others: write all of them alike, as 2024-01-31 or 2024-01-31 13:00"
                f"{self._foreign(wrong, column.iloc[int(np.argmax(wrong))])}"
            )
        return times

    def _by_format(self, column: pandas.Series, form: str) -> pandas.DatetimeIndex:
        """The timestamps of text; local midnights with changing distances from UTC are days."""
        several = form.endswith("%z") or form == ISO
        several = several and column.str.extract(OFFSET)[0].nunique() > 1
        if several and form != ISO:
            local = parsed(
                column.str.replace(OFFSET, "", regex=True), form.removesuffix("%z").strip()
            )
            if local.notna().all() and (local == local.normalize()).all():
                note = "the distance from UTC changes: the timestamps are taken as local days"
                if note not in self.notes:
                    self.notes.append(note)
                if self.tz is None:
                    self.format = form.removesuffix("%z").strip()
                    return local
                return local.tz_localize(self.tz, ambiguous="NaT", nonexistent="shift_forward")
        if several and self.tz is None:
            self._note_offsets("UTC" if self.zone is None else str(self.zone))
        return parsed(column, form)

    def _note_offsets(self, zone: str) -> None:
        note = (
            f"the distance from UTC changes: the timestamps come back in {zone}; give --tz, such "
            "as Europe/Berlin, for local ones"
        )
        if not any(given.startswith("the distance from UTC changes") for given in self.notes):
            self.notes.append(note)

    def _in_zone(self, times: pandas.DatetimeIndex) -> pandas.DatetimeIndex:
        """Timestamps without their zone, which is kept.

        Those of a fixed distance from UTC are local. With daylight saving time, whole days are
        local and shorter steps are in UTC, where they are regular.
        """
        zone = self.tz or self.zone or times.tz  # of the first piece
        naive = times.tz is None
        if self.tz is None and self.kind == "text" and str(zone) != str(times.tz):
            self._note_offsets(str(zone))
        local = times if naive else times.tz_convert(zone).tz_localize(None)
        first = self.zone is None
        self.zone = zone
        if not naive and zone.utcoffset(None) is not None:
            return local
        if first or not self.universal:
            days = local.normalize()
            if (local == days).all():
                return local
            if not naive and (times.tz_convert(zone) == frequency.localized(days, zone)).all():
                return days  # some begin after midnight, when the clock is set forward then
        self.universal = True
        if naive:
            # of an hour that comes twice the first is in daylight saving time
            again = pandas.Series(local).groupby(local).cumcount().to_numpy()
            times = local.tz_localize(zone, ambiguous=again % 2 == 0, nonexistent="shift_forward")
        return times.tz_convert(UTC).tz_localize(None)


def _digits(form: str) -> int:
    """Of numbers in a format, with their leading zeros."""
    text = pandas.Timestamp("2010-10-10 10:10:10").strftime(form)
    return len(text) if text.isdigit() else 0


def _check_format(form: str, sample: pandas.Series) -> None:
    """Raises UserError for a text that is not a format of ``strftime``."""
    try:
        parsed(sample.head(1), form)
    except (ValueError, TypeError, KeyError, re.error) as error:
        raise UserError(
            f"{shorten(form)!r} is not a format of timestamps: give one like %d/%m/%Y %H:%M as "
            "--date-format (in Python date_format=)"
        ) from error


def _zone(name: str) -> tzinfo:
    """The time zone of that name.

    Raises:
        UserError: for an unknown one.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UserError(
            f"there is no time zone {shorten(name)!r}: give one like Europe/Berlin, "
            "America/New_York or UTC"
        ) from error
