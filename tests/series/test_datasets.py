"""Datasets of series by name, against files of the published layouts."""

import http.server
import io
import json
import sys
import tarfile
import threading
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas
import pytest
from hydra import compose, initialize_config_dir

from wavediff.errors import UserError
from wavediff.series import datasets
from wavediff.series import physionet as intensive_care
from wavediff.series.physionet import VARIABLES, physionet
from wavediff.series.settings import build_series

CONF = Path(__file__).parents[2] / "conf"


def config(name, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(overrides=[f"+data={name}", *overrides]).data


def of_recipe(name, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [f"recipe={name}", *overrides]).data


def pack(path: Path, name: str, count: int, length: int, horizon: int, windows: int) -> np.ndarray:
    """GluonTS's archive of `count` series: training ones, and one after the other test windows."""
    values = np.random.default_rng(0).normal(size=(count, length + horizon * windows)).round(3)

    def rows(lengths):
        lines = [
            json.dumps({"start": "1990-01-01 00:00:00", "target": row[:n].tolist()})
            for n in lengths
            for row in values
        ]
        return ("\n".join(lines) + "\n").encode()

    parts = {
        "metadata/metadata.json": b"{}",
        "test/test.json": rows([length + horizon * k for k in range(1, windows + 1)]),
        "train/train.json": rows([length]),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for inside, content in parts.items():
            entry = tarfile.TarInfo(f"{name}_nips/{inside}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return values


def test_rolling_datasets_end_with_their_last_test_window(tmp_path):
    values = pack(tmp_path / "exchange_rate_nips.tar.gz", "exchange_rate", 3, 600, 30, 5)
    train, validation, series = build_series(of_recipe("exchange_rate", f"data.root={tmp_path}"), 1)
    np.testing.assert_array_equal(series.items[0].values, values)
    assert series.freq == "B"
    assert train.stops == [450]  # 5 x 30 for testing, as many for validation
    assert {validation.places[i][1] for i in range(len(validation))} == set(range(450, 600, 30))
    assert train.variables == 1
    assert {train[i]["label"] for i in range(30)} == {0, 1, 2}
    with tarfile.open(tmp_path / "exchange_rate_nips.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "exchange_rate_nips.tar.gz").unlink()
    again = datasets.rolling(str(tmp_path), "exchange_rate")
    np.testing.assert_array_equal(again.items[0].values, values)


def test_m4_joins_its_two_files(tmp_path):
    rows = ['"V1","V2","V3","V4"', '"H1","1","2","3"', '"H2","5","6",']
    (tmp_path / "M4-Hourly-train.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "M4-Hourly-test.csv").write_text('"V1","V2","V3"\n"H2","7","8"\n"H1","4","5"\n')
    series = datasets.m4_hourly(str(tmp_path))
    assert [item.name for item in series.items] == ["H1", "H2"]
    assert [item.values.tolist() for item in series.items] == [[[1, 2, 3, 4, 5]], [[5, 6, 7, 8]]]


def test_pm25_is_split_by_csdi_s_months(tmp_path):
    times = pandas.date_range("2014-05-01 01:00", "2015-04-30 23:00", freq="h")
    ground = pandas.DataFrame({"a": np.arange(len(times)) + 1.0, "b": 2.0})
    ground.insert(0, "datetime", times.strftime("%Y/%m/%d %H:%M:%S"))
    missing = ground.copy()
    missing.loc[::10, "a"] = np.nan
    with zipfile.ZipFile(tmp_path / "STMVL-Release.zip", "w") as archive:
        for name, frame in (("ground", ground), ("missing", missing)):
            archive.writestr(f"Code/STMVL/SampleData/pm25_{name}.txt", frame.to_csv(index=False))
    train, test, masked = (datasets.pm25(str(tmp_path), p) for p in ("train", "test", "masked"))
    assert [item.name for item in test.items] == ["2014-06", "2014-09", "2014-12", "2015-03"]
    assert [i.name for i in train.items] == ["2014-05", "2014-07", "2014-10", "2015-01", "2015-04"]
    assert [item.length for item in test.items] == [720, 720, 744, 744]
    assert sum(i.length for i in train.items) + 2928 == len(times)
    for whole, part in zip(test.items, masked.items, strict=True):
        known = ~np.isnan(part.values)
        np.testing.assert_array_equal(whole.values[known], part.values[known])
        assert 0.04 < 1 - known.mean() < 0.06
    windows, held_out, _ = build_series(config("pm25", f"data.root={tmp_path}"))
    assert (windows.length, windows.horizon) == (36, 0)
    assert all(held_out[i]["present"].all() for i in range(len(held_out)))


def patients(folder: Path, count: int = 20) -> None:
    """As PhysioNet has them, with 24 values each of two variables, of which the last has none."""
    folder.mkdir(parents=True)
    for patient in range(count):
        rows = ["Time,Parameter,Value", "00:00,Age,54"]
        rows += [f"{h:02d}:{m:02d},HR,{60 + patient + h + m}" for h in range(24) for m in (5, 40)]
        rows += [f"{h:02d}:00,Temp,37" for h in range(24)] + ["48:00,HR,500"]
        rows = rows if patient < count - 1 else rows[:2]
        (folder / f"{132539 + patient}.txt").write_text("\n".join(rows) + "\n")


def test_physionet_is_csdi_s_protocol(tmp_path):
    patients(tmp_path / "set-a")
    parts = ("train", "validation", "test", "masked")
    found = {part: physionet(str(tmp_path), part, missing=0.5) for part in parts}
    count = 19  # one has no value
    assert [len(found[part]) for part in parts] == [13, count - 3 - 13, 3, 3]
    names = [item.name for part in parts[:3] for item in found[part].items]
    assert len(set(names)) == count
    # as CSDI draws, by NumPy's global generator
    np.random.seed(1)  # noqa: NPY002
    masks = [np.random.choice(48, 24, replace=False) for _ in range(count)]  # noqa: NPY002
    order = np.arange(count)
    np.random.seed(1)  # noqa: NPY002
    np.random.shuffle(order)  # noqa: NPY002
    assert [item.name for item in found["test"].items] == [str(132539 + k) for k in order[:3]]
    heart = VARIABLES.index("HR")
    whole = found["test"].items[0].values
    assert whole.shape == (35, 48)
    assert np.isnan(whole[heart, 24:]).all()
    assert np.isfinite(whole[heart, :24]).all()
    np.testing.assert_allclose(whole[VARIABLES.index("Temp"), :24], 0)
    values = np.stack([i.values[heart, :24] for p in parts[:3] for i in found[p].items])
    np.testing.assert_allclose([values.mean(), values.std()], [0, 1], atol=1e-12)
    np.testing.assert_allclose(np.diff(whole[heart, :24]), np.diff(whole[heart, :2])[0])
    hidden = np.isnan(found["masked"].items[0].values) & ~np.isnan(whole)
    # cells with a value count by the hour, then by the variable, of which Temp is the later one
    expected = np.zeros(48, bool)
    expected[masks[order[0]]] = True
    cells = np.stack([hidden[heart, :24], hidden[VARIABLES.index("Temp"), :24]], axis=1)
    np.testing.assert_array_equal(cells.reshape(-1), expected)


def test_physionet_from_its_archive_trains_on_whole_patients(tmp_path, served):
    patients(served / "set-a")
    with tarfile.open(served / "set-a.tar.gz", "w:gz") as archive:
        archive.add(served / "set-a", "set-a")
    windows, _, series = build_series(config("physionet", f"data.root={tmp_path}"))
    assert (windows.length, windows.variables, len(series)) == (48, 35, 13)
    for number in range(5):
        assert windows[number]["present"][:, :24].sum() == 48
    (tmp_path / "set-a.tar.gz").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"set-a\.tar\.gz cannot be read"):
        physionet(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"part": "nope"}, "nope is invalid"),
        ({"missing": 0}, r"data\.missing"),
        ({"fold": 5}, r"data\.fold"),
    ],
)
def test_physionet_settings_that_make_no_sense_are_refused(options, words, tmp_path):
    with pytest.raises(UserError, match=words):
        physionet(str(tmp_path), **options)
    patients(tmp_path / "set-a", 2)
    (tmp_path / "set-a/132539.txt").write_text("Time,Parameter,Value\n00:07,HR,fast\n")
    with pytest.raises(UserError, match="132539 is not a patient"):
        physionet(str(tmp_path))


def test_ett_and_any_csv(tmp_path):
    times = pandas.date_range("2016-07-01", periods=1000, freq="h")
    frame = pandas.DataFrame({"date": times, "HUFL": 1.0, "OT": np.arange(1000.0)})
    frame.to_csv(tmp_path / "ETTh1.csv", index=False)
    train, validation, series = build_series(of_recipe("etth1", f"data.root={tmp_path}"))
    assert (train.context, train.horizon, series.variables) == (168, 24, ["HUFL", "OT"])
    assert train.stops == [700]
    each = [(series, origin) for origin in range(700, 777, 24) for series in (0, 1)]
    assert (train.variables, validation.places) == (1, each)  # the variables one by one
    overrides = [f"data.path={tmp_path / 'ETTh1.csv'}", "data.horizon=12", "data.targets=[OT]"]
    train, _, _ = build_series(config("csv", *overrides))
    assert (train.context, train.variables, train.lags[0]) == (48, 1, 24)


@pytest.mark.parametrize(
    ("name", "horizon", "freq", "shape", "missing"),
    [
        ("sunspots", 11, "YS-JAN", (1, 309), 0),
        ("co2", 52, "W-SAT", (1, 2284), 59),
        ("elnino", 12, "MS", (1, 732), 0),
    ],
)
def test_those_of_statsmodels_need_no_network(name, horizon, freq, shape, missing):
    pytest.importorskip("statsmodels")
    chosen = config("statsmodels", f"data.name={name}", f"data.horizon={horizon}")
    train, validation, series = build_series(chosen)
    assert (series.freq, series.items[0].values.shape) == (freq, shape)
    assert np.isnan(series.items[0].values).sum() == missing
    assert len(train) > 2
    assert len(validation) > 1


def test_without_statsmodels_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels", None)
    with pytest.raises(UserError, match=r'pip install "wavediff\[series\]"'):
        datasets.statsmodels("sunspots")


@pytest.fixture
def served(tmp_path, monkeypatch):
    folder = tmp_path / "served"

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setattr(
        datasets, "COPULA", f"http://127.0.0.1:{server.server_port}/{{}}_nips.tar.gz"
    )
    monkeypatch.setattr(
        intensive_care, "SET_A", f"http://127.0.0.1:{server.server_port}/set-a.tar.gz"
    )
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_dataset_is_downloaded_once(tmp_path, served, capsys):
    values = pack(served / "solar_nips.tar.gz", "solar", 2, 50, 24, 7)
    for _ in range(2):
        series = datasets.rolling(str(tmp_path / "root"), "solar")
        np.testing.assert_array_equal(series.items[0].values, values)
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["solar_nips.tar.gz"]
    assert capsys.readouterr().err.count("downloading solar_nips.tar.gz (3 MB)") == 1
    (tmp_path / "root/solar_nips.tar.gz").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"solar_nips\.tar\.gz cannot be read"):
        datasets.rolling(str(tmp_path / "root"), "solar")


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("gluonts data.name=electricity", "datasets.COPULA"),
        ("ett data.name=ETTm2", "datasets.ETT"),
        ("m4_hourly", "datasets.M4"),
        ("pm25", "datasets.STMVL"),
        ("physionet", "physionet.SET_A"),
    ],
)
def test_without_a_network_one_sentence_says_what_to_do(tmp_path, monkeypatch, name, address):
    module, constant = address.split(".")
    module = {"datasets": datasets, "physionet": intensive_care}[module]
    nobody = getattr(module, constant).split("/")[-1]
    monkeypatch.setattr(module, constant, f"http://127.0.0.1:9/{nobody}")
    with pytest.raises(UserError, match=r"could not be downloaded .*set data\.root") as caught:
        build_series(config(*name.split(), f"data.root={tmp_path}"))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_settings_that_make_no_sense_are_refused(tmp_path):
    pandas.DataFrame({"date": pandas.date_range("2024", periods=50), "x": 1.0}).to_csv(
        tmp_path / "t.csv", index=False
    )
    path = f"data.path={tmp_path / 't.csv'}"
    with pytest.raises(UserError, match=r"data\.path is not set"):
        build_series(config("csv"))
    for override, words in {
        "data.context=0": r"data\.context",
        "data.horizon=-1": r"data\.horizon",
        "data.lags=[0]": r"data\.lags",
        "data.scaling=minmax": r"data\.scaling",
        "data.test=1.5": r"data\.test",
        "data.multivariate=3": r"data\.multivariate",
        "data.workers=-1": r"data\.workers",
        "data.horizon=60": "no series is longer than the horizon",
    }.items():
        with pytest.raises(UserError, match=words):
            build_series(config("csv", path, override))
    for name in ("rolling", "ett", "pm25", "statsmodels"):
        options = {} if name == "statsmodels" else {"root": str(tmp_path)}
        options["part" if name == "pm25" else "name"] = "nope"
        with pytest.raises(UserError, match="nope is invalid"):
            getattr(datasets, name)(**options)
