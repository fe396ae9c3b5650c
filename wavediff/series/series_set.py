"""Time series in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas

from wavediff.series import frequency
from wavediff.series.amounts import Notation
from wavediff.series.written_stamps import written


@dataclass(frozen=True)
class Series:
    """One item: V variables over T regular steps.

    Attributes:
        name: of the item.
        start: the timestamp of step 0 (a number where the set has no frequency).
        values: float64 ``[V, T]``, NaN where missing.
        known: float64 ``[K, T + extra]``, covariates that are known beyond the values too.
        static: constants of the item, by name.
    """

    name: str
    start: pandas.Timestamp | int
    values: np.ndarray
    known: np.ndarray | None = None
    static: Mapping[str, str | float] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """T, the number of steps."""
        return self.values.shape[1]


@dataclass(frozen=True)
class Origin:
    """The table that a set was read from.

    Attributes:
        source: the file or frame.
        time: name of the time column; of several, with + between.
        item_column: name of the item column; None where there is none.
        item: number of the item of each row.
        step: step of each row.
        time_format: of the timestamps (strftime), where they are text of one format.
        time_columns: the columns that hold the timestamps, where they are several.
        rows: the number of each row in the source, where empty ones are left out.
        notations: of the numbers, by column.
    """

    source: Path | pandas.DataFrame
    time: str
    item_column: str | None
    item: np.ndarray
    step: np.ndarray
    time_format: str | None = None
    time_columns: Sequence[str] = ()
    rows: np.ndarray | None = None
    notations: Mapping[str, Notation] = field(default_factory=dict)


@dataclass(frozen=True)
class SeriesSet:
    """Series with the same variables, covariates and frequency.

    Attributes:
        items: the series.
        variables: names of the variables.
        freq: a pandas offset alias, or None for plain numbered steps.
        known_names: names of the known covariates.
        notes: sentences about what was found and decided when reading.
        origin: None where the series are not from a table.
        stride: distance of plain numbered steps.
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

    def until(self, stops: Sequence[int]) -> "SeriesSet":
        """The set with the values of each item up to a step, that one not included."""
        items = [
            replace(item, values=item.values[:, :stop])
            for item, stop in zip(self.items, stops, strict=True)
        ]
        return replace(self, items=items)

    def times(
        self, item: int, start: int = 0, stop: int | None = None
    ) -> pandas.DatetimeIndex | pandas.RangeIndex:
        """The timestamps of steps of an item, also before its first step and after its last.

        Args:
            item: number of the item.
            start: first step.
            stop: last step, not included; None for the end of the item.
        """
        series = self.items[item]
        stop = series.length if stop is None else stop
        return frequency.stamps(series.start, self.freq, start, stop, self.stride)

    def labels(self, item: int, start: int = 0, stop: int | None = None) -> pandas.Index:
        """``times`` as the table that was read writes its timestamps."""
        times = self.times(item, start, stop)
        form = self.origin.time_format if self.origin else None
        return written(times, form) if form and self.freq is not None else times

    @cached_property
    def time_is_year(self) -> bool:
        """Whether the time column of the table has numbers of years."""
        return bool(self.origin and self.origin.time_format == "year" and self.freq is not None)

    @property
    def time_name(self) -> str:
        """The name of the time column."""
        return self.origin.time if self.origin else "time"

    @property
    def item_name(self) -> str:
        """The name of the item column."""
        return (self.origin and self.origin.item_column) or "item"

    @property
    def names_items(self) -> bool:
        """Whether frames name the items: there are several, or the table has a column of them."""
        return len(self) > 1 or bool(self.origin and self.origin.item_column)

    def title(self, item: Series, variable: str) -> str:
        """The name of a variable of an item, in sentences."""
        return f"{item.name}: {variable}" if self.names_items else variable

    def frame(self) -> pandas.DataFrame:
        """All steps as a frame: time, the item where frames name it, and one column for each
        variable."""
        frames = []
        for number, series in enumerate(self.items):
            columns = {self.time_name: self.times(number)}
            if self.names_items:
                columns[self.item_name] = series.name
            columns |= dict(zip(self.variables, series.values, strict=True))
            frames.append(pandas.DataFrame(columns))
        return pandas.concat(frames, ignore_index=True)
