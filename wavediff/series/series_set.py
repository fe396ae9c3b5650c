"""Time series in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas

from wavediff.series import frequency


@dataclass(frozen=True)
class Series:
    """One item: V variables over T regular steps.

    start: the stamp of step 0 (a number where the set has no frequency). values: float64 [V, T],
    NaN where missing. known: float64 [K, T + extra], covariates known for `extra` steps beyond the
    values too. static: what is constant for the item, by name.
    """

    name: str
    start: pandas.Timestamp | int
    values: np.ndarray
    known: np.ndarray | None = None
    static: Mapping[str, str | float] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """T."""
        return self.values.shape[1]


@dataclass(frozen=True)
class Origin:
    """The table that a set was read from, and where its rows went: row r is step `step[r]` of item
    `item[r]`. time_format is how its stamps are written, where that is text of one format."""

    source: Path | pandas.DataFrame
    time: str
    item_column: str | None
    item: np.ndarray
    step: np.ndarray
    time_format: str | None = None


@dataclass(frozen=True)
class SeriesSet:
    """Series with the same variables, covariates and frequency.

    freq: a pandas offset alias, or None for plain numbered steps. notes: sentences about what was
    found and decided when reading. origin: None where it was no table. stride: how far apart the
    numbers of plain steps are.
    """

    items: Sequence[Series]
    variables: Sequence[str]
    freq: str | None = None
    known_names: Sequence[str] = ()
    notes: Sequence[str] = ()
    origin: Origin | None = None
    stride: int = 1

    def __len__(self) -> int:
        return len(self.items)

    def times(
        self, item: int, start: int = 0, stop: int | None = None
    ) -> pandas.DatetimeIndex | pandas.RangeIndex:
        """The stamps of steps `start` to `stop` (not included; None: the end) of an item. Steps
        before its first and beyond its last have stamps too: the frequency goes on."""
        series = self.items[item]
        stop = series.length if stop is None else stop
        return frequency.stamps(series.start, self.freq, start, stop, self.stride)

    def labels(self, item: int, start: int = 0, stop: int | None = None) -> pandas.Index:
        """`times` as the table that was read writes its stamps."""
        times = self.times(item, start, stop)
        form = self.origin.time_format if self.origin else None
        if form == "quarters":
            return pandas.Index([f"{time.year}Q{time.quarter}" for time in times])
        if form:
            return times.strftime(form).str.replace(r"([+-]\d\d)(\d\d)$", r"\1:\2", regex=True)
        if self.time_is_year:
            return times.year
        return times

    @cached_property
    def time_is_year(self) -> bool:
        """Whether the table numbers its years."""
        return bool(
            self.origin and self.origin.time_format is None and self.freq is not None
            and self.origin.time.strip().lower() in {"year", "years"}
        )  # fmt: skip

    @property
    def time_name(self) -> str:
        """The name of the time column."""
        return self.origin.time if self.origin else "time"

    @property
    def item_name(self) -> str:
        """The name of the item column."""
        return (self.origin and self.origin.item_column) or "item"

    def frame(self) -> pandas.DataFrame:
        """All steps as a frame: time, item (where there are several, or the table had it) and one
        column for each variable."""
        several = len(self) > 1 or bool(self.origin and self.origin.item_column)
        frames = []
        for number, series in enumerate(self.items):
            columns = {self.time_name: self.times(number)}
            if several:
                columns[self.item_name] = series.name
            columns |= dict(zip(self.variables, series.values, strict=True))
            frames.append(pandas.DataFrame(columns))
        return pandas.concat(frames, ignore_index=True)
