"""What streams cost: both models, whole and in blocks."""

import importlib.util
from pathlib import Path

import pytest

from wavediff.cli import run

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    spec = importlib.util.spec_from_file_location("bench_streams", TOOLS / "bench_streams.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("argv", "rows"),
    [(["vocoder", "--mel-iterations=0"], 1 + 4), (["enhancer"], 1 + 3)],
)
def test_a_stream_is_compared_with_the_whole(bench, capsys, argv, rows):
    assert run(bench.main, [*argv, "--seconds=5", "--repeats=1", "--chunk-seconds=0.6"]) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert len(lines) == rows
    whole, *blocks = ([float(word) for word in line.split()[-5:][-2:]] for line in lines)
    assert whole[1] == pytest.approx(whole[0] / 5, abs=1e-3)
    for latency, difference in blocks:
        assert 1 < latency < 4
        assert difference < 1e-5


def test_numbers_out_of_range_are_refused(bench, capsys):
    assert run(bench.main, ["vocoder", "--seconds=0.5"]) == 2
    assert "--seconds and --repeats must be 1 or more" in capsys.readouterr().err
