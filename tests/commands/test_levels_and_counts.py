"""Levels far above the variation, small counts, known futures, and numbers written as they came."""

import re
from pathlib import Path

import numpy as np
import pandas
import pytest
from fitted import fit

from wavediff.cli import run
from wavediff.commands import backtest, forecast, impute
from wavediff.series.forecaster import Forecaster
from wavediff.series.frequency import infer

FAST = ["--samples", "40", "--steps", "5", "--device", "cpu"]
DAYS = pandas.date_range("2024-01-01", periods=120)
NOISE = np.random.default_rng(0).normal(size=120)


@pytest.mark.parametrize(("level", "scale"), [(-1e9, 1e-2), (1e12, 1.0)])
def test_a_level_far_above_the_variation_keeps_it(level, scale, tmp_path):
    wave = 5 * np.sin(np.arange(120) / 7 * 2 * np.pi) + NOISE
    frame = pandas.DataFrame({"day": DAYS, "y": level + scale * wave})
    fit(frame, 7, context=28, steps=15).save_pretrained(tmp_path / "model.safetensors")
    gap = frame.copy()
    gap.loc[60:65, "y"] = np.nan
    for checkpoint in ("forecaster", tmp_path / "model.safetensors"):
        forecaster = Forecaster(
            checkpoint=checkpoint, samples=40, steps=5, progress=False, assess=False, device="cpu"
        )
        found = (forecaster.predict(frame, horizon=7).iloc[:, 1:].to_numpy() - level) / scale
        assert (np.abs(found) < 15).all()
        width = found[:, 2] - found[:, 0]
        assert ((width > 0.5) & (width < 12)).all()
        imputed = forecaster.impute(gap)[60:66]
        assert (((imputed["y"] - level) / scale).abs() < 12).all()
        assert (imputed["y_std"] / scale < 6).all()


def test_small_counts_are_imputed_without_a_bias(tmp_path):
    generator = np.random.default_rng(1)
    counts = generator.poisson(0.4, 240).astype(float)
    hidden = np.arange(240) % 4 == 1
    frame = pandas.DataFrame({"day": pandas.date_range("2022", periods=240), "y": counts})
    frame.loc[hidden, "y"] = np.nan
    table, out = tmp_path / "t.csv", tmp_path / "out.csv"
    frame.to_csv(table, index=False)
    assert run(impute.main, [str(table), "-o", str(out), *FAST]) == 0
    found = pandas.read_csv(out)["y"][hidden]
    assert (found >= 0).all()
    assert (found == np.rint(found)).all()
    assert found.mean() == pytest.approx(counts[~hidden].mean(), rel=0.3)


def of_shops(ends: dict[str, int]) -> pandas.DataFrame:
    step = np.arange(60)
    return pandas.concat(
        pandas.DataFrame(
            {
                "day": DAYS[:60],
                "shop": name,
                "y": np.where(step < 50, NOISE[:60], np.nan),
                "promo": np.where(step < end, step % 3 == 0, np.nan).astype(float),
                "rain": NOISE[60:],
            }
        )
        for name, end in ends.items()
    )


@pytest.mark.parametrize(
    ("ends", "horizon", "where"),
    [
        ({"a": 60, "b": 54, "c": 60}, 6, "b: the known column promo has no value for 2024-02-24"),
        ({"a": 60, "b": 50}, 1, "b: the known column promo has no value for 2024-02-20"),
        ({"a": 60}, 11, "the known column promo has no value for 2024-03-01"),
    ],
)
def test_a_known_column_that_ends_early_is_refused_even_where_it_is_not_used(
    ends, horizon, where, tmp_path, capsys
):
    table = tmp_path / "t.csv"
    of_shops(ends).to_csv(table, index=False)
    words = [str(table), "--known", "promo,rain", "--horizon", str(horizon), *FAST]
    assert run(forecast.main, [*words, "-o", str(tmp_path / "out.csv")]) == 2
    assert where in capsys.readouterr().err
    words[words.index("--horizon") + 1] = str(min(ends.values()) - 50 or 1)
    if min(ends.values()) > 50:
        assert run(forecast.main, [*words, "-o", str(tmp_path / "out.csv")]) == 0


IMPUTED = [
    ("date;x\n", ["1.234,5", "", "1.236,5", "1.240,5", "-", "1.241,0"], r"1\.\d{3}(,\d+)?"),
    (
        "date,x\n",
        ['"1,234.5"', "", '"1,236.5"', '"1,240.5"', "n/a", '"1,241.0"'],
        r'"1,\d{3}(\.\d+)?"',
    ),
    ("date\tx\n", ["1234,5", "", "1236,5", "1240,5", "..", "1241,0"], r"\d+,\d+"),
]


@pytest.mark.parametrize(("header", "cells", "pattern"), IMPUTED)
def test_imputed_cells_are_written_like_the_others(header, cells, pattern, tmp_path):
    table, out = tmp_path / "t.csv", tmp_path / "out.csv"
    mark = header[4]
    lines = [f"2024-01-{day:02}{mark}{cell}\n" for day, cell in enumerate(cells, 1)]
    table.write_text(header + "".join(lines))
    assert run(impute.main, [str(table), "-o", str(out), *FAST]) == 0
    found = out.read_text().splitlines()[1:]
    for row, cell in zip(found, cells, strict=True):
        assert row.startswith(f"2024-01-{found.index(row) + 1:02}{mark}")
        if len(cell) > 3:
            assert f"{mark}{cell}{mark}" in row
        else:
            assert re.match(rf"[^{mark}]+{mark}{pattern}{mark}", row)


@pytest.mark.parametrize(
    ("header", "cells", "values"),
    [
        ("date,x\n", ['"(1,234)"', "500", "(2.5)"], [-1234, 500, -2.5]),
        ("date,x\n", ['"$(1,234.00)"', "$500", "($3)"], [-1234, 500, -3]),
        ("date,x\n", ['"1,234-"', "500", "2-"], [-1234, 500, -2]),
        ("date,x\n", ["\u22125", "3", "\u22122.5"], [-5, 3, -2.5]),
        ("date,x\n", ['"1.234,56 €"', '"2,50 €"', '"3,00 €"'], [1234.56, 2.5, 3]),
        ("date,x\n", ["CHF 1\u2019234.50", "CHF 2.00", "CHF 3.25"], [1234.5, 2, 3.25]),
        ("date;x\n", ["1\u202f234,5", "2\u00a0345,75", "3"], [1234.5, 2345.75, 3]),
        ("date;x\n", ["12,5 %", "3 %", "4 %"], [12.5, 3, 4]),
        ("date;x\n", ["R$ 1.234,50", "R$ 3,00", "R$ 4,00"], [1234.5, 3, 4]),
        ("date,x\n", ['"12,34,567"', '"1,00,000"', "500"], [1234567, 100000, 500]),
        ("date,x\n", ["1", "-", "3"], [1, np.nan, 3]),
        ("date,x\n", ["1", "n/a", "NULL"], [1, np.nan, np.nan]),
        ("date,x\n", ["1", "#DIV/0!", "?"], [1, np.nan, np.nan]),
        ("date,x\n", ["True", "", "False"], [1, np.nan, 0]),
    ],
)
def test_notations_of_numbers(header, cells, values, tmp_path):
    table = tmp_path / "t.csv"
    lines = [f"2024-01-{day:02}{header[4]}{cell}\n" for day, cell in enumerate(cells, 1)]
    table.write_text(header + "".join(lines))
    forecaster = Forecaster(progress=False, device="cpu").read(table)
    np.testing.assert_array_equal(forecaster.series.items[0].values[0], values)


def test_a_notation_is_one_for_the_whole_column(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("wavediff.series.table_files.CELLS", 3)  # 1000 rows at once
    table, out = tmp_path / "t.csv", tmp_path / "out.csv"
    times = pandas.date_range("2024-01-01", periods=2500, freq="h")

    def written(cells):
        table.write_text(
            "date\tx\n" + "".join(f"{t}\t{c}\n" for t, c in zip(times, cells, strict=True))
        )
        return run(forecast.main, [str(table), "-o", str(out), "--horizon", "1", *FAST])

    cells = ["1.5"] * 1500 + ["1.234,5"] * 1000
    assert written(cells) == 2
    assert "'1.234,5' in column x, line 1502, is not a number like the others" in (
        capsys.readouterr().err
    )
    cells = ["1.234,5"] * 1500 + ["1,234.5"] * 1000
    assert written(cells) == 2
    assert "'1,234.5' in column x, line 1502" in capsys.readouterr().err


def test_thousands_and_decimal_commas_that_cannot_be_told_apart_are_noted(tmp_path):
    table = tmp_path / "t.csv"
    for mark, word in ((",", "thousands separator"), (";", "decimal comma")):
        cells = ["1,234", "2,500", "3,125"]
        lines = [f'2024-01-{day:02}{mark}"{cell}"\n' for day, cell in enumerate(cells, 1)]
        table.write_text(f"date{mark}x\n" + "".join(lines))
        notes = Forecaster(progress=False, device="cpu").read(table).notes
        assert any("numbers like 1,234 in column x" in note and word in note for note in notes)


@pytest.mark.parametrize(
    ("times", "freq"),
    [
        (["2023-11-30", "2023-12-30", "2024-01-30"], "MS"),
        (["2023-12-30", "2024-01-30", "2024-02-29", "2024-03-30"], "MS"),
        (["2024-01-31", "2024-02-29", "2024-03-31"], "ME"),
        (pandas.date_range("2022-02-28", periods=9, freq="BQE-DEC"), "3BME"),
    ],
)
def test_days_of_months_are_found(times, freq):
    assert infer([np.array(pandas.to_datetime(times), "M8[us]")], ["x"]) == freq


def test_days_that_begin_after_midnight_are_days():
    days = pandas.date_range("2018-11-01", periods=8)
    stamps = days.tz_localize("America/Sao_Paulo", nonexistent="shift_forward")
    forecaster = Forecaster(progress=False, device="cpu").read(
        pandas.DataFrame({"t": stamps, "x": np.arange(8.0)})
    )
    assert (forecaster.series.freq, forecaster.series.items[0].length) == ("D", 8)


def test_business_days_with_holidays_are_no_irregular_series(tmp_path, capsys):
    days = pandas.bdate_range("2024-01-01", periods=110)
    days = days[~days.isin(pandas.to_datetime(["2024-01-01", "2024-01-15", "2024-03-29"]))]
    table = tmp_path / "t.csv"
    pandas.DataFrame({"day": days, "x": NOISE[: len(days)]}).to_csv(table, index=False)
    assert run(forecast.main, [str(table), "-o", str(tmp_path / "o.csv"), *FAST]) == 0
    assert "at frequency B" in capsys.readouterr().err
    minutes = [day + pandas.Timedelta(minutes=570 + 5 * k) for day in days[:4] for k in range(78)]
    pandas.DataFrame({"t": minutes, "x": np.arange(len(minutes))}).to_csv(table, index=False)
    assert run(forecast.main, [str(table), "-o", str(tmp_path / "p.csv"), *FAST]) == 2
    assert "more than half of them empty: trading hours" in capsys.readouterr().err


def test_the_table_of_a_backtest_marks_the_least_errors(tmp_path, capsys):
    table = tmp_path / "t.csv"
    pandas.DataFrame({"day": DAYS, "x": 5e4 + NOISE}).to_csv(table, index=False)
    assert run(backtest.main, [str(table), "--horizon", "6", *FAST]) == 0
    lines = capsys.readouterr().out.splitlines()
    errors = [line for line in lines if line.startswith(("CRPS", "MAE", "RMSE", "MASE"))]
    assert len(errors) == 6
    assert all(line.count("*") == 1 for line in errors)
    coverage = next(line for line in lines if line.startswith("coverage 80 %"))
    assert coverage.count("%") >= 3
    assert "e+" not in "".join(lines)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--test", "inf"], "must be a finite number"),
        (["--test", "nan"], "must be a finite number"),
        (["--test", "-3"], "must be above 0"),
        (["--horizon", "9" * 20], "has no room for"),
        (["--seed", "-1"], "seed is -1: it must be 0 or more"),
        (["--period", "9" * 20], "period is 99999999999999999999: it must be 10000000 or less"),
        (["--lower", "nan"], "'nan' is invalid: must be a finite number"),
        (["--lower", "inf"], "'inf' is invalid: must be a finite number"),
        (["--fit-steps", "9" * 20], "fit_steps is 99999999999999999999"),
        (["--static", "day"], "day is the time column, not a static one"),
        (["--known", "x", "--targets", "x"], "x is named for targets and for known"),
    ],
)
def test_arguments_that_cannot_be(words, sentence, tmp_path, capsys):
    table = tmp_path / "t.csv"
    late = np.where(np.arange(120) > 100, NOISE, np.nan)
    pandas.DataFrame({"day": DAYS, "x": late}).to_csv(table, index=False)
    try:
        code = run(backtest.main, [str(table), "--horizon", "6", *FAST, *words])
    except SystemExit as stopped:
        code = stopped.code
    assert code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("least", [600, 1400])
def test_points_for_thousands_beside_semicolons(tmp_path, monkeypatch, capsys, least):
    monkeypatch.chdir(tmp_path)
    times = pandas.date_range("2024-01-01", periods=40, freq="D")
    values = least + 37 * (np.arange(40) % 20)
    rows = (f"{t:%d.%m.%Y};{x:,}".replace(",", ".") for t, x in zip(times, values, strict=True))
    Path("a.csv").write_text("Datum;Umsatz\n" + "\n".join(rows) + "\n")
    assert run(forecast.main, ["a.csv", "--horizon", "2", "-o", "b.csv", "--samples", "20"]) == 0
    note = "in column Umsatz are read with a thousands separator"
    assert note in capsys.readouterr().err
    found = pandas.read_csv("b.csv", sep=None, engine="python")
    middle = float(str(found.iloc[0, 2]).replace(".", "").replace(",", "."))
    assert 300 < middle < 4000


def test_a_frequency_far_finer_than_the_timestamps_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    times = pandas.date_range("2024-01-01", periods=40, freq="D")
    pandas.DataFrame({"time": times, "y": range(40)}).to_csv("a.csv", index=False)
    assert run(forecast.main, ["a.csv", "--freq", "h", "-o", "b.csv"]) == 2
    assert "would leave 96 % of the steps empty" in capsys.readouterr().err
