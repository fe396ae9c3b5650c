"""A model of a recipe on the series of a table that it was trained on, or of one like it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from wavediff.errors import UserError, listed, shorten
from wavediff.series import calendar
from wavediff.series.answers import Answers, Forecast, Gaps, Origin, Request
from wavediff.series.imputation import impute
from wavediff.series.model import SeriesModel
from wavediff.series.rolling import paths
from wavediff.series.series_set import SeriesSet
from wavediff.series.windows import Windows


class RecipeAnswers(Answers):
    """Forecasts and imputation of a model of windows."""

    def __init__(self, model: SeriesModel, series: SeriesSet, request: Request) -> None:
        super().__init__(series, request)
        self.model = model
        self._together = len(model.extra.get("variables") or ()) > 1

    @property
    def season(self) -> int:
        return calendar.season(self.series.freq)

    def forecast(self, horizon: int, items: Sequence[int]) -> Forecast:
        ends = [(number, self.series.items[number].length) for number in items]
        ranges = self.ranges()
        drawn = [
            np.stack([r.apply(part[:, v]) for v, r in enumerate(ranges)], axis=1)
            for part in self.paths(ends, horizon)
        ]
        return Forecast(np.stack(drawn, axis=1), self._without_recent_values(items))

    def paths(self, origins: Sequence[Origin], horizon: int) -> Iterator[np.ndarray]:
        if self.model.horizon < 1:
            raise UserError("this model only imputes: give one with a horizon")
        each = 1 if self._together else len(self.series.variables)
        with self.request.bar("forecast", each * len(origins), "series") as bar:
            yield from paths(
                self.model,
                self.series,
                origins,
                horizon,
                self.request.samples,
                multivariate=self._together,
                sampler=self.request.sampler,
                seed=self.request.seed,
                progress=bar.update,
            )

    def gaps(self) -> Gaps:
        missing = sum(int(np.isnan(item.values).sum()) for item in self.series.items)
        with self.request.bar("impute", missing, "cell") as bar:
            found = impute(
                self.model,
                self.series,
                self.request.samples,
                multivariate=self._together,
                sampler=self.request.sampler,
                seed=self.request.seed,
                progress=bar.update,
            )
        return Gaps(found)

    def _without_recent_values(self, items: Sequence[int]) -> list[str]:
        """A sentence that names the variables of items that end before the context begins."""
        series, context = self.series, self.model.context
        found = [
            series.title(item, variable)
            for item in (series.items[number] for number in items)
            for variable, row in zip(series.variables, item.values, strict=True)
            if np.isnan(row[-context:]).all() and not np.isnan(row).all()
        ]
        if not found:
            return []
        has = "has" if len(found) == 1 else "have"
        return [
            f"{listed(found)} {has} no value in the last {context} steps: forecast from the last "
            "known values"
        ]


def fitting(model: SeriesModel, series: SeriesSet, name: str | Path) -> tuple[SeriesSet, list[str]]:
    """The part of ``series`` that the model of a checkpoint is of, and sentences about it.

    Raises:
        UserError: where the checkpoint does not fit.
    """
    if "frequency" not in model.extra:
        raise UserError(f"{name} has no record of its training data: train it again")
    freq, variables = model.extra["frequency"], model.extra["variables"]
    notes: list[str] = []
    if freq != series.freq:
        of, has = (one or "none (plain numbers)" for one in (freq, series.freq))
        raise UserError(
            f"{name} is a model of series of frequency {of}, and the data has {has}: give "
            "another checkpoint, or none for the pre-trained forecaster"
        )
    if variables is not None and list(series.variables) != variables:
        lacking = [variable for variable in variables if variable not in series.variables]
        if lacking and len(variables) == 1:  # it depends on no other
            notes.append(f"the model of {shorten(variables[0])} is used for each variable")
            variables = list(series.variables)
        elif lacking:
            raise UserError(
                f"{name} is a model of {listed(variables)} together, and the data has no "
                f"{listed(lacking)}: give another checkpoint, or none for the pre-trained "
                "forecaster"
            )
        rows = [list(series.variables).index(variable) for variable in variables]
        items = [replace(item, values=item.values[rows]) for item in series.items]
        left = [variable for variable in series.variables if variable not in variables]
        if left:
            notes.append(f"the model does not know {listed(left)}: left as they are")
        series = replace(series, items=items, variables=variables)
    given = Windows(series, 1, 1, places=[], lags=[]).local_names
    trained = model.extra.get("local")
    if len(given) != model.features or (trained is not None and given != trained):
        raise UserError(
            f"{name} was trained with the columns {listed(_columns(trained, freq))} beside "
            f"the variables, and the data gives {listed(_columns(given, freq))}: name the "
            "same known and static columns"
        )
    return series, notes


def _columns(names: Sequence[str] | None, freq: str | None) -> list[str]:
    own = [name for name in names or () if name not in calendar.names(freq)]
    return own or ["none"]
