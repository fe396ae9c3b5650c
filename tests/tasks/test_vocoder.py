"""The vocoder as it is held from Python."""

import numpy as np
import pytest
import torch

from wavediff.diffusion.noise import ItemNoise
from wavediff.diffusion.schedule import RectifiedFlow
from wavediff.errors import UserError
from wavediff.tasks.checkpoint import save_task
from wavediff.tasks.vocoder import Vocoder

SPACES = ["waveform", "pqmf", "stft", "whitened"]


@pytest.mark.parametrize("space", ["waveform", "whitened"])
def test_a_batch_equals_each_alone(make_vocoder, make_mel, space):
    vocoder = make_vocoder(space)
    mels = make_mel(batch=2)
    together = vocoder(mels, sampler="ancestral", steps=3)
    for mel, audio in zip(mels, together, strict=True):
        alone = vocoder(mel, sampler="ancestral", steps=3)
        torch.testing.assert_close(alone, audio, atol=1e-5, rtol=0)
    assert together.shape == (2, 40 * 16)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_a_seed_is_a_result(make_vocoder, make_mel):
    vocoder, mel = make_vocoder(), make_mel()[0]
    assert torch.equal(vocoder(mel, seed=3), vocoder(mel, seed=3))
    assert not torch.allclose(vocoder(mel, seed=3), vocoder(mel, seed=4), atol=1e-4)


def test_arrays_of_any_float_give_arrays(make_vocoder, make_mel):
    vocoder = make_vocoder()
    mel = make_mel()[0].half().float()
    expected = vocoder(mel)
    assert isinstance(expected, torch.Tensor)
    assert expected.dtype == torch.float32
    assert not expected.requires_grad
    for given in (mel.numpy(), mel.numpy().astype(np.float64), mel.numpy().astype(np.float16)):
        found = vocoder(given)
        assert isinstance(found, np.ndarray)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected.numpy())
    flipped = np.flip(np.flip(mel.numpy(), 1).copy(), 1)  # negative strides
    np.testing.assert_array_equal(vocoder(flipped), expected.numpy())
    # what comes out may be used where gradients are wanted
    (expected * torch.ones(1, requires_grad=True)).sum().backward()


def test_a_mel_that_needs_gradients_is_taken(make_vocoder, make_mel):
    vocoder = make_vocoder()
    mel = make_mel()[0]
    assert torch.equal(vocoder(mel.clone().requires_grad_()), vocoder(mel))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("length", [5, 640, 650])
def test_copy_synthesis_is_as_long_as_the_audio(make_vocoder, space, center, length):
    vocoder = make_vocoder(space, mel={"center": center})
    audio = 0.1 * torch.randn(1, 1, length, generator=torch.Generator().manual_seed(0))
    assert vocoder.validate({"audio": audio}).shape == audio.shape


def test_a_front_end_not_centred_is_given_the_last_samples_too(make_vocoder):
    vocoder = make_vocoder(mel={"center": False})
    assert vocoder.mel.frames(650) == 40
    assert vocoder.analyse(torch.zeros(1, 1, 650)).shape[-1] == 41
    assert vocoder.analyse(torch.zeros(1, 1, 640)).shape[-1] == 40


@pytest.mark.parametrize("space", SPACES)
def test_the_loss_is_per_item_and_has_gradients(make_vocoder, space):
    vocoder = make_vocoder(space, task={"mr_stft_weight": 0.5, "mel_weight": 2.0})
    audio = 0.1 * torch.randn(3, 1, vocoder.crop_length, generator=torch.Generator().manual_seed(0))
    losses = vocoder.loss({"audio": audio}, ItemNoise(0, [4, 5, 6]))
    assert {name: tuple(value.shape) for name, value in losses.items()} == dict.fromkeys(
        ["denoising", "log_snr", "loss", "mel", "mr_stft"], (3,)
    )
    weighted = losses["denoising"] + 0.5 * losses["mr_stft"] + 2.0 * losses["mel"]
    torch.testing.assert_close(losses["loss"], weighted)
    losses["loss"].mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in vocoder.network.parameters())
    alone = vocoder.loss({"audio": audio[1:2]}, ItemNoise(0, [5]))
    torch.testing.assert_close(alone["loss"][0], losses["loss"][1])


def test_the_mel_loss_is_how_far_the_estimates_mel_is_off(make_vocoder):
    """A network that predicts nothing makes silence, whose mel is known everywhere."""
    vocoder = make_vocoder("waveform", task={"mel_weight": 1.0}, prediction="x0")
    for parameter in vocoder.network.parameters():
        torch.nn.init.zeros_(parameter)
    audio = 0.1 * torch.randn(2, 1, vocoder.crop_length, generator=torch.Generator().manual_seed(0))
    found = vocoder.loss({"audio": audio}, ItemNoise(0, [0, 1]))["mel"]
    inner = audio[..., vocoder.margin * vocoder.mel.hop_length :]
    inner = inner[..., : vocoder.crop_frames * vocoder.mel.hop_length]
    expected = (vocoder.mel(inner) - vocoder.mel.silence).mean(dim=(1, 2))
    torch.testing.assert_close(found, expected)


def test_labels_by_number_and_name(make_vocoder, make_mel):
    vocoder, mel = make_vocoder(network={"labels": 3}), make_mel()[0]
    vocoder.extra = {"label_names": ["2", "anna", "carl"]}
    by_number = vocoder(mel, label=1)
    assert torch.equal(by_number, vocoder(mel, label="anna"))
    assert not torch.allclose(by_number, vocoder(mel, label=2), atol=1e-5)
    assert vocoder.label_number("2") == 0  # a name comes before a number
    assert vocoder.label_number(2) == 2
    for wrong in (None, 3, -1, "bob", "7", 1.5):
        with pytest.raises(UserError, match="anna, carl"):
            vocoder(mel, label=wrong)
    with pytest.raises(UserError, match="needs a label"):
        vocoder.validate({"audio": torch.zeros(1, 1, 640)})


def test_a_label_for_a_model_without_is_refused(make_vocoder, make_mel):
    with pytest.raises(UserError, match="one voice"):
        make_vocoder()(make_mel()[0], label=0)


@pytest.mark.parametrize(
    ("mel", "words"),
    [
        (torch.zeros(7, 40) - 4, "7 bands"),
        (torch.full((6, 40), float("nan")), "NaN"),
        (torch.zeros(6, 0), "shape"),
        (torch.zeros(6), "shape"),
        (torch.linspace(-90, 0, 240).reshape(6, 40), "decibels"),
        (np.array([["a"]]), "numbers"),
    ],
)
def test_what_is_no_mel_is_refused(make_vocoder, mel, words):
    with pytest.raises(UserError, match=words):
        make_vocoder()(mel)


def test_samplers_that_do_not_exist_or_fit(make_vocoder, make_mel):
    vocoder, mel = make_vocoder(), make_mel()[0]
    with pytest.raises(UserError, match=r"ancestral, .*ddim, .*heun"):
        vocoder(mel, sampler="hein")
    with pytest.raises(UserError, match="at least 1"):
        vocoder(mel, steps=0)
    with pytest.raises(UserError, match="levels"):
        vocoder(mel, sampler="diffwave")  # every level of a schedule that has none
    assert vocoder(mel, sampler="diffwave", steps=2).shape == (640,)
    blind = make_vocoder(prediction="eps")
    blind.denoiser.schedule = RectifiedFlow()
    with pytest.raises(UserError, match="needs signal, but alpha = 0"):
        blind(mel)


def test_from_pretrained_gives_the_same_model(tmp_path, make_vocoder, make_mel):
    vocoder = make_vocoder()
    save_task(
        tmp_path / "model.safetensors", vocoder.config, vocoder.network.state_dict(), {"n": 1}
    )
    for place in (tmp_path, str(tmp_path / "model.safetensors")):
        again = Vocoder.from_pretrained(place)
        assert torch.equal(again(make_mel()[0]), vocoder(make_mel()[0]))
        assert not again.training
        assert again.extra == {"n": 1}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(make_vocoder, make_mel):
    vocoder, mel = make_vocoder(), make_mel()[0]
    expected = vocoder(mel)
    found = vocoder.to("cuda")(mel)
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected, atol=1e-3, rtol=0)
