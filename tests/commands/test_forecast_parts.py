"""`wavediff forecast` of a part of the items, and on a cluster that is simulated."""

import json
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas
import pytest
from fake_ray import FakeRay

from wavediff.cli import run
from wavediff.commands import forecast, forecast_parts, ray_workers

ITEMS = ["north", "west", "east", "south", "centre"]
FAST = ["--horizon", "3", "--samples", "4", "--steps", "2", "--device", "cpu"]


@pytest.fixture
def table(tmp_path, monkeypatch, model_is_loaded_once) -> pandas.DataFrame:
    """``t.csv`` with five items of counts, but for the last."""
    monkeypatch.chdir(tmp_path)
    days, rng = pandas.date_range("2024-01-01", periods=12), np.random.default_rng(0)
    parts = [
        pandas.DataFrame({"date": days, "shop": name, "sales": rng.poisson(9, 12) + 0.5 * (k == 4)})
        for k, name in enumerate(ITEMS)
    ]
    found = pandas.concat(parts)
    found.to_csv("t.csv", index=False)
    return found


@pytest.fixture
def cluster(monkeypatch):
    """cluster(loses): for --ray; a part is named after the first of its items."""
    if find_spec("ray") is None:
        pytest.skip("without Ray")
    monkeypatch.setattr(forecast_parts, "PART", 2)
    monkeypatch.setattr(ray_workers, "POLL", 0.0)

    def use(loses=None) -> FakeRay:
        ray = FakeRay(cpus=1, loses=loses, name=lambda part: part[0][0])
        monkeypatch.setattr(forecast_parts, "on_cluster", ray.on_cluster)
        return ray

    return use


def forecasted(*words: str) -> int:
    return run(forecast.main, ["t.csv", *FAST, *words])


def lines() -> list[dict]:
    return [json.loads(line) for line in Path("m.jsonl").read_text().splitlines()]


def test_each_item_is_in_one_shard_in_the_order_of_the_table(table, capsys):
    for k in (1, 2):
        assert forecasted("-o", f"{k}.csv", "--shard", f"{k}/2", "--manifest", "m.jsonl") == 0
    found = [list(pandas.read_csv(f"{k}.csv")["shop"].unique()) for k in (1, 2)]
    assert found == [["north", "west", "centre"], ["east", "south"]]
    assert Counter(line["input"] for line in lines()) == Counter(ITEMS)
    assert {line["output"] for line in lines() if line["input"] == "east"} == {"2.csv"}
    capsys.readouterr()
    assert forecasted("-o", "1.csv", "--shard", "1/2") == 0  # as a scheduler repeats a job
    assert "1.csv exists already and will be kept" in capsys.readouterr().err
    assert forecasted("-o", "9.csv", "--shard", "9/9") == 0
    assert not Path("9.csv").exists()


def test_a_cluster_gives_the_table_whatever_it_loses(table, cluster):
    ray = cluster({2: 2})
    assert forecasted("-o", "new/f.csv", "--ray", "auto", "--manifest", "m.jsonl") == 0
    found = pandas.read_csv("new/f.csv")
    assert list(found["shop"]) == [name for name in ITEMS for _ in range(3)]
    assert set(found["date"]) == {"2024-01-13", "2024-01-14", "2024-01-15"}
    assert found.filter(like="_q").notna().all(axis=None)
    assert [path.name for path in Path("new").iterdir()] == ["f.csv"]
    assert Counter(line["input"] for line in lines()) == Counter(ITEMS)
    assert Counter(part[0] for part, _ in ray.asked) == {(0, 1): 1, (2, 3): 3, (4,): 1}
    cluster()
    assert forecasted("-o", "again.csv", "--ray", "auto") == 0
    assert Path("again.csv").read_text() == Path("new/f.csv").read_text()


def test_what_is_finished_is_not_done_again(table, cluster, capsys):
    cluster({2: 99})
    words = ["-o", "f.csv", "--ray", "auto", "--manifest", "m.jsonl"]
    assert forecasted(*words) == 2
    assert "failed: items east to south: 3 workers ended at it" in capsys.readouterr().err
    assert not Path("f.csv").exists()
    assert {line["input"] for line in lines() if line["error"]} == {"east", "south"}
    ray = cluster()
    assert forecasted(*words) == 0
    assert [part[0] for part, _ in ray.asked] == [(2, 3)]
    assert "2 of 3 parts are finished already" in capsys.readouterr().err
    assert Counter(line["input"] for line in lines()) == Counter(ITEMS)
    assert not any(line["error"] for line in lines())
    assert len(pandas.read_csv("f.csv")) == 3 * len(ITEMS)


def test_parts_of_another_forecast_are_not_taken(table, cluster, capsys):
    cluster({2: 99})
    assert forecasted("-o", "f.csv", "--ray", "auto") == 2
    ray = cluster()
    assert forecasted("-o", "f.csv", "--ray", "auto", "--seed", "1") == 0
    assert len(ray.asked) == 3
    assert "f.csv.parts has parts of another forecast: removed" in capsys.readouterr().err
    Path("g.csv.parts").mkdir()
    Path("g.csv.parts/mine").touch()
    assert forecasted("-o", "g.csv", "--ray", "auto") == 2
    assert "g.csv.parts is not a folder of parts" in capsys.readouterr().err
    assert Path("g.csv.parts/mine").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--fit-steps", "2"], "give --checkpoint MODEL"),
        (["--plot", "p.png"], "--plot and --save are not for --shard"),
        (["--manifest", "t.csv"], "--manifest t.csv is an input"),
    ],
)
def test_what_does_not_go_with_a_part(table, words, sentence, capsys):
    assert forecasted("-o", "f.csv", "--shard", "1/2", *words) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("f.csv").exists()


def test_the_range_of_the_values_is_that_of_the_whole_table(table):
    assert forecasted("-o", "f.csv", "--shard", "4/5") == 0
    values = pandas.read_csv("f.csv").query("shop == 'south'").filter(like="_q")
    assert (values % 1 > 0).any(axis=None)  # by itself it would be of counts
