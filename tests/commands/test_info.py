"""`wavediff info` as a user types it."""

import json
import os

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from toys import tiny_live_config, with_random_weights

from wavediff import cli
from wavediff.commands.info import main
from wavediff.files import conf_folder
from wavediff.tasks import names
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import load_task, save_task

EXTRA = {"recipe": "toy", "seed": 5, "step": 1200, "seconds": 5400}
EXTRA["before"] = {"step": 3000, "seconds": 7200}  # of the weights that it began with


def save(folder, extra=EXTRA, **task):
    """A model with toy sizes, and how many parameters it has."""

    def group(name, choice):
        with initialize_config_dir(str(conf_folder()), version_base=None):
            return OmegaConf.to_container(compose(overrides=[f"+{name}={choice}"])[name])

    vocoder = build_task(
        {
            "task": {"_target_": "wavediff.tasks.vocoder.Vocoder"} | task,
            "mel": group("mel", "hifigan"),
            "representation": {"_target_": "wavediff.representations.waveform.Waveform"},
            "network": group("network", "diffwave") | {"width": 4, "layers": 2},
            "schedule": group("schedule", "rectified_flow"),
            "prediction": "x0",
            "objective": group("objective", "denoising"),
            "sampler": group("sampler", "heun") | {"times": uniform(7)},
        }
    )
    save_task(folder / "model.safetensors", vocoder.config, vocoder.network.state_dict(), extra)
    return sum(parameter.numel() for parameter in vocoder.network.parameters())


def uniform(steps):
    target = "wavediff.diffusion.times.uniform"
    return {"_target_": target, "steps": steps}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to be in, and no bundled models but those that a test makes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("wavediff.commands.info.pretrained_folder", lambda: tmp_path / "pretrained")
    monkeypatch.setattr(names, "pretrained_folder", lambda: tmp_path / "pretrained")
    return tmp_path


def command(*arguments):
    return cli.run(main, [str(word) for word in arguments])


def told(text):
    """The lines of the text by the names in its first column."""
    return {line[:16].strip(): line[16:] for line in text.splitlines()}


@pytest.mark.parametrize("name", ["run", "run/model.safetensors"])
def test_a_run_folder_and_a_file(name, here, capsys):
    parameters = save(here / "run", mel_iterations=3)
    assert command(name) == 0
    output = capsys.readouterr()
    lines = told(output.out)
    assert output.err == ""
    assert lines["checkpoint"].startswith("run/model.safetensors (")
    assert lines["task"] == "Vocoder"
    assert lines["front-end"].startswith("hifigan: 22,050 Hz, 80 bands from 0 to 8,000 Hz, hop 256")
    assert lines["representation"] == "Waveform"
    assert lines["network"].startswith("DiffWave (width 4, layers 2, ")
    assert lines["parameters"] == f"{parameters:,}"
    assert lines["schedule"].startswith("RectifiedFlow")
    assert lines["prediction"] == "x0"
    assert lines["objective"].startswith("DenoisingObjective (")
    assert lines["sampler"].startswith("Heun; 7 steps: uniform")
    assert lines["mel iterations"] == "3"
    assert (lines["recipe"], lines["seed"], lines["step"]) == ("toy", "5", "1200")
    assert lines["trained for"] == "1.50 hours"
    assert lines["before that"] == "3,000 steps, 2.00 hours"


def test_as_json(here, capsys):
    parameters = save(here / "run")
    assert cli.main(["info", "run", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bytes"] == (here / "run" / "model.safetensors").stat().st_size
    assert facts["parameters"] == parameters
    assert facts["network"]["name"] == "DiffWave"
    assert facts["mel"]["hop_length"] == 256
    assert (facts["steps"], facts["network_calls"], facts["mel_iterations"]) == (7, 14, 0)
    assert facts["extra"] == EXTRA


def test_the_bundled_models(here, capsys):
    assert command() == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert "no models" in output.err
    first = save(here / "pretrained" / "one")
    save(here / "pretrained" / "two")
    card = "# One\n\nMade of toy sounds.\n\n## Limits\n\nMany."
    (here / "pretrained" / "one" / "README.md").write_text(card + "\n")
    assert command() == 0
    one, two = capsys.readouterr().out.splitlines()
    assert one == f"one  {first:,} parameters  Made of toy sounds."
    assert two.startswith("two  ")
    assert "hifigan" in two
    assert command("--json") == 0
    assert [model["name"] for model in json.loads(capsys.readouterr().out)] == ["one", "two"]
    assert command("one") == 0
    assert capsys.readouterr().out.endswith(f"\n\n{card}\n")
    assert command("one", "--json") == 0
    assert json.loads(capsys.readouterr().out)["card"] == card
    assert command("two") == 0
    assert "#" not in capsys.readouterr().out


def lmnt_like():
    """A checkpoint of lmnt-com/diffwave's with a single layer of two channels."""
    generator = torch.Generator().manual_seed(0)

    def layer(name, *shape):
        weight = torch.randn(shape, generator=generator)
        return {f"{name}.weight": weight, f"{name}.bias": torch.zeros(shape[0])}

    state = (
        layer("input_projection", 2, 1, 1)
        | layer("diffusion_embedding.projection1", 512, 128)
        | layer("diffusion_embedding.projection2", 512, 512)
        | layer("spectrogram_upsampler.conv1", 1, 1, 3, 32)
        | layer("spectrogram_upsampler.conv2", 1, 1, 3, 32)
        | layer("residual_layers.0.dilated_conv", 4, 2, 3)
        | layer("residual_layers.0.diffusion_projection", 2, 512)
        | layer("residual_layers.0.conditioner_projection", 4, 80, 1)
        | layer("residual_layers.0.output_projection", 4, 2, 1)
        | layer("skip_projection", 2, 2, 1)
        | layer("output_projection", 1, 2, 1)
    )
    return {"step": 3, "model": state, "params": {}}


@pytest.mark.parametrize("name", ["a b.pt", "folder"])
def test_a_foreign_checkpoint_names_the_command_that_imports_it(name, here, capsys):
    (here / "folder").mkdir()
    for file in ("a b.pt", "folder/weights.pt"):
        torch.save(lmnt_like(), file)
    assert command(name) == 0
    lines = told(capsys.readouterr().out)
    assert lines["origin"] == "lmnt-com/diffwave"
    assert lines["front-end"].startswith("lmnt: 22,050 Hz")
    assert lines["step"] == "3"
    expected = "'a b.pt' -o 'a b'" if name == "a b.pt" else "folder/weights.pt -o weights"
    assert lines["to import it"] == f"wavediff import {expected}"
    # typed as it is told, it gives the model that was described
    words = ["a b.pt", "-o", "a b"] if name == "a b.pt" else ["folder", "-o", "weights"]
    assert cli.main(["import", *words]) == 0
    count = sum(p.numel() for p in load_task(words[2]).network.parameters())
    assert lines["parameters"] == f"{count:,}"


class Hostile:
    def __reduce__(self):
        return (os.system, ("touch mark",))


def rewrite(path, **metadata):
    with safe_open(path, framework="pt") as file:
        old = file.metadata()
    save_file(load_file(path), path, old | metadata)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "no checkpoint 'nothing'"),
        ("empty", "holds no model.safetensors"),
        ("hostile.pt", "more than plain tensors"),
        ("other.pt", "of an unknown format"),
        ("cut.pt", "damaged"),
        ("text.txt", "not a wavediff checkpoint"),
        ("bytes.safetensors", "not a wavediff checkpoint"),
        ("cut.safetensors", "not a wavediff checkpoint"),
        ("code.safetensors", "not part of wavediff's models"),
        ("huge.safetensors", "sizes far beyond"),
        ("plain.safetensors", "without a configuration of wavediff"),
    ],
)
def test_what_is_no_checkpoint_is_told_in_a_sentence(name, words, here, capsys):
    (here / "empty").mkdir()
    torch.save({"model": Hostile()}, "hostile.pt")
    torch.save({"a": torch.zeros(3)}, "other.pt")
    torch.save(lmnt_like(), "whole.pt")
    (here / "cut.pt").write_bytes((here / "whole.pt").read_bytes()[:3000])
    (here / "text.txt").write_text("this is a text\n" * 100)
    (here / "bytes.safetensors").write_bytes(b"")
    save(here)
    whole = here / "model.safetensors"
    (here / "cut.safetensors").write_bytes(whole.read_bytes()[:3000])
    save_file({"a": torch.zeros(3)}, "plain.safetensors")
    config = load_task(whole).config
    for other, network in {
        "code": {"_target_": "os.system", "command": "touch mark"},
        "huge": config["network"] | {"width": 10**15},
    }.items():
        (here / f"{other}.safetensors").write_bytes(whole.read_bytes())
        rewrite(here / f"{other}.safetensors", config=json.dumps(config | {"network": network}))
    before = sorted(here.rglob("*"))
    assert command(name) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert words in output.err
    assert sorted(here.rglob("*")) == before


def test_a_file_cannot_write_to_the_terminal_what_it_likes(here, capsys):
    save(here, extra={"recipe": "a\x1b[2J\nb", "seconds": "long", "label_names": ["c\r", "d"]})
    assert command("model.safetensors") == 0
    lines = told(capsys.readouterr().out)
    assert lines["recipe"] == "a?[2J?b"
    assert lines["seconds"] == "long"
    assert lines["label names"] == "c?, d"


def test_a_number_that_no_float_holds(here, capsys):
    save(here, extra={"step": 10**400, "seconds": 10**400, "before": {"seconds": 10**400}})
    assert command("model.safetensors") == 0
    lines = told(capsys.readouterr().out)
    assert lines["seconds"] == "1" + "0" * 400
    assert lines["before that"] == "0 steps, 0.00 hours"


def test_an_enhancer(here, capsys):
    def group(name, choice):
        with initialize_config_dir(str(conf_folder()), version_base=None):
            return OmegaConf.to_container(compose(overrides=[f"+{name}={choice}"])[name])

    config = {
        name: group(name, choice)
        for name, choice in (
            ("task", "enhancer"),
            ("mel", "condition/enhance"),
            ("network", "frequency_unet"),
            ("schedule", "bridge"),
            ("objective", "denoising"),
            ("sampler", "one_step"),
        )
    }
    config["prediction"] = "x0"
    config["representation"] = group("representation", "stft") | {"n_fft": 64, "hop_length": 16}
    config["network"]["network"] |= {"width": 4, "layers": 2}
    enhancer = build_task(config)
    save_task(here / "a.safetensors", enhancer.config, enhancer.network.state_dict(), EXTRA)
    assert command("a.safetensors") == 0
    text = capsys.readouterr().out
    assert "task            Enhancer" in text
    assert "network DiffWave (width 4, layers 2," in text
    assert "mel iterations" not in text


def test_a_causal_enhancer_says_how_late_it_is(tmp_path, capsys):
    model = tmp_path / "model.safetensors"
    with_random_weights(tiny_live_config()).save_pretrained(model)
    assert cli.run(main, [str(model)]) == 0
    assert "latency         8 ms" in capsys.readouterr().out
