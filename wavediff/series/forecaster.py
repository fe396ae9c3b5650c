"""Forecasting, imputation and synthesis of the series in a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas

from wavediff.diffusion.sampler import Sampler
from wavediff.errors import UserError, listed
from wavediff.series import checks
from wavediff.series.answers import Answers, Origin, Request
from wavediff.series.assessment import Assessment
from wavediff.series.backtest import rolling_origins
from wavediff.series.forecast_frames import forecast_frame, windows_frame
from wavediff.series.guidance import Guidance
from wavediff.series.imputation import Imputed
from wavediff.series.kinds import KINDS, Kind
from wavediff.series.model import SeriesModel
from wavediff.series.reading import read_series
from wavediff.series.recipe_answers import RecipeAnswers, fitting
from wavediff.series.series_set import SeriesSet
from wavediff.series.synthesis import synthesize
from wavediff.series.zero_shot import ZeroShotForecaster
from wavediff.series.zero_shot_answers import ZeroShotAnswers, periods_of, rows_of
from wavediff.tasks.checkpoint import load_task
from wavediff.tasks.sampler import sampler_config

MOST_CELLS = 200_000_000  # of all paths: 1.6 GB
LONG_HORIZON, FARTHEST = 1000, 20  # a horizon is at most the first, or so many lengths
DEFAULT_HORIZON, LONGEST_SEASON = 24, 96  # a longer season is no horizon to begin with

Data: TypeAlias = str | Path | pandas.DataFrame | pandas.Series | np.ndarray | SeriesSet
Model: TypeAlias = SeriesModel | ZeroShotForecaster
PRETRAINED = "forecaster"


class Forecaster:
    """A model of series, and the series that it is applied to.

        Forecaster.from_pretrained().predict("sales.csv", horizon=24)
        Forecaster(seconds=120).fit(frame).predict(horizon=24)
        Forecaster(checkpoint="runs/etth1").predict(frame, horizon=24)

    The bundled model forecasts any series without training. Its forecasts are compared with
    seasonal naive on the last windows of the series first: where that is better it is given
    instead, and where there are enough windows the intervals are calibrated (``assessment``).

    Args:
        horizon: steps of a forecast; a season, or the model's block, by default. A longer forecast
            than a block continues block by block, each sample path conditioned on its own past.
        checkpoint: a bundled model, a run folder or a file.
        seconds: time in which ``fit`` fine-tunes the pre-trained model; None for no fine-tuning.
        fit_steps: steps of fine-tuning instead, so that the seed alone decides the result.
        seed: of fine-tuning and of the samples.
        time: the time column; found by default.
        item: the column that names the items; found by default.
        targets: columns to model; all with numbers by default.
        known: columns whose future is known.
        static: columns that are constant for an item.
        freq: the frequency; found by default.
        date_format: (strftime) of the time column, where several fit.
        tz: time zone of the time column, such as Europe/Berlin; its own by default.
        period: seasonal period in steps, instead of the calendar's.
        samples: paths of a forecast, and draws of a missing value.
        sampler: name of a sampler; the model's own by default.
        steps: of the sampler.
        kind: ``real``, ``positive``, ``count`` (whole numbers, none negative) or ``auto``, which
            looks at the values of each variable.
        lower: least value of a forecast; by default it follows from ``kind``.
        upper: greatest value of a forecast.
        assess: False gives the model's own paths: no comparison, no calibration.
        guidance: of ``SeriesModel.guide``; the default suits the model.
        guidance_scale: of ``SeriesModel.guide``.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``.
        progress: whether to show bars on stderr.

    Attributes:
        model: the model.
        series: the ``SeriesSet`` that was read.
        notes: sentences about what was found in the data.
        assessment: of the last forecast; None before one, or for a model of its own recipe.

    Raises:
        UserError: for an argument out of range, or a checkpoint that cannot be used.
    """

    def __init__(
        self,
        horizon: int | None = None,
        *,
        checkpoint: str | Path = PRETRAINED,
        seconds: float | None = None,
        fit_steps: int | None = None,
        seed: int = 0,
        time: str | None = None,
        item: str | None = None,
        targets: str | Sequence[str] | None = None,
        known: str | Sequence[str] = (),
        static: str | Sequence[str] = (),
        freq: str | None = None,
        date_format: str | None = None,
        tz: str | None = None,
        period: int | None = None,
        samples: int = 100,
        sampler: str | None = None,
        steps: int | None = None,
        kind: Kind = "auto",
        lower: float | None = None,
        upper: float | None = None,
        assess: bool = True,
        guidance: str | None = None,
        guidance_scale: float | None = None,
        device: str = "auto",
        progress: bool = True,
    ) -> None:
        most = checks.MOST_STEPS
        if kind not in KINDS:
            raise UserError(
                f"kind is {checks.described(kind)}: it must be one of {', '.join(KINDS)}"
            )
        self.bounds = checks.bound("lower", lower), checks.bound("upper", upper)
        if None not in self.bounds and self.bounds[0] >= self.bounds[1]:  # type: ignore[operator]
            raise UserError(f"lower is {lower} and upper {upper}: lower must be less than upper")
        self.horizon = None if horizon is None else checks.whole("horizon", horizon)
        self.seed = checks.whole("seed", seed, 0)
        self.seconds = None if seconds is None else checks.real("seconds", seconds, 0)
        self.fit_steps = (
            None if fit_steps is None else checks.whole("fit_steps", fit_steps, most=most)
        )
        self.columns: dict[str, Any] = {
            "time": checks.text("time", time),
            "item": checks.text("item", item),
            "targets": None if targets is None else checks.names("targets", targets),
            "known": checks.names("known", known),
            "static": checks.names("static", static),
            "freq": checks.text("freq", freq),
            "date_format": checks.text("date_format", date_format),
            "tz": checks.text("tz", tz),
        }
        self.period = None if period is None else checks.whole("period", period, most=most)
        self.kind, self.samples = kind, checks.whole("samples", samples)
        self.sampler = checks.text("sampler", sampler)
        self.steps = None if steps is None else checks.whole("steps", steps, most=most)
        self.assess = checks.flag("assess", assess)
        self.device = checks.device(device)
        self.progress = checks.flag("progress", progress)
        if not isinstance(checkpoint, str | Path):
            raise UserError(
                f"checkpoint is {checks.described(checkpoint)}: give a run folder, a file or the "
                "name of a bundled model"
            )
        guidance = checks.text("guidance", guidance)
        if guidance_scale is not None:
            guidance_scale = checks.real("guidance_scale", guidance_scale, 0)
        if sampler is not None:
            sampler_config(sampler)  # a wrong name is reported before anything is loaded
        if guidance is not None:
            Guidance.of(guidance, guidance_scale)  # as above
        self.series: SeriesSet | None = None
        self.notes: list[str] = []
        self.assessment: Assessment | None = None
        self.checkpoint = checkpoint
        self.model: Model = _load(checkpoint).to(self.device)
        self._sampler()
        if isinstance(self.model, SeriesModel):
            self.model.guide(guidance, guidance_scale)
        elif guidance is not None:
            raise UserError(
                "guidance is of an unconditional model of a recipe: leave it out, or give its run "
                "as checkpoint"
            )

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path = PRETRAINED, **options: Any) -> Forecaster:
        """A forecaster with a bundled or trained model; ``options`` as above."""
        return cls(checkpoint=name_or_path, **options)

    def __repr__(self) -> str:
        data = "no data"
        if self.series is not None:
            items, variables = len(self.series), len(self.series.variables)
            data = (
                f"{items} item{'s' * (items != 1)} x {variables} variable{'s' * (variables != 1)}"
            )
        return f"Forecaster({str(self.checkpoint)!r}, horizon={self.horizon}, {data})"

    def read(self, data: Data) -> Forecaster:
        """Read the data, and check that it fits the model.

        Args:
            data: a CSV or Parquet file, a frame (wide, or long with ``unique_id``, ``ds`` and
                ``y``), a series, an array ``[T]``, ``[T, V]`` or ``[items, T, V]``, or a
                ``SeriesSet``.

        Raises:
            UserError: for data that cannot be used, or does not fit the model.
        """
        if not isinstance(data, SeriesSet):
            data = read_series(data, **self.columns, progress=self.progress)
        self.notes = list(data.notes)
        self.assessment = None
        if isinstance(self.model, SeriesModel):
            data, notes = fitting(self.model, data, self.checkpoint)
            self.notes += notes
        self.series = data
        return self

    def fit(self, data: Data) -> Forecaster:
        """Read the data, and fine-tune the pre-trained model on it if ``seconds`` is given.

        The fine-tuned model is kept only where it is better on windows that it was not trained on.

        Raises:
            UserError: as ``read``, or for a model that is not the pre-trained one.
        """
        series = self.read(data)._read()
        if self.seconds is None and self.fit_steps is None:
            return self
        if not isinstance(self.model, ZeroShotForecaster):
            raise UserError(
                f"{self.checkpoint} is a model of a recipe, which is not fine-tuned: leave the "
                "time for it out, or leave the checkpoint out"
            )
        from wavediff.series.fine_tuning import fine_tune  # with all of the training

        found = fine_tune(
            self.model,
            rows_of(series),
            periods_of(series, self.period),
            self._horizon(None),
            seconds=self.seconds,
            steps=self.fit_steps,
            seed=self.seed,
            progress=self.progress,
        )
        self.model = found.model
        self.notes.append(found.sentence)
        return self

    def predict(
        self,
        data: Data | None = None,
        horizon: int | None = None,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
    ) -> pandas.DataFrame:
        """Forecast quantiles of the steps that follow the data.

        Args:
            data: of ``read``; what was read before by default.
            horizon: number of steps; the forecaster's by default.
            quantiles: in [0, 1]; of the samples, the sorted one at index round((n - 1) q).

        Returns:
            One row for each item and step, with the time column of the data, the item column where
            there are several items, and the columns ``NAME_q0.1``, ``NAME_q0.5``, ... of each
            variable.
        """
        quantiles = checks.levels(quantiles)  # before the forecast
        return self.frame(self.sample(data, horizon), quantiles)

    def frame(
        self,
        samples: np.ndarray,
        quantiles: Sequence[float],
        *,
        items: Sequence[int] | None = None,
        as_written: bool = False,
    ) -> pandas.DataFrame:
        """The frame of ``predict`` for given samples.

        Args:
            samples: ``[samples, items, horizon, variables]``.
            quantiles: of ``predict``.
            items: of ``sample``.
            as_written: timestamps as the file that was read writes them, not as time stamps.
        """
        return forecast_frame(
            self._read(), samples, checks.levels(quantiles), items=items, as_written=as_written
        )

    def sample(
        self,
        data: Data | None = None,
        horizon: int | None = None,
        *,
        items: Sequence[int] | None = None,
    ) -> np.ndarray:
        """Sample paths ``[samples, items, horizon, variables]`` of the steps that follow the data.

        NaN for a variable of an item without any value.

        Args:
            data: of ``read``; what was read before by default.
            horizon: number of steps; the forecaster's by default.
            items: numbers of the items to forecast, which are compared with seasonal naive and
                calibrated together; all by default.
        """
        if isinstance(data, int) and not isinstance(data, bool):
            raise UserError(f"the data comes first: give horizon={data}, after the data")
        if data is not None:
            self.read(data)
        series = self._read()
        items = range(len(series)) if items is None else items
        horizon = self._horizon(horizon, len(items))
        end = series.items[0].length + horizon
        series.times(0, end - 1, end)  # a timestamp that cannot be is told before the forecast
        self.notes += _without_values(series, items)
        found = self._answers(series).forecast(horizon, items)
        self.notes += found.notes
        self.assessment = found.assessment
        return np.moveaxis(found.drawn, 2, 3)

    def paths(self, origins: Sequence[Origin], horizon: int | None = None) -> Iterator[np.ndarray]:
        """The model's own sample paths ``[samples, V, horizon]`` from each origin (item, step) on.

        They are neither compared with seasonal naive nor calibrated; known columns are used.
        """
        answers = self._answers(self._read())
        ranges = answers.ranges()
        for part in answers.paths(origins, self._horizon(horizon)):
            yield np.stack([r.apply(part[:, v]) for v, r in enumerate(ranges)], axis=1)

    def own_paths(
        self,
        series: SeriesSet,
        origins: Sequence[Origin],
        horizon: int,
        samples: int,
        seed: int,
    ) -> Iterator[np.ndarray]:
        """``paths`` of any series."""
        yield from self._answers(series, samples, seed).paths(origins, horizon)

    def cross_validation(
        self,
        data: Data | None = None,
        horizon: int | None = None,
        n_windows: int = 3,
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
    ) -> pandas.DataFrame:
        """Forecast the last windows of every item, each from what precedes it.

        Args:
            data: of ``read``; what was read before by default.
            horizon: steps of a window; the forecaster's by default.
            n_windows: number of windows; the last one ends with the item.
            quantiles: of ``predict``.

        Returns:
            The columns of ``predict``, and ``cutoff``, the last time before a window, and ``NAME``,
            what came.

        Raises:
            UserError: where an item is too short.
        """
        n_windows = checks.whole("n_windows", n_windows)
        if data is not None:
            self.read(data)
        series, quantiles = self._read(), checks.levels(quantiles)
        horizon = self._horizon(horizon)
        origins = [
            (number, origin)
            for number, item in enumerate(series.items)
            for origin in rolling_origins(item.length, horizon, windows=n_windows)
        ]
        return windows_frame(series, origins, self.paths(origins, horizon), quantiles)

    def plot(self, samples: np.ndarray, path: str | Path) -> None:
        """Plot paths of ``sample`` behind their history to a .png, .pdf or .svg file.

        Raises:
            UserError: for an array that is not ``[samples, items, horizon, variables]``.
        """
        from wavediff.series.plot import write_plot  # needs matplotlib

        series, found = self._read(), np.shape(samples)
        if len(found) != 4 or found[1::2] != (len(series), len(series.variables)):
            raise UserError(
                f"samples has the shape {list(found)}: give the array of sample(), [samples, "
                f"{len(series)} items, horizon, {len(series.variables)} variables]"
            )
        write_plot(series, np.moveaxis(samples, 3, 2), Path(path))

    def _answers(
        self, series: SeriesSet, samples: int | None = None, seed: int | None = None
    ) -> Answers:
        """The model, applied to series."""
        request = Request(
            samples=self.samples if samples is None else samples,
            seed=self.seed if seed is None else seed,
            sampler=self._sampler(),
            kind=self.kind,
            bounds=self.bounds,
            period=self.period,
            assess=self.assess,
            progress=self.progress,
        )
        if isinstance(self.model, SeriesModel):
            return RecipeAnswers(self.model, series, request)
        return ZeroShotAnswers(self.model, series, request)

    @property
    def season(self) -> int:
        """Season of seasonal naive in steps, by the calendar or the values that were read."""
        return self._answers(self._read()).season

    @property
    def training_seconds(self) -> float | None:
        """Seconds that a model of the data's own was trained; None for the bundled one."""
        seconds = self.model.extra.get("seconds")
        if isinstance(self.model, SeriesModel) and isinstance(seconds, int | float):
            return float(seconds)
        return None

    @property
    def default_horizon(self) -> int:
        """Steps of a forecast unless a horizon is given; 0 for a model that only imputes."""
        if self.horizon:
            return self.horizon
        if isinstance(self.model, SeriesModel):
            return self.model.horizon
        if self.series is None:
            return DEFAULT_HORIZON
        short = periods_of(self.series, self.period).short
        longest = max(item.length for item in self.series.items)
        season = short if 1 < short <= LONGEST_SEASON else DEFAULT_HORIZON
        return min(season, max(1, longest // 2))

    def _horizon(self, horizon: int | None, items: int | None = None) -> int:
        """The steps of a forecast of so many items, or all. Raises UserError for too many."""
        horizon = self.default_horizon if horizon is None else checks.whole("horizon", horizon)
        rows = 1
        if self.series is not None:
            rows = (len(self.series) if items is None else items) * len(self.series.variables)
        if horizon * rows * self.samples > MOST_CELLS:
            raise UserError(
                f"{self.samples} paths of {rows} series x {horizon} steps are more than "
                f"{MOST_CELLS:.0g} values: give a shorter horizon, fewer samples or fewer series"
            )
        longest = max((item.length for item in self.series.items), default=0) if self.series else 0
        if self.series is not None and horizon > max(LONG_HORIZON, FARTHEST * longest):
            raise UserError(
                f"a horizon of {horizon} steps is more than {FARTHEST} times the longest series, "
                f"of {longest} steps: give a shorter one"
            )
        return horizon

    def gaps(self) -> list[Imputed]:
        """Each item with its missing values imputed, and their standard deviations."""
        found = self._answers(self._read()).gaps()
        self.notes += found.notes
        return found.imputed

    def impute(self, data: Data | None = None) -> pandas.DataFrame:
        """Impute the missing values of the data by the samples' median, those of counts by their
        mean, rounded so that sums keep.

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
        if not isinstance(self.model, SeriesModel):
            raise UserError(
                "the pre-trained forecaster does not synthesize: train a model by wavediff train "
                "recipe=series data.path=FILE, and give its run folder as checkpoint"
            )
        n = checks.whole("n", n, most=MOST_CELLS // (self.model.length * self.model.variables))
        return synthesize(self.model, n, sampler=self._sampler(), seed=self.seed)

    def save(self, path: str | Path) -> None:
        """Write the model for ``checkpoint``: to a folder, or a file such as model.safetensors."""
        self.model.save_pretrained(path)

    def _read(self) -> SeriesSet:
        if self.series is None:
            raise UserError("no data has been read: give it to predict, or call fit first")
        return self.series

    def _sampler(self) -> Sampler:
        return self.model.with_sampler(self.sampler, self.steps)


def _load(checkpoint: str | Path) -> Model:
    """The model of a checkpoint.

    Raises:
        UserError: for one that is no model of series.
    """
    task = load_task(checkpoint)
    if not isinstance(task, SeriesModel | ZeroShotForecaster):
        raise UserError(
            f"{checkpoint} is not {SeriesModel.title} but {task.title}: {SeriesModel.advice}"
        )
    return task


def _without_values(series: SeriesSet, items: Sequence[int]) -> list[str]:
    """A sentence that names the variables of items that have no value at all."""
    found = [
        series.title(item, variable)
        for item in (series.items[number] for number in items)
        for variable, row in zip(series.variables, item.values, strict=True)
        if np.isnan(row).all()
    ]
    if not found:
        return []
    has = "has" if len(found) == 1 else "have"
    its = "its forecast is" if len(found) == 1 else "their forecasts are"
    return [f"{listed(found)} {has} no value, and {its} empty"]
