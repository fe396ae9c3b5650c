"""Commands on tables, with the model loaded once."""

import functools

import pytest

from wavediff.cli import run
from wavediff.commands import backtest, forecast, impute
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
