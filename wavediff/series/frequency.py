"""Regular time grids: the frequency of timestamps, their steps on the grid, and its continuation.

A frequency is a pandas offset alias ("h", "15min", "B", "W-SUN", "MS", "QE-DEC", ...), or None for
plain numbered steps. Months, quarters, years, weeks and business days follow the calendar.
"""

import re
from collections.abc import Sequence
from datetime import tzinfo
from functools import lru_cache

import numpy as np
import pandas
from pandas.tseries.frequencies import to_offset

from wavediff.errors import UserError, shorten

DAY = 86_400_000_000  # microseconds
FIXED = {"W": 7 * DAY, "D": DAY, "h": DAY // 24, "min": 60_000_000, "s": 1_000_000, "ms": 1000}
FIXED |= {"us": 1}
MONTHS = {"MS": 1, "ME": 1, "BMS": 1, "BME": 1, "QS": 3, "QE": 3, "YS": 12, "YE": 12}
# Aliases of pandas before 2.2.
OLD = {"H": "h", "T": "min", "S": "s", "L": "ms", "U": "us", "M": "ME", "BM": "BME", "Q": "QE"}
OLD |= {"A": "YE", "Y": "YE", "AS": "YS"}
NAMES = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
LONGEST, FARTHEST = 366_000 * DAY, 90_000_000 * DAY  # a step; from 1970
MIN_ROWS, MAX_GAPS = 20, 2.0  # a grid of more steps than this times the rows is asked about
WEEKDAYS = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"]


@lru_cache
def parts(freq: str) -> tuple[int, str, str]:
    """The parts of an alias: "2QS-FEB" -> (2, "QS", "FEB").

    Raises:
        UserError: for what is not a frequency.
    """
    match = re.fullmatch(r"\s*(\d*)\s*([A-Za-z]+)((?:-[A-Z]+)?)\s*", freq)
    if match:
        number, unit, anchor = match.groups()
        freq = f"{number}{OLD.get(unit, unit)}{anchor}"
    try:
        offset = to_offset(freq)
        match = re.fullmatch(r"(\d*)([A-Za-z]+)(?:-(\w+))?", offset.freqstr)
        if not match or offset.n < 1:
            raise ValueError("negative")
    except (ValueError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{shorten(freq)!r} is not a frequency: give one like h, 15min, D, B (business days), "
            "W-SUN, MS (month's first day), ME (its last), QS or YS"
        ) from error
    number, unit = offset.n, match[2]
    if unit == "ns" or number * microseconds(unit) > LONGEST:
        raise UserError(
            f"the frequency {shorten(freq)} is out of range: give one of a microsecond (us) to a "
            "thousand years"
        )
    return number, unit, match[3] or ""


def microseconds(unit: str) -> int:
    """The length of a unit, about."""
    return FIXED.get(unit) or 30 * DAY * MONTHS.get(unit, 0) or DAY


def normalize(freq: str) -> str:
    """The alias as pandas writes it today: "H" -> "h", "12M" -> "12ME"."""
    number, unit, anchor = parts(freq)
    return f"{number if number > 1 else ''}{unit}{'-' if anchor else ''}{anchor}"


def stamps(
    start: pandas.Timestamp | int, freq: str | None, first: int, last: int, stride: int = 1
) -> pandas.DatetimeIndex | pandas.RangeIndex:
    """The timestamps of steps of a grid.

    Args:
        start: step 0.
        freq: the frequency; None for plain numbers, ``stride`` apart.
        first: step; it may be negative.
        last: step, not included.
        stride: distance of plain numbers.
    """
    if freq is None or isinstance(start, int | np.integer):
        return pandas.RangeIndex(int(start) + first * stride, int(start) + last * stride, stride)
    number, unit, _ = parts(freq)
    zone, steps = start.tz, np.arange(first, last)
    # steps shorter than a day are regular in UTC, days and longer ones in local time
    universal = zone is not None and unit in FIXED and number * FIXED[unit] < DAY
    local = (start.tz_convert("UTC") if universal else start).tz_localize(None)
    origin = local.as_unit("us").to_datetime64()
    farthest = max(-first, last) * number * microseconds(unit)
    if abs(int(origin.astype(np.int64))) + farthest > FARTHEST:
        raise UserError(
            f"{last} steps of frequency {freq} from {text(start)} on go beyond the year 200000: "
            "give a shorter horizon or another --freq"
        )
    if unit in FIXED:
        times = origin + (steps * number * FIXED[unit]).astype("timedelta64[us]")
    elif unit in MONTHS and not unit.startswith("B"):
        month, clock = origin.astype("M8[M]"), origin - origin.astype("M8[D]")
        months = month + steps * number * MONTHS[unit]
        if unit.endswith("E"):
            days = (months + 1).astype("M8[D]") - 1
        else:
            days = months.astype("M8[D]") + (origin.astype("M8[D]") - month.astype("M8[D]"))
            days = np.minimum(days, (months + 1).astype("M8[D]") - 1)  # the 31st of 28 days
        times = days.astype("M8[us]") + clock
    elif unit == "B" and number == 1:
        day = origin.astype("M8[D]")
        days = np.busday_offset(day, steps, roll="forward")
        times = days.astype("M8[us]") + (origin - day)
    else:
        offset, at = to_offset(freq), pandas.Timestamp(origin)
        before = pandas.date_range(end=at, periods=max(1 - first, 1), freq=offset)
        after = pandas.date_range(start=at, periods=max(last, 1), freq=offset)
        times = before.append(after[1:])[first + len(before) - 1 :][: last - first].to_numpy()
    index = pandas.DatetimeIndex(times.astype("M8[us]"))
    return index.tz_localize("UTC").tz_convert(zone) if universal else localized(index, zone)


def localized(times: pandas.DatetimeIndex, zone: tzinfo | None) -> pandas.DatetimeIndex:
    """Local timestamps in their zone; those that a clock change leaves out move forward."""
    if zone is None:
        return times
    first = np.ones(len(times), dtype=bool)
    return times.tz_localize(zone, ambiguous=first, nonexistent="shift_forward")


def positions(times: np.ndarray, freq: str) -> np.ndarray:
    """The steps of timestamps from the first of them, int64.

    Args:
        times: datetime64[us], ascending.
        freq: the frequency.

    Raises:
        UserError: for one that is not on the grid of the frequency.
    """
    number, unit, _ = parts(freq)
    origin = times[0]
    if unit in FIXED:
        steps, off = np.divmod((times - origin).astype("int64"), number * FIXED[unit])
        wrong = off != 0
    elif unit in MONTHS:
        months = (times.astype("M8[M]") - origin.astype("M8[M]")).astype("int64")
        steps, off = np.divmod(months, number * MONTHS[unit])
        wrong = off != 0
    elif unit == "B" and number == 1:
        days = times.astype("M8[D]")
        steps = np.busday_count(days[0], days).astype("int64")
        wrong = ~np.is_busday(days) | (times - days != origin - days[0])
    else:
        grid = pandas.date_range(pandas.Timestamp(origin), pandas.Timestamp(times[-1]), freq=freq)
        steps = grid.get_indexer(pandas.DatetimeIndex(times).as_unit(grid.unit))
        wrong = steps < 0
    if wrong.any():
        raise UserError(
            f"{text(times[np.argmax(wrong)])} is not on the grid of the frequency {freq} that "
            f"begins at {text(origin)}: put the timestamps on one grid (pandas: resample), or give "
            "another --freq"
        )
    return steps


def first(time: pandas.Timestamp, freq: str) -> pandas.Timestamp:
    """The first timestamp of a frequency that is not before ``time``."""
    return pandas.date_range(time, periods=1, freq=freq)[0]


def infer(groups: Sequence[np.ndarray], names: Sequence[str]) -> str:
    """The frequency of timestamps.

    Missing steps are allowed; timestamps between the steps, a stretch at another frequency and
    items of different frequencies are not.

    Args:
        groups: datetime64[us] of each item, ascending and unique.
        names: of the items, for messages.

    Raises:
        UserError: for mixed frequencies, or where no item has two timestamps.
    """
    items = [(times, name) for times, name in zip(groups, names, strict=True) if len(times) > 1]
    groups = [times for times, _ in items]
    if not groups:
        raise UserError(
            "one timestamp has no frequency: give more rows, or --freq (in Python freq=): h, D, B, "
            "MS, ..."
        )
    freq = _months(groups) or _fixed(groups)
    for times, name in items:
        _check(times, freq, name)
        _check_gaps(times, freq)
    return freq


def _months(groups: Sequence[np.ndarray]) -> str | None:
    """MS, QE-DEC, 2YS-JAN, ... where all timestamps are at the same place of months; else None."""
    if min(np.diff(times).min().astype("int64") for times in groups) < 28 * DAY:
        return None
    times = np.concatenate(groups)
    days, months = times.astype("M8[D]"), times.astype("M8[M]")
    if len(np.unique(times - days)) > 1:
        return None
    first, last = months.astype("M8[D]"), (months + 1).astype("M8[D]") - 1
    day = (days - first).astype(int)
    if (days == last).all() and len(np.unique(day)) > 1:
        kind = "E"
    elif (day == day[0]).all() and day[0] < 28:
        kind = "S"
    elif (days == last).all():  # 31 December, of every year
        kind = "E"
    elif (days == np.busday_offset(last, 0, roll="backward")).all():
        kind = "BME"
    elif (days == np.busday_offset(first, 0, roll="forward")).all():
        kind = "BMS"
    elif _is_clipped([times.astype("M8[D]") for times in groups]):
        kind = "S"
    else:
        return None
    gaps = [np.diff(times.astype("M8[M]")).astype(int) for times in groups]
    step = int(np.gcd.reduce(np.concatenate(gaps)))
    if kind in MONTHS:
        return f"{step if step > 1 else ''}{kind}"
    month = int(months[0].astype(int)) % 12  # 0 is January
    if step % 12 == 0:
        number, unit, anchor = step // 12, "Y", f"-{NAMES[month]}"
    elif step % 3 == 0:
        anchor = NAMES[month % 3] if kind == "S" else NAMES[9 + month % 3]
        number, unit, anchor = step // 3, "Q", f"-{anchor}"
    else:
        number, unit, anchor = step, "M", ""
    return f"{number if number > 1 else ''}{unit}{kind}{anchor}"


def _is_clipped(groups: Sequence[np.ndarray]) -> bool:
    """Whether days are the same one of every month, or its last where it is shorter."""
    for days in groups:
        months = days.astype("M8[M]")
        last = (months + 1).astype("M8[D]") - 1
        # the first one shows which day it is
        clipped = np.minimum(months.astype("M8[D]") + (days[0] - months[0].astype("M8[D]")), last)
        if (days != clipped).any():
            return False
    return True


def _fixed(groups: Sequence[np.ndarray]) -> str:
    gaps = np.concatenate([np.diff(times) for times in groups]).astype("int64")
    step = int(np.gcd.reduce(np.unique(gaps)))
    if step == DAY:
        days = np.concatenate(groups).astype("M8[D]")
        over_weekends = any(
            (np.diff(times.astype("M8[D]")) == np.timedelta64(3)).any() and len(times) > 6
            for times in groups
        )
        return "B" if np.is_busday(days).all() and over_weekends else "D"
    if step == 7 * DAY:
        return f"W-{WEEKDAYS[pandas.Timestamp(groups[0][0]).day_of_week]}"
    unit = next(name for name, size in FIXED.items() if name != "W" and step % size == 0)
    number = step // FIXED[unit]
    return f"{number if number > 1 else ''}{unit}"


def _check(times: np.ndarray, freq: str, name: str) -> None:
    """Raises UserError unless ``freq`` is the usual distance of these timestamps, and no long
    stretch has a multiple of it."""
    steps = np.diff(positions(times, freq))
    sizes, counts = np.unique(steps, return_counts=True)
    usual = sizes[np.argmax(counts)]
    odd = steps % usual != 0
    if odd.any():
        raise _mixed(times, int(np.argmax(odd)), int(np.argmax(steps == usual)))
    if usual != 1:
        gap = _gap(times, int(np.argmax(steps == usual)))
        raise UserError(
            f"mixed frequencies: the timestamps of {name} are {gap} apart, those of others have "
            f"the frequency {freq}: give files of one frequency each, or --freq {freq} to take the "
            "steps between as missing"
        )
    ends = np.flatnonzero(np.append(np.diff(steps) != 0, True))
    lengths = np.diff(np.append(-1, ends))
    lengths[steps[ends] == 1] = 0
    longest = int(np.argmax(lengths))
    if lengths[longest] >= max(6, min(20, len(times) // 4)):
        odd = int(ends[longest] - lengths[longest] + 1)
        raise _mixed(times, odd, int(np.argmax(steps == 1)), freq)


def _check_gaps(times: np.ndarray, freq: str) -> None:
    """Raises UserError where more than half of the grid is empty."""
    slots = int(positions(times, freq)[-1]) + 1
    if len(times) >= MIN_ROWS and slots > MAX_GAPS * len(times):
        raise UserError(
            f"{len(times)} timestamps from {text(times[0])} to {text(times[-1])} would be {slots} "
            f"steps of frequency {freq}, more than half of them empty: trading hours or single "
            "events are no regular series. Sum or average over a coarser grid (pandas: resample), "
            f"number the rows to take them as consecutive steps, or give --freq {freq} to take the "
            "steps between as missing"
        )


def _mixed(times: np.ndarray, odd: int, usual: int, freq: str | None = None) -> UserError:
    way = f", or --freq {freq} to take the steps between as missing" if freq else ""
    return UserError(
        f"mixed frequencies: most timestamps are {_gap(times, usual)} apart, but "
        f"{text(times[odd + 1])} comes {_gap(times, odd)} after the one before it: give timestamps "
        f"on one grid (pandas: resample){way}"
    )


def _gap(times: np.ndarray, number: int) -> str:
    """The distance of timestamp ``number`` from the next one, for messages."""
    gap = int((times[number + 1] - times[number]).astype("int64"))
    unit = next(name for name, size in FIXED.items() if name != "W" and gap % size == 0)
    number, word = gap // FIXED[unit], {"D": "day", "h": "hour", "min": "minute"}.get(unit, unit)
    return f"{number} {word}{'s' if number > 1 and word != unit else ''}"


def text(time: np.datetime64 | np.integer | pandas.Timestamp) -> str:
    """A timestamp for messages, without the time of day where it is midnight; a number as it is."""
    if isinstance(time, np.integer):
        return str(time)
    time = pandas.Timestamp(time)
    return str(time.date()) if time == time.normalize() else str(time)
