"""The fuzzer: what it finds in the commands, and that it sees what is wrong."""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wavediff import cli

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.mark.slow
def test_three_hundred_malformed_inputs():
    command = [sys.executable, str(TOOLS / "fuzz.py"), "--cases", "300", "--seed", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def fuzz():
    sys.path.insert(0, str(TOOLS))
    try:
        spec = importlib.util.spec_from_file_location("fuzz", TOOLS / "fuzz.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules["fuzz"] = module  # dataclasses look it up
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(TOOLS))


def crash(words) -> int:
    os.kill(os.getpid(), 9)
    return 0


def sleep(words) -> int:
    time.sleep(60)
    return 0


def leave(words) -> int:
    Path(".tmp-x.wav").touch()
    return 0


def escape(words) -> int:
    Path("..", "escaped").touch()
    return 0


def write(words) -> int:
    Path("out.wav").touch()
    print("error: no", file=sys.stderr)
    return 2


def swell(words) -> int:
    return len(bytearray(200_000_000)) and 0


def fail(words) -> int:
    raise RuntimeError("a fault")


def talk(words) -> int:
    print("x" * 30_000, file=sys.stderr)
    return 2


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (crash, "SIGKILL"),
        (sleep, "ran for more than 1 s"),
        (leave, "left .tmp-x.wav"),
        (escape, "escaped"),
        (write, "wrote out.wav beside an error"),
        (swell, "GB of memory"),
        (fail, "a traceback"),
        (talk, "a message of 30001 characters"),
        (lambda words: 2, "no message"),
        (lambda words: 1, "exit code 1"),
    ],
)
def test_what_is_wrong_is_seen(fuzz, tmp_path: Path, monkeypatch, main, words):
    monkeypatch.setattr(cli, "main", main)
    monkeypatch.setattr(fuzz, "SECONDS", 1)
    if main is swell:
        monkeypatch.setattr(fuzz, "BYTES", 200_000_000)
    folder = tmp_path / "case"
    folder.mkdir()
    outcome = fuzz.attempt(fuzz.Case(["x"], "", "out.wav"), folder)
    assert any(words in wrong for wrong in outcome.wrong), outcome


def test_a_command_that_refuses_is_right(fuzz, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(cli, "main", lambda words: print("error: no", file=sys.stderr) or 2)
    folder = tmp_path / "case"
    folder.mkdir()
    assert fuzz.attempt(fuzz.Case(["x"], "", "out.wav"), folder).wrong == []
