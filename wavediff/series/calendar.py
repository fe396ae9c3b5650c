"""Calendar features, season and lags of a frequency."""

from collections.abc import Callable

import numpy as np
import pandas

from wavediff.series.frequency import DAY, FIXED, MONTHS, parts

# As in ``gluonts.time_feature``, all in [-0.5, 0.5].
FEATURES: dict[str, Callable[[pandas.DatetimeIndex], np.ndarray]] = {
    "minute": lambda time: time.minute / 59 - 0.5,
    "hour": lambda time: time.hour / 23 - 0.5,
    "day_of_week": lambda time: time.day_of_week / 6 - 0.5,
    "day_of_month": lambda time: (time.day - 1) / 30 - 0.5,
    "day_of_year": lambda time: (time.day_of_year - 1) / 365 - 0.5,
    "week": lambda time: (time.isocalendar().week.to_numpy(float) - 1) / 52 - 0.5,
    "month": lambda time: (time.month - 1) / 11 - 0.5,
}
DAYS = ("day_of_week", "day_of_month", "day_of_year")
YEAR = 365.25


def names(freq: str | None) -> tuple[str, ...]:
    """The calendar features that change within a year at this frequency."""
    if freq is None:
        return ()
    number, unit, _ = parts(freq)
    if unit == "W" or (unit == "D" and number % 7 == 0):
        return ("day_of_month", "week")
    if unit in FIXED:
        size = number * FIXED[unit]
        within = ("minute", "hour") if size < FIXED["h"] else ("hour",) if size < DAY else ()
        return (*within, *DAYS)
    if unit in MONTHS:
        return ("month",) if number * MONTHS[unit] % 12 else ()
    return DAYS


def features(index: pandas.Index, freq: str | None) -> np.ndarray:
    """The features ``names(freq)`` of timestamps, float32 ``[F, T]`` in [-0.5, 0.5]."""
    rows = [np.asarray(FEATURES[name](index), np.float32) for name in names(freq)]
    return np.stack(rows) if rows else np.zeros((0, len(index)), np.float32)


def season(freq: str | None) -> int:
    """The season of a seasonal naive forecast, in steps.

    An hour of seconds, a day of hours or minutes, a week of days (five business days), a year of
    months and quarters, else 1. As in GluonTS, except that it has 1 for days.
    """
    if freq is None:
        return 1
    number, unit, _ = parts(freq)
    if unit == "B":
        return max(5 // number, 1) if 5 % number == 0 else 1
    if unit in MONTHS:
        months = number * MONTHS[unit]
        return 12 // months if 12 % months == 0 else 1
    if unit == "W" or unit not in FIXED:
        return 1
    size = number * FIXED[unit]
    cycles = (FIXED["min"], FIXED["h"]), (DAY, DAY), (7 * DAY, 7 * DAY)
    cycle = next((cycle for below, cycle in cycles if size < below), 1)
    return cycle // size if cycle % size == 0 else 1


def lags(freq: str | None, horizon: int) -> list[int]:
    """Lags in steps, ascending; none is shorter than the horizon, so that no lag of a forecast lies
    in the forecast.

    Days 1 to 7, 14, 21 and 28 for hours and minutes (as TSDiff), weeks 1 to 4 and a year for days
    and business days, years 1 and 2 for weeks, years 1 to 3 for months and quarters, else none.
    """
    if freq is None:
        return []
    number, unit, _ = parts(freq)
    if unit in FIXED and number * FIXED[unit] < DAY:
        size = number * FIXED[unit]
        steps = [day * DAY / size for day in (1, 2, 3, 4, 5, 6, 7, 14, 21, 28)]
    elif unit == "W":
        steps = [round(YEAR / 7 * year / number) for year in (1, 2)]
    elif unit in FIXED:
        days = number * FIXED[unit] // DAY
        steps = [day / days for day in (7, 14, 21, 28, 364)]
    elif unit in MONTHS:
        steps = [12 * year / (number * MONTHS[unit]) for year in (1, 2, 3)]
    elif unit == "B":
        steps = [day / number for day in (5, 10, 15, 20, 260)]
    else:
        steps = []
    return sorted({int(step) for step in steps if step == int(step) and step >= max(horizon, 1)})
