"""`wavediff bundle` as a user types it."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from wavediff.cli import run
from wavediff.commands.bundle import main
from wavediff.files import conf_folder
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import load_task, read_checkpoint, save_task
from wavediff.tasks.sampler import sampler_config


def save(folder: Path, value: float, width: int = 4, step: int = 7) -> None:
    """A vocoder all of whose weights have one value."""

    def group(name, choice):
        return OmegaConf.to_container(OmegaConf.load(conf_folder() / name / f"{choice}.yaml"))

    config = {
        "task": group("task", "vocoder"),
        "mel": group("mel", "tacotron"),
        "representation": group("representation", "waveform"),
        "network": group("network", "diffwave") | {"width": width, "layers": 2},
        "schedule": group("schedule", "rectified_flow"),
        "prediction": "x0",
        "objective": group("objective", "denoising"),
        "sampler": sampler_config("heun"),
    }
    vocoder = build_task(config)
    state = {
        name: torch.full_like(weight, value)
        for name, weight in vocoder.network.state_dict().items()
    }
    save_task(folder / "model.safetensors", vocoder.config, state, {"step": step})


def command(source: Path, output: Path, *words: object) -> int:
    return run(main, [str(source), "-o", str(output), *map(str, words)])


def values(path: Path) -> set[float]:
    _, _, state = read_checkpoint(path / "model.safetensors")
    assert {value.dtype for value in state.values()} == {torch.float16}
    return {value for weight in state.values() for value in weight.unique().tolist()}


def test_a_bundle_is_the_model_in_half_precision(tmp_path):
    save(tmp_path / "run", 0.5)
    assert command(tmp_path / "run", tmp_path / "out", "--sampler", "ddim") == 0
    assert values(tmp_path / "out") == {0.5}
    vocoder = load_task(tmp_path / "out")
    assert vocoder.sampler.method.name == "DDIM"
    assert vocoder.extra == {"step": 7}


@pytest.mark.parametrize(("words", "mean"), [([], 1.0), (["--share", "0.25"], 0.75)])
def test_weights_are_averaged(tmp_path, words, mean):
    save(tmp_path / "tuned", 0.5)
    save(tmp_path / "start", 1.5, step=1200)
    average = ["--average", tmp_path / "start", *words]
    assert command(tmp_path / "tuned", tmp_path / "out", *average) == 0
    assert values(tmp_path / "out") == {mean}
    assert "step 1,200" in load_task(tmp_path / "out").extra["averaged_with"]


def test_weights_of_another_network_are_not_averaged(tmp_path, capsys):
    save(tmp_path / "tuned", 0.5)
    save(tmp_path / "other", 0.5, width=6)
    assert command(tmp_path / "tuned", tmp_path / "out", "--average", tmp_path / "other") == 2
    assert "different weights" in capsys.readouterr().err
    assert command(tmp_path / "tuned", tmp_path / "out", "--share", "0.4") == 2
    assert "--average" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        command(tmp_path / "tuned", tmp_path / "out", "--share", "1.5")
    assert "out of range (0 to 1)" in capsys.readouterr().err


def test_a_bundle_that_exists_is_kept_unless_told_otherwise(tmp_path, capsys):
    save(tmp_path / "run", 0.5)
    save(tmp_path / "out", 1.0)
    assert command(tmp_path / "run", tmp_path / "out") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert command(tmp_path / "run", tmp_path / "out", "--overwrite", "--mel-iterations", 3) == 0
    assert values(tmp_path / "out") == {0.5}
    assert load_task(tmp_path / "out").config["task"]["mel_iterations"] == 3
