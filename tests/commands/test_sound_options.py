"""Options of the commands for sound that cannot be: refused before a model is loaded."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavediff import cli

RESTORE = ["declip in.wav", "inpaint in.wav --gap 0.1:0.2", "extend in.wav"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise = 0.3 * np.random.default_rng(0).standard_normal((4000, 1))
    soundfile.write("in.wav", noise.clip(-0.2, 0.2), 8000)
    soundfile.write("six.wav", np.repeat(noise, 6, 1).clip(-0.2, 0.2), 8000)
    for folder in ("m", "folder.html", "folder.json", "o.flac"):
        Path(folder).mkdir()
    Path("m/model.safetensors").touch()  # whoever loads it fails
    Path("table.csv").write_text("name,snr_db\nin,5\n")
    return tmp_path


def state(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(words: str) -> None:
    try:
        code = cli.main(words.split())
    except SystemExit as stop:
        code = stop.code
    assert code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        *((f"{command} -o o.m4a", "give a name that ends in .wav") for command in RESTORE),
        *((f"{command} -o /proc/o.wav", "cannot write into /") for command in RESTORE),
        *((f"{command} -o o.flac --overwrite", "o.flac is a folder") for command in RESTORE),
        *((f"{command} -o in.wav --overwrite", "is the input") for command in RESTORE),
        *((f"{command} -o o.wav --seed 1{20 * '0'}", "out of range") for command in RESTORE),
        *((f"{command} -o o.wav --threads 1000000000", "(1 to 1024)") for command in RESTORE),
        ("extend in.wav -o o.mp3", "ends in .wav or .flac"),
        ("declip six.wav -o o.mp3", "up to 2 channels"),
        ("declip in.wav -o o.mp3 --bit-rate 9999", "9999 kbit/s is out of range"),
        ("inpaint six.wav --gap 0.1:0.2 -o o.mp3", "up to 2 channels"),
        ("inpaint in.wav --gap 0.1:0.2 -o o.opus --bit-rate 1", "1 kbit/s is out of range"),
        ("inpaint in.wav --gap nan:0.2 -o o.wav", "'nan:0.2' is invalid"),
        ("declip in.wav -o o.wav --gain nan", "'nan' is invalid: must be a finite number"),
        ("declip in.wav -o o.wav --gain inf", "'inf' is invalid"),
        ("declip in.wav -o o.wav --gain 400", "'400' is out of range (-100 to 100)"),
        ("declip in.wav -o o.wav --threshold 7", "no sample of in.wav reaches the threshold, 7"),
        ("extend in.wav -o o.wav --cutoff nan", "'nan' is invalid"),
        ("enhance in.wav -o o.wav --report /proc/r.html", "cannot write into /"),
        ("enhance in.wav -o o.wav --report folder.html", "folder.html is a folder"),
        ("enhance in.wav -o /proc/o.wav", "cannot write into /"),
        ("generate -o /proc/new --n 1", "cannot write into /"),
        ("generate -o new --n 1000000000000", "(1 to 1000000)"),
        ("generate -o new --guidance nan", "'nan' is invalid"),
        ("generate -o new --guidance 1e30", "(-100 to 100)"),
        ("likelihood in.wav --csv in.wav", "cannot write a table to in.wav"),
        ("likelihood six.wav table.csv --csv table.csv", "is an input and would be overwritten"),
        ("likelihood in.wav --json folder.json", "folder.json is a folder"),
        ("likelihood in.wav --json /proc/x.json", "cannot write into /"),
        ("likelihood in.wav --json x.json --csv x.json", "are both x.json"),
        ("likelihood in.wav --json m/model.safetensors", "cannot write a table to"),
        ("likelihood in.wav --probes 1000000000", "(1 to 10000)"),
        ("likelihood in.wav --t-min nan", "'nan' is invalid"),
        ("vocode in.wav -o o.wav --mel-iterations 1000000000", "(0 to 10000)"),
        ("vocode in.wav -o /proc/o.wav", "cannot write into /"),
        ("encode in.wav -o /proc/o.npz", "cannot write into /"),
    ],
)
def test_refused_before_a_model_is_loaded(here, capsys, words, said):
    before = state(here)
    refused(f"{words} --checkpoint m")
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err
    assert "safetensors file" not in output.err
    assert state(here) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--manifest table.csv --csv table.csv", "--csv table.csv is an input"),
        ("--json /proc/x.json", "cannot write into /"),
        ("--json folder.json", "folder.json is a folder"),
        ("--jobs 1000000000", "(1 to 256)"),
    ],
)
def test_results_of_evaluate_replace_no_input(here, capsys, words, said):
    before = state(here)
    refused(f"evaluate --reference in.wav --estimate in.wav --metrics lsd {words}")
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err
    assert state(here) == before
