"""Seasonal periods: by the calendar, or from the values where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from wavediff.series.frequency import DAY, FIXED, MONTHS, parts

WEEK, YEAR = 7 * DAY, 365 * DAY
RECENT = 4096  # values that a period is estimated from
STRENGTH = 0.3  # least autocorrelation at an estimated period


class Periods(NamedTuple):
    """A short and a longer seasonal period in steps, 1 for none."""

    short: int
    long: int


def of_frequency(freq: str) -> Periods:
    """The periods of a calendar.

    An hour and a day for steps below five minutes, a day and a week below a day, a week and a year
    of days (of business days 5 and 261), a year for weeks, months and quarters.
    """
    number, unit, _ = parts(freq)
    if unit == "B":
        return Periods(5, 261) if number == 1 else Periods(1, 1)
    if unit in MONTHS:
        months = number * MONTHS[unit]
        return Periods(12 // months if 12 % months == 0 else 1, 1)
    if unit not in FIXED:
        return Periods(1, 1)
    step = number * FIXED[unit]
    hour = FIXED["h"]
    cycles = (hour, DAY) if step < hour // 12 else (DAY, WEEK) if step < DAY else (WEEK, YEAR)
    if unit == "W":
        return Periods(round(52 / number) if number <= 26 else 1, 1)
    short, long = (cycle // step if cycle % step == 0 else 1 for cycle in cycles)
    return Periods(short, long) if short > 1 else Periods(long, 1)


def estimated(rows: Sequence[np.ndarray]) -> int:
    """The period of values without a calendar; 1 where none is clear.

    It is the first lag of a local maximum of the mean autocorrelation, after a linear trend is
    taken out, that comes close to the largest and repeats at twice the lag.

    Args:
        rows: series ``[T]``, NaN where missing.
    """
    longest = min(max((len(row) for row in rows), default=0), RECENT)
    top = min(longest // 3, 400)
    if top < 4:
        return 1
    total, count = np.zeros(2 * top + 1), np.zeros(2 * top + 1)
    for row in rows:
        found = _autocorrelation(row[-RECENT:], 2 * top)
        total[: len(found)] += found
        count[: len(found)] += 1
    acf = total / np.maximum(count, 1)
    # slow movements are correlated at all short lags: a season comes after the first dip
    dip = int(np.argmax(acf < 0.5 * STRENGTH)) or top
    peaks = [
        lag
        for lag in range(max(2, dip), top)
        if acf[lag] >= acf[lag - 1] and acf[lag] >= acf[lag + 1] and acf[lag] > STRENGTH
    ]
    if not peaks:
        return 1
    best = max(acf[lag] for lag in peaks)
    period = next(lag for lag in peaks if acf[lag] > 0.85 * best)
    again = acf[2 * period - 1 : 2 * period + 2].max(initial=0)
    return period if again > 0.6 * acf[period] else 1


def _autocorrelation(row: np.ndarray, lags: int) -> np.ndarray:
    """Of lags 0 to ``lags`` at most, zero for fewer than eight known or constant values."""
    known = ~np.isnan(row)
    if known.sum() < 8:
        return np.zeros(0)
    time = np.arange(len(row))
    scale = np.abs(row[known]).max() or 1.0
    x = row / scale
    x = np.where(known, x - np.polyval(np.polyfit(time[known], x[known], 1), time), 0)
    size = 1 << (2 * len(x) - 1).bit_length()
    spectrum, mask = np.fft.rfft(x, size), np.fft.rfft(known.astype(float), size)
    covariance = np.fft.irfft(np.abs(spectrum) ** 2)[: len(x)]
    pairs = np.fft.irfft(np.abs(mask) ** 2)[: len(x)]
    if not covariance[0] > 1e-12 * known.sum():
        return np.zeros(0)
    acf = covariance / np.maximum(pairs, 1) * pairs[0] / covariance[0]
    return acf[: min(lags + 1, max(1, 2 * len(x) // 3))]
