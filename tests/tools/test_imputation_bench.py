import importlib.util
from pathlib import Path

import numpy as np
import pandas
import pytest
from safetensors.torch import load_file

from wavediff.cli import run
from wavediff.commands import train
from wavediff.series.baselines import linear_interpolation

SCRIPT = Path(__file__).parents[2] / "tools" / "imputation_bench.py"
spec = importlib.util.spec_from_file_location("imputation_bench", SCRIPT)
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)

STEPS = 400


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Three related variables, hourly, some values missing from the start."""
    generator = np.random.default_rng(0)
    common = np.sin(np.arange(STEPS) / 24 * 2 * np.pi)
    frame = pandas.DataFrame(
        {name: k + 3 * common + generator.normal(size=STEPS) for k, name in enumerate("abc")}
    )
    frame.insert(0, "time", pandas.date_range("2024-01-01", periods=STEPS, freq="h"))
    frame.loc[390:392, "b"] = np.nan
    path = tmp_path_factory.mktemp("table") / "table.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory) -> Path:
    """A run of a few steps with attention across the variables."""
    folder = tmp_path_factory.mktemp("run") / "run"
    words = [
        "recipe=series",
        f"data.path={table}",
        "data.context=24",
        "data.horizon=4",
        "data.lags=[24]",
        "network=csdi",
        "network.width=8",
        "network.layers=2",
        "trainer.max_steps=2",
        "trainer.batch_size=4",
        "trainer.validate_files=1",
        "trainer.validate_every=2",
        "trainer.device=cpu",
        "trainer.progress=false",
        f"run_dir={folder}",
    ]
    assert run(train.main, words) == 0
    return folder


def test_the_recipe_trains_attention_across_the_variables_on_a_table(trained):
    weights = load_file(trained / "model.safetensors")
    assert next(v for k, v in weights.items() if "channel_embedding" in k).shape[0] == 3


def test_straight_lines_are_measured_in_the_hidden_cells_alone(table, trained, capsys):
    words = ["--data", f"{table}", "--checkpoint", f"{trained}", "--samples", "3", "--steps", "2"]
    assert run(bench.main, [*words, "--missing", "0.5,blocks", "--quiet", "--seed", "5"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [row.split(", ")[:2] for row in out[1:]] == [
        [kind, name] for kind in ("0.5", "blocks") for name in ("linear interpolation", "model")
    ]
    truth = pandas.read_csv(table).iloc[-80:, 1:].to_numpy().T
    hidden = np.random.default_rng(5).random(truth.shape) < 0.5
    error = np.abs(linear_interpolation(np.where(hidden, np.nan, truth)) - truth)[hidden]
    mae, points = np.nanmean(error), np.isfinite(error).sum()
    row = out[1].split(", ")
    assert row[2] == f"{mae:.4f}"
    assert row[6] == str(points)


def test_a_step_is_filled_by_the_window_in_whose_middle_it_is():
    starts = bench.starts_of(50, 20, 10)
    assert starts == [0, 10, 20, 30]
    owner = bench.owners(starts, 50, 20, 10)
    assert owner.tolist() == [0] * 15 + [1] * 10 + [2] * 10 + [3] * 15
    starts = bench.starts_of(50, 20, 20)
    assert starts == [0, 20, 30]
    owner = bench.owners(starts, 50, 20, 20)
    assert owner.tolist() == [0] * 20 + [1] * 20 + [2] * 10


def test_blocks_hide_a_quarter_every_other_time_of_all_variables_at_once():
    hidden = bench.hidden_blocks((5, 960), seed=0)
    assert hidden.mean() == 0.25
    pieces = hidden.reshape(5, 10, 96)
    assert (pieces.sum(-1) == 24).all()
    assert (np.abs(np.diff(pieces.astype(int))).sum(-1) <= 2).all()
    assert (pieces[:, ::2] == pieces[:1, ::2]).all()
    assert (pieces[:, 1::2] != pieces[:1, 1::2]).any((0, 2)).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--missing", "1.5"], "is not a fraction"),
        (["--missing", "some"], "is not a fraction"),
        (["--stride", "29"], "--stride 29"),
        (["--samples", "1"], "--samples 1"),
    ],
)
def test_wrong_words_are_told(words, message, table, trained, capsys):
    given = ["--data", f"{table}", "--checkpoint", f"{trained}", "--quiet", *words]
    assert run(bench.main, given) == 2
    assert message in capsys.readouterr().err
