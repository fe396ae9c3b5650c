from functools import partial

import pytest
import torch

from wavediff.diffusion.condition import Condition
from wavediff.networks.diffwave import DiffWave
from wavediff.networks.frequency_unet import FrequencyUNet

CHANNELS = 34  # 18 bins, an even number, so that each way of halving occurs: 18, 9, 5


def make(trained: bool = True, **options) -> FrequencyUNet:
    torch.manual_seed(0)
    inner = partial(DiffWave, width=6, layers=2, dilation_cycle=2, rectify_input=False)
    settings = {"channels": CHANNELS, "anchor_channels": CHANNELS, "widths": (3, 4)}
    network = FrequencyUNet(inner, **settings | options).double()
    if trained:
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.15)
    return network


def frames(number: int, seed: int = 0, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, CHANNELS, number, generator=generator, dtype=torch.float64)


def step(batch: int = 2) -> torch.Tensor:
    return torch.full((batch,), 500.0, dtype=torch.float64)


@pytest.mark.parametrize("number", [1, 2, 13])
@pytest.mark.parametrize("channels", [CHANNELS, 32, 30])
@pytest.mark.parametrize("time_kernel", [1, 3])
def test_it_passes_the_anchor_on_before_training(number, channels, time_kernel):
    sizes = {"channels": channels, "anchor_channels": channels}
    network = make(trained=False, **sizes, time_kernel=time_kernel)
    x, y = frames(number)[:, :channels], frames(number, 1)[:, :channels]
    torch.testing.assert_close(network(x, step(), Condition(anchor=y)), y)


def test_the_output_is_mask_times_anchor_and_residual():
    """With the last bias alone: mask 2 + 3i and residual 5 + 7i, on top of the anchor itself."""
    network = make(trained=False)
    with torch.no_grad():
        network.up[0].bias.copy_(torch.tensor([2.0, 3.0, 5.0, 7.0]))
    y = frames(3)
    out = network(frames(3, 1), step(), Condition(anchor=y))
    half = CHANNELS // 2 + 1
    re, im = y[:, 1 : half - 1], y[:, half:]
    torch.testing.assert_close(out[:, 1 : half - 1], re + 2 * re - 3 * im + 5)
    torch.testing.assert_close(out[:, half:], im + 2 * im + 3 * re + 7)


def test_everything_is_heard_and_learned():
    network = make()
    x, y = frames(9).requires_grad_(), frames(9, 1).requires_grad_()
    network(x, step(), Condition(anchor=y)).square().sum().backward()
    for tensor in (x, y, *network.parameters()):
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().sum() > 0


@pytest.mark.parametrize(("time_kernel", "reach"), [(1, 3), (3, 3 + 4)])
def test_frames_reach_as_far_as_it_says(time_kernel, reach):
    network = make(time_kernel=time_kernel)
    y = frames(21, batch=1)
    assert network.receptive_field == reach
    out = network(y, step(1), Condition(anchor=y))
    changed = y.clone()
    changed[..., 10] += 1
    difference = (network(changed, step(1), Condition(anchor=changed)) - out).abs().amax((0, 1))
    assert (difference[10 - reach : 11 + reach] > 0).all()
    assert (difference[: 10 - reach] == 0).all()
    assert (difference[11 + reach :] == 0).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="STFT frames like the signal"):
        make(anchor_channels=2)
    with pytest.raises(ValueError, match="odd"):
        make(time_kernel=2)
    with pytest.raises(ValueError, match="needs an anchor"):
        make()(frames(4), step(), Condition())
