"""The forecaster within GluonTS: its evaluator measures what ours does."""

import sys

import numpy as np
import pandas
import pytest
from fitted import fit

from wavediff.errors import UserError
from wavediff.series import gluonts as ours
from wavediff.series.forecaster import Forecaster
from wavediff.series.gluonts import GluonTSPredictor
from wavediff.series.metrics import mae, weighted_quantile_loss

HORIZON = 3
OPTIONS = {"device": "cpu", "progress": False, "samples": 20, "steps": 2}


def values(steps: int, variables: int, seed: int) -> np.ndarray:
    """[variables, steps], some missing."""
    generator = np.random.default_rng(seed)
    wave = 20 + 5 * np.sin(np.arange(steps) / 2) + generator.normal(size=(variables, steps))
    wave[0, 5] = np.nan
    return wave


def frame(lengths: list[int], variables: int) -> pandas.DataFrame:
    parts = []
    for number, steps in enumerate(lengths):
        months = pandas.date_range("2015-01-01", periods=steps, freq="MS")
        columns = {f"v{v}": row for v, row in enumerate(values(steps, variables, number))}
        parts.append(pandas.DataFrame({"time": months, "item": f"i{number}", **columns}))
    return pandas.concat(parts)


def entries(lengths: list[int], variables: int) -> list[dict]:
    found = []
    for number, steps in enumerate(lengths):
        target = values(steps, variables, number)
        start = pandas.Period("2015-01", freq="M")
        one = target[0] if variables == 1 else target
        found.append({"start": start, "target": one, "item_id": f"i{number}"})
    return found


@pytest.fixture
def fitted(tmp_path):
    def make(variables: int) -> Forecaster:
        path = tmp_path / "model.safetensors"
        fit(frame([40, 33], variables), HORIZON).save_pretrained(path)
        return Forecaster(HORIZON, checkpoint=path, **OPTIONS)

    return make


def test_gluonts_evaluator_measures_what_ours_does(monkeypatch, fitted):
    evaluation = pytest.importorskip("gluonts.evaluation")
    monkeypatch.setattr(ours, "BATCH", 2)
    dataset = entries([40, 33], 1)
    dataset.append(dataset[0] | {"item_id": "again"})
    predictor = GluonTSPredictor(fitted(1))
    forecasts, series = evaluation.make_evaluation_predictions(dataset, predictor, num_samples=30)
    forecasts, series = list(forecasts), list(series)
    assert [forecast.item_id for forecast in forecasts] == ["i0", "i1", "again"]
    assert [str(forecast.start_date) for forecast in forecasts] == ["2018-02", "2017-07", "2018-02"]
    assert all(forecast.samples.shape == (30, HORIZON) for forecast in forecasts)
    levels = [k / 10 for k in range(1, 10)]
    evaluator = evaluation.Evaluator(quantiles=levels, num_workers=0)
    told, _ = evaluator(iter(series), iter(forecasts))
    samples = np.stack([forecast.samples for forecast in forecasts], axis=1)
    target = np.stack([entry["target"][-HORIZON:] for entry in dataset])
    assert told["mean_wQuantileLoss"] == pytest.approx(weighted_quantile_loss(samples, target))
    assert told["abs_error"] == pytest.approx(mae(samples, target) * target.size)
    assert (samples[:, 0] != samples[:, 2]).all()  # the same data never sees the same noise


def test_variables_together_and_what_came_before(monkeypatch, fitted):
    pytest.importorskip("gluonts")
    forecaster = fitted(2)
    assert forecaster.model.extra["variables"] == ["v0", "v1"]
    (forecast,) = GluonTSPredictor(forecaster, 5).predict(entries([40], 2))
    assert forecast.samples.shape == (20, 5, 2)
    assert str(forecast.start_date) == "2018-05"
    with pytest.raises(UserError, match="i0 has 1 variables, where v0, v1 are wanted"):
        next(GluonTSPredictor(forecaster).predict(entries([40], 1)))
    (entry,) = entries([40], 2)
    days = entry | {"start": pandas.Period("2015-01-01", freq="D")}
    with pytest.raises(UserError, match="frequency MS, and the dataset has D"):
        next(GluonTSPredictor(forecaster).predict([days]))


def test_without_gluonts_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gluonts.model.forecast", None)
    with pytest.raises(UserError, match=r"pip install 'wavediff\[gluonts\]'"):
        GluonTSPredictor(Forecaster(HORIZON, **OPTIONS))


def test_the_pretrained_forecaster_takes_entries_of_any_frequency():
    pytest.importorskip("gluonts")
    predictor = GluonTSPredictor(Forecaster(HORIZON, **OPTIONS))
    (forecast,) = predictor.predict(entries([40], 1))
    assert forecast.samples.shape == (20, HORIZON)
    assert str(forecast.start_date) == "2018-05"
