import numpy as np
import pandas
import pytest
import torch

from wavediff.errors import UserError
from wavediff.series import windows
from wavediff.series.reading import read_series
from wavediff.series.series_set import Series, SeriesSet
from wavediff.series.windows import Windows, rolling, split, visible_lags


def counting(lengths=(100, 40), variables=2, freq="h", **settings) -> SeriesSet:
    """Items whose value at step t of variable v is 1000 item + 100 v + t."""
    start = pandas.Timestamp("2024-01-01")
    items = [
        Series(
            f"item{i}",
            start,
            1000.0 * i + 100.0 * np.arange(variables)[:, None] + np.arange(length),
            **{name: values[i] for name, values in settings.items()},
        )
        for i, length in enumerate(lengths)
    ]
    known = [f"k{j}" for j in range(len(settings["known"][0]))] if "known" in settings else ()
    return SeriesSet(items, [f"v{v}" for v in range(variables)], freq, known)


def same(one: dict, other: dict) -> bool:
    return all(
        one[key].equal(other[key]) if isinstance(one[key], torch.Tensor) else one[key] == other[key]
        for key in one
    )


def test_a_window_is_what_its_place_says():
    data = windows.test_windows(counting(), 12, 4, [50, 20], lags=[4, 24])
    item = data[0] | {}
    values = torch.arange(38.0, 54.0) + torch.tensor([[0.0], [100.0]])
    assert item["values"].equal(values)
    assert item["present"].equal(torch.ones(2, 16))
    assert item["lags"].shape == item["lags_present"].shape == (4, 16)
    assert item["lags"][0].equal(values[0] - 4)  # variable 0, lag 4
    assert item["lags"][3].equal(values[1] - 24)
    assert item["label"] == 0
    np.testing.assert_allclose(item["local"][0], np.arange(38, 54) % 24 / 23 - 0.5, atol=1e-6)
    assert (data.times(0) == data.set.times(0, 38, 54)).all()
    assert data[1]["values"][0].equal(torch.arange(1008.0, 1024.0))
    assert (data.variables, data.length, data.local_channels) == (2, 16, 4)


def test_nothing_of_the_horizon_is_in_the_lags():
    data = windows.test_windows(counting(), 12, 6, [50, 30], lags=[2, 24])
    seen = data[0]["lags"][0][data[0]["lags_present"][0] > 0]
    assert seen.max() == 49  # the last step before the origin
    assert data[0]["lags_present"][0].tolist() == [1] * 14 + [0] * 4
    assert data[0]["lags"].max() < 150


def test_what_lies_outside_is_missing_and_the_calendar_goes_on():
    data = windows.test_windows(counting(), 8, 5, [[100], [3]], lags=[30])
    beyond, before = data[0], data[1]
    assert beyond["present"][0].tolist() == [1] * 8 + [0] * 5
    assert beyond["values"][0].tolist() == [*range(92, 100), *[0] * 5]
    assert before["present"][0].tolist() == [0] * 5 + [1] * 8
    assert not before["lags_present"].any()
    hours = np.arange(92, 105) % 24 / 23 - 0.5
    np.testing.assert_allclose(beyond["local"][0], hours, atol=1e-6)
    np.testing.assert_allclose(before["local"][0], np.arange(-5, 8) % 24 / 23 - 0.5, atol=1e-6)


def test_missing_values_are_zero_and_not_present():
    series = counting((60,), 1)
    series.items[0].values[0, ::3] = np.nan
    item = windows.test_windows(series, 12, 3, 30, lags=[3])[0]
    assert item["present"][0].tolist() == [0, 1, 1] * 5
    assert item["values"].isfinite().all()
    assert item["lags_present"][0].tolist() == [0, 1, 1] * 5
    assert (item["values"][0, ::3] == 0).all()


def test_training_windows_are_pure_and_stay_before_their_stops():
    series = counting((100, 40, 9, 3))
    data = Windows(series, 12, 4, seed=3, stops=[80, 30, 9, 3], lags=[24])
    again = Windows(series, 12, 4, seed=3, stops=[80, 30, 9, 3], lags=[24])
    order = np.random.default_rng(0).permutation(400)
    for index in order[:50]:
        assert same(data[int(index)], again[int(index)])
    ends, labels = {0: set(), 1: set(), 2: set()}, []
    for index in range(1200):
        item = data[index]
        label = item["label"]
        labels.append(label)
        values = item["values"][0][item["present"][0] > 0] - 1000 * label
        ends[label].add(int(values.max()) + 1)
        assert item["index"] == index
    assert ends[0] == set(range(16, 81))  # every place, and none beyond
    assert ends[1] == set(range(16, 31))
    assert ends[2] == set(range(5, 10))  # short: padded at the beginning
    counts = np.bincount(labels) / 1200
    np.testing.assert_allclose(counts, [5 / 8, 2 / 8, 1 / 8], atol=0.03)  # as they are long
    other = Windows(series, 12, 4, seed=4, stops=[80, 30, 9, 3], lags=[24])
    assert not all(same(data[i], other[i]) for i in range(9))


def test_every_epoch_has_each_series_in_another_order():
    data = Windows(counting((30,) * 8), 12, 4)
    epochs = [[data[i]["label"] for i in range(e * len(data), (e + 1) * len(data))] for e in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted([*range(8)] * 2)
    assert epochs[0] != epochs[1]


def test_univariate_windows_take_each_variable_by_itself():
    data = Windows(counting(), 12, 4, multivariate=False)
    assert data.variables == 1
    assert data.label_names == ["item0:v0", "item0:v1", "item1:v0", "item1:v1"]
    for index in range(40):
        item = data[index]
        present = item["values"][0][item["present"][0] > 0]
        assert int(present[0]) // 100 == [0, 1, 10, 11][item["label"]]
    fixed = windows.test_windows(counting(), 12, 4, [[50, 60], 20], multivariate=False)
    assert [fixed[i]["label"] for i in range(len(fixed))] == [0, 1, 0, 1, 2, 3]
    assert fixed[3]["values"][0, 0] == 148


def test_known_covariates_and_constants_are_features():
    known = [np.arange(110.0)[None], np.arange(50.0)[None] + 5]
    static = [{"size": 1.0, "kind": "u"}, {"size": 3.0, "kind": "w"}]
    series = counting(known=known, static=static)
    data = windows.test_windows(series, 8, 10, None, fitted_on=[80, 30])
    assert data.local_names[4:] == ["k0", "size", "kind=u", "kind=w"]
    seen = np.concatenate([known[0][0, :80], known[1][0, :30]])
    expected = (np.arange(92.0, 110.0) - seen.mean()) / seen.std()
    np.testing.assert_allclose(data[0]["local"][4], expected, rtol=1e-5)
    assert data[1]["local"][5:, 0].tolist() == [1, 0, 1]
    with pytest.raises(UserError, match=r"known columns k0 end 1 steps before"):
        windows.test_windows(series, 8, 11, None)[0]


def test_plain_steps_have_no_calendar():
    data = windows.test_windows(read_series(np.arange(50.0)), 8, 4, None)
    assert data[0]["local"].shape == (0, 12)
    assert data.lags == []
    assert list(data.times(0)) == list(range(42, 54))


def test_spans_by_time():
    series = counting((100, 40))
    assert split(series, 0.2, 0.1) == ([70, 28], [80, 32])
    assert split(series, 24, 12) == ([64, 4], [76, 16])
    assert split(series) == ([100, 40], [100, 40])
    for wrong in (-1, 1.5, "0.2", True):
        with pytest.raises(UserError, match=r"data\.test="):
            split(series, wrong)
    assert rolling(80, 100, 6) == [80, 86, 92]
    assert rolling(80, 100, 6, 7) == [80, 87, 94]


def test_a_horizon_longer_than_the_data_is_one_sentence():
    with pytest.raises(UserError, match="no series is longer than the horizon: 40 steps"):
        Windows(counting((40, 20)), 12, 40)
    with pytest.raises(UserError, match="context"):
        Windows(counting(), 0, 4)
    with pytest.raises(UserError, match="lags="):
        Windows(counting(), 4, 4, lags=[0])


def test_hidden_cells_are_hidden_from_the_lags_too():
    data = windows.test_windows(counting(), 12, 4, [50, 30], lags=[4, 24])
    item = data[0]
    known = torch.ones(1, 2, 16)
    known[0, 1, 5] = 0
    seen = visible_lags(item["lags_present"][None], known, data.lags)
    hidden = (item["lags_present"][None] - seen).nonzero().tolist()
    assert hidden == [[0, 2, 9]]  # variable 1, lag 4: step 5 is seen from step 9 only
    nothing = visible_lags(item["lags_present"][None], torch.zeros(1, 2, 16), data.lags)
    assert nothing[0, 0].tolist() == [1] * 4 + [0] * 12  # what lies before the window
    assert nothing[0, 1].equal(item["lags_present"][1])


def test_windows_go_through_a_loader():
    data = Windows(counting(), 12, 4)
    batch = next(iter(torch.utils.data.DataLoader(data, 4, sampler=range(8))))
    assert batch["values"].shape == (4, 2, 16)
    assert batch["label"].dtype == torch.int64
