"""Forecasting, imputation and synthesis of the series in a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas
import torch
from tqdm import tqdm

from wavediff.diffusion.sampler import Sampler
from wavediff.errors import UserError
from wavediff.series import calendar
from wavediff.series.fitting import fit
from wavediff.series.guidance import Guidance
from wavediff.series.imputation import Imputed, impute
from wavediff.series.metrics import quantiles as sample_quantiles
from wavediff.series.model import SeriesModel
from wavediff.series.reading import read_series
from wavediff.series.rolling import paths
from wavediff.series.series_set import SeriesSet
from wavediff.series.synthesis import synthesize
from wavediff.series.windows import Windows
from wavediff.tasks.sampler import sampler_config

Data: TypeAlias = str | Path | pandas.DataFrame | np.ndarray | SeriesSet


class Forecaster:
    """A model of series, and the series that it is applied to.

        Forecaster().fit("sales.csv").predict(24)
        Forecaster(checkpoint="runs/etth1").fit(frame).sample(24)

    Without a checkpoint ``fit`` trains a small model on the data itself; with one it only reads
    the data and checks that the checkpoint fits.

    Args:
        horizon: steps of a forecast; the model's block by default. A longer forecast than a block
            continues block by block, each sample path conditioned on its own past.
        context: steps that a forecast sees; by default a function of horizon and season.
        checkpoint: a run folder or a file.
        seconds: time to train in.
        fit_steps: steps of training instead, so that the seed alone decides the result.
        seed: of training and of the samples.
        time: the time column; found by default.
        item: the column that names the items; found by default.
        targets: columns to model; all with numbers by default.
        known: columns whose future is known.
        static: columns that are constant for an item.
        freq: the frequency; found by default.
        multivariate: whether all variables of an item are modelled jointly; by default if there
            are at most 16.
        samples: paths of a forecast, and draws of a missing value.
        sampler: name of a sampler; the model's own by default.
        steps: of the sampler.
        guidance: of ``SeriesModel.guide``; the default suits the model.
        guidance_scale: of ``SeriesModel.guide``.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``.
        progress: whether to show bars on stderr.

    Attributes:
        model: the ``SeriesModel``, after ``fit`` or with a checkpoint.
        series: the ``SeriesSet`` that was read.
        notes: sentences about what was found in the data.

    Raises:
        UserError: for an argument out of range, or a checkpoint that cannot be used.
    """

    def __init__(
        self,
        horizon: int | None = None,
        *,
        context: int | None = None,
        checkpoint: str | Path | None = None,
        seconds: float = 120,
        fit_steps: int | None = None,
        seed: int = 0,
        time: str | None = None,
        item: str | None = None,
        targets: Sequence[str] | None = None,
        known: Sequence[str] = (),
        static: Sequence[str] = (),
        freq: str | None = None,
        multivariate: bool | None = None,
        samples: int = 100,
        sampler: str | None = None,
        steps: int | None = None,
        guidance: str | None = None,
        guidance_scale: float | None = None,
        device: str = "auto",
        progress: bool = True,
    ) -> None:
        for name, value in (("horizon", horizon), ("context", context), ("samples", samples)):
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}: it must be 1 or more")
        if not seconds > 0:
            raise UserError(f"seconds is {seconds}: it must be above 0")
        self.horizon, self.context, self.multivariate = horizon, context, multivariate
        self.seconds, self.fit_steps, self.seed = seconds, fit_steps, seed
        self.columns: dict[str, Any] = {
            "time": time,
            "item": item,
            "targets": targets,
            "known": known,
            "static": static,
            "freq": freq,
        }
        self.samples, self.sampler, self.steps = samples, sampler, steps
        self.guidance = guidance, guidance_scale
        self.device = (
            ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        )
        self.progress = progress
        if sampler is not None:
            sampler_config(sampler)  # a wrong name is reported before anything is trained
        if guidance is not None:
            Guidance.of(guidance, guidance_scale)  # as above
        self.series: SeriesSet | None = None
        self.notes: list[str] = []
        self.model: SeriesModel | None = None
        if checkpoint is not None:
            self.model = SeriesModel.from_pretrained(checkpoint).to(self.device)
            self._sampler()
            self.model.guide(*self.guidance)
        self.pretrained = checkpoint

    def read(self, data: Data) -> Forecaster:
        """Read the data without training, and check that it fits the checkpoint if there is one."""
        series = (
            data
            if isinstance(data, SeriesSet)
            else read_series(data, **self.columns, progress=self.progress)
        )
        self.notes = list(series.notes)
        self.series = series if self.pretrained is None else self._fitting(series)
        return self

    def fit(self, data: Data, stops: Sequence[int] | None = None, **options: Any) -> Forecaster:
        """Read the data, and train a model on it unless there is a checkpoint.

        Args:
            data: a CSV or Parquet file, a frame, an array ``[T, V]`` or ``[items, T, V]``, or a
                ``SeriesSet``.
            stops: the step of each item where training ends, as for a backtest.
            options: of ``wavediff.series.fitting.fit``.

        Raises:
            UserError: for data that cannot be used, or does not fit the checkpoint.
        """
        series = self.read(data)._read()
        if self.pretrained is None:
            self.model = fit(
                series,
                horizon=self.horizon,
                context=self.context,
                multivariate=self.multivariate,
                stops=stops,
                seconds=self.seconds,
                steps=self.fit_steps,
                seed=self.seed,
                device=self.device,
                progress=self.progress,
                **options,
            )
            self._sampler()
            self.model.guide(*self.guidance)
        return self

    def predict(
        self, horizon: int | None = None, quantiles: Sequence[float] = (0.1, 0.5, 0.9)
    ) -> pandas.DataFrame:
        """Forecast quantiles of the steps that follow the data.

        Args:
            horizon: number of steps; the forecaster's by default.
            quantiles: in [0, 1]; of the samples, the sorted one at index round((n - 1) q).

        Returns:
            One row for each item and step, with the time column of the data, the item column where
            there are several items, and the columns ``NAME_q0.1``, ``NAME_q0.5``, ... of each
            variable.
        """
        return self.frame(self.sample(horizon), quantiles)

    def frame(
        self, samples: np.ndarray, quantiles: Sequence[float], *, as_written: bool = False
    ) -> pandas.DataFrame:
        """The frame of ``predict`` for given samples.

        Args:
            samples: ``[S, items, V, horizon]``.
            quantiles: of ``predict``.
            as_written: timestamps as the file that was read writes them, not as time stamps.
        """
        series = self._read()
        frames = []
        for number, item in enumerate(series.items):
            end = item.length + samples.shape[-1]
            ahead = series.labels if as_written or series.time_is_year else series.times
            columns: dict[str, Any] = {series.time_name: ahead(number, item.length, end)}
            if _several(series):
                columns[series.item_name] = item.name
            for v, variable in enumerate(series.variables):
                found = sample_quantiles(samples[:, number, v], quantiles)
                columns |= {
                    f"{variable}_q{q:g}": row for q, row in zip(quantiles, found, strict=True)
                }
            frames.append(pandas.DataFrame(columns))
        return pandas.concat(frames, ignore_index=True)

    def sample(self, horizon: int | None = None) -> np.ndarray:
        """Sample paths ``[samples, items, V, horizon]`` of the steps that follow the data."""
        ends = [(number, item.length) for number, item in enumerate(self._read().items)]
        return np.stack(list(self.paths(ends, horizon)), axis=1)

    def paths(
        self, origins: Sequence[tuple[int, int]], horizon: int | None = None
    ) -> Iterator[np.ndarray]:
        """Sample paths ``[samples, V, horizon]`` from each origin (item, step) on."""
        series, model = self._read(), self._model()
        horizon = horizon or self.horizon or model.horizon
        if model.horizon < 1:
            raise UserError("this model only imputes: give one with a horizon")
        each = 1 if self._together() else len(series.variables)
        with self._bar("forecast", each * len(origins), "series") as bar:
            yield from paths(
                model,
                series,
                origins,
                horizon,
                self.samples,
                multivariate=self._together(),
                sampler=self._sampler(),
                seed=self.seed,
                progress=bar.update,
            )

    def gaps(self) -> list[Imputed]:
        """Each item with its missing values imputed, and their standard deviations."""
        series, model = self._read(), self._model()
        missing = sum(int(np.isnan(item.values).sum()) for item in series.items)
        with self._bar("impute", missing, "cell") as bar:
            return impute(
                model,
                series,
                self.samples,
                multivariate=self._together(),
                sampler=self._sampler(),
                seed=self.seed,
                progress=bar.update,
            )

    def impute(self, data: Data | None = None) -> pandas.DataFrame:
        """Impute the missing values of the data by the samples' median.

        Args:
            data: to impute; what was given to ``fit`` by default.

        Returns:
            All steps: time, item where there are several, and each variable; beside a variable
            with missing values ``NAME_std``, 0 where the value was known.
        """
        if data is not None:
            self.read(data)
        series, imputed = self._read(), self.gaps()
        items = [
            replace(item, values=part.median)
            for item, part in zip(series.items, imputed, strict=True)
        ]
        frame = replace(series, items=items).frame()
        std = np.concatenate([part.std for part in imputed], axis=1)
        for variable, row in zip(series.variables, std, strict=True):
            if row.any():
                frame.insert(frame.columns.get_loc(variable) + 1, f"{variable}_std", row)
        return frame

    def synthesize(self, n: int) -> pandas.DataFrame:
        """Sample ``n`` synthetic series; see ``wavediff.series.synthesis.synthesize``."""
        return synthesize(self._model(), n, sampler=self._sampler(), seed=self.seed)

    def save(self, path: str | Path) -> None:
        """Write the model for ``checkpoint``: to a folder, or a file such as model.safetensors."""
        self._model().save_pretrained(path)

    def _model(self) -> SeriesModel:
        if self.model is None:
            raise UserError("no model has been fitted: call fit first, or give a checkpoint")
        return self.model

    def _read(self) -> SeriesSet:
        if self.series is None:
            raise UserError("no data has been read: call fit first")
        return self.series

    def _sampler(self) -> Sampler:
        return self._model().with_sampler(self.sampler, self.steps)

    def _together(self) -> bool:
        return len(self._model().extra["variables"] or ()) > 1

    @contextmanager
    def _bar(self, title: str, total: int, unit: str) -> Iterator[tqdm]:
        with tqdm(
            total=total, desc=title, unit=unit, delay=1, disable=not self.progress, leave=False
        ) as bar:
            yield bar

    def _fitting(self, series: SeriesSet) -> SeriesSet:
        """The part of ``series`` that the checkpoint models.

        Raises:
            UserError: where the checkpoint does not fit.
        """
        model, name = self._model(), self.pretrained
        if "frequency" not in model.extra:
            raise UserError(f"{name} has no record of its training data: train it again")
        freq, variables = model.extra["frequency"], model.extra["variables"]
        if freq != series.freq:
            of, has = (one or "none (plain numbers)" for one in (freq, series.freq))
            raise UserError(
                f"{name} is a model of series of frequency {of}, and the data has {has}: give "
                "another checkpoint, or none to train on the data"
            )
        if variables is not None and list(series.variables) != variables:
            lacking = [variable for variable in variables if variable not in series.variables]
            if lacking and len(variables) == 1:  # it depends on no other
                self.notes.append(f"the model of {variables[0]} is used for each variable")
                variables = list(series.variables)
            elif lacking:
                raise UserError(
                    f"{name} is a model of {', '.join(variables)} together, and the data has no "
                    f"{', '.join(lacking)}: give another checkpoint, or none to train on the data"
                )
            rows = [list(series.variables).index(variable) for variable in variables]
            items = [replace(item, values=item.values[rows]) for item in series.items]
            left = [variable for variable in series.variables if variable not in variables]
            if left:
                self.notes.append(f"the model does not know {', '.join(left)}: left as they are")
            series = replace(series, items=items, variables=variables)
        given = Windows(series, 1, 1, places=[], lags=[]).local_names
        trained = model.extra.get("local")
        if len(given) != model.features or (trained is not None and given != trained):
            raise UserError(
                f"{name} was trained with the columns {', '.join(_columns(trained, freq))} beside "
                f"the variables, and the data gives {', '.join(_columns(given, freq))}: name the "
                "same known and static columns"
            )
        return series


def _columns(names: Sequence[str] | None, freq: str | None) -> list[str]:
    own = [name for name in names or () if name not in calendar.names(freq)]
    return own or ["none"]


def _several(series: SeriesSet) -> bool:
    return len(series) > 1 or bool(series.origin and series.origin.item_column)
