"""The bench of a GPU, in its reduced form on the CPU."""

import importlib.util
from pathlib import Path

import pytest
import torch

from wavediff.cli import run

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    spec = importlib.util.spec_from_file_location("bench_gpu", TOOLS / "bench_gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.bench_vocoder, "CROP", module.bench_vocoder.CROP)
    return module


def tables(text: str) -> dict[str, list[list[str]]]:
    """The rows of each section, without the heads."""
    sections = {}
    for part in text.split("\n## ")[1:]:
        title, _, _, _, *rows = part.splitlines()
        cut = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row]
        sections[title.split(":")[0]] = cut
    return sections


@pytest.mark.slow
def test_it_runs_to_its_end(bench, tmp_path, capsys):
    file = tmp_path / "gpu.md"
    assert run(bench.main, ["--device=cpu", "--reduced", "--threads=1", f"--out={file}"]) == 0
    text = capsys.readouterr().out
    assert file.read_text() == text
    found = tables(text)
    outputs = found["Outputs compared with the CPU in float32"]
    assert [row[0] for row in outputs] == list(bench.BUNDLED)
    assert all(row[3] == "0.0e+00" for row in outputs)
    for title, column in (("DiffWave", 4), ("Models", 4)):
        for row in found[title]:
            if {"CUDA graph", "Triton gate"} & {*row[3].split(" + ")}:
                assert row[column] == "RuntimeError: needs a GPU"
            else:
                assert float(row[column]) > 0
    assert {row[1] for row in found["Models"]} == {"use", "training"}


def test_a_row_that_fails_does_not_end_the_tables(bench, capsys):
    import gpu_rows

    report = gpu_rows.Report(None, 1, torch.device("cpu"))
    report.row(["a"], lambda: 1 / 0)
    report.row(["b"], lambda: ["fine"])
    report.end = 0
    report.row(["c"], lambda: ["too late"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| a | ZeroDivisionError: division by zero |"
    assert lines[1] == "| b | fine |"
    assert "not measured: the time is over" in lines[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there(bench, capsys):
    assert run(bench.main, []) == 2
    assert "give --device cpu --reduced" in capsys.readouterr().err
