"""What a command line imports before it works: help and refusals do not wait for torch."""

import json
import subprocess
import sys
from pathlib import Path

import listening_set
import numpy as np
import pytest
import soundfile

from wavediff.cli import COMMANDS
from wavediff.evaluation.listening.page import page

SLOW = {"librosa", "matplotlib", "numpy", "pandas", "scipy", "soundfile", "torch", "torchaudio"}

# Runs command lines one after the other, and says for each its exit code and what is imported.
SCRIPT = """
import contextlib, io, json, sys
from wavediff.cli import main

lines, watched = map(json.loads, sys.argv[1:])
for line in lines:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = main(line)
        except SystemExit as stop:
            code = stop.code
    print(json.dumps([code, [name for name in watched if name in sys.modules]]))
"""


def imported(lines: list[list[str]], folder: Path, watched=SLOW) -> list[tuple[int, list[str]]]:
    """(exit code, watched modules that are imported) after each command line."""
    words = [sys.executable, "-c", SCRIPT, json.dumps(lines), json.dumps(sorted(watched))]
    done = subprocess.run(words, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_help_and_the_list_of_models_import_nothing_slow(tmp_path):
    lines = [["--help"], ["info"], ["info", "--json"], *([name, "--help"] for name in COMMANDS)]
    for line, found in zip(lines, imported(lines, tmp_path), strict=True):
        assert found == (0, []), line


NOTHING = "nothing"  # of that name there is no file, no option and no model
REFUSED = [
    ["enhance", "a.wav", "-o", "b.wav", f"--{NOTHING}"],
    ["enhance", "a.wav", "-o", "b.wav", "--steps", "0"],
    ["enhance", "a.wav", "-o", "file/b.wav"],
    ["enhance", "a.wav", "-o", "a.wav"],
    ["enhance", "a.wav", "-o", "b.wav", "--checkpoint", NOTHING],
    ["enhance", "a.wav", "-o", "b.wav", "--sampler", NOTHING],
    ["enhance", NOTHING, "-o", "b.wav"],
    ["enhance", "--live", "-", "-o", "-", "--checkpoint", NOTHING],
    ["live", "--checkpoint", NOTHING],
    ["live", "--record", "a.wav", "b.wav"],
    ["vocode", NOTHING, "-o", "b.wav"],
    ["vocode", "a.wav", "-o", "b.xyz"],
    ["mel", NOTHING, "-o", "b.npy"],
    ["encode", NOTHING, "-o", "b.npz", "--checkpoint", NOTHING],
    ["decode", NOTHING, "-o", "b.wav"],
    ["generate", "-o", "new", "--checkpoint", NOTHING],
    ["inpaint", NOTHING, "--gap", "1:2", "-o", "b.wav"],
    ["extend", NOTHING, "-o", "b.wav"],
    ["declip", NOTHING, "-o", "b.wav"],
    ["forecast", NOTHING, "-o", "b.csv"],
    ["forecast", "file", "-o", "b.xyz"],
    ["impute", NOTHING, "-o", "b.csv"],
    ["backtest", NOTHING],
    ["backtest", "file", "--models", NOTHING],
    ["synthesize", "--checkpoint", NOTHING, "-o", "b.csv"],
    ["evaluate", "--reference", NOTHING, "--estimate", NOTHING],
    ["evaluate", "--reference", ".", "--estimate", ".", "--metrics", NOTHING],
    ["evaluate", "--no-reference", "--estimate", NOTHING],
    ["evaluate", "--no-reference", "--estimate", ".", "--onnx-metric", f"mos={NOTHING}"],
    ["listen", "make", "--reference", NOTHING, "--system", "a=file", "-o", "new"],
    ["listen", "make", "--reference", ".", "--system", "a", "-o", "new"],
    ["listen", "serve", NOTHING, "--answers", "b.sqlite"],
    ["listen", "analyse", NOTHING, "-o", "new"],
    ["listen", NOTHING],
    ["app", "--port", "70000"],
    ["app", "--generator", NOTHING],
    ["app", "--host", "nowhere.invalid"],
    ["likelihood", "a.wav", "--checkpoint", NOTHING],
    ["import", NOTHING, "-o", "new"],
    ["tune", NOTHING, "--steps", "4", "-o", "new.safetensors"],
    ["bundle", NOTHING, "-o", "new"],
    ["export", NOTHING, "-o", "b.onnx"],
    ["info", NOTHING],
    ["pack", NOTHING, "-o", "new"],
    ["pack", "--check", "."],
    ["train", f"recipe={NOTHING}"],
    ["train", "recipe=tiny", f"trainer.{NOTHING}=1"],
    ["train", "recipe=folder", "run_dir=run"],  # without its data.root
    ["search", "recipe=tiny", f"space={NOTHING}"],
    ["search", f"recipe={NOTHING}", "space=learning_rate"],
    ["search", "recipe=tiny", "space=learning_rate", "--trials", "0"],
    ["search", "recipe=tiny", "space=learning_rate", "--budget", "seconds"],
]


def test_a_wrong_line_is_refused_before_anything_slow_is_imported(tmp_path):
    for name in ("a.wav", "file"):
        (tmp_path / name).touch()
    for line, found in zip(REFUSED, imported(REFUSED, tmp_path), strict=True):
        assert found == (2, []), line
    assert {line[0] for line in REFUSED} == set(COMMANDS)
    assert {path.name for path in tmp_path.iterdir()} == {"a.wav", "file"}


def test_listening_tests_are_served_and_analysed_without_torch(tmp_path):
    rng = np.random.default_rng(0)
    plan = listening_set.plan("mos", 6)
    listener = listening_set.simulated(plan, "a", lambda condition: rng.integers(1, 6), rng)
    listening_set.save(tmp_path / "answers", plan, [listener])
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "manifest.json").write_bytes(plan.encoded())
    (tmp_path / "test" / "index.html").write_text(page(plan, {}))
    serve = ["listen", "serve", "test", "--answers", "a.sqlite", "--host", "nowhere.invalid"]
    lines = [serve, ["listen", "analyse", "answers", "-o", "report"]]
    served, analysed = imported(lines, tmp_path)
    assert served == (2, [])
    assert analysed[0] == 0
    assert "torch" not in analysed[1]


@pytest.mark.parametrize("command", ["enhance", "vocode"])
def test_inference_imports_only_what_it_needs(tmp_path, command):
    noise = np.random.default_rng(0).standard_normal(8000)
    soundfile.write(tmp_path / "a.wav", 0.1 * noise, 16_000)
    (found,) = imported(
        [[command, "a.wav", "-o", "b.wav"]],
        tmp_path,
        {"hydra", "librosa", "matplotlib", "pandas", "scipy.signal", "scipy.stats", "torchaudio"},
    )
    assert found[0] == 0
    assert set(found[1]) <= {"hydra"}
