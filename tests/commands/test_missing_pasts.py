"""Series without a value where a model looks: forecast from the last known ones, or left empty."""

import numpy as np
import pandas
import pytest
from fitted import fit

from wavediff.cli import run
from wavediff.commands import backtest, forecast

FAST = ["--samples", "20", "--steps", "3", "--device", "cpu"]
DAYS = pandas.date_range("2024-01-01", periods=90)
LEVEL = 1000 + 20 * np.sin(np.arange(90) / 7 * 2 * np.pi)
ENDED = np.where(np.arange(90) < 50, LEVEL, np.nan)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Checkpoints of a few steps with a context of 8 steps: of one variable, and of two."""
    folder = tmp_path_factory.mktemp("trained")
    frame = pandas.DataFrame({"day": DAYS, "x": LEVEL})
    fit(frame, 4).save_pretrained(folder / "one.safetensors")
    fit(frame.assign(z=5 + 0.1 * LEVEL), 4).save_pretrained(folder / "two.safetensors")
    return folder


def of_items(values: dict[str, np.ndarray]) -> pandas.DataFrame:
    return pandas.concat(
        pandas.DataFrame({"day": DAYS, "item": name, "x": x}) for name, x in values.items()
    )


@pytest.mark.parametrize("model", ["one.safetensors", "forecaster"])
def test_an_item_that_ended_is_forecast_at_its_level(model, trained, tmp_path, capsys):
    table, out = tmp_path / "t.csv", tmp_path / "out.csv"
    items = {"a": LEVEL, "ended": ENDED, "empty": np.full(90, np.nan)}
    of_items(items).to_csv(table, index=False)
    checkpoint = str(trained / model) if "." in model else model
    words = [str(table), "--horizon", "6", "-o", str(out), "--checkpoint", checkpoint, *FAST]
    assert run(forecast.main, words) == 0
    found = pandas.read_csv(out).set_index("item").drop(columns="day")
    assert found.loc[["a", "ended"]].sub(1000).abs().max(axis=None) < 200
    assert found.loc["empty"].isna().all(axis=None)
    told = capsys.readouterr().err
    assert "empty: x has no value, and its forecast is empty" in told
    if model != "forecaster":
        assert "ended: x has no value in the last 8 steps: forecast from the last known" in told


def test_a_column_that_ended_is_forecast_at_its_level(trained, tmp_path, capsys):
    table, out = tmp_path / "t.csv", tmp_path / "out.csv"
    pandas.DataFrame({"day": DAYS, "x": LEVEL, "z": 0.1 * ENDED}).to_csv(table, index=False)
    words = [str(table), "-o", str(out), "--checkpoint", str(trained / "two.safetensors"), *FAST]
    assert run(forecast.main, words) == 0
    found = pandas.read_csv(out)
    assert found.filter(like="z_").sub(100).abs().max(axis=None) < 20
    assert "z has no value in the last 8 steps" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["one.safetensors", "forecaster"])
def test_a_backtest_leaves_out_windows_without_a_past(model, trained, tmp_path, capsys):
    table = tmp_path / "t.csv"
    late = np.where(np.arange(90) > 86, LEVEL, np.nan)
    of_items({"a": LEVEL, "late": late}).to_csv(table, index=False)
    checkpoint = str(trained / model) if "." in model else model
    words = [str(table), "--horizon", "3", "--checkpoint", checkpoint, *FAST]
    assert run(backtest.main, words) == 0
    told = capsys.readouterr()
    assert "of them have no value before or none after their origin" in told.err
    assert "nan" not in told.out.lower()
    of_items({"late": late}).to_csv(table, index=False)
    assert run(backtest.main, [*words, "--test", "9"]) == 2
    assert "no window has values both before its origin and after it" in capsys.readouterr().err
