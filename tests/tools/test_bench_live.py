import importlib.util
import re
from pathlib import Path

import pytest
from toys import tiny_live_config, with_random_weights

from wavediff.cli import run

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    spec = importlib.util.spec_from_file_location("bench_live", TOOLS / "bench_live.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_times_of_blocks_and_memory_are_printed(tool, tmp_path, capsys):
    model = tmp_path / "model.safetensors"
    with_random_weights(tiny_live_config()).save_pretrained(model)
    assert run(tool.main, ["--checkpoint", str(model), "--seconds", "12"]) == 0
    out = capsys.readouterr().out
    blocks = 12 * 4000 // 16
    assert re.search(rf"late blocks +\d+ of {blocks}", out)
    assert "ms of 4" in out
    early, late = map(float, re.findall(r"([\d.]+) MB", out))
    assert late < 1.02 * early


def test_a_model_that_looks_ahead_is_refused(tool, capsys):
    assert run(tool.main, ["--checkpoint", "enhancer-16k"]) == 2
    assert "looks ahead" in capsys.readouterr().err
