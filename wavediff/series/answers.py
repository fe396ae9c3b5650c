"""What is asked of a model of series, and the form of its answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from wavediff.diffusion.sampler import Sampler
from wavediff.series.assessment import Assessment
from wavediff.series.imputation import Imputed
from wavediff.series.kinds import Kind, Range, range_of
from wavediff.series.series_set import SeriesSet

Origin = tuple[int, int]  # (item, step)


@dataclass(frozen=True)
class Request:
    """How answers are given; the attributes are arguments of ``Forecaster``.

    Attributes:
        samples: paths of a forecast, and draws of a missing value.
        seed: of the noise.
        sampler: that samples are drawn by.
        kind: of the values.
        bounds: least and greatest value, None for none.
        period: seasonal period in steps, instead of the calendar's.
        assess: whether forecasts are compared with seasonal naive and calibrated.
        progress: whether to show bars on stderr.
    """

    samples: int
    seed: int
    sampler: Sampler
    kind: Kind = "auto"
    bounds: tuple[float | None, float | None] = (None, None)
    period: int | None = None
    assess: bool = True
    progress: bool = False

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[tqdm]:
        """A progress bar on stderr."""
        with tqdm(
            total=total, desc=title, unit=unit, delay=1, disable=not self.progress, leave=False
        ) as bar:
            yield bar


class Forecast(NamedTuple):
    """A forecast of the steps that follow series.

    Attributes:
        drawn: sample paths ``[samples, items, V, horizon]``.
        notes: sentences about it.
        assessment: how the model did on the last windows; None where it was not tried on them.
    """

    drawn: np.ndarray
    notes: list[str]
    assessment: Assessment | None = None


@dataclass(frozen=True)
class Gaps:
    """Items with their missing values imputed, and sentences about them."""

    imputed: list[Imputed]
    notes: list[str] = field(default_factory=list)


class Answers(ABC):
    """A model of series, applied to the series of a table."""

    def __init__(self, series: SeriesSet, request: Request) -> None:
        self.series, self.request = series, request

    @property
    @abstractmethod
    def season(self) -> int:
        """Season of seasonal naive in steps; 1 for none."""

    @abstractmethod
    def forecast(self, horizon: int, items: Sequence[int]) -> Forecast:
        """The steps that follow these items, by their numbers."""

    @abstractmethod
    def paths(self, origins: Sequence[Origin], horizon: int) -> Iterator[np.ndarray]:
        """The model's own paths ``[samples, V, horizon]`` from each origin on.

        They are neither compared with seasonal naive nor calibrated; known columns are used.
        """

    @abstractmethod
    def gaps(self) -> Gaps:
        """Every item with its missing values imputed."""

    def ranges(self) -> list[Range]:
        """The range of each variable."""
        of, items = self.request, self.series.items
        columns = [[item.values[v] for item in items] for v in range(len(self.series.variables))]
        return [range_of(rows, of.kind, *of.bounds) for rows in columns]
