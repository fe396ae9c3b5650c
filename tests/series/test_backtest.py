import math

import numpy as np
import pytest

from wavediff.errors import UserError
from wavediff.series.backtest import backtest, cut, evaluate, rolling_origins, table_text
from wavediff.series.baselines import seasonal_naive


def ramp(n: int, n_variables: int = 1) -> np.ndarray:
    return np.arange(1.0, n + 1)[None] * np.ones((n_variables, 1))


def last(history, horizon, season, samples, seed):
    return np.repeat(history[None, :, -1:], horizon, axis=2)


def noise(history, horizon, season, samples, seed):
    shape = (samples, len(history), horizon)
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [90]),
        ({"windows": 3}, [70, 80, 90]),
        ({"windows": 3, "stride": 5}, [80, 85, 90]),
        ({"test": 0.2}, [80, 90]),
        ({"test": 25}, [75, 85]),
        ({"test": 12, "stride": 1}, [88, 89, 90]),
        ({"test": 1.0, "stride": 40}, [1, 41, 81]),
    ],
)
def test_origins_lie_in_the_test_span(options, expected):
    assert rolling_origins(100, 10, **options) == expected


def test_a_share_of_the_steps_is_exact():
    origins = rolling_origins(17420, 24, test=0.2)
    assert (origins[0], len(origins)) == (13936, 145)


@pytest.mark.parametrize("options", [{}, {"windows": 2}, {"test": 0.2}, {"test": 30}])
def test_too_short_a_series_is_one_sentence(options):
    with pytest.raises(UserError, match=r"a series of 24 steps has no room for .* shorter"):
        rolling_origins(24, 24, **options)


def test_a_model_sees_what_lies_before_the_origin_and_no_more():
    items = [ramp(30), 100 * ramp(20)]
    windows = cut(items, 4, [[10, 14], [16]], season=2, context=6)
    assert [(w.item, w.origin) for w in windows] == [(0, 10), (0, 14), (1, 16)]
    assert windows[1].history.tolist() == [[9, 10, 11, 12, 13, 14]]
    assert windows[1].target.tolist() == [[15, 16, 17, 18]]
    # MASE's unit is of all that lies before, not of the context
    assert [w.scale.tolist() for w in windows] == [[2], [2], [200]]
    assert cut(items, 4, [[10], []], season=8)[0].history.shape == (1, 10)
    for origin in (0, 27):
        with pytest.raises(ValueError, match="origin"):
            cut(items, 4, [[origin], []], season=2)


def test_measures_of_toy_models_by_hand():
    table = backtest(
        [ramp(12), ramp(10)], {"last": last, "season": seasonal_naive}, None, 2, [[8, 10], [8]],
        season=3,
    )  # fmt: skip
    # the last value misses by 1 and 2, a season of 3 by 3 and 3
    row = table["last"]
    assert row["MAE"] == 1.5
    assert row["RMSE"] == pytest.approx(math.sqrt(2.5))
    assert row["MASE"] == 0.5
    assert row["points"] == 6
    targets = 9 + 10 + 11 + 12 + 9 + 10
    for name in ("CRPS (9 deciles)", "CRPS (19 quantiles)", "CRPS (ensemble)"):
        assert row[name] == pytest.approx(9 / targets)
    assert table["season"]["MAE"] == 3
    assert table["season"]["seconds"] >= 0


def test_a_window_is_forecast_alike_whatever_else_is_tested():
    items = [ramp(40), ramp(40) + 3]
    options = {"season": 1, "samples": 9, "seed": 5}
    whole = backtest(items, {"noise": noise}, 8, 4, [[20, 30], [30]], **options)
    one = backtest(items, {"a": last, "noise": noise}, 8, 4, [[30], []], **options)
    seen = []

    def remember(*arguments):
        seen.append(noise(*arguments))
        return seen[-1]

    again = backtest(items, {"x": remember}, 8, 4, [[20, 30], [30]], **options)
    assert not np.array_equal(seen[0], seen[1])
    windows = cut(items, 4, [[30], []], 1, 8)
    expected = evaluate(windows, [seen[1]])
    assert {k: v for k, v in one["noise"].items() if k != "seconds"} == expected
    whole["noise"].pop("seconds")
    again["x"].pop("seconds")
    assert whole["noise"] == again["x"]


def test_progress_is_told():
    told = []
    backtest(
        [ramp(12)], {"a": last, "b": last}, None, 2, [[8, 10]], season=1,
        progress=lambda *what: told.append(what),
    )  # fmt: skip
    assert told == [("a", 1, 2), ("a", 2, 2), ("b", 1, 2), ("b", 2, 2)]


def test_forecasts_that_do_not_fit_are_refused():
    windows = cut([ramp(12)], 2, [[8, 10]], 1)
    with pytest.raises(ValueError, match="samples must be"):
        evaluate(windows, [np.zeros((5, 1, 3))] * 2)
    with pytest.raises(ValueError, match="not finite"):
        evaluate(windows, [np.full((5, 1, 2), math.nan)] * 2)
    with pytest.raises(ValueError, match="zip"):
        evaluate(windows, [np.zeros((5, 1, 2))])


def test_the_table_has_a_row_for_each_measure_and_dashes_for_what_is_not_there():
    table = backtest([ramp(12)], {"last": last, "noise": noise}, None, 2, [[8]], season=1)
    lines = table_text(table).splitlines()
    assert lines[0].split() == ["last", "noise"]
    width = next(line for line in lines if line.startswith("width 80 %"))
    assert width.split()[3] == "-"
    assert [line.split()[0] for line in lines[-2:]] == ["points", "seconds"]
