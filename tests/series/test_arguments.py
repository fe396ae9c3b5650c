"""What people pass to the classes by mistake: a sentence that names it."""

import datetime
import re

import numpy as np
import pandas
import pytest
import torch

from wavediff.errors import UserError
from wavediff.series import forecaster as module
from wavediff.series.forecaster import Forecaster
from wavediff.series.reading import read_series

LINE = [float(k % 5) for k in range(30)]
ODD = [None, {}, "many", {1, 2}, object(), [3], 2.5, True, np.nan, b"3"]


@pytest.fixture(scope="module")
def forecaster():
    return Forecaster(progress=False, device="cpu", samples=4, steps=2)


@pytest.fixture(autouse=True)
def model_is_loaded_once(monkeypatch, forecaster):
    monkeypatch.setattr(module, "_load", lambda checkpoint: forecaster.model)


@pytest.mark.parametrize(
    "name", ["horizon", "samples", "period", "fit_steps", "steps", "seed", "seconds"]
)
@pytest.mark.parametrize("value", [*ODD, -1, 10**30])
def test_counts_are_checked(name, value):
    optional = name not in ("samples", "seed") and value is None
    large = value == 10**30 and name in ("horizon", "samples", "seed", "seconds")
    if optional or large or (name == "seconds" and value == 2.5):
        return
    with pytest.raises(UserError, match=f"{name} is .*: it must be"):
        Forecaster(**{name: value})


@pytest.mark.parametrize("name", ["lower", "upper", "guidance_scale"])
@pytest.mark.parametrize("value", [{}, "many", {1}, object(), [3], True, np.nan, 1e300])
def test_numbers_are_checked(name, value):
    with pytest.raises(UserError, match=f"{name} is .*: it must be"):
        Forecaster(**{name: value})


def test_an_infinite_bound_is_none():
    assert Forecaster(lower=-np.inf, upper=np.inf).bounds == (None, None)
    with pytest.raises(UserError, match="lower is inf"):
        Forecaster(lower=np.inf)


@pytest.mark.parametrize("name", ["time", "item", "freq", "date_format", "tz", "sampler"])
@pytest.mark.parametrize("value", [{}, 3, {1}, object(), [3], True, 2.5, b"a"])
def test_texts_are_checked(name, value):
    with pytest.raises(UserError, match=f"{name} is .*: it must be a text"):
        Forecaster(**{name: value})


@pytest.mark.parametrize("name", ["targets", "known", "static"])
@pytest.mark.parametrize("value", [{}, 2.5, object(), [None], [["a"]], True, [True]])
def test_names_are_checked(name, value):
    with pytest.raises(UserError, match=f"{name} is .*: give the name of a column"):
        Forecaster(**{name: value})


@pytest.mark.parametrize("name", ["assess", "progress"])
@pytest.mark.parametrize("value", [None, "no", 0, {}])
def test_flags_are_checked(name, value):
    with pytest.raises(UserError, match=f"{name} is .*: it must be True or False"):
        Forecaster(**{name: value})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "tpu9"}, "device is 'tpu9': it must be auto, cpu or cuda"),
        ({"device": 3.5}, "device is 3.5: it must be auto, cpu or cuda"),
        ({"checkpoint": None}, "checkpoint is None: give a run folder"),
        ({"checkpoint": 5}, "checkpoint is 5: give a run folder"),
        ({"kind": None}, "kind is None: it must be one of"),
        ({"kind": ["count"]}, "kind is a list: it must be one of"),
        ({"sampler": "no-such"}, "no-such"),
    ],
)
def test_choices_are_checked(options, words):
    with pytest.raises(UserError, match=re.escape(words)):
        Forecaster(**options)


FRAME = pandas.DataFrame({"ds": pandas.date_range("2024", periods=30), "y": LINE})
TWICE = pandas.DataFrame(np.ones((5, 2)), columns=["x", "x"])
DATA = {
    "a number": (2.5, "a float is no table"),
    "nothing": (None, "a NoneType is no table"),
    "a set": ({1.0, 2.0}, "a set is no table"),
    "bytes": (b"1,2", "a bytes is no table"),
    "an object": (object(), "a object is no table"),
    "a function": (len, "is no table"),
    "a generator": ((x for x in LINE), "a generator is no table"),
    "a scalar": (np.array(3.0), "of shape [] is not a series"),
    "four axes": (np.zeros((2, 3, 4, 5)), "is not a series"),
    "complex": (np.zeros(5, complex), "is not a series"),
    "text": (np.array(["a", "b"]), "is not a series"),
    "objects": (np.array([object()] * 3), "is not a series"),
    "no step": (np.zeros((0, 2)), "is not a series"),
    "ragged": ([[1.0], [1.0, 2.0]], "in lists of one length"),
    "names": (["a", "b"], "a list of series has numbers"),
    "dicts": ([{"a": 1}], "a list of series has numbers"),
    "frames": ([FRAME, FRAME], "a list of series has numbers"),
    "no list": ([], "is not a series"),
    "empty dict": ({}, "a dict of arrays has one length"),
    "scalars": ({"a": 1.0}, "a dict of arrays has one length"),
    "two lengths": ({"a": [1.0], "b": [1.0, 2.0]}, "a dict of arrays has one length"),
    "no frame": (pandas.DataFrame(), "has no rows"),
    "one name twice": (FRAME.assign(z=1.0).set_axis(["ds", "y", "y"], axis=1), "two columns of"),
    "no time": (TWICE.set_axis(["a", "b"], axis=1), "no time column"),
    "one name, no time": (TWICE, "two columns of the name 'x'"),
    "a list in a cell": (FRAME.assign(y=[[1]] * 30), "no column with numbers"),
    "a dict in a cell": (
        FRAME.assign(y=[*map(str, LINE[:29]), {"a": 1}]), "in column y, row 29, is not a number"
    ),
    "all missing": (FRAME.assign(y=np.nan), "no column with numbers"),
    "a table as text": ("ds,y\n2024-01-01,1\n2024-01-02,2\n" * 99, "does not exist"),
    "a NUL": ("a\0b.csv", "does not exist"),
    "an index twice": (FRAME.set_index("ds", drop=False), "an index and a column of the name ds"),
    "timestamps missing": (FRAME.assign(ds=[None, *FRAME["ds"][1:]]), "is empty in row 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_data_that_are_no_series(forecaster, name):
    data, words = DATA[name]
    for use in (forecaster.fit, forecaster.read):
        with pytest.raises(UserError, match=re.escape(words)) as caught:
            use(data)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
        if name == "a generator":
            break
    if data is not None:
        for use in (forecaster.predict, forecaster.impute, forecaster.cross_validation):
            with pytest.raises(UserError, match=re.escape(words)):
                use(data)


@pytest.mark.parametrize("value", [-1, 0, *ODD[1:]])
def test_horizons_and_windows_are_checked(forecaster, value):
    with pytest.raises(UserError, match=r"horizon is .*: it must be 1 or more"):
        forecaster.predict(LINE, horizon=value)
    with pytest.raises(UserError, match=r"n_windows is .*: it must be 1 or more"):
        forecaster.cross_validation(LINE, horizon=2, n_windows=value)


@pytest.mark.parametrize("value", [-1, 0, 3])
def test_a_number_instead_of_data(forecaster, value):
    with pytest.raises(UserError, match=f"the data comes first: give horizon={value}"):
        forecaster.predict(value)


@pytest.mark.parametrize(
    "levels", [None, {}, "0.5", [], [1.5], [-0.1], ["a"], [None], np.nan, {0.5}, [[0.1, 0.9]], 2]
)
def test_quantiles_are_checked_before_the_forecast(forecaster, levels):
    with pytest.raises(UserError, match=r"quantiles are .*: give numbers between 0 and 1"):
        forecaster.predict(LINE, horizon=2, quantiles=levels)


def test_use_before_data_and_again():
    found = Forecaster(progress=False, device="cpu", samples=4, steps=2)
    for use in (found.predict, found.sample, found.impute, found.cross_validation, found.gaps):
        with pytest.raises(UserError, match="no data has been read"):
            use()
    first = found.fit(LINE).predict(horizon=2)
    again = found.fit(LINE).fit(LINE).predict(horizon=2)
    pandas.testing.assert_frame_equal(first, again)
    assert list(found.predict(horizon=2, quantiles=0.5)) == ["time", "v0_q0.5"]
    assert list(found.predict(horizon=2, quantiles=(0, 0.5, 0.5, 1))) == [
        "time", "v0_q0", "v0_q0.5", "v0_q1",
    ]  # fmt: skip


def test_more_that_people_hold():
    for data in (torch.tensor(LINE), tuple(LINE), {"v0": LINE}, np.array(LINE, np.float16)):
        series = read_series(data)
        assert (series.items[0].length, list(series.variables)) == (30, ["v0"])
    indexed = FRAME.set_index("ds")["y"]
    assert read_series(indexed.to_period("D")).freq == "D"
    assert read_series(indexed.rename(None)).variables == ["value"]
    assert read_series(FRAME, freq=pandas.offsets.Day()).freq == "D"
    numbers = pandas.DataFrame({0: FRAME["ds"], 1: LINE})
    assert read_series(numbers, targets=["1"]).variables == ["1"]
    days = {"day": [datetime.date(2024, 1, d) for d in range(1, 31)], "y": LINE}
    assert read_series(days).freq == "D"
    milliseconds = {"time": [1700000000000 + 3_600_000 * k for k in range(30)], "y": LINE}
    assert read_series(pandas.DataFrame(milliseconds)).freq == "h"


@pytest.mark.parametrize("kind", ["DataFrame", "LazyFrame", "Series"])
def test_what_polars_holds(kind):
    """By a class of the same name and methods: polars is not needed for tests."""
    frame = {"ds": FRAME["ds"], "y": LINE}
    plain = pandas.Series(LINE, name="y") if kind == "Series" else pandas.DataFrame(frame)
    methods = {"__module__": "polars.dataframe.frame", "to_pandas": lambda self: plain}
    source = type("DataFrame", (), methods)()
    if kind == "LazyFrame":
        lazy = {"__module__": "polars.lazyframe.frame", "collect": lambda self, whole=source: whole}
        source = type(kind, (), lazy)()
    series = read_series(source)
    assert (series.items[0].length, list(series.variables)) == (30, ["y"])
