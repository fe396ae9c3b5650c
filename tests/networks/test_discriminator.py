import math

import pytest
import torch

from wavediff.diffusion.adversarial import Adversarial
from wavediff.networks.discriminator import MultiResolutionSpectrogram, Spectrogram

SMALL = ((64, 16, 64), (32, 8, 24))


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_magnitudes_of_noise_and_of_a_sine_are_known():
    """E|X|^2 = 1 for white noise; for a sine at a bin |X| = A/2 sum(w) / |w|, which is
    A/2 sqrt(2 n / 3) for Hann."""
    for n_fft, hop, window in ((256, 64, 256), (1024, 120, 600)):
        part = Spectrogram(n_fft, hop, window, width=1)
        inner = part.magnitudes(noise(1, 1, 200_000))[..., 10:-10]
        assert inner[:, 5:-5].square().mean().item() == pytest.approx(1, rel=0.02)
        time = torch.arange(16 * n_fft) / n_fft
        sine = 0.2 * torch.sin(2 * math.pi * 20 * time)[None, None]
        peak = part.magnitudes(sine)[0, 20, 10:-10]
        assert peak.mean().item() == pytest.approx(0.1 * math.sqrt(2 * window / 3), rel=1e-3)


def test_layers_are_per_item_with_scores_last():
    torch.manual_seed(0)
    discriminator = MultiResolutionSpectrogram(SMALL, width=4)
    audio = noise(3, 1, 640)
    outputs = discriminator(audio)
    # 64 / 2 + 1 bins and 640 / 16 + 1 frames, halved three times
    shapes = [tuple(layer.shape) for layer in outputs[0]]
    frames = [41, 21, 11, 6, 6]
    assert shapes == [*((3, 4, 33, n) for n in frames), (3, 1, 33, 6)]
    assert len(outputs) == 2
    alone = discriminator(audio[1:2])
    for part, single in zip(outputs, alone, strict=True):
        for layer, own in zip(part, single, strict=True):
            torch.testing.assert_close(layer[1:2], own, rtol=1e-4, atol=1e-5)


def test_it_hears_magnitudes_and_not_the_sign():
    torch.manual_seed(0)
    discriminator = MultiResolutionSpectrogram(SMALL, width=4)
    audio = noise(1, 1, 640)
    for part, other in zip(discriminator(audio), discriminator(-audio), strict=True):
        torch.testing.assert_close(part[-1], other[-1])


def test_of_logarithms_quiet_and_loud_differ_by_as_much():
    part = Spectrogram(64, 16, 64, width=1, log=True)
    seen = []
    part.layers[0].register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0]))
    for gain in (100.0, 10.0, 1.0):
        part(gain * noise(1, 1, 640))
    torch.testing.assert_close(seen[0] - seen[1], seen[1] - seen[2], rtol=0, atol=1e-3)
    assert (seen[0] - seen[1]).mean().item() == pytest.approx(math.log(10) / 5, rel=1e-3)


def test_anything_but_true_and_false_is_refused_as_log():
    with pytest.raises(ValueError, match="log must be true or false, got maybe"):
        MultiResolutionSpectrogram(SMALL, width=1, log="maybe")


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("length", [1, 5, 333])
def test_any_length_and_silence_have_finite_gradients(length, log):
    audio = torch.zeros(1, 1, length, requires_grad=True)
    parts = MultiResolutionSpectrogram(SMALL, width=2, log=log)(audio)
    sum(part[-1].square().sum() for part in parts).backward()
    assert audio.grad.isfinite().all()


def test_it_learns_to_tell_tones_from_noise_and_the_generator_is_told():
    """Half is what a discriminator reaches that cannot tell; the gradient then points to tones."""
    torch.manual_seed(0)
    objective = Adversarial(MultiResolutionSpectrogram(SMALL[1:], width=4))
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-2, betas=(0.8, 0.99))
    time = torch.arange(256)

    def pair(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        phase = 6.3 * torch.rand(4, 1, 1, generator=torch.Generator().manual_seed(seed))
        return 0.5 * noise(4, 1, 256, seed=seed), torch.sin(0.6 * time + phase)

    losses = []
    for step in range(40):
        loss = objective(*pair(step))["discriminator"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.5
    assert sum(losses[-10:]) / 10 < 0.1
    estimate, reference = pair(100)
    estimate.requires_grad_()
    loss = objective(estimate, reference)["generator"].mean()
    loss.backward()
    moved = estimate.detach() - 1e-3 * estimate.grad / estimate.grad.abs().max()
    assert objective(moved, reference)["generator"].mean() < loss


@pytest.mark.parametrize("wrong", [(), ((64, 0, 64),), ((64, 16, 65),), ((64, 65, 64),)])
def test_resolutions_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="resolution"):
        MultiResolutionSpectrogram(wrong)
