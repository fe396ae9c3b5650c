"""`wavediff import` as a user types it, against the two projects' forwards written anew."""

import math
import os
import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wavediff import cli
from wavediff.commands.import_checkpoint import main
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.noise import PositionNoise
from wavediff.tasks.checkpoint import load_task
from wavediff.tasks.vocoder import Vocoder

HOP, BANDS = 256, 80
FAST = [1e-4, 1e-3, 0.01, 0.05, 0.2]


def command(*arguments):
    return cli.run(main, [str(word) for word in arguments])


def draw(shapes, seed=0):
    """Random tensors that keep the variance of what goes through them."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        fan_in = math.prod(shape[1:])
        scale = 0.1 if len(shape) == 1 else 0.05 if shape[:2] == (1, 1) else fan_in**-0.5
        state[name] = scale * torch.randn(shape, generator=generator)
    return state


def parts(name, weight):
    return {f"{name}.weight": weight, f"{name}.bias": (weight[0],)}


def lmnt_shapes(width, layers, bands=BANDS, conditional=True):
    shapes = (
        parts("input_projection", (width, 1, 1))
        | parts("diffusion_embedding.projection1", (512, 128))
        | parts("diffusion_embedding.projection2", (512, 512))
        | parts("skip_projection", (width, width, 1))
        | parts("output_projection", (1, width, 1))
    )
    for i in range(layers):
        layer = f"residual_layers.{i}."
        shapes |= parts(layer + "dilated_conv", (2 * width, width, 3))
        shapes |= parts(layer + "diffusion_projection", (width, 512))
        shapes |= parts(layer + "output_projection", (2 * width, width, 1))
        if conditional:
            shapes |= parts(layer + "conditioner_projection", (2 * width, bands, 1))
    for k in (1, 2) if conditional else ():
        shapes |= parts(f"spectrogram_upsampler.conv{k}", (1, 1, 3, 32))
    return shapes


def lmnt_checkpoint(width=4, layers=12, steps=50, beta_max=0.05, last=0.5, **changes):
    """As lmnt-com/diffwave saves it."""
    params = {
        "sample_rate": 22_050,
        "n_mels": BANDS,
        "n_fft": 1024,
        "hop_samples": HOP,
        "crop_mel_frames": 62,
        "residual_layers": layers,
        "residual_channels": width,
        "dilation_cycle_length": 10,
        "unconditional": False,
        "noise_schedule": np.linspace(1e-4, beta_max, steps).tolist(),
        "inference_noise_schedule": [*FAST, last],
    }
    shapes = lmnt_shapes(width, layers, conditional=not changes.get("unconditional"))
    return {
        "step": 7,
        "model": draw(shapes),
        "optimizer": {"state": {}, "param_groups": [{"lr": 2e-4, "betas": (0.9, 0.999)}]},
        "params": params | changes,
        "scaler": {},
    }


def philsyn_shapes(width, layers):
    shapes = parts("residual_layer.fc_t1", (512, 128)) | parts("residual_layer.fc_t2", (512, 512))
    normed = {"init_conv.0.conv": (width, 1, 1), "final_conv.0.conv": (width, width, 1)}
    for i in range(layers):
        block = f"residual_layer.residual_blocks.{i}."
        shapes |= parts(block + "fc_t", (width, 512))
        normed[block + "dilated_conv_layer.conv"] = (2 * width, width, 3)
        normed[block + "mel_conv.conv"] = (2 * width, BANDS, 1)
        normed[block + "res_conv"] = (width, width, 1)
        normed[block + "skip_conv"] = (width, width, 1)
        for k in range(2):
            normed[f"{block}upsample_conv2d.{k}"] = (1, 1, 3, 32)
    for name, shape in normed.items():
        shapes[f"{name}.bias"] = (shape[0],)
        shapes[f"{name}.weight_g"] = (shape[0], *(1 for _ in shape[1:]))
        shapes[f"{name}.weight_v"] = shape
    return shapes | parts("final_conv.2.conv", (1, width, 1))


def philsyn_checkpoint(width=4, layers=12):
    """As philsyn/DiffWave-Vocoder saves it; g is no norm of v, as after training."""
    state = draw(philsyn_shapes(width, layers))
    for name in [name for name in state if name.endswith("_g")]:
        v = state[name.replace("_g", "_v")]
        norm = v.flatten(1).norm(dim=1).reshape(state[name].shape)
        state[name] = norm * (1.2 + 0.1 * torch.randn(norm.shape))
    return {"model_state_dict": state, "optimizer_state_dict": {"state": {}, "param_groups": []}}


def lmnt_forward(checkpoint, x, t, mel):
    w = checkpoint["model"]
    layers = checkpoint["params"]["residual_layers"]

    def layer(name, x, **options):
        return F.conv1d(x, w[f"{name}.weight"], w[f"{name}.bias"], **options)

    def linear(name, x):
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    # the table is in float32: at angles near 5e5 its rounding is part of the model
    steps = len(checkpoint["params"]["noise_schedule"])
    angle = torch.arange(steps)[:, None] * 10.0 ** (torch.arange(64) * 4.0 / 63.0)
    table = torch.cat([angle.sin(), angle.cos()], dim=1)
    low, high = table[math.floor(t)], table[math.ceil(t)]
    step = (low + (high - low) * (t - math.floor(t)))[None]
    for k in (1, 2):
        step = F.silu(linear(f"diffusion_embedding.projection{k}", step))
    local = mel[:, None]
    for k in (1, 2):
        name = f"spectrogram_upsampler.conv{k}"
        kernel, bias = w[f"{name}.weight"], w[f"{name}.bias"]
        local = F.leaky_relu(
            F.conv_transpose2d(local, kernel, bias, stride=(1, 16), padding=(1, 8)), 0.4
        )
    h, total = F.relu(layer("input_projection", x)), 0.0
    for i in range(layers):
        name, d = f"residual_layers.{i}.", 2 ** (i % 10)
        y = h + linear(name + "diffusion_projection", step)[..., None]
        y = layer(name + "dilated_conv", y, padding=d, dilation=d)
        y = y + layer(name + "conditioner_projection", local[:, 0])
        gate, value = y.chunk(2, dim=1)
        residual, skip = layer(name + "output_projection", gate.sigmoid() * value.tanh()).chunk(
            2, 1
        )
        h, total = (h + residual) / 2**0.5, total + skip
    return layer("output_projection", F.relu(layer("skip_projection", total / layers**0.5)))


def philsyn_forward(checkpoint, x, t, mel):
    w = checkpoint["model_state_dict"]
    layers = sum(name.endswith(".fc_t.weight") for name in w)

    def weight(name):
        if f"{name}.weight" in w:
            return w[f"{name}.weight"]
        return torch._weight_norm(w[f"{name}.weight_v"], w[f"{name}.weight_g"], 0)

    def layer(name, x, **options):
        return F.conv1d(x, weight(name), w[f"{name}.bias"], **options)

    def linear(name, x):
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    angle = t * torch.exp(-torch.arange(64) * math.log(1e4) / 63)
    step = torch.cat([angle.sin(), angle.cos()])[None]
    for k in (1, 2):
        step = F.silu(linear(f"residual_layer.fc_t{k}", step))
    h, total = F.relu(layer("init_conv.0.conv", x)), 0.0
    for i in range(layers):
        name, d = f"residual_layer.residual_blocks.{i}.", 2 ** (i % 10)
        local = mel[:, None]
        for k in range(2):
            up = f"{name}upsample_conv2d.{k}"
            options = {"stride": (1, 16), "padding": (1, 8)}
            local = F.conv_transpose2d(local, weight(up), w[f"{up}.bias"], **options)
            local = F.leaky_relu(local, 0.4)
        h = h + linear(name + "fc_t", step)[..., None]
        y = layer(name + "dilated_conv_layer.conv", h, padding=d, dilation=d)
        value, gate = (y + layer(name + "mel_conv.conv", local[:, 0])).chunk(2, dim=1)
        out = value.tanh() * gate.sigmoid()
        total = total + layer(name + "skip_conv", out)
        h = (h + layer(name + "res_conv", out)) * 0.5**0.5
    return layer("final_conv.2.conv", F.relu(layer("final_conv.0.conv", total / layers**0.5)))


def fast_sampling(forward, mel, noise, train, betas, clamp):
    """DiffWave's fast sampling; the fractional steps too."""
    train, betas = np.asarray(train), np.asarray(betas)
    levels, level = np.cumprod(1 - train) ** 0.5, np.cumprod(1 - betas)
    steps = np.interp(-(level**0.5), -levels, np.arange(len(train)))
    x = noise(torch.empty(1, 1, mel.shape[-1] * HOP), -1)
    for k, n in enumerate(reversed(range(len(betas)))):
        eps = forward(x, steps[n], mel)
        x = (x - betas[n] / (1 - level[n]) ** 0.5 * eps) / (1 - betas[n]) ** 0.5
        if n > 0:
            std = ((1 - level[n - 1]) / (1 - level[n]) * betas[n]) ** 0.5
            x = x + std * noise(x, k)
        x = x.clamp(-1, 1) if clamp else x
    return x[0, 0], steps


CASES = {
    "lmnt": (lmnt_checkpoint, lmnt_forward, 0.0, 1.0),
    "philsyn": (philsyn_checkpoint, philsyn_forward, -6.0, -1.0),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def relative(a, b):
    return float((a - b).norm() / b.norm())


def some_mel(low, high, frames=3):
    generator = torch.Generator().manual_seed(1)
    return low + (high - low) * torch.rand(1, BANDS, frames, generator=generator)


@pytest.mark.parametrize("kind", CASES)
def test_the_imported_network_is_theirs(kind, here, capsys):
    make, forward, low, high = CASES[kind]
    checkpoint = make()
    torch.save(checkpoint, "theirs.pt")
    assert command("theirs.pt", "-o", "ours") == 0
    assert "parameters, written to ours/model.safetensors" in capsys.readouterr().err
    network = load_task("ours").network
    mel = some_mel(low, high)
    x = torch.randn(1, 1, 3 * HOP, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        outputs = []
        for t in (0.0, 0.8941, 10.4518, 42.9186, 49.0):
            expected = forward(checkpoint, x, t, mel)
            assert expected.std() > 0.01
            ours = network(x, torch.tensor([t]), Condition(local=mel))
            assert relative(ours, expected) < 1e-5
            outputs.append(expected)
    # the step and the mel matter at these weights, so that the comparison is one of them too
    assert relative(outputs[1], outputs[3]) > 1e-3
    assert relative(forward(checkpoint, x, 49.0, mel.flip(-1)), outputs[-1]) > 1e-3


@pytest.mark.parametrize("kind", CASES)
def test_the_imported_sampler_is_theirs(kind, here):
    make, forward, low, high = CASES[kind]
    checkpoint = make()
    torch.save(checkpoint, "theirs.pt")
    assert command("theirs.pt", "-o", "ours") == 0
    mel = some_mel(low, high)
    with torch.no_grad():
        expected, steps = fast_sampling(
            lambda x, t, mel: forward(checkpoint, x, float(t), mel),
            mel,
            PositionNoise(3, 0),
            np.linspace(1e-4, 0.05, 50),
            [*FAST, 0.5],
            clamp=kind == "lmnt",
        )
    assert np.allclose(steps, [0, 0.8941, 4.0867, 10.4518, 22.9925, 42.9186], atol=1e-4)
    assert (expected.abs().max() <= 1) == (kind == "lmnt")
    assert relative(Vocoder.from_pretrained("ours")(mel[0], seed=3), expected) < 1e-5


@pytest.mark.parametrize(
    ("width", "steps", "lmnt", "philsyn"),
    [(64, 50, 2_619_971, 2_637_305), (128, 200, 6_885_315, 6_914_297)],
)
def test_the_published_sizes(width, steps, lmnt, philsyn, here):
    last, beta_max = (0.7, 0.02) if width == 128 else (0.5, 0.05)
    theirs = {
        "lmnt": lmnt_checkpoint(width, 30, steps, beta_max, last),
        "philsyn": philsyn_checkpoint(width, 30),
    }
    for kind, checkpoint in theirs.items():
        state = checkpoint["model" if kind == "lmnt" else "model_state_dict"]
        counts = {"lmnt": (lmnt, 254), "philsyn": (philsyn, 612)}
        assert (sum(value.numel() for value in state.values()), len(state)) == counts[kind]
        torch.save(checkpoint, "theirs.pt")
        assert command("theirs.pt", "-o", kind) == 0
        task = load_task(kind)
        # ours has the weights themselves, not their norms beside them
        norms = sum(value.numel() for name, value in state.items() if name.endswith("_g"))
        assert sum(value.numel() for value in task.network.parameters()) == counts[kind][0] - norms
        network, schedule = task.config["network"], task.config["schedule"]
        assert (network["width"], network["layers"]) == (width, 30)
        assert (schedule["steps"], schedule["beta_max"]) == (steps, beta_max)
        assert task.config["sampler"]["times"]["betas"] == [*FAST, last]
        assert task.config["mel"]["name"] == {"lmnt": "lmnt", "philsyn": "tacotron"}[kind]
        assert (task.sample_rate, task.mel.n_mels, task.mel.hop_length) == (22_050, BANDS, HOP)


def test_what_the_options_say_goes_before_the_file(here):
    torch.save(philsyn_checkpoint(), "theirs.pt")
    options = ["--steps", 200, "--beta-max", 0.02, "--sample-rate", 24_000]
    assert command("theirs.pt", "-o", "a", *options) == 0
    task = load_task("a")
    betas = task.denoiser.schedule.betas
    assert np.allclose(betas, np.linspace(1e-4, 0.02, 200))
    assert task.sample_rate == 24_000
    assert task.config["sampler"]["times"]["betas"] == [*FAST, 0.7]
    assert command("theirs.pt", "-o", "b", "--fast-betas", 1e-3, 0.1, 0.4) == 0
    assert load_task("b").config["sampler"]["times"]["betas"] == [1e-3, 0.1, 0.4]


def test_the_files_own_schedule_and_the_weights_alone(here):
    betas = [0.001 * 1.2**k for k in range(20)]
    checkpoint = lmnt_checkpoint(noise_schedule=betas, inference_noise_schedule=betas[::5])
    torch.save(checkpoint, "theirs.pt")
    assert command("theirs.pt", "-o", "a") == 0
    task = load_task("a")
    assert task.denoiser.schedule.betas.tolist() == betas
    assert task.extra["step"] == 7
    assert task.extra["imported_from"] == "lmnt-com/diffwave"
    torch.save(checkpoint["model"], "weights.pt")
    assert command("weights.pt", "-o", "b") == 0
    assert len(load_task("b").denoiser.schedule.betas) == 50


def test_a_folder_as_lmnt_writes_it_and_what_exists_is_kept(here, capsys):
    (here / "run").mkdir()
    torch.save(lmnt_checkpoint(), "run/weights-7.pt")
    os.symlink("weights-7.pt", "run/weights.pt")
    assert cli.main(["import", "run", "-o", "ours"]) == 0
    (here / "ours" / "model.safetensors").write_text("mine")
    capsys.readouterr()
    assert command("run", "-o", "ours") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (here / "ours" / "model.safetensors").read_text() == "mine"
    assert command("run", "-o", "ours", "--force") == 0
    assert load_task("ours").network.width == 4


class Hostile:
    def __reduce__(self):
        return (os.system, ("touch mark",))


def without(checkpoint, name):
    del checkpoint["model"][name]
    return checkpoint


def with_weight(checkpoint, name, value):
    state = checkpoint.get("model", checkpoint.get("model_state_dict"))
    state[name] = value
    return checkpoint


BLOCK = "residual_layer.residual_blocks.1."
BAD = {
    "hostile": (Hostile, "more than plain tensors"),
    "hidden": (lambda: lmnt_checkpoint() | {"scaler": Hostile()}, "more than plain tensors"),
    "other": (lambda: {"state_dict": {"a": torch.zeros(1)}}, "of an unknown format"),
    "list": (lambda: [1, 2], "of an unknown format"),
    "unconditional": (lambda: lmnt_checkpoint(unconditional=True), "is unconditional"),
    "lacking": (
        lambda: without(lmnt_checkpoint(), "residual_layers.3.dilated_conv.bias"),
        "lacks the tensor residual_layers.3.dilated_conv.bias",
    ),
    "shape": (
        lambda: with_weight(lmnt_checkpoint(), "skip_projection.weight", torch.zeros(4, 3, 1)),
        "of other shapes",
    ),
    "surplus": (
        lambda: with_weight(lmnt_checkpoint(), "speaker.weight", torch.zeros(2)),
        "speaker.weight",
    ),
    "text": (lambda: with_weight(lmnt_checkpoint(), "skip_projection.bias", "no"), "damaged"),
    "betas": (lambda: lmnt_checkpoint(noise_schedule=[0.1, 2.0]), "not a valid noise schedule"),
    "no betas": (lambda: lmnt_checkpoint(noise_schedule=[]), "damaged"),
    "fast": (lambda: lmnt_checkpoint(inference_noise_schedule=[0.9, 0.9]), "do not fit"),
    "hop": (lambda: lmnt_checkpoint(hop_samples=300), "hop length of 300"),
    "cycle": (lambda: lmnt_checkpoint(dilation_cycle_length=0), "damaged"),
    "skips": (
        lambda: with_weight(philsyn_checkpoint(), BLOCK + "skip_conv.weight", torch.zeros(3, 4, 1)),
        "skip channels",
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_imported_is_told_in_a_sentence(name, here, capsys):
    make, words = BAD[name]
    content = make()
    if name == "skips":
        for part in ("weight_g", "weight_v"):
            del content["model_state_dict"][f"{BLOCK}skip_conv.{part}"]
    torch.save(content, "theirs.pt")
    refused("theirs.pt", words, here, capsys)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["text", "empty", "cut", "pickle", "missing"])
def test_what_is_no_checkpoint_is_told_in_a_sentence(name, here, capsys):
    torch.save(lmnt_checkpoint(), "whole")
    contents = {
        "text": b"this is a text\n" * 100,
        "empty": b"",
        "cut": (here / "whole").read_bytes()[:5000],
        "pickle": pickle.dumps(Hostile()),
    }
    if name in contents:
        (here / "theirs.pt").write_bytes(contents[name])
    words = "there is no checkpoint" if name == "missing" else "is not a checkpoint, or is damaged"
    refused("theirs.pt", words, here, capsys)


def refused(file, words, here, capsys):
    before = sorted(here.rglob("*"))
    assert command(file, "-o", "ours") == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert words in output.err
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize("option", [("--steps", 0), ("--beta-max", 2), ("--fast-betas", 0.99)])
def test_options_that_make_no_schedule(option, here, capsys):
    torch.save(lmnt_checkpoint(), "theirs.pt")
    assert command("theirs.pt", "-o", "ours", *option) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (here / "ours").exists()
