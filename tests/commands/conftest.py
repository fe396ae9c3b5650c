"""Commands on tables, with the model loaded once, and on devices that are simulated."""

import functools

import live_model
import pytest

from wavediff.cli import run
from wavediff.commands import backtest, forecast, impute, live
from wavediff.series import forecaster as forecaster_module

FAST = ["--samples", "4", "--steps", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def model_is_loaded_once():
    load = forecaster_module._load
    forecaster_module._load = functools.cache(load)
    yield
    forecaster_module._load = load


@pytest.fixture
def made(tmp_path, capsys, model_is_loaded_once):
    """(lines of the output, what is told) of a command on a table, or the sentence alone."""

    def run_it(text, *words, command=forecast, code=0, name="t.csv"):
        path, out = tmp_path / name, tmp_path / f"out{name[1:]}"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        options = [] if command is backtest else ["-o", str(out), "--overwrite"]
        options += ["--horizon", "2"] if command is not impute else []
        assert run(command.main, [str(path), *options, *FAST, *words]) == code
        told = capsys.readouterr().err
        if code or command is backtest:
            return told
        return out.read_text().splitlines(), told

    return run_it


@pytest.fixture(scope="session")
def tiny_live(tmp_path_factory):
    """The folder of a small causal enhancer."""
    return live_model.save(live_model.tiny(), tmp_path_factory.mktemp("live"))


@pytest.fixture
def start(tiny_live, tmp_path, monkeypatch, capsys):
    """start(audio, words) -> (code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(audio, *words):
        monkeypatch.setattr(live, "audio_system", lambda: audio)
        words = ["--checkpoint", str(tiny_live), *words]
        code = run(live.main, words)
        return code, *capsys.readouterr()

    return call
