"""Checkpoints whose values are missing, odd or enormous: one sentence, and no output."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
import soundfile
import torch
from fitted import fit
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from wavediff.cli import main
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import DIGEST, digest, find_checkpoint, save_task

FAST = ["--steps", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "model.safetensors"
    times = pandas.date_range("2024-01-01", periods=60, freq="D")
    frame = pandas.DataFrame({"time": times, "x": np.sin(np.arange(60))})
    frame.to_csv(path.parent / "t.csv", index=False)
    fit(frame, 4, steps=1).save_pretrained(path)
    return path


def rewritten(source: Path, target: Path, value: float | None = None, **metadata: str) -> str:
    """A checkpoint with other metadata, and all its weights of one value."""
    with safe_open(source, framework="pt") as file:
        old = file.metadata()
    weights = load_file(source)
    if value is not None:
        weights = {name: torch.full(part.shape, value) for name, part in weights.items()}
    save_file(weights, target, old | {DIGEST: digest(weights)} | metadata)
    return str(target)


def metadata(path: Path, name: str) -> dict:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()[name])


def refused(folder: Path, capsys, words: list[str]) -> str:
    out = folder / "out"
    out.mkdir(exist_ok=True)
    code = main(words)
    told = capsys.readouterr()
    lines = told.err.strip().splitlines()
    assert (code, told.out) == (2, ""), lines
    assert lines[-1].startswith("error: ")
    assert not list(out.iterdir())
    return lines[-1]


def of_series(checkpoint: str, trained: Path, folder: Path) -> list[list[str]]:
    out, table = folder / "out" / "o.csv", trained.parent / "t.csv"
    forecast = ["forecast", str(table), "-o", str(out), "--checkpoint", checkpoint]
    synthesize = ["synthesize", "--checkpoint", checkpoint, "--n", "2", "-o", str(out)]
    return [[*forecast, "--samples", "4", *FAST], [*synthesize, *FAST]]


@pytest.mark.parametrize("name", ["frequency", "variables", "local", "start", "steps", "scales"])
def test_a_record_of_training_data_that_lacks_a_key(trained, tmp_path, capsys, name):
    extra = metadata(trained, "extra")
    del extra[name]
    odd = rewritten(trained, tmp_path / "odd.safetensors", extra=json.dumps(extra))
    for words in of_series(odd, trained, tmp_path):
        assert f"({name} is missing)" in refused(tmp_path, capsys, words)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("local", 3),
        ("start", ["2024"]),
        ("start", 7),
        ("steps", "many"),
        ("scales", [[1]]),
        ("variables", {"x": 1}),
        ("variables", ["x", "y"]),
    ],
)
def test_a_record_of_training_data_with_an_odd_value(trained, tmp_path, capsys, name, value):
    extra = json.dumps(metadata(trained, "extra") | {name: value})
    odd = rewritten(trained, tmp_path / "odd.safetensors", extra=extra)
    for words in of_series(odd, trained, tmp_path):
        assert "the record of the training data" in refused(tmp_path, capsys, words)


@pytest.mark.parametrize("value", [1e38, float("nan")])
def test_weights_that_give_no_number_give_no_forecast(trained, tmp_path, capsys, value):
    odd = rewritten(trained, tmp_path / "odd.safetensors", value)
    for words in of_series(odd, trained, tmp_path):
        assert "its checkpoint is broken" in refused(tmp_path, capsys, words)


@pytest.mark.parametrize(
    ("name", "value"),
    [("context", 10**6), ("context", 10**12), ("horizon", 10**6), ("lags", list(range(1, 9999)))],
)
def test_windows_that_no_model_has(trained, tmp_path, capsys, name, value):
    config = metadata(trained, "config")
    config["task"][name] = value
    odd = rewritten(trained, tmp_path / "odd.safetensors", config=json.dumps(config))
    for words in of_series(odd, trained, tmp_path):
        refused(tmp_path, capsys, words)


def test_weights_that_give_no_number_give_no_latent(tmp_path, capsys):
    network = {"_target_": "wavediff.networks.autoencoder.Autoencoder", "latent_channels": 4}
    config = {
        "task": {"_target_": "wavediff.tasks.autoencoder.Autoencoder", "sample_rate": 8000},
        "network": network | {"width": 4, "strides": [2, 4]},
    }
    task, path = build_task(config), tmp_path / "model.safetensors"
    save_task(path, task.config, task.network.state_dict(), {})
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).normal(size=999), 8000)
    odd = rewritten(path, tmp_path / "odd.safetensors", 1e38)
    words = ["encode", str(tmp_path / "a.wav"), "-o", str(tmp_path / "out" / "a.npz")]
    assert "its checkpoint is broken" in refused(tmp_path, capsys, [*words, "--checkpoint", odd])


SIZES = {
    "mel.n_mels": 10**6,
    "mel.n_fft": 10**8,
    "mel.win_length": 10**9,
    "representation.n_fft": 10**8,
    "network.width": 10**6,
    "network.layers": 10**6,
    "task.crop_frames": 10**9,
    "sampler.times.steps": 10**9,
}
RUN = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (6 * 10**9,) * 2)
from wavediff.cli import main
for path in sys.argv[2:]:
    print(main(["vocode", sys.argv[1], "-o", "o.wav", "--checkpoint", path]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_sizes_of_a_vocoder_take_no_memory(tmp_path):
    source = find_checkpoint("vocoder-en-22k")
    paths = []
    for number, (place, size) in enumerate(SIZES.items()):
        config = metadata(source, "config")
        *groups, key = place.split(".")
        node = config
        for group in groups:
            node = node[group]
        node[key] = size
        odd = tmp_path / f"{number}.safetensors"
        paths.append(rewritten(source, odd, config=json.dumps(config)))
    bands = {"_target_": "wavediff.representations.pqmf.PQMF", "bands": 10**6, "overlap": 2}
    config = metadata(source, "config") | {"representation": bands}
    paths.append(rewritten(source, tmp_path / "b.safetensors", config=json.dumps(config)))
    steps = {"_target_": "wavediff.diffusion.schedule.linear", "steps": 10**9}
    config = metadata(source, "config") | {"schedule": steps}
    paths.append(rewritten(source, tmp_path / "s.safetensors", config=json.dumps(config)))
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).normal(size=9999), 22_050)
    words = [sys.executable, "-c", RUN, str(tmp_path / "a.wav"), *paths]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=100)
    *codes, memory = map(int, done.stdout.split())
    assert codes == [2] * len(paths), done.stderr
    assert memory < 2e6  # kB
    assert all(line.startswith("error: ") for line in done.stderr.strip().splitlines())
    assert not (tmp_path / "o.wav").exists()
