"""A forecaster as a predictor of GluonTS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas

from wavediff.errors import UserError
from wavediff.series import calendar, frequency
from wavediff.series.forecaster import Forecaster
from wavediff.series.model import SeriesModel
from wavediff.series.series_set import Series, SeriesSet

if TYPE_CHECKING:
    from gluonts.model.forecast import SampleForecast

BATCH = 64  # entries of a dataset that are forecast at once


class GluonTSPredictor:
    """A predictor for ``gluonts.evaluation.make_evaluation_predictions``.

        predictor = GluonTSPredictor(Forecaster(checkpoint="runs/m4_hourly"), 48)
        forecasts, series = make_evaluation_predictions(dataset.test, predictor, num_samples=100)

    The samples of an entry are a function of the forecaster's seed, of the entry's place in the
    dataset and of the other entries in its batch of ``BATCH``.

    Args:
        forecaster: fitted, or with a checkpoint; of series without known or static columns.
        prediction_length: steps of a forecast; the forecaster's horizon by default.

    Attributes:
        prediction_length: as above.
        lead_time: steps between the data and the forecast: 0.

    Raises:
        UserError: where GluonTS is not installed, or the model has other columns.
    """

    lead_time = 0

    def __init__(self, forecaster: Forecaster, prediction_length: int | None = None) -> None:
        _sample_forecast()
        model = forecaster.model
        own: set[str] = set()
        if isinstance(model, SeriesModel):
            own = set(model.extra["local"]) - set(calendar.names(model.extra["frequency"]))
        if own:
            raise UserError(
                f"a model with the columns {', '.join(sorted(own))} beside its variables cannot be "
                "used by GluonTS: train one without known and static columns"
            )
        self.forecaster = forecaster
        self.prediction_length = prediction_length or forecaster.default_horizon
        if self.prediction_length < 1:
            raise UserError("this model only imputes: give one with a horizon")

    def predict(
        self, dataset: Iterable[Mapping[str, Any]], num_samples: int | None = None, **rest: Any
    ) -> Iterator[SampleForecast]:
        """Forecast the steps that follow each entry, in order.

        Args:
            dataset: entries with ``start`` (a Period), ``target`` ``[T]``, or ``[V, T]`` with the
                variables of a multivariate model, NaN where missing, and optionally ``item_id``.
            num_samples: the forecaster's by default.
            rest: options of GluonTS's own predictors, ignored.

        Raises:
            UserError: for entries of another frequency or other variables than the model's.
        """
        kind = _sample_forecast()
        left = iter(dataset)
        for number in count():
            entries = list(islice(left, BATCH))
            if not entries:
                return
            series = self._series(entries)
            ends = [(k, item.length) for k, item in enumerate(series.items)]
            found = self.forecaster.own_paths(
                series,
                ends,
                self.prediction_length,
                num_samples or self.forecaster.samples,
                _seed(self.forecaster.seed, number),
            )
            for entry, item, drawn in zip(entries, series.items, found, strict=True):
                one = np.ndim(entry["target"]) == 1
                yield kind(
                    samples=drawn[:, 0] if one else drawn.transpose(0, 2, 1),
                    start_date=entry["start"] + item.length,
                    item_id=entry.get("item_id"),
                )

    def _series(self, entries: Sequence[Mapping[str, Any]]) -> SeriesSet:
        names, freq = None, None
        if isinstance(self.forecaster.model, SeriesModel):
            extra = self.forecaster.model.extra
            names, freq = extra["variables"], extra["frequency"]
        elif entries:
            freq = frequency.normalize(entries[0]["start"].freqstr)
        items: list[Series] = []
        for entry in entries:
            values = np.atleast_2d(np.asarray(entry["target"], np.float64))
            name = str(entry.get("item_id", len(items)))
            if names is None:
                names = ["value"] if len(values) == 1 else [f"v{v}" for v in range(len(values))]
            if len(values) != len(names):
                raise UserError(
                    f"{name} has {len(values)} variables, where {', '.join(names)} are wanted: "
                    "give targets of that many rows, or another checkpoint"
                )
            items.append(Series(name, _start(entry["start"], freq), values))
        return SeriesSet(items, names or (), freq)


def _start(period: pandas.Period, freq: str | None) -> pandas.Timestamp | int:
    """The model's timestamp of a period.

    Raises:
        UserError: where the steps of the model are not the periods'.
    """
    if freq is None:
        return 0
    start = frequency.first(period.to_timestamp(), freq)
    steps = frequency.stamps(start, freq, 0, 2)
    if [pandas.Period(step, period.freq) for step in steps] != [period, period + 1]:
        raise UserError(
            f"the model is of series of frequency {freq}, and the dataset has {period.freqstr}: "
            "give a model of the dataset's frequency"
        )
    return start


def _seed(seed: int, number: int) -> int:
    """The seed of a batch of entries, so that no two share their noise."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _sample_forecast() -> type[SampleForecast]:
    try:
        from gluonts.model.forecast import SampleForecast
    except ImportError as error:
        raise UserError(
            "GluonTS is not installed: pip install 'wavediff[gluonts]' to use its predictors"
        ) from error
    return SampleForecast
