"""Columns of timestamps through the command: one format, zones kept, ends of months."""

import re

import numpy as np
import pandas
import pytest

from wavediff.cli import run
from wavediff.commands import forecast, impute
from wavediff.series.forecaster import Forecaster

FAST = ["--samples", "4", "--steps", "2", "--device", "cpu"]
pytestmark = pytest.mark.usefixtures("model_is_loaded_once")


@pytest.fixture
def forecast_of(tmp_path):
    """(exit code, the stamps that follow) of a table with these cells in its time column."""

    def make(cells, *words, command=forecast):
        path, out = tmp_path / "t.csv", tmp_path / "out.csv"
        rows = [f"{cell};{number % 5}" for number, cell in enumerate(cells)]
        path.write_text("\n".join(["date;x", *rows]) + "\n")
        ahead = ["--horizon", "3"] if command is forecast else []
        code = run(command.main, [str(path), "-o", str(out), "--overwrite", *ahead, *FAST, *words])
        lines = out.read_text().splitlines()[1:] if code == 0 else []
        return code, [re.split("[;,]", line)[0] for line in lines]

    return make


@pytest.mark.parametrize(
    ("form", "freq"),
    [
        ("%d/%m/%y", "D"),
        ("%d.%m.%y", "D"),
        ("%d-%m-%y %H:%M", "h"),
        ("%d/%m/%Y %I:%M %p", "h"),
        ("%m/%d/%Y %I:%M %p", "h"),
        ("%Y%m%d", "D"),
        ("%Y%m", "MS"),
    ],
)
def test_a_column_has_one_format_and_goes_on_in_it(forecast_of, form, freq):
    cells = list(pandas.date_range("2024-02-01", periods=61, freq=freq).strftime(form))
    assert forecast_of(cells[:58]) == (0, cells[58:])
    assert forecast_of(cells, command=impute) == (0, cells)


def test_seconds_since_1970_go_on_as_such(forecast_of):
    seconds = 1_700_000_000 + 3600 * np.arange(63)
    assert forecast_of(seconds[:60]) == (0, list(map(str, seconds[60:])))


def test_where_two_formats_fit_one_is_noted_and_an_option_decides(forecast_of, capsys):
    times = pandas.date_range("2024-02-01", periods=12, freq="D")
    cells = times.strftime("%d/%m/%y")
    code, found = forecast_of(cells)
    assert (code, found[0]) == (0, "01/02/25")
    told = capsys.readouterr().err
    assert "day first (at frequency D from 2024-02-01 to 2024-02-12) by %d/%m/%y" in told
    assert "fit too: --date-format decides" in told
    code, found = forecast_of(cells, "--date-format", "%d/%m/%y")
    assert (code, found[0]) == (0, "13/02/24")


@pytest.mark.parametrize(
    "cells",
    [
        ["31/01/24", "01.02.24", "02/02/24"],
        ["31/01/2024 02:00 PM", "31/01/2024 15:00", "31/01/2024 04:00 PM"],
        ["2024-01-31", "01/02/2024", "2024-02-02"],
    ],
)
def test_a_column_of_no_one_format_is_refused(forecast_of, capsys, cells):
    assert forecast_of(cells) == (2, [])
    error = capsys.readouterr().err
    assert "is not a timestamp like the others" in error or "no time column" in error


@pytest.mark.parametrize("day", [29, 30, 31])
def test_late_days_of_months_are_clipped_to_their_ends(forecast_of, day):
    ends = pandas.date_range("2021-01-31", periods=27, freq="ME")
    days = [str(end.replace(day=min(day, end.day)).date()) for end in ends]
    assert forecast_of(days[:24], "--freq", "MS") == (0, days[24:])


def test_local_midnights_with_their_offsets_are_days(forecast_of):
    days = pandas.date_range("2024-03-20", periods=27, freq="D", tz="Europe/Berlin")
    written = [day.isoformat() for day in days]
    code, found = forecast_of(written[:24])
    assert (code, found) == (0, [text[:19] for text in written[24:]])
    assert forecast_of(written[:24], "--tz", "Europe/Berlin") == (0, written[24:])


def test_the_hour_that_comes_twice_is_told_and_read_with_its_zone(forecast_of, capsys):
    hours = pandas.date_range("2024-10-26 22:00", periods=27, freq="h", tz="Europe/Berlin")
    cells = list(hours.strftime("%Y-%m-%d %H:%M"))
    assert forecast_of(cells[:24]) == (2, [])
    assert "or give --tz ZONE if a clock" in capsys.readouterr().err
    assert forecast_of(cells[:24], "--tz", "Europe/Berlin") == (0, cells[24:])


@pytest.mark.parametrize("freq", ["D", "h"])
def test_a_frame_with_a_zone_is_forecast_in_it(freq):
    times = pandas.date_range("2024-03-08", periods=27, freq=freq, tz="Europe/Berlin")
    frame = pandas.DataFrame({"t": times[:24], "x": np.arange(24) % 5.0})
    forecaster = Forecaster(horizon=3, samples=4, steps=2, progress=False, device="cpu").fit(frame)
    found = forecaster.predict()
    assert str(found["t"].dt.tz) == "Europe/Berlin"
    assert list(found["t"]) == list(times[24:])
