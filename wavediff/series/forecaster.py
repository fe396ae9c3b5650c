"""Forecasting, imputation and synthesis of the series in a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas
import torch
from tqdm import tqdm

from wavediff.diffusion.sampler import Sampler
from wavediff.errors import UserError, listed, shorten
from wavediff.series import calendar, calibration, checks, covariates, two_filter
from wavediff.series.assessment import SAMPLES as ASSESSMENT_SAMPLES
from wavediff.series.assessment import Assessment, assess
from wavediff.series.backtest import rolling_origins
from wavediff.series.baselines import seasonal_naive_intervals
from wavediff.series.guidance import Guidance
from wavediff.series.imputation import Imputed, impute
from wavediff.series.kinds import KINDS, Kind, Range, range_of
from wavediff.series.metrics import quantiles as sample_quantiles
from wavediff.series.model import SeriesModel
from wavediff.series.period import Periods, estimated, of_frequency
from wavediff.series.reading import read_series
from wavediff.series.rolling import paths
from wavediff.series.series_set import SeriesSet
from wavediff.series.synthesis import synthesize
from wavediff.series.windows import Windows
from wavediff.series.zero_shot import ZeroShotForecaster
from wavediff.series.zero_shot_paths import paths as zero_shot_paths
from wavediff.tasks.checkpoint import load_task
from wavediff.tasks.sampler import sampler_config

MOST_CELLS = 200_000_000  # of all paths: 1.6 GB
LONG_HORIZON, FARTHEST = 1000, 20  # a horizon is at most the first, or so many lengths
LEAST_GAIN = 0.02  # by known columns, below which they are left out
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
        self.device = _device(device)
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
        self.series = self._fitting(data) if isinstance(self.model, SeriesModel) else data
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
            self._rows(series),
            self._periods(series),
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
        self, samples: np.ndarray, quantiles: Sequence[float], *, as_written: bool = False
    ) -> pandas.DataFrame:
        """The frame of ``predict`` for given samples.

        Args:
            samples: ``[samples, items, horizon, variables]``.
            quantiles: of ``predict``.
            as_written: timestamps as the file that was read writes them, not as time stamps.
        """
        series, quantiles = self._read(), checks.levels(quantiles)
        frames = []
        for number, item in enumerate(series.items):
            end = item.length + samples.shape[2]
            ahead = series.labels if as_written or series.time_is_year else series.times
            columns: dict[str, Any] = {series.time_name: ahead(number, item.length, end)}
            if _several(series):
                columns[series.item_name] = item.name
            for v, variable in enumerate(series.variables):
                found = sample_quantiles(samples[:, number, :, v], quantiles)
                columns |= {
                    f"{variable}_q{q:g}": row for q, row in zip(quantiles, found, strict=True)
                }
            frames.append(pandas.DataFrame(columns))
        return pandas.concat(frames, ignore_index=True)

    def sample(self, data: Data | None = None, horizon: int | None = None) -> np.ndarray:
        """Sample paths ``[samples, items, horizon, variables]`` of the steps that follow the data.

        NaN for a variable of an item without any value.

        Args:
            data: of ``read``; what was read before by default.
            horizon: number of steps; the forecaster's by default.
        """
        if isinstance(data, int) and not isinstance(data, bool):
            raise UserError(f"the data comes first: give horizon={data}, after the data")
        if data is not None:
            self.read(data)
        series = self._read()
        horizon = self._horizon(horizon)
        end = series.items[0].length + horizon
        series.times(0, end - 1, end)  # a timestamp that cannot be is told before the forecast
        self.notes += _without_values(series)
        if isinstance(self.model, SeriesModel):
            self.notes += _without_recent_values(series, self.model.context)
            ends = [(number, item.length) for number, item in enumerate(series.items)]
            drawn = np.stack(list(self.paths(ends, horizon)), axis=1)
        else:
            drawn = self._assessed(series, horizon)
        return np.moveaxis(drawn, 2, 3)

    def paths(
        self, origins: Sequence[tuple[int, int]], horizon: int | None = None
    ) -> Iterator[np.ndarray]:
        """The model's own sample paths ``[samples, V, horizon]`` from each origin (item, step) on.

        They are neither compared with seasonal naive nor calibrated; known columns are used.
        """
        series = self._read()
        drawn = self.own_paths(series, origins, self._horizon(horizon), self.samples, self.seed)
        ranges = self._ranges(series)
        for part in drawn:
            yield np.stack([r.apply(part[:, v]) for v, r in enumerate(ranges)], axis=1)

    def own_paths(
        self,
        series: SeriesSet,
        origins: Sequence[tuple[int, int]],
        horizon: int,
        samples: int,
        seed: int,
    ) -> Iterator[np.ndarray]:
        """``paths`` of any series."""
        model = self.model
        if isinstance(model, ZeroShotForecaster):
            count = len(series.variables)
            cuts = [(item * count + v, origin) for item, origin in origins for v in range(count)]
            found = self._drawn(series, horizon, samples, cuts, seed)
            yield from found.reshape(samples, len(origins), -1, horizon).swapaxes(0, 1)
            return
        if model.horizon < 1:
            raise UserError("this model only imputes: give one with a horizon")
        each = 1 if self._together() else len(series.variables)
        with self._bar("forecast", each * len(origins), "series") as bar:
            yield from paths(
                model,
                series,
                origins,
                horizon,
                samples,
                multivariate=self._together(),
                sampler=self._sampler(),
                seed=seed,
                progress=bar.update,
            )

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
        frames = []
        for (number, origin), drawn in zip(origins, self.paths(origins, horizon), strict=True):
            item = series.items[number]
            columns: dict[str, Any] = {
                series.time_name: series.times(number, origin, origin + horizon)
            }
            if _several(series):
                columns[series.item_name] = item.name
            columns["cutoff"] = series.times(number, origin - 1, origin)[0]
            for v, variable in enumerate(series.variables):
                columns[variable] = item.values[v, origin : origin + horizon]
                found = sample_quantiles(drawn[:, v], quantiles)
                columns |= {
                    f"{variable}_q{q:g}": row for q, row in zip(quantiles, found, strict=True)
                }
            frames.append(pandas.DataFrame(columns))
        return pandas.concat(frames, ignore_index=True)

    def plot(self, samples: np.ndarray, path: str | Path) -> None:
        """Plot paths of ``sample`` behind their history to a .png, .pdf or .svg file."""
        from wavediff.series.plot import write_plot  # needs matplotlib

        write_plot(self._read(), np.moveaxis(samples, 3, 2), Path(path))

    def _assessed(self, series: SeriesSet, horizon: int) -> np.ndarray:
        """Sample paths ``[samples, items, V, horizon]``, compared and calibrated."""
        self._known_until(series, horizon)
        rows = self._rows(series)
        ends = [(k, len(row)) for k, row in enumerate(rows)]
        season = max(self._periods(series).short, 1)
        regress = bool(series.known_names)
        if self.assess:
            tried = [
                assess(
                    rows,
                    horizon,
                    season,
                    partial(self._assessed_paths, series, horizon, choice),
                    self.seed,
                )
                for choice in ([False, True] if regress else [False])
            ]
            found = tried[-1]
            if regress:
                regress, sentence = _with_covariates(*tried)
                self.notes.append(sentence)
                found = tried[regress]
            self.assessment = found
        drawn = self._drawn(series, horizon, self.samples, ends, self.seed, regress=regress)
        if self.assess:
            if found.factors is not None:
                drawn = calibration.apply(drawn, found.factors)
            ranges = self._ranges(series)
            for k in np.flatnonzero(found.naive):
                naive = seasonal_naive_intervals(
                    rows[k][None], horizon, season, self.samples, self.seed + int(k)
                )
                drawn[:, k] = naive[:, 0]
            drawn = _ranged(drawn, ranges)
        return drawn.reshape(self.samples, len(series), -1, horizon)

    def _known_until(self, series: SeriesSet, horizon: int) -> None:
        """See that the known covariates reach the end of the forecast, used or not."""
        for number, item in enumerate(series.items):
            if series.known_names:
                covariates.until(series, number, item.length + horizon)

    def _assessed_paths(
        self, series: SeriesSet, horizon: int, regress: bool, cuts: Sequence[tuple[int, int]]
    ) -> np.ndarray:
        return self._drawn(
            series,
            horizon,
            ASSESSMENT_SAMPLES,
            cuts,
            self.seed,
            regress=regress,
            title="check on the last windows",
        )

    def _drawn(
        self,
        series: SeriesSet,
        horizon: int,
        samples: int,
        cuts: Sequence[tuple[int, int]],
        seed: int,
        *,
        regress: bool = True,
        title: str = "forecast",
    ) -> np.ndarray:
        """Sample paths ``[samples, cuts, horizon]`` from origins (row, step) on, in their range.

        With ``regress`` the effect of the known covariates is taken out before, and added after.
        """
        rows, count = self._rows(series), len(series.variables)
        pasts = [rows[k][:origin] for k, origin in cuts]
        added = np.zeros((len(cuts), horizon))
        if regress and series.known_names:
            season = max(self._periods(series).short, 1)
            for place, (k, origin) in enumerate(cuts):
                known = covariates.until(series, k // count, origin + horizon)
                found = covariates.effect(pasts[place], known, season)
                pasts[place] = pasts[place] - found[:origin]
                added[place] = found[origin:]
        drawn = self._zero_shot(series, pasts, horizon, samples, seed, title) + added
        ranges = self._ranges(series)
        of = [ranges[k % count] for k, _ in cuts]
        return np.stack([r.apply(drawn[:, k]) for k, r in enumerate(of)], axis=1)

    def _zero_shot(
        self,
        series: SeriesSet,
        pasts: Sequence[np.ndarray],
        horizon: int,
        samples: int,
        seed: int,
        title: str = "forecast",
    ) -> np.ndarray:
        """Sample paths ``[samples, pasts, horizon]`` of the pre-trained model."""
        assert isinstance(self.model, ZeroShotForecaster)
        with self._bar(title, len(pasts), "series") as bar:
            return zero_shot_paths(
                self.model,
                pasts,
                self._periods(series),
                horizon,
                samples,
                sampler=self._sampler(),
                seed=seed,
                progress=bar.update,
            )

    @staticmethod
    def _rows(series: SeriesSet) -> list[np.ndarray]:
        return [row for item in series.items for row in item.values]

    def _ranges(self, series: SeriesSet) -> list[Range]:
        """The range of each variable."""
        columns = [[item.values[v] for item in series.items] for v in range(len(series.variables))]
        return [range_of(rows, self.kind, *self.bounds) for rows in columns]

    def _periods(self, series: SeriesSet) -> Periods:
        if self.period is not None:
            return Periods(self.period, 1)
        if series.freq is not None:
            return of_frequency(series.freq)
        return Periods(estimated(self._rows(series)), 1)

    @property
    def season(self) -> int:
        """Season of seasonal naive in steps, by the calendar or the values that were read."""
        series = self._read()
        if isinstance(self.model, SeriesModel):
            return calendar.season(series.freq)
        return self._periods(series).short

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
        short = self._periods(self.series).short
        longest = max(item.length for item in self.series.items)
        season = short if 1 < short <= LONGEST_SEASON else DEFAULT_HORIZON
        return min(season, max(1, longest // 2))

    def _horizon(self, horizon: int | None) -> int:
        horizon = self.default_horizon if horizon is None else checks.whole("horizon", horizon)
        rows = 1 if self.series is None else len(self._rows(self.series))
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
        series, model = self._read(), self.model
        if isinstance(model, ZeroShotForecaster):
            return self._bridged(series)
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

    def _bridged(self, series: SeriesSet) -> list[Imputed]:
        """Each item imputed by the pre-trained model; sentences about it go to ``notes``."""

        def drawn(pasts: Sequence[np.ndarray], horizon: int, samples: int) -> np.ndarray:
            return self._zero_shot(series, pasts, horizon, samples, self.seed, "impute")

        ranges = self._ranges(series)
        counts = [r.whole for r in ranges]
        found, sentences = two_filter.impute(
            series, self._periods(series).short, self.samples, drawn, self.seed, counts
        )
        self.notes += sentences
        return [
            Imputed(
                np.stack(
                    [
                        r.impute(median, np.isnan(values))
                        for r, values, median in zip(ranges, item.values, part.median, strict=True)
                    ]
                ),
                part.std,
            )
            for item, part in zip(series.items, found, strict=True)
        ]

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

    def _together(self) -> bool:
        return len(self.model.extra.get("variables") or ()) > 1

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
        model, name = self.model, self.checkpoint
        assert isinstance(model, SeriesModel)
        if "frequency" not in model.extra:
            raise UserError(f"{name} has no record of its training data: train it again")
        freq, variables = model.extra["frequency"], model.extra["variables"]
        if freq != series.freq:
            of, has = (one or "none (plain numbers)" for one in (freq, series.freq))
            raise UserError(
                f"{name} is a model of series of frequency {of}, and the data has {has}: give "
                "another checkpoint, or none for the pre-trained forecaster"
            )
        if variables is not None and list(series.variables) != variables:
            lacking = [variable for variable in variables if variable not in series.variables]
            if lacking and len(variables) == 1:  # it depends on no other
                self.notes.append(f"the model of {shorten(variables[0])} is used for each variable")
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
                self.notes.append(f"the model does not know {listed(left)}: left as they are")
            series = replace(series, items=items, variables=variables)
        given = Windows(series, 1, 1, places=[], lags=[]).local_names
        trained = model.extra.get("local")
        if len(given) != model.features or (trained is not None and given != trained):
            raise UserError(
                f"{name} was trained with the columns {listed(_columns(trained, freq))} beside "
                f"the variables, and the data gives {listed(_columns(given, freq))}: name the "
                "same known and static columns"
            )
        return series


def _columns(names: Sequence[str] | None, freq: str | None) -> list[str]:
    own = [name for name in names or () if name not in calendar.names(freq)]
    return own or ["none"]


def _device(name: str | torch.device) -> str:
    """A device of torch by its name; ``auto`` is a GPU where there is one.

    Raises:
        UserError: for another one.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name).type
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"device is {checks.described(name)}: it must be auto, cpu or cuda"
        ) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device that torch can use: give the device cpu")
    return str(name)


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


def _without_values(series: SeriesSet) -> list[str]:
    """A sentence that names the variables of items that have no value at all."""
    found = [
        f"{item.name}: {variable}" if _several(series) else variable
        for item in series.items
        for variable, row in zip(series.variables, item.values, strict=True)
        if np.isnan(row).all()
    ]
    if not found:
        return []
    has = "has" if len(found) == 1 else "have"
    its = "its forecast is" if len(found) == 1 else "their forecasts are"
    return [f"{listed(found)} {has} no value, and {its} empty"]


def _without_recent_values(series: SeriesSet, context: int) -> list[str]:
    """A sentence that names the variables of items that end before the context begins."""
    found = []
    for item in series.items:
        recent = np.isnan(item.values[:, -context:]).all(1)
        for v in np.flatnonzero(recent & ~np.isnan(item.values).all(1)):
            variable = series.variables[int(v)]
            found.append(f"{item.name}: {variable}" if _several(series) else variable)
    if not found:
        return []
    has = "has" if len(found) == 1 else "have"
    return [
        f"{listed(found)} {has} no value in the last {context} steps: forecast from the last "
        "known values"
    ]


def _ranged(drawn: np.ndarray, ranges: Sequence[Range]) -> np.ndarray:
    """``drawn [samples, items * V, horizon]`` with each variable in its range."""
    rows = [ranges[k % len(ranges)].apply(drawn[:, k]) for k in range(drawn.shape[1])]
    return np.stack(rows, axis=1)


def _with_covariates(without: Assessment, using: Assessment) -> tuple[bool, str]:
    """Whether the known columns help on the last windows, and a sentence about it."""
    ratio = np.log(using.ratio / without.ratio)
    ratio = ratio[np.isfinite(ratio)]
    gain = 1 - float(np.exp(ratio.mean())) if len(ratio) else 0.0
    if gain > LEAST_GAIN:
        return True, f"the known columns make the last windows {100 * gain:.0f} % better: used"
    return False, "the known columns do not make the last windows better: left out"


def _several(series: SeriesSet) -> bool:
    return len(series) > 1 or bool(series.origin and series.origin.item_column)
