"""`wavediff forecast` and `impute` with the bundled model: at once, honest, sensible."""

import re

import numpy as np
import pandas
import pytest

from wavediff.cli import run
from wavediff.commands import forecast, impute
from wavediff.series.forecaster import Forecaster
from wavediff.series.zero_shot_answers import ZeroShotAnswers

FAST = ["--samples", "30", "--steps", "5", "--device", "cpu"]


def write(path, values, freq="MS", extra=()) -> str:
    stamps = pandas.date_range("2015-01-01", periods=len(values), freq=freq)
    frame = pandas.DataFrame({"time": stamps, "y": values, **dict(extra)})
    frame.to_csv(path, index=False)
    return str(path)


def forecast_of(tmp_path, values, *words, freq="MS", extra=(), horizon=12):
    """(frame, what is said on stderr)."""
    table = write(tmp_path / "t.csv", values, freq, extra)
    out = tmp_path / "out.csv"
    words = [table, "--horizon", str(horizon), "-o", str(out), "--overwrite", *FAST, *words]
    assert run(forecast.main, words) == 0
    return pandas.read_csv(out)


def seasonal(count: int = 120, noise: float = 1.0) -> np.ndarray:
    t = np.arange(count)
    generator = np.random.default_rng(0)
    return 100 + 0.5 * t + 20 * np.sin(t / 6 * np.pi) + noise * generator.normal(size=count)


def test_two_lines_say_how_it_does_beside_seasonal_naive(tmp_path, capsys):
    found = forecast_of(tmp_path, seasonal())
    told = capsys.readouterr().err.splitlines()
    assert re.search(r"on the last 9 windows of 12 steps: weighted quantile loss 0\.\d+", told[-2])
    assert re.search(
        r"\(seasonal naive, season 12: 0\.\d+\), 80 % intervals covered \d+ %", told[-2]
    )
    assert re.fullmatch(r"\d+ % better than seasonal naive there", told[-1])
    future = seasonal(132)[120:]
    assert (np.abs(found["y_q0.5"] - future) < 4).all()
    assert ((found["y_q0.1"] < found["y_q0.5"]) & (found["y_q0.5"] < found["y_q0.9"])).all()


def test_seasonal_naive_is_given_where_it_is_better(tmp_path, capsys, monkeypatch):
    def bad(self, pasts, horizon, samples, title):
        return np.full((samples, len(pasts), horizon), 1e4)

    monkeypatch.setattr(ZeroShotAnswers, "_zero_shot", bad)
    found = forecast_of(tmp_path, seasonal())
    assert "no better than seasonal naive here: seasonal naive's forecast is given instead" in (
        capsys.readouterr().err
    )
    np.testing.assert_allclose(found["y_q0.5"], seasonal()[-12:], atol=12)


SERIES = {
    "constant": np.full(60, 7.0),
    "zero": np.zeros(60),
    "five": np.array([1.0, 2, 4, 3, 5]),
    "two": np.array([3.0, 4.0]),
    "intermittent": np.where(np.random.default_rng(0).random(120) < 0.1, 5.0, 0.0),
    "exploding": np.exp(0.5 * np.arange(60)),
    "falling": -np.exp(0.3 * np.arange(60)),
    "level": 1e10 + np.random.default_rng(0).normal(size=100).cumsum(),
    "tiny": 1e-12 * np.random.default_rng(0).normal(size=80),
    "spike": np.r_[np.random.default_rng(0).normal(size=79), 1e9],
    "ends early": np.r_[1000 + np.random.default_rng(0).normal(size=50), np.full(20, np.nan)],
    "starts late": np.r_[np.full(50, np.nan), 5 + np.random.default_rng(0).normal(size=30)],
    "half missing": np.where(np.arange(100) % 2, np.nan, seasonal(100)),
}


@pytest.mark.parametrize("name", SERIES)
def test_odd_series_have_sensible_finite_forecasts(name, tmp_path):
    x = SERIES[name]
    found = forecast_of(tmp_path, x, freq="D")
    assert len(found) == 12
    values = found[["y_q0.1", "y_q0.5", "y_q0.9"]].to_numpy()
    assert np.isfinite(values).all()
    known = x[np.isfinite(x)]
    span = np.ptp(known) + np.abs(known).max() * 1e-9
    if name == "exploding":
        assert (values[:, 1] >= known[-1]).all()
        assert (values < 1e6 * known[-1]).all()
    else:
        assert (values >= known.min() - 12 * span).all()
        assert (values <= known.max() + 12 * span).all()
    if name in ("constant", "zero"):
        assert (values == known[0]).all()
    if name == "intermittent":
        assert (values >= 0).all()
        assert (values == np.rint(values)).all()
    if name == "ends early":
        assert (np.abs(values - 1000) < 20).all()
    if name == "level":
        assert np.ptp(values) > 0.5  # the variation is not lost below the level


def test_an_item_without_a_value_has_empty_cells(tmp_path, capsys):
    days = pandas.date_range("2024-01-01", periods=40)
    frames = [
        pandas.DataFrame({"day": days, "shop": name, "y": values})
        for name, values in (("a", seasonal(40)), ("b", np.nan))
    ]
    table, out = tmp_path / "t.csv", tmp_path / "out.csv"
    pandas.concat(frames).to_csv(table, index=False)
    assert run(forecast.main, [str(table), "--horizon", "3", "-o", str(out), *FAST]) == 0
    found = pandas.read_csv(out)
    assert found[found["shop"] == "a"].notna().all(axis=None)
    assert found[found["shop"] == "b"]["y_q0.5"].isna().all()
    assert "b: y has no value, and its forecast is empty" in capsys.readouterr().err


def test_kinds_and_bounds(tmp_path):
    counts = np.random.default_rng(0).poisson(2, size=80).astype(float)
    found = forecast_of(tmp_path, counts, freq="D").iloc[:, 1:].to_numpy()
    assert (found >= 0).all()
    assert (found == np.rint(found)).all()
    found = forecast_of(tmp_path, counts, "--kind", "real", freq="D").iloc[:, 1:].to_numpy()
    assert (found != np.rint(found)).any()
    words = ["--lower", "1.5", "--upper", "2.5"]
    found = forecast_of(tmp_path, counts + 0.1, *words, freq="D").iloc[:, 1:].to_numpy()
    assert ((found >= 1.5) & (found <= 2.5)).all()


def test_known_columns_are_used_where_they_help(tmp_path, capsys):
    promo = (np.random.default_rng(1).random(134) < 0.2).astype(float)
    y = 50 + np.random.default_rng(0).normal(size=134).cumsum() * 0.3 + 30 * promo
    y[120:] = np.nan
    found = forecast_of(
        tmp_path, y, "--known", "promo", freq="D", extra={"promo": promo}.items(), horizon=14
    )
    assert "the known columns make the last windows" in capsys.readouterr().err
    median = found["y_q0.5"].to_numpy()
    assert median[promo[120:] == 1].mean() - median[promo[120:] == 0].mean() == pytest.approx(
        30, abs=3
    )
    frame = pandas.read_csv(tmp_path / "t.csv")
    options = {"progress": False, "samples": 30, "steps": 5, "device": "cpu"}
    windows = Forecaster(known="promo", **options).cross_validation(frame, 14, n_windows=2)
    plain = Forecaster(targets="y", **options).cross_validation(frame, 14, n_windows=2)
    error, without = ((w["y"] - w["y_q0.5"]).abs().mean() for w in (windows, plain))
    assert error < 0.5 * without
    assert run(forecast.main, [str(tmp_path / "t.csv"), "-o", str(tmp_path / "n.csv"), *FAST]) == 0
    assert "promo has values after y ends: give --known promo" in capsys.readouterr().err
    promo[128:] = np.nan
    table = write(tmp_path / "t.csv", y, "D", {"promo": promo}.items())
    words = [table, "--horizon", "14", "--known", "promo", "-o", str(tmp_path / "no.csv")]
    assert run(forecast.main, words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the known column promo has no value for 2015-05-09" in error


def test_without_a_calendar_the_period_is_estimated_or_given(tmp_path, capsys):
    y = np.tile([0.0, 9, 2, 5, 3, 8, 1], 20) + np.random.default_rng(0).normal(size=140) * 0.1
    table, out = tmp_path / "t.csv", tmp_path / "out.csv"
    pandas.DataFrame({"step": np.arange(140), "y": y}).to_csv(table, index=False)
    words = [str(table), "--horizon", "7", "-o", str(out), "--overwrite", *FAST]
    assert run(forecast.main, words) == 0
    assert "season 7" in capsys.readouterr().err
    np.testing.assert_allclose(pandas.read_csv(out)["y_q0.5"], [0, 9, 2, 5, 3, 8, 1], atol=1)
    assert run(forecast.main, [*words, "--period", "5"]) == 0
    assert "season 5" in capsys.readouterr().err


def test_a_model_is_saved_and_used_again(tmp_path, capsys):
    table = write(tmp_path / "t.csv", seasonal())
    model, out = tmp_path / "model", tmp_path / "out.csv"
    words = [table, "--horizon", "6", "-o", str(out), "--overwrite", *FAST]
    assert run(forecast.main, [*words, "--fit-steps", "2", "--save", str(model)]) == 0
    told = capsys.readouterr()
    assert told.out.split() == [str(out), str(model)]
    assert re.search(r"fine-tun\w+ for 2 steps", told.err)
    first = out.read_bytes()
    assert run(forecast.main, [*words, "--checkpoint", str(model)]) == 0
    assert out.read_bytes() == first


def test_impute_compares_with_interpolation(tmp_path, capsys):
    y = seasonal(noise=0.2)
    hidden = np.random.default_rng(2).random(120) < 0.15
    table = write(tmp_path / "t.csv", np.where(hidden, np.nan, y))
    out = tmp_path / "out.csv"
    assert run(impute.main, [table, "-o", str(out), *FAST]) == 0
    told = capsys.readouterr().err.splitlines()
    assert "known stretches of the gaps' lengths, hidden and imputed" in told[-2]
    assert "interpolation" in told[-1]
    found = pandas.read_csv(out)
    np.testing.assert_allclose(found["y"][hidden], y[hidden], atol=3)
    assert (found["y_std"][hidden] > 0).all()
    assert (found["y_std"][~hidden] == 0).all()


def test_python_takes_what_people_hold(capsys):
    forecaster = Forecaster.from_pretrained(progress=False, samples=20, steps=4, device="cpu")
    assert repr(forecaster) == "Forecaster('forecaster', horizon=None, no data)"
    stamps = pandas.date_range("2015-01-01", periods=60, freq="MS")
    long = pandas.concat(
        pandas.DataFrame({"unique_id": name, "ds": stamps, "y": seasonal(60)}) for name in "ab"
    )
    found = forecaster.predict(long, horizon=3)
    assert list(found.columns) == ["ds", "unique_id", "y_q0.1", "y_q0.5", "y_q0.9"]
    assert repr(forecaster) == "Forecaster('forecaster', horizon=None, 2 items x 1 variable)"
    assert forecaster.sample(horizon=4).shape == (20, 2, 4, 1)
    windows = forecaster.cross_validation(long, horizon=3, n_windows=2)
    assert len(windows) == 2 * 2 * 3
    assert (windows["cutoff"] < windows["ds"]).all()
    np.testing.assert_array_equal(windows["y"][:3], seasonal(60)[54:57])
    for data, names in (
        (pandas.Series(seasonal(60), stamps, name="sales"), ["sales"]),
        (pandas.Series(seasonal(60)), ["value"]),
        ({"a": np.arange(40.0), "b": np.ones(40)}, ["a", "b"]),
        (list(seasonal(30)), ["v0"]),
        (np.ones((3, 30, 2)), ["v0", "v1"]),
    ):
        found = forecaster.predict(data, horizon=2)
        assert [name.removesuffix("_q0.5") for name in found if name.endswith("_q0.5")] == names


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        (lambda f: f.predict(24), "the data comes first: give horizon=24, after the data"),
        (lambda f: f.predict([1.0] * 20, horizon=0), "horizon is 0: it must be 1 or more"),
        (lambda f: f.predict([1.0] * 20, horizon=-1), "horizon is -1: it must be 1 or more"),
        (
            lambda f: f.predict([1.0] * 20, horizon=10**20),
            "paths of 1 series x 100000000000000000000",
        ),
        (lambda f: f.predict(), "no data has been read: give it to predict"),
        (lambda f: f.predict(["a", "b"]), "a list of series has numbers"),
        (lambda f: f.predict({1.5}), "a set is no table: give a CSV or Parquet file"),
        (lambda f: f.predict({"a": [1.0], "b": [1.0, 2.0]}), "a dict of arrays has one length"),
        (lambda f: f.cross_validation([1.0] * 9, 4, n_windows=0), "n_windows is 0"),
        (lambda f: f.synthesize(3), "the pre-trained forecaster does not synthesize"),
        (lambda f: f.read([1.0] * 9).plot(5, "x.png"), "samples has the shape []: give the array"),
        (lambda f: f.read([1.0] * 9).plot(np.zeros((4, 2, 3, 1)), "x.png"), "[samples, 1 items"),
        (lambda f: f.save(None), "None"),
        (lambda f: Forecaster(kind="odd"), "kind is 'odd': it must be one of auto, real"),
        (lambda f: Forecaster(lower=2, upper=1), "lower must be less than upper"),
        (lambda f: Forecaster(guidance="mse"), "guidance is of an unconditional model"),
    ],
)
def test_python_refuses_in_one_sentence(use, reason):
    from wavediff.errors import UserError

    forecaster = Forecaster(progress=False, device="cpu")
    with pytest.raises(UserError, match=re.escape(reason)):
        use(forecaster)
