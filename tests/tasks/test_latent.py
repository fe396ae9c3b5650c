"""Diffusion in a latent: standardised, self-contained, resumed to the bit; and learnt jointly."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from wavediff.commands.train import main
from wavediff.diffusion.noise import ItemNoise
from wavediff.errors import UserError
from wavediff.networks.autoencoder import Autoencoder as Network
from wavediff.networks.autoencoder import Posterior
from wavediff.representations.latent import Latent
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import load_task, read_checkpoint, save_task
from wavediff.tasks.generator import Generator

RATE = 4000
NETWORK = {
    "_target_": "wavediff.networks.autoencoder.Autoencoder",
    "latent_channels": 4,
    "width": 8,
    "strides": [2, 4],
    "dilations": [1],
}


def latent_config(make_config, read_group, task="generator", **representation):
    config = make_config()
    del config["mel"]
    autoencoder = {"_target_": "wavediff.representations.latent.Latent", "autoencoder": NETWORK}
    settings = {"sample_rate": RATE, "crop_seconds": 0.2}
    return config | {
        "task": read_group("task", task) | settings,
        "representation": autoencoder | representation,
    }


def examples(n=5, length=803):
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(1, length, generator=generator) for _ in range(n)]


def test_a_latent_is_standardised_and_frozen():
    torch.manual_seed(0)
    latent = Latent(Network(latent_channels=4, width=8, strides=(2, 4)))
    latent.fit(iter(examples()))
    z = torch.cat([latent.encode(audio[None]) for audio in examples()], dim=-1)[0]
    torch.testing.assert_close(z.mean(1), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std(1, correction=0), torch.ones(4), atol=1e-4, rtol=0)
    assert not any(p.requires_grad for p in latent.parameters())
    assert (latent.channels, latent.hop_length, latent.frames(17)) == (4, 8, 3)

    audio = examples(1)[0][None]
    mean = latent.autoencoder.encode(audio).mean
    expected = latent.autoencoder.decode(mean, 803)
    torch.testing.assert_close(
        latent.decode(latent.encode(audio), 803), expected, atol=1e-5, rtol=0
    )
    z = latent.encode(audio).detach().requires_grad_()
    latent.decode(z, 803).square().sum().backward()
    assert z.grad.abs().sum() > 0


def test_a_channel_that_says_nothing_is_not_blown_up():
    network = Network(latent_channels=2, width=4, strides=(2,), dilations=(1,))
    last = network.encoder[-1]
    torch.nn.init.zeros_(last.weight[0])
    latent = Latent(network)
    latent.fit(examples())
    assert latent.encode(examples(1)[0][None]).isfinite().all()
    assert latent.std.min() > 0


def test_a_decoded_frame_depends_on_halo_frames():
    torch.manual_seed(0)
    latent = Latent(Network(latent_channels=4, width=8, strides=(2, 4), dilations=(1,)))
    halo, hop, first, last = latent.halo, latent.hop_length, 20, 25
    z = torch.randn(1, 4, 50)
    whole = latent.decode(z, 50 * hop)[..., first * hop : last * hop]
    piece = latent.decode(z[..., first - halo : last + halo], (last - first + 2 * halo) * hop)
    torch.testing.assert_close(piece[..., halo * hop : -halo * hop], whole, atol=1e-6, rtol=0)


def test_a_checkpoint_holds_the_autoencoder(make_config, read_group, tmp_path):
    torch.manual_seed(0)
    task = build_task(latent_config(make_config, read_group))
    task.representation.fit(examples())
    state = {f"representation.{k}": v for k, v in task.representation.state_dict().items()}
    path = tmp_path / "model.safetensors"
    save_task(path, task.config, state | task.network.state_dict(), {})
    found = load_task(path)
    assert torch.equal(found.representation.std, task.representation.std)
    made = [t.eval().generate(2, seconds=0.1, seed=1) for t in (task, found)]
    assert torch.equal(*made)

    save_task(path, task.config, task.network.state_dict(), {})
    with pytest.raises(UserError, match=r"do not fit .*representation"):
        load_task(path)


def test_a_checkpoint_cannot_make_us_read_another_file(make_config, read_group, tmp_path):
    config = latent_config(make_config, read_group, autoencoder=str(tmp_path / "elsewhere"))
    save_task(tmp_path / "model.safetensors", config, {}, {})
    with pytest.raises(UserError, match="must be a module, not its name"):
        load_task(tmp_path)


COMMON = [
    "data.count=4",
    "data.seconds=0.6",
    "data.split={every: 4, test: 0, validation: 1}",
    "task.crop_seconds=0.1",
    "network.width=8",
    "trainer.batch_size=2",
    "trainer.validate_every=0",
    "trainer.checkpoint_every=2",
    "trainer.progress=false",
    "trainer.device=cpu",
]


def train(recipe: str, run: Path, steps: int, *overrides: str) -> None:
    root = f"data.root={run.parent / 'data'}"
    steps = f"trainer.max_steps={steps}"
    assert main([f"recipe={recipe}", f"run_dir={run}", root, steps, *COMMON, *overrides]) == 0


@pytest.mark.slow
def test_a_run_in_a_latent_goes_on_to_the_bit_without_the_autoencoder(tmp_path):
    train("tiny_autoencoder", tmp_path / "autoencoder", 1)
    named = f"representation.autoencoder={tmp_path / 'autoencoder'}"
    train("tiny_latent", tmp_path / "straight", 4, named)
    train("tiny_latent", tmp_path / "stopped", 2, named)
    (tmp_path / "autoencoder").rename(tmp_path / "moved")
    train("tiny_latent", tmp_path / "stopped", 4, named)
    one, two = (load_file(tmp_path / run / "model.safetensors") for run in ("straight", "stopped"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    config, _, _ = read_checkpoint(tmp_path / "stopped" / "model.safetensors")
    assert str(tmp_path) not in json.dumps(config)
    trained = load_file(tmp_path / "moved" / "model.safetensors")
    for name, value in trained.items():
        assert torch.equal(one[f"representation.autoencoder.{name}"], value)
    task = Generator.from_pretrained(tmp_path / "stopped")
    assert task.generate(1, seconds=0.1, steps=2).isfinite().all()


def test_an_autoencoder_of_another_rate_is_refused(tmp_path, capsys):
    train("tiny_autoencoder", tmp_path / "autoencoder", 1)
    named = f"representation.autoencoder={tmp_path / 'autoencoder'}"
    run = [f"run_dir={tmp_path / 'run'}", f"data.root={tmp_path / 'data'}"]
    assert main(["recipe=tiny_latent", *run, *COMMON, named, "task.sample_rate=8000"]) == 2
    assert "is for 22050 Hz, the recipe for 8000" in capsys.readouterr().err
    assert main(["recipe=tiny_latent", *run, *COMMON, "representation.autoencoder=absent"]) == 2
    assert "there is no checkpoint 'absent'" in capsys.readouterr().err


@pytest.fixture
def lsgm(make_config, read_group):
    torch.manual_seed(0)
    task = build_task(latent_config(make_config, read_group, "lsgm", frozen=False))
    return task.train()


def test_joint_training_begins_as_that_of_a_vae(lsgm):
    """The network gives 0, which with prediction v is the prior N(0, 1): LSGM's KL is the VAE's."""
    audio = torch.stack(examples(1, lsgm.crop_length)).expand(400, -1, -1)
    with torch.no_grad():
        losses = lsgm.loss({"audio": audio}, ItemNoise(0, range(400)))
        q = lsgm.representation.autoencoder.encode(audio[:1])
    kl = Posterior(*q).kl().mean().item()
    error = losses["kl"].std().item() / 20
    assert error < 0.3  # an estimate of 12 times the mean square of 100 numbers
    assert abs(losses["kl"].mean().item() - kl) < 4 * error


def test_joint_training_reaches_all_weights_and_lowers_the_loss(lsgm):
    audio = torch.stack(examples(4, lsgm.crop_length))
    optimizer = torch.optim.Adam(lsgm.network.parameters(), 3e-3)
    history = []
    for step in range(20):
        noise = ItemNoise(0, range(4 * step, 4 * step + 4))
        losses = lsgm.loss({"audio": audio}, noise)
        optimizer.zero_grad()
        losses["loss"].mean().backward()
        optimizer.step()
        history.append(losses["loss"].mean().item())
    for name, parameter in lsgm.network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert history[-1] < 0.9 * history[0]
    torch.testing.assert_close(losses["kl"], losses["cross_entropy"] - losses["entropy"])


def test_what_joint_training_leaves_generates(tmp_path):
    train("tiny_lsgm", tmp_path / "run", 2)
    task = Generator.from_pretrained(tmp_path / "run")
    assert task.generate(2, seconds=0.1, steps=2).shape[:2] == (2, 1)
    with pytest.raises(UserError, match="latent_learnt"):
        build_task(task.config | {"representation": {"_target_": WAVEFORM}})


WAVEFORM = "wavediff.representations.waveform.Waveform"
