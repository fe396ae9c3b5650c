"""Timestamps in several columns: a date and a clock, or a year, month, day, quarter, week, hour.

Their cells are joined to one text, with tabs between, whose format is found like that of one
column; timestamps that are written in it are separated again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import pandas

from wavediff.errors import UserError, listed
from wavediff.series.columns import cells, is_date, is_text, mostly_numbers
from wavediff.series.date_formats import CLOCKS, TAB, parsed

SAMPLE = 1000  # rows that decide
ROLES = {  # names of columns, in lower case and without signs
    "year": "year yr yyyy jahr année annee ano año anno jaar",
    "quarter": "quarter qtr quartal trimestre trimester",
    "day of year": "doy dayofyear yday julianday jday",
    "month": "month mon mo mnth mm monat mois mes mês mese maand monthnum monthnumber",
    "week": "week wk weekno weeknumber isoweek kw kalenderwoche woche semaine semana settimana",
    "day": "day dd dy tag jour dia día giorno dag dayofmonth",
    "hour": "hour hr hh hours stunde std heure hora ora uur",
    "minute": "minute min mi minuto",
    "clock": "time clock uhrzeit zeit heure hora ora tod timeofday hour stunde",
}
NAMES = {role: frozenset(names.split()) for role, names in ROLES.items()}
PERIOD = "period"  # name of a column of months or quarters
PERIODS = {"month": re.compile(r"\s*M\d\d\s*"), "quarter": re.compile(r"\s*Q\d\d\s*")}
ALL_NAMES = frozenset().union(*NAMES.values(), {PERIOD})
RANGES = {
    "year": (1500, 2200), "quarter": (1, 4), "month": (1, 12), "week": (1, 53), "day": (1, 31),
    "hour": (0, 24), "minute": (0, 59), "day of year": (1, 366),
}  # fmt: skip
CALENDARS = (
    ("year", "month", "day"),
    ("year", "month"),
    ("year", "quarter"),
    ("year", "week"),
    ("year", "day of year"),
)
DIGITS = re.compile(r"\s*\d{4}(\d\d)?\s*")  # of a column that is named as a clock
CLOCK = re.compile(r"\s*\d{1,2}[:.h]\d\d([:.]\d\d([.,]\d+)?)?(\s*[ap]\.?\s?m\.?| Uhr)?\s*", re.I)
QUARTER = re.compile(r"\s*(Q?[1-4])\s*", re.IGNORECASE)
WEEK = re.compile(r"\s*((K?W)?\s?\d{1,2})\s*", re.IGNORECASE)
# before their numbers, which could be months
WORDS = {"quarter": "quarter ", "week": "week ", "day of year": "day "}


def is_clock(values: pandas.Series, name: str = "") -> bool:
    """Whether the cells of a column are times of day, several of them; 1345 is one in a column with
    a name like ``time``."""
    values = values.dropna().head(SAMPLE)
    if pandas.api.types.is_integer_dtype(values) and _plain(name) in NAMES["clock"]:
        inside = (values >= 0) & (values < 2400) & (values % 100 < 60)
        return bool(inside.all() and values.max() > RANGES["hour"][1] and values.nunique() > 1)
    return (
        bool(len(values))
        and is_text(values)
        and any(
            all(pattern.fullmatch(str(cell)[:30]) for cell in cells(values))
            for pattern in ([CLOCK, DIGITS] if _plain(name) in NAMES["clock"] else [CLOCK])
        )
        and values.nunique() > 1
    )


def is_named_as_part(name: str) -> bool:
    """Whether a column has the name of a part of a timestamp."""
    return _plain(name) in ALL_NAMES


def find_parts(
    frame: pandas.DataFrame, dates: Sequence[str], texts: Collection[str], taken: Collection[str]
) -> list[str]:
    """The columns that together hold the timestamps; none where one column does.

    Args:
        frame: the first rows of a table.
        dates: its columns of dates.
        texts: the column that names the series, if it is given.
        taken: columns that are something else.

    Raises:
        UserError: where several columns may be the time of day.
    """
    frame = frame.head(SAMPLE)
    free = [name for name in frame.columns if name not in {*texts, *taken, *dates}]
    if len(dates) == 1:
        key = [*dates, *(name for name in texts if name in frame.columns)]
        if not frame[key].duplicated().any() or _has_clock(frame[dates[0]]):
            return []
        clocks = [name for name in free if is_clock(frame[name], name)]
        hours = [] if clocks else [name for name in free if _has_role(frame, name, "hour")]
        others = [name for name in free if name not in [*clocks, *hours] and _is_name(frame[name])]
        if any(not frame[[*key, name]].duplicated().any() for name in others):
            return []  # that one names the series
        named = [name for name in clocks if _plain(name) in NAMES["clock"]]
        found = named if len(named) == 1 else clocks or hours
        if len(found) > 1:
            raise UserError(
                f"dates in {dates[0]} come twice, and several columns have times of day "
                f"({listed(found)}): name two columns by --time (in Python time=), as "
                f"{dates[0]}+{found[0]}"
            )
        minutes = [name for name in free if found == hours and _has_role(frame, name, "minute")]
        return [*dates, *found, *minutes[:1]] if found else []
    if dates:
        return []
    named = list(filter(is_named_as_part, free))
    by_role = {role: [name for name in named if _has_role(frame, name, role)] for role in RANGES}
    for roles in CALENDARS:
        if all(len(by_role[role]) == 1 for role in roles):
            found = [by_role[role][0] for role in roles]
            if frame[found[0]].nunique() == len(frame):
                return []  # years alone
            clocks = [name for name in free if "day" in roles and is_clock(frame[name])]
            if len(clocks) == 1:
                return [*found, *clocks]
            if "day" in roles and len(by_role["hour"]) == 1:
                found += [*by_role["hour"], *by_role["minute"][:1]]
            return found
    return []


def _is_name(column: pandas.Series) -> bool:
    """Whether cells are text that may name series, not numbers."""
    return is_text(column) and not mostly_numbers(column)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())


def _has_role(frame: pandas.DataFrame, name: str, role: str) -> bool:
    """Whether a column has the name of a part and mostly its values; others are refused later."""
    if _plain(name) not in {*NAMES[role], PERIOD}:
        return False
    values = frame[name].dropna()
    if not len(values) or is_date(values):
        return False
    texts = _texts(values).str.strip()
    if _plain(name) == PERIOD:
        return role in PERIODS and bool(texts.str.fullmatch(PERIODS[role]).mean() > 0.5)
    pattern = {"quarter": QUARTER, "week": WEEK}.get(role)
    if pattern is not None and texts.map(lambda text: bool(pattern.fullmatch(text))).mean() <= 0.5:
        return False
    numbers = pandas.to_numeric(texts.str.extract(r"(\d+)$")[0] if pattern else texts, "coerce")
    if role == "month" and numbers.isna().all():
        return any(parsed(texts, form).notna().mean() > 0.5 for form in ("%b", "%B"))
    low, high = RANGES[role]
    return bool(((numbers >= low) & (numbers <= high) & (numbers % 1 == 0)).mean() > 0.5)


def _has_clock(column: pandas.Series) -> bool:
    if is_date(column):
        times = pandas.DatetimeIndex(column.dropna())
        return bool((times != times.normalize()).any())
    return bool(
        _texts(column.dropna()).str.contains(r"\d:\d\d|\d[T ]\d\d?$|[ap]m$", case=False).any()
    )


def _texts(column: pandas.Series) -> pandas.Series:
    """Cells as text, dates and whole numbers as short as they can be; missing ones stay."""
    if is_date(column):
        return column.dt.strftime("%Y-%m-%d")
    if pandas.api.types.is_float_dtype(column):
        column = column.map("{:.15g}".format, na_action="ignore")
    return column.map(lambda cell: str(cell)[:100].strip(), na_action="ignore").astype("str")


def joined(frame: pandas.DataFrame, columns: Sequence[str]) -> pandas.Series:
    """The cells of those columns as one text, missing where one is."""
    whole = None
    for place, name in enumerate(columns):
        texts = _texts(frame[name])
        if place and is_clock(frame[name], name):  # 900 is 09:00
            texts = texts.str.zfill(4)
        role = next((role for role in WORDS if place and _plain(name) in NAMES[role]), "")
        texts = WORDS.get(role, "") + texts
        whole = texts if whole is None else whole + TAB + texts
    assert whole is not None
    return whole


def separated(labels: Sequence[str], columns: Sequence[str]) -> dict[str, list[str] | list[int]]:
    """The cells of each column of timestamps that are written in one text; numbers as such."""
    found: dict[str, list[str] | list[int]] = {}
    parts = zip(*(label.split(TAB) for label in labels), strict=True)
    for name, texts in zip(columns, parts, strict=True):
        cells = [re.sub(f"^({'|'.join(WORDS.values())})", "", text) for text in texts]
        whole = all(re.fullmatch(r"0|[1-9]\d*", cell) for cell in cells)
        found[name] = [int(cell) for cell in cells] if whole else cells
    return found


def joined_format(form: str, frame: pandas.DataFrame, columns: Sequence[str]) -> str:
    """A format of one column, or of a date alone, as one of joined columns."""
    if TAB in form or len(columns) != 2:
        return form
    clock = re.search(r"\s*(?=%[HI])", form)
    if clock:
        return f"{form[: clock.start()]}{TAB}{form[clock.end() :]}"
    texts = _texts(frame[columns[1]].dropna().head(SAMPLE))
    fits = [each for each in CLOCKS if parsed(texts, each).notna().all()]
    return f"{form}{TAB}{fits[0]}" if fits else form
