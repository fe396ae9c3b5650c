"""The autoencoder as a task: losses, pieces, and what it is made of."""

import pytest
import torch

from wavediff.diffusion.noise import ItemNoise
from wavediff.errors import UserError
from wavediff.evaluation.spectral import mr_stft
from wavediff.tasks import autoencoder as module
from wavediff.tasks.autoencoder import Autoencoder
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import load_task, save_task

RATE = 4000


@pytest.fixture
def config(read_group):
    network = read_group("network", "autoencoder")
    return {
        "task": read_group("task", "autoencoder") | {"sample_rate": RATE, "crop_seconds": 0.5},
        "network": network | {"latent_channels": 4, "width": 8, "strides": [2, 4]},
    }


@pytest.fixture
def autoencoder(config) -> Autoencoder:
    torch.manual_seed(0)
    return build_task(config).eval()


def sine(length: int = 2000, batch: int = 1) -> torch.Tensor:
    frequency = torch.tensor([200.0, 330.0, 470.0, 610.0])[:batch, None, None]
    return 0.3 * torch.sin(2 * torch.pi * frequency * torch.arange(length) / RATE)


def test_the_loss_is_the_weighted_sum_of_its_terms(autoencoder):
    batch, noise = {"audio": sine(batch=3)}, ItemNoise(0, [3, 4, 5])
    autoencoder.mr_stft_weight, autoencoder.l1_weight, autoencoder.kl_weight = 2.0, 3.0, 0.5
    losses = autoencoder.loss(batch, noise)
    assert {name: value.shape for name, value in losses.items()} == dict.fromkeys(
        ("mr_stft", "l1", "kl", "loss"), (3,)
    )
    expected = 2 * losses["mr_stft"] + 3 * losses["l1"] + 0.5 * losses["kl"]
    torch.testing.assert_close(losses["loss"], expected)
    q = autoencoder.network.encode(batch["audio"])
    torch.testing.assert_close(losses["kl"], q.kl().mean((1, 2)))
    estimate = autoencoder.network.decode(q.sample(noise.normal(4, 250)), 2000)
    torch.testing.assert_close(losses["mr_stft"], mr_stft(estimate, batch["audio"]))


def test_it_learns_a_toy(autoencoder):
    autoencoder.train()
    optimizer = torch.optim.Adam(autoencoder.network.parameters(), 3e-3)
    history = []
    for step in range(25):
        indices = range(4 * step, 4 * step + 4)
        loss = autoencoder.loss({"audio": sine(800, 4)}, ItemNoise(0, indices))["loss"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.7 * history[0]


def test_encoding_has_no_noise_and_pieces_do_not_show(autoencoder, monkeypatch):
    audio = torch.randn(2, 3001, generator=torch.Generator().manual_seed(0))
    latent = autoencoder.encode(audio, RATE)
    assert latent.shape == (2, 4, 376)
    assert torch.equal(latent, autoencoder.encode(audio, RATE))
    torch.testing.assert_close(latent[1], autoencoder.encode(audio[1], RATE))
    again = autoencoder.decode(latent, 3001)
    assert again.shape == audio.shape
    torch.testing.assert_close(again, autoencoder(audio, RATE))
    assert autoencoder.decode(latent[0]).shape == (376 * 8,)
    monkeypatch.setattr(module, "PIECE_NUMBERS", 1)
    calls = []
    autoencoder.network.encoder.register_forward_hook(lambda *a: calls.append(1))
    torch.testing.assert_close(autoencoder.encode(audio, RATE), latent, atol=1e-5, rtol=0)
    torch.testing.assert_close(autoencoder.decode(latent, 3001), again, atol=1e-5, rtol=0)
    assert len(calls) > 2


def test_another_rate_is_resampled(autoencoder):
    assert autoencoder.encode(sine(4000)[0, 0], 2 * RATE).shape == (4, 250)
    assert autoencoder(sine(4000)[0, 0], 2 * RATE).shape == (2000,)


def test_a_checkpoint_gives_the_same_model(autoencoder, tmp_path):
    path = tmp_path / "model.safetensors"
    save_task(path, autoencoder.config, autoencoder.network.state_dict(), {})
    found = Autoencoder.from_pretrained(path)
    audio = sine()[0]
    assert torch.equal(found.encode(audio, RATE), autoencoder.encode(audio, RATE))
    assert set(load_task(path).config) == {"task", "network"}


def test_the_reconstruction_validates(autoencoder):
    batch = {"audio": sine(1001)}
    assert torch.equal(autoencoder.validate(batch, 1), autoencoder.validate(batch, 2))
    assert autoencoder.validate(batch).shape == (1, 1, 1001)


def test_what_cannot_be_is_refused(autoencoder, config, make_config):
    for audio in (torch.zeros(0), torch.zeros(1, 2, 3), torch.zeros(5, dtype=torch.int16)):
        with pytest.raises(UserError, match="audio must"):
            autoencoder.encode(audio, RATE)
    with pytest.raises(UserError, match="NaN"):
        autoencoder.encode(torch.full((5,), torch.nan), RATE)
    for latent in (torch.zeros(3, 5), torch.zeros(4, 0), torch.zeros(5)):
        with pytest.raises(UserError, match="latent of this model"):
            autoencoder.decode(latent)
    with pytest.raises(UserError, match="samples"):
        autoencoder.decode(torch.zeros(4, 5), 41)
    with pytest.raises(UserError, match="must be an autoencoder"):
        build_task(config | {"network": make_config()["network"]})
    with pytest.raises(UserError, match="lacks network"):
        build_task({"task": config["task"]})
