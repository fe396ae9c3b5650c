"""`wavediff forecast`, `impute`, `synthesize` and `backtest`, as a user types them."""

import csv
import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
from fitted import fit
from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands import backtest, forecast, impute, synthesize
from wavediff.series.baselines import FORECASTS

QUICK = ["--samples", "4", "--steps", "2", "--device", "cpu"]


def rows() -> list[list[str]]:
    """Two shops, 48 and 30 months, some sales missing, the prices of a while too."""
    generator = np.random.default_rng(0)
    found = []
    for shop, count in (("Nord, am Markt", 48), ("Süd", 30)):
        for k, month in enumerate(pandas.period_range("2018-03", periods=count, freq="M")):
            sales = f"{100 + 20 * np.sin(k / 6 * np.pi) + generator.normal():.1f}0"
            price = f"{5 + generator.normal():.3f}"
            if k % 7 == 3:
                sales = "NA" if k % 2 else ""
            if 10 <= k < 14:
                price = ""
            found.append([f"{month}-01", shop, sales, "a note", price])
    return found


def write(path: Path, table: list[list[str]], header: str = "month,shop,sales,remark,price") -> str:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(header.split(","))
        writer.writerows(table)
    return str(path)


def read(path: Path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> str:
    """A checkpoint of a few steps on the table."""
    folder = tmp_path_factory.mktemp("trained")
    table = write(folder / "table.csv", rows())
    fit(table, 4).save_pretrained(folder / "model.safetensors")
    return str(folder / "model.safetensors")


@pytest.fixture
def table(tmp_path) -> str:
    return write(tmp_path / "table.csv", rows())


def test_forecast_goes_on_at_the_months_of_each_item_beyond_the_models_horizon(
    table, trained, tmp_path, capsys
):
    words = [table, "--checkpoint", trained, "--horizon", "6", *QUICK]
    out, plot = tmp_path / "f.csv", tmp_path / "f.png"
    words += ["--quantiles", "0.1,0.9"]
    assert run(forecast.main, [*words, "-o", str(out), "--plot", str(plot)]) == 0
    told = capsys.readouterr()
    assert told.out.split() == [str(out), str(plot)]
    assert "2 items by shop" in told.err
    header, *lines = read(out)
    assert header == ["month", "shop", "sales_q0.1", "sales_q0.9", "price_q0.1", "price_q0.9"]
    months = [f"2022-{m:02}-01" for m in range(3, 9)]
    months += [f"2020-{m:02}-01" for m in range(9, 13)] + ["2021-01-01", "2021-02-01"]
    assert [line[0] for line in lines] == months
    assert [line[1] for line in lines] == ["Nord, am Markt"] * 6 + ["Süd"] * 6
    numbers = np.array([line[2:] for line in lines], float)
    assert (numbers[:, ::2] <= numbers[:, 1::2]).all()
    assert plot.read_bytes()[:4] == b"\x89PNG"

    again = tmp_path / "again.csv"
    assert run(forecast.main, [*words, "-o", str(again)]) == 0
    assert again.read_bytes() == out.read_bytes()
    assert run(forecast.main, [*words, "--seed", "1", "--overwrite", "-o", str(again)]) == 0
    assert again.read_bytes() != out.read_bytes()
    assert run(forecast.main, [*words, "-o", str(again)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_model_of_one_variable_serves_any_others(tmp_path, capsys):
    names = ["a", "b"]
    values = 10 + np.sin(np.arange(60) / 3)
    stamps = pandas.date_range("2020-01-01", periods=60, freq="D")
    frame = pandas.DataFrame({"time": stamps, "one": values})
    model, out = tmp_path / "model.safetensors", tmp_path / "f.csv"
    trained = fit(frame, 4)
    trained.extra["variables"] = ["one"]  # as a recipe with multivariate=true has it
    trained.save_pretrained(model)
    frame[names] = np.stack([values, 2 * values], axis=1)
    frame[["time", *names]].to_csv(tmp_path / "t.csv", index=False)
    words = [str(tmp_path / "t.csv"), "--checkpoint", str(model), "-o", str(out), *QUICK]
    assert run(forecast.main, words) == 0
    assert "the model of one is used for each variable" in capsys.readouterr().err
    header, *lines = read(out)
    assert [name.split("_")[0] for name in header[1:]] == ["a"] * 3 + ["b"] * 3
    assert len(lines) == 4


def test_impute_changes_missing_cells_alone(table, trained, tmp_path):
    out = tmp_path / "filled.csv"
    assert run(impute.main, [table, "--checkpoint", trained, "-o", str(out), *QUICK]) == 0
    header, *filled = read(out)
    assert header == ["month", "shop", "sales", "sales_std", "remark", "price", "price_std"]
    given = rows()
    assert len(filled) == len(given)
    for before, after in zip(given, filled, strict=True):
        assert [after[0], after[1], after[4]] == [before[0], before[1], before[3]]
        for old, new, std in ((2, 2, 3), (4, 5, 6)):
            if before[old] in ("", "NA"):
                assert np.isfinite(float(after[new]))
                assert float(after[std]) > 0
            else:
                assert after[new] == before[old]
                assert after[std] == "0"
    assert b"\r\n" in out.read_bytes()


def test_impute_keeps_the_files_form(tmp_path):
    """A byte order mark, semicolons, decimal commas, quotes, blank lines, line ends and gzip."""
    lines = ["\ufeff", '"Tag, UTC";Wert;"a;b"', ""]
    lines += [f"2024-01-{d:02};{'' if d == 9 else f'{d % 7},50'};{d}" for d in range(1, 31)]
    text = lines[0] + "\r\n".join([*lines[1:], "", ""])
    given, out = tmp_path / "t.csv.gz", tmp_path / "out.csv.gz"
    given.write_bytes(gzip.compress(text.encode()))
    words = [str(given), "-o", str(out), *QUICK]
    assert run(impute.main, words) == 0
    filled = gzip.decompress(out.read_bytes()).decode()
    assert filled[0] == "\ufeff"
    before, after = (whole[1:].split("\r\n") for whole in (text, filled))
    assert after[0] == 'Tag, UTC;Wert;Wert_std;"a;b"'
    assert len(after) == len(before)
    for old, new in zip(before[1:], after[1:], strict=True):
        if old:
            stamp, value, other = old.split(";")
            found = new.split(";")
            assert [found[0], found[3]] == [stamp, other]
            assert found[1] == value if value else re.fullmatch(r"-?\d+,\d+", found[1])
            assert (found[2] == "0") == bool(value)
        else:
            assert new == ""


def test_synthesize_and_backtest(table, trained, tmp_path, capsys):
    out = tmp_path / "made.csv"
    words = ["--checkpoint", trained, "--n", "3", "-o", str(out), "--steps", "2", "--device", "cpu"]
    assert run(synthesize.main, words) == 0
    made = pandas.read_csv(out, parse_dates=["time"])
    assert list(made.columns) == ["series", "time", "sales", "price"]
    assert made.groupby("series").size().tolist() == [12, 12, 12]
    assert made["sales"].between(-1000, 1000).all()
    assert made["time"].dt.day.eq(1).all()
    capsys.readouterr()

    words = [table, "--checkpoint", trained, "--horizon", "3", "--test", "6", "--json", *QUICK]
    assert run(backtest.main, [*words, "--models", "model,seasonal_naive,random_walk"]) == 0
    told = capsys.readouterr()
    judged = json.loads(told.out)
    assert list(judged) == ["model", "seasonal naive", "random walk"]
    assert "4 windows of 3 steps, season 12" in told.err
    assert {"CRPS (9 deciles)", "CRPS (ensemble)", "MASE", "coverage 80 %"} <= set(judged["model"])
    points = {row["points"] for row in judged.values()}
    assert len(points) == 1
    assert "training seconds" in judged["model"]


def numbers(line: str) -> list[float]:
    return [float(text) for text in re.findall(r"\d+\.\d+", line)]


@pytest.mark.slow
def test_synthetic_series_are_scored_by_real_ones(tmp_path, capsys):
    steps = np.arange(400)
    frame = pandas.DataFrame({"step": steps, "a": np.sin(steps / 3), "b": np.cos(steps / 3)})
    frame.loc[200, "a"] = np.nan
    real, model, out = (tmp_path / name for name in ("r.csv", "model.safetensors", "made.csv"))
    frame.to_csv(real, index=False)
    fit(real, 4).save_pretrained(model)
    words = ["--checkpoint", str(model), "--n", "40", "-o", str(out), "--steps", "2"]
    words += ["--device", "cpu", "--overwrite", "--score-steps", "150"]
    assert run(synthesize.main, [*words, "--reference", str(real)]) == 0
    first, title, head, discriminative, predictive, distance = capsys.readouterr().out.splitlines()
    assert first == str(out)
    assert title == "40 windows of 12 steps, 2 variables:"
    assert head.split() == ["synthetic", "real"]
    # two steps of training make noise, which real windows are told from and do not predict
    synthetic, _, alike, _ = numbers(discriminative)
    assert alike < 0.25 < synthetic <= 0.5
    synthetic, _, alike, _ = numbers(predictive)
    assert alike < 0.7 * synthetic
    synthetic, alike = numbers(distance)
    assert 10 * alike < synthetic
    assert len(pandas.read_csv(out)) == 40 * 12

    frame[:20].to_csv(real, index=False)
    assert run(synthesize.main, [*words, "--reference", str(real)]) == 2
    assert "has 9 windows of 12 steps without missing values: 20" in capsys.readouterr().err
    assert run(synthesize.main, [*words, "--n", "9", "--reference", str(real)]) == 2
    assert "--n 9 series are too few" in capsys.readouterr().err
    frame.rename(columns={"b": "c"}).to_csv(real, index=False)
    assert run(synthesize.main, [*words, "--reference", str(real)]) == 2
    assert "the data has no b" in capsys.readouterr().err


def changed(table: list[list[str]], row: int, column: int, text: str) -> list[list[str]]:
    return [
        [text if (r, c) == (row, column) else cell for c, cell in enumerate(line)]
        for r, line in enumerate(table)
    ]


BAD = {
    "no time column": ([line[1:] for line in rows()], "shop,sales,remark,price", "no time column"),
    "duplicate stamps": ([*rows(), rows()[3]], None, "comes twice"),
    "text": (changed(rows(), 4, 4, "five"), None, "'five' in column price, line 6"),
    "too large": (changed(rows(), 4, 4, "1e300"), None, "too large"),
    "empty": ([], None, "no rows"),
    "one row": (rows()[:1], None, "freq"),
    "mixed": (
        [["2020-01-01", "x", "1", "", "2"], ["2020-02-01", "x", "1", "", "2"]]
        + [["2020-02-02", "x", "1", "", "2"], ["2020-02-03", "x", "1", "", "2"]]
        + [[f"2020-{m:02}-01", "x", "1", "", "2"] for m in range(3, 13)],
        None,
        "frequenc",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_is_one_sentence(kind, tmp_path, capsys):
    lines, header, reason = BAD[kind]
    path = write(tmp_path / "bad.csv", lines, *([header] if header else []))
    out = tmp_path / "out.csv"
    for command in (forecast.main, impute.main):
        assert run(command, [path, "-o", str(out)]) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("error: ")
        assert "\n" not in error
        assert reason in error
    assert not out.exists()


def test_a_checkpoint_of_other_data(table, trained, tmp_path, capsys):
    out = ["-o", str(tmp_path / "out.csv")]
    assert run(forecast.main, [table, "--targets", "sales", "--checkpoint", trained, *out]) == 2
    assert "the data has no price" in capsys.readouterr().err
    days = [[f"2020-01-{d:02}", "x", "1.5", "", "2.5"] for d in range(1, 31)]
    daily = write(tmp_path / "daily.csv", days)
    assert run(forecast.main, [daily, "--checkpoint", trained, *out]) == 2
    assert "frequency MS, and the data has D" in capsys.readouterr().err


def test_what_may_be_wrong_works_and_is_told(trained, tmp_path, capsys):
    lines = [[line[0], line[1], "7", "", line[4] or "3"] for line in rows()][::-1]
    lines = [[*line, "", ""] for line in changed(lines, 5, 4, "1e30")]
    for line in lines:
        line[5] = "-2e30"
    path = write(tmp_path / "t.csv", lines, "month,shop,sales,remark,price,large,nothing")
    out, plot = tmp_path / "out.csv", tmp_path / "plot.png"
    words = [path, "-o", str(out), "--plot", str(plot), "--horizon", "2", *QUICK]
    assert run(forecast.main, words) == 0
    told = capsys.readouterr().err
    assert "sorted" in told
    assert "the same value in every row: sales (7), large (-2e+30)" in told
    assert "price (up to 1e+30, half of them below" in told
    assert "column nothing has no value and is left out" in told
    assert np.isfinite(pandas.read_csv(out).iloc[:, 2:].to_numpy()).all()
    assert plot.read_bytes()[:4] == b"\x89PNG"
    words = [path, "--horizon", "2", "--test", "4", *QUICK]
    assert run(backtest.main, words) == 0


def test_what_cannot_be_read_or_written_is_one_sentence(table, trained, tmp_path, capsys):
    """A folder, a file that is not there, and places that nothing can be written to."""
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.touch()
    folder.mkdir()
    out = str(tmp_path / "out.csv")
    cases = [
        ([str(folder), "-o", out], "is a folder: give a CSV or Parquet file"),
        ([str(tmp_path / "none.csv"), "-o", out], "does not exist"),
        ([str(file), "-o", out], "is empty"),
        ([table, "-o", str(file / "out.csv")], "it is a file, not a folder"),
        ([table, "-o", str(folder)], "give the name of a"),
        ([table, "-o", table], "is the input"),
        ([table, "-o", out, "--checkpoint", "vocoder-en-22k"], "wavediff train recipe=series"),
        ([table, "-o", out, "--known", "promo"], "no column promo: it has month, shop"),
        ([table, "-o", out, "--sampler", "best"], "there is no sampler 'best'; choose one of"),
    ]
    for words, reason in cases:
        for command in (forecast.main, impute.main):
            assert run(command, words) == 2
            error = capsys.readouterr().err.strip()
            assert error.startswith("error: ")
            assert reason in error
            assert "\n" not in error
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder", "table.csv"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--horizon", "abc"], "argument --horizon: 'abc' is not a whole number"),
        (["--horizon", "0"], "argument --horizon: '0' is invalid: must be 1 or more"),
        (["--quantiles", "0.1,q"], "'0.1,q' is invalid: give numbers between 0 and 1"),
        (["--quantiles", "0.5,1"], "'0.5,1' is invalid: give numbers between 0 and 1"),
        (["--fit-seconds", "soon"], "argument --fit-seconds: 'soon' is not a number"),
        (["--fit-seconds", "0"], "argument --fit-seconds: '0' is invalid: must be above 0"),
        (["--guidance", "none"], "argument --guidance: none is now called replace"),
    ],
)
def test_options_that_cannot_be_are_one_sentence(words, reason, table, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run(forecast.main, [table, "-o", str(tmp_path / "out.csv"), *words])
    assert stop.value.code == 2
    assert reason in capsys.readouterr().err.splitlines()[-1]


def test_reading_tells_how_far_it_is(trained, tmp_path, monkeypatch, capsys):
    """The bar of a file that takes long, also where stderr is no terminal."""
    bar = lambda *words, **options: tqdm(*words, **options | {"delay": 0, "mininterval": 0})  # noqa: E731
    monkeypatch.setattr("wavediff.series.table_files.tqdm", bar)
    path = write(tmp_path / "t.csv", rows())
    words = ["--checkpoint", trained, "-o", str(tmp_path / "out.csv"), *QUICK]
    assert run(forecast.main, [path, *words]) == 0
    assert "reading t.csv: 100%" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak")
def test_a_large_file_takes_bounded_memory(tmp_path):
    """200 MB: 560,000 hours of 40 variables, forecast with the default number of samples."""
    stamps = pandas.date_range("1960-01-01", periods=560_000, freq="h").strftime("%Y-%m-%d %H:%M")
    generator = np.random.default_rng(0)
    cells = [",".join(f"{x:.4f}" for x in row) for row in 100 + generator.normal(size=(997, 40))]
    path = tmp_path / "large.csv"
    with open(path, "w") as file:
        file.write(",".join(["time", *(f"v{v}" for v in range(40))]) + "\n")
        file.writelines(f"{stamp},{cells[i % 997]}\n" for i, stamp in enumerate(stamps))
    assert path.stat().st_size > 190e6
    words = ["--steps", "1", "--horizon", "24", "--device", "cpu"]
    # the kernel's figure for a finished process begins with that of its parent, pytest
    told_peak = (
        "import sys; from wavediff.cli import main; assert main() == 0; "
        "print(*(line for line in open('/proc/self/status') if 'VmHWM' in line))"
    )
    command = [sys.executable, "-c", told_peak, "forecast", str(path), *words]
    command += ["-o", str(tmp_path / "out.csv")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "reading large.csv" in done.stderr
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", done.stdout)[1])
    assert peak < 1.5e6  # more than a third of which are PyTorch itself


def test_every_baseline_has_a_name_on_the_command_line():
    assert list(backtest.BASELINES.values()) == list(FORECASTS)


def test_settings_of_a_recipe_may_stand_before_and_after_options():
    given = backtest.parse(["data.path=a.csv", "--horizon", "3", "--recipe", "series", "seed=1"])
    assert given.source == ["data.path=a.csv", "seed=1"]
