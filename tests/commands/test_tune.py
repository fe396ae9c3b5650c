"""`wavediff tune` as a user types it."""

import json

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

from wavediff import cli
from wavediff.commands.tune import main
from wavediff.files import conf_folder
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import load_task, read_checkpoint, save_task

RATE = 4000


def group(name, choice):
    return OmegaConf.to_container(OmegaConf.load(conf_folder() / name / f"{choice}.yaml"))


def config(kind, **changes):
    """A task of toy size."""
    mel = {"sample_rate": RATE, "n_fft": 64, "win_length": 64, "hop_length": 16, "n_mels": 6}
    parts = {
        "task": group("task", kind),
        "mel": group("mel", "tacotron") | mel | {"f_max": 2000.0, "name": "toy"},
        "representation": {
            "_target_": "wavediff.representations.stft.STFT", "n_fft": 64, "hop_length": 16,
        },
        "network": group("network", "diffwave") | {"width": 8, "layers": 2, "dilation_cycle": 2},
        "schedule": group("schedule", "vp") | {"beta_max": 8.0},
        "objective": group("objective", "denoising"),
        "sampler": group("sampler", "ddim"),
    }  # fmt: skip
    changed = {name: part | changes.get(name, {}) for name, part in parts.items()}
    return changed | {"prediction": "v"}


def save(folder, settings):
    torch.manual_seed(0)
    task = build_task(settings)
    torch.nn.init.normal_(task.network.output_projection.weight, std=0.3)
    state = {name: value.half() for name, value in task.network.state_dict().items()}
    save_task(folder / "model.safetensors", task.config, state, {"step": 7})
    return folder


@pytest.fixture
def vocoder(tmp_path):
    return save(tmp_path, config("vocoder", task={"crop_frames": 8}))


@pytest.fixture
def audio(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(3):
        soundfile.write(folder / f"{k}.wav", 0.1 * rng.standard_normal(50 + 900 * k), RATE)
    return folder


def command(*arguments):
    return cli.run(main, [str(word) for word in arguments])


@pytest.mark.parametrize("method", ["dp", "straightness"])
def test_the_tuned_checkpoint_samples_at_the_times_found(vocoder, audio, tmp_path, method, capsys):
    tuned = tmp_path / "tuned.safetensors"
    options = ["--steps", 5, "--from", audio, "-o", tuned, "--method", method]
    assert command(vocoder, *options) == 0
    before, found = capsys.readouterr().out.splitlines()
    losses = [float(line.split()[2]) for line in (before, found)]
    assert before.split()[0] == "before"
    assert found.split()[0] == method

    task, original = load_task(tuned), load_task(vocoder)
    grid = task.with_sampler().grid(task.denoiser.schedule)
    assert len(grid) == 6
    assert (grid[0], grid[-1]) == (1, 0)
    uniform = torch.linspace(1, 0, 6, dtype=torch.float64)
    assert torch.allclose(grid, uniform) == (losses[0] <= losses[1])
    assert task.extra["step"] == 7
    for name, value in original.network.state_dict().items():
        assert torch.equal(task.network.state_dict()[name], value)
    # and by default, also with another sampler's name or number of steps where none is asked for
    mel = torch.randn(6, 20, generator=torch.Generator().manual_seed(0)) - 5
    assert not torch.equal(task(mel, steps=4), task(mel))
    assert torch.equal(task(mel, steps=5), task(mel))


def test_a_better_grid_is_found_for_a_model_whose_steps_are_far_from_even(tmp_path, audio, capsys):
    # equal steps of EDM's sigma are far too long near the clean end
    settings = config("vocoder", task={"crop_frames": 8})
    settings |= {"schedule": group("schedule", "edm"), "prediction": "edm"}
    folder = save(tmp_path, settings)
    tuned = tmp_path / "tuned.safetensors"
    assert command(folder, "--steps", 6, "--from", audio, "-o", tuned) == 0
    before, found = (float(line.split()[2]) for line in capsys.readouterr().out.splitlines())
    assert found < 0.7 * before
    assert load_task(tuned).extra["tuned"] == "dp"


def test_another_sampler_and_one_that_adds_noise(vocoder, audio, tmp_path):
    tuned = tmp_path / "tuned.safetensors"
    methods = {"dpmpp_2m": "exponential.DPMpp2M", "ancestral": "ddim.Ancestral"}
    for name, method in methods.items():
        options = ["--sampler", name, "--from", audio, "-o", tuned, "--overwrite"]
        assert command(vocoder, "--steps", 4, *options) == 0
        sampler = read_checkpoint(tuned)[0]["sampler"]
        assert sampler["_target_"] == f"wavediff.diffusion.{method}"
        assert len(sampler["times"]["times"]) == 5


def test_an_enhancer_is_tuned_on_noisy_recordings(tmp_path, audio):
    settings = config("enhancer", task={"crop_seconds": 0.2})
    settings |= {"schedule": group("schedule", "ouve"), "prediction": "x0"}
    folder, tuned = save(tmp_path, settings), tmp_path / "tuned.safetensors"
    assert command(folder, "--steps", 3, "--from", audio, "-o", tuned) == 0
    enhancer = load_task(tuned)
    assert len(enhancer.with_sampler().grid(enhancer.denoiser.schedule)) == 4


def test_a_generator_needs_no_audio(tmp_path):
    settings = config("generator")
    settings["task"] |= {"sample_rate": RATE, "crop_seconds": 0.1}
    settings["network"] |= {"labels": 2}
    del settings["mel"]
    folder, tuned = save(tmp_path, settings), tmp_path / "tuned.safetensors"
    assert command(folder, "--steps", 3, "-o", tuned) == 0
    assert len(read_checkpoint(tuned)[0]["sampler"]["times"]["times"]) == 4


def test_what_cannot_be_is_told_in_a_sentence(vocoder, audio, tmp_path, capsys):
    tuned = tmp_path / "tuned.safetensors"
    cases = [
        (["--steps", 3, "-o", tuned], "--from AUDIO"),
        (["--steps", 3, "--from", audio, "-o", tmp_path / "tuned"], ".safetensors"),
        (["--steps", 3, "--from", audio, "-o", tuned, "--sampler", "none"], "there is no sampler"),
        (["--steps", 3, "--from", tmp_path / "no", "-o", tuned], "no"),
        (["--steps", 3, "--from", audio, "-o", vocoder / "model.safetensors"], "--overwrite"),
    ]
    for options, message in cases:
        assert command(vocoder, *options) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not tuned.exists()


def test_the_same_seed_finds_the_same_times(vocoder, audio, tmp_path):
    grids = []
    for name in ("a", "b"):
        tuned = tmp_path / f"{name}.safetensors"
        assert command(vocoder, "--steps", 4, "--from", audio, "-o", tuned, "--seed", 3) == 0
        grids.append(json.dumps(read_checkpoint(tuned)[0]["sampler"]))
    assert grids[0] == grids[1]
