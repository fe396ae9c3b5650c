"""Inputs from stdin and named pipes, outputs to stdout: one rule for all commands for sound."""

import io
import json
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavediff import cli

RATE = 22_050
LSD = ["evaluate", "--metrics", "lsd", "--jobs", "1"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise = 0.1 * np.random.default_rng(0).standard_normal((RATE // 2, 2))
    soundfile.write("a.wav", noise[:, 0], RATE)
    soundfile.write("b.flac", noise.mean(1), RATE)
    (tmp_path / "m").mkdir()
    (tmp_path / "m/model.safetensors").touch()
    return tmp_path


@pytest.fixture
def give(monkeypatch):
    """give(data): what comes from stdin."""

    def replace(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return replace


def fifo(name: str, source: str) -> None:
    """A named pipe into which a file is written."""
    os.mkfifo(name)
    pipe, data = Path(name).absolute(), Path(source).read_bytes()
    threading.Thread(target=lambda: pipe.write_bytes(data), daemon=True).start()


@pytest.mark.parametrize("source", ["-", "/dev/stdin", "/dev/fd/0"])
@pytest.mark.parametrize("target", ["-", "/dev/stdout"])
def test_from_stdin_to_stdout(here, give, capfdbinary, source, target):
    assert cli.main(["mel", "a.wav", "-o", "a.npy"]) == 0
    capfdbinary.readouterr()
    give(Path("a.wav").read_bytes())
    assert cli.main(["mel", source, "-o", target]) == 0
    output = capfdbinary.readouterr()
    assert output.out == Path("a.npy").read_bytes()
    assert output.err == b""
    give(Path("a.wav").read_bytes())
    assert cli.main(["mel", source, "-o", "out", "--format", "pt"]) == 0
    assert capfdbinary.readouterr().out == b"out/stdin.pt\n"
    assert not Path("-").exists()


def test_named_pipes_are_inputs(here, capsys):
    assert cli.main(["mel", "a.wav", "b.flac", "-o", "expected"]) == 0
    fifo("x.wav", "a.wav")
    fifo("y", "b.flac")
    assert cli.main(["mel", "x.wav", "y", "-o", "out"]) == 0
    for name, other in (("x", "a"), ("y", "b")):
        assert Path(f"out/{name}.npy").read_bytes() == Path(f"expected/{other}.npy").read_bytes()
    fifo("text", "m/model.safetensors")
    capsys.readouterr()
    assert cli.main(["mel", "text", "-o", "c.npy"]) == 2
    assert capsys.readouterr().err == "error: text is empty: it has no bytes.\n"


def test_evaluate_reads_pipes_and_writes_json_to_stdout(here, give, capsys):
    fifo("x", "a.wav")
    give(Path("b.flac").read_bytes())
    assert cli.main([*LSD, "--reference", "x", "--estimate", "-", "--json", "-"]) == 0
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert (found["reference"], found["estimate"]) == ("x", "stdin")
    assert (found["files"][0]["reference"], found["files"][0]["estimate"]) == ("x", "stdin")
    assert found["measures"]["lsd"]["mean"] > 0
    assert "LSD (dB)" in output.err
    assert not Path("-").exists()


def test_csv_to_stdout(here, capsys):
    words = ["--reference", "a.wav", "--estimate", "b.flac", "--csv", "-"]
    assert cli.main([*LSD, *words]) == 0
    assert capsys.readouterr().out.startswith("name,")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("mel - - -o out", "- (stdin) can be given once"),
        ("mel - /dev/stdin -o out", "- (stdin) can be given once"),
        ("mel a.wav b.flac -o -", "2 inputs cannot all go to stdout: give a folder"),
        ("mel /dev/null -o a.npy", "/dev/null is a device or a socket: give a file"),
        ("evaluate --reference - --estimate - --metrics lsd", "can be given once"),
        (
            "evaluate --reference a.wav --estimate a.wav --json - --csv -",
            "cannot both go to stdout",
        ),
        ("likelihood a.wav --json - --csv /dev/stdout --checkpoint m", "cannot both go to stdout"),
        ("generate -o - --checkpoint m", "- (stdout) is not a folder"),
        ("bundle m -o -", "- (stdout) is not a folder"),
        ("mel x -o -", "x is not audio that can be read"),
        ("mel - -o -", "stdin is not audio that can be read"),
        ("enhance - -o - --checkpoint m", "stdin is not audio that can be read"),
        ("encode - -o - --checkpoint m", "m/model.safetensors is not a wavediff checkpoint"),
        ("declip - -o - --checkpoint m", "stdin is not audio that can be read"),
        ("inpaint - -o - --gap 1:2 --checkpoint m", "stdin is not audio that can be read"),
        ("extend - -o - --checkpoint m", "stdin is not audio that can be read"),
        ("decode - -o -", "stdin is not a latent"),
    ],
)
def test_what_cannot_be_piped_is_one_sentence(here, give, capsys, words, said):
    give(b"text " * 1000)
    Path("text").write_bytes(b"text " * 1000)
    if "x" in words.split():
        fifo("x", "text")
    assert cli.main(words.split()) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err
    assert output.err.count("\n") == 1
    assert not Path("-").exists()
