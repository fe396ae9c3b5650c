"""The century of two-digit years: that in which the timestamps of a column are in order."""

from __future__ import annotations

import numpy as np
import pandas


def last_year(times: pandas.DatetimeIndex) -> int | None:
    """The last year of a column whose two-digit years were read as 1969 to 2068.

    Later ones belong to the century before. The years of a column are taken to begin after the
    longest gap between them, or else after the last or first row, where the rows are more in order
    then.

    Returns:
        a year; None where all are right.
    """
    times = times[times.notna()]
    years = np.unique(times.year)
    if len(years) < 2:
        return None
    gaps = np.diff(np.append(years, years[0] + 100))
    clear = (gaps == gaps.max()).sum() == 1
    found = [years[gaps.argmax()]] if clear else [times[-1].year, times[0].year]
    ends = [int(year) for year in (years[-1], *found)]
    turns = {last: _turns(before(times, last)) for last in ends}
    best = min(turns, key=lambda last: turns[last])  # the first of them
    return best if best != years[-1] else None


def before(times: pandas.DatetimeIndex, last: int | None) -> pandas.DatetimeIndex:
    """``times`` with those after the year ``last`` a century earlier."""
    late = None if last is None else times.year > last
    if late is None or not late.any():
        return times
    return times.where(~late, times - pandas.DateOffset(years=100))


def _turns(times: pandas.DatetimeIndex) -> int:
    """How often rows go back in time; or on, where that is seldom, as in newest first."""
    steps = np.sign(np.diff(times.as_unit("us").asi8))
    return int(min((steps > 0).sum(), (steps < 0).sum()))
