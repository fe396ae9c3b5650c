"""What the tasks show to a discriminator: what their samplers make in few calls."""

import pytest
import torch
from torch import nn

from wavediff.diffusion import times
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.ddim import DDIM, Ancestral, Renoise
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.noise import ItemNoise
from wavediff.diffusion.preconditioning import v
from wavediff.diffusion.schedule import VP
from wavediff.tasks.build import build_task
from wavediff.tasks.sampler import FIRST_STREAM, on_path


class Bent(nn.Module):
    """A network whose output depends on the signal and the time, and that counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.3))
        self.calls: list[bool] = []

    def forward(self, x, c_noise, cond):
        self.calls.append(torch.is_grad_enabled())
        return torch.tanh(self.gain * x) * (1 + c_noise[:, None, None] / 1000)


def sampled(denoiser, function, steps, noise, like):
    """The last state of the whole sampler, from the noise that `estimate` draws."""

    def draw(x, i):
        return noise.normal(*x.shape[1:], stream=FIRST_STREAM + 2 + i).to(x)

    return function(times.uniform(steps))(denoiser, draw(like, -1), noise=draw)


@pytest.mark.parametrize("function", [DDIM, Ancestral, Renoise])
def test_an_estimate_is_what_one_call_gives_or_what_all_give(function):
    denoiser = Denoiser(Bent(), VP(), v)
    noise, like = ItemNoise(3, range(12)), torch.empty(12, 2, 5)
    one = sampled(denoiser, function, 1, noise, like)
    two = sampled(denoiser, function, 2, noise, like)
    denoiser.network.calls.clear()
    sampler = function(times.uniform(2))
    estimate = on_path(sampler, denoiser, like, Condition(), noise)
    first = noise.uniform(FIRST_STREAM) < 0.5
    assert 0 < first.sum() < 12
    expected = torch.where(first[:, None, None], one, two)
    torch.testing.assert_close(estimate.detach(), expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(one, two, atol=1e-2)
    # the call before the last is made without a gradient
    assert denoiser.network.calls == [False, True]
    alone = on_path(sampler, denoiser, like[4:5], Condition(), ItemNoise(3, [4]))
    torch.testing.assert_close(alone[0], estimate[4])


def test_one_step_is_one_call_from_where_sampling_starts():
    denoiser = Denoiser(Bent(), VP(), v)
    noise, like = ItemNoise(0, [7, 8]), torch.empty(2, 1, 9)
    sampler = DDIM(times.uniform(1))
    estimate = on_path(sampler, denoiser, like, Condition(), noise)
    expected = sampled(denoiser, DDIM, 1, noise, like)
    torch.testing.assert_close(estimate.detach(), expected, rtol=1e-5, atol=1e-6)
    assert denoiser.network.calls == [True, False]
    estimate.square().mean().backward()
    assert denoiser.network.gain.grad != 0


@pytest.mark.parametrize("space", ["waveform", "pqmf", "stft", "whitened"])
def test_a_vocoder_s_audio_comes_from_the_mel_alone(make_vocoder, space):
    vocoder = make_vocoder(space)
    audio = 0.1 * torch.randn(3, 1, vocoder.crop_length, generator=torch.Generator().manual_seed(0))
    noise = ItemNoise(0, [4, 5, 6])
    estimate, reference = vocoder.generated({"audio": audio}, noise)
    left = vocoder.margin * vocoder.mel.hop_length
    assert torch.equal(reference, audio[..., left : left + vocoder.crop_frames * 16])
    assert estimate.shape == reference.shape
    estimate.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in vocoder.network.parameters())
    assert any(p.grad.abs().sum() > 0 for p in vocoder.network.parameters())
    alone, _ = vocoder.generated({"audio": audio[1:2]}, ItemNoise(0, [5]))
    torch.testing.assert_close(alone[0], estimate[1], rtol=1e-4, atol=1e-5)
    # another signal of the same mel
    same, _ = vocoder.generated({"audio": -audio}, noise)
    torch.testing.assert_close(same, estimate, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("schedule", ["bridge", "ouve", "anchored_flow"])
def test_an_enhancer_s_speech_comes_from_the_noisy_recording(make_config, read_group, schedule):
    config = make_config("stft")
    config["task"] = read_group("task", "enhancer") | {"crop_seconds": 0.2}
    config["schedule"] = read_group("schedule", schedule)
    config["prediction"] = "x0"
    config["sampler"] = read_group("sampler", "bridge")
    config["sampler"]["times"]["steps"] = 2
    torch.manual_seed(0)
    enhancer = build_task(config)
    nn.init.normal_(enhancer.network.output_projection.weight, std=0.3)
    clean, hum = 0.1 * torch.randn(
        2, 3, 1, enhancer.crop_length, generator=torch.Generator().manual_seed(0)
    )
    batch, noise = {"audio": clean, "noisy": clean + hum}, ItemNoise(0, [4, 5, 6])
    estimate, reference = enhancer.generated(batch, noise)
    assert estimate.shape == reference.shape == clean.shape
    # relative to the level of the noisy recording, so that quiet and loud ones are judged alike
    louder = {name: 7 * audio for name, audio in batch.items()}
    for one, other in zip((estimate, reference), enhancer.generated(louder, noise), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    other, _ = enhancer.generated(batch | {"audio": hum}, noise)
    assert torch.equal(other, estimate)
    estimate.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in enhancer.network.parameters())
