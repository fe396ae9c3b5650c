from functools import partial

import pytest
import torch

from wavediff.diffusion.condition import Condition
from wavediff.networks.diffwave import DiffWave
from wavediff.networks.masked import Masked
from wavediff.representations.stft import from_channels, magnitude, to_channels

CHANNELS, FRAMES = 12, 9
INNER = partial(DiffWave, width=6, layers=3, rectify_input=False)


def make(network=INNER, **options) -> Masked:
    torch.manual_seed(0)
    return Masked(network, CHANNELS, CHANNELS, **{"local_channels": 5} | options).double()


def inputs(frames: int = FRAMES):
    generator = torch.Generator().manual_seed(1)

    def normal(channels: int) -> torch.Tensor:
        return torch.randn(2, channels, frames, generator=generator, dtype=torch.float64)

    c_noise = torch.tensor([1.0, 300.0], dtype=torch.float64)
    return normal(CHANNELS), c_noise, Condition(local=normal(5), anchor=normal(CHANNELS))


class Constant(torch.nn.Module):
    """Answers with ``self.answer``, and remembers what it was asked."""

    receptive_field = 0

    def __init__(self, channels: int, out_channels: int, local_channels: int) -> None:
        super().__init__()
        self.channels, self.out_channels = channels, out_channels

    def forward(self, x, c_noise, cond):
        self.seen = x
        return self.answer


def test_a_fresh_network_passes_the_anchor_on():
    network = make()
    torch.nn.init.zeros_(network.network.output_projection.bias)
    x, c_noise, cond = inputs()
    torch.testing.assert_close(network(x, c_noise, cond), cond.anchor)


def test_the_mask_multiplies_complex_bins_and_the_rest_is_added():
    network = make(Constant)
    x, c_noise, cond = inputs()
    mask, rest = (torch.randn(2, CHANNELS, FRAMES, dtype=torch.float64) for _ in range(2))
    network.network.answer = torch.cat([mask, rest], dim=1)
    y = network(x, c_noise, cond)

    def bins(z):
        return torch.view_as_complex(from_channels(z).contiguous())

    product = (1 + bins(mask)) * bins(cond.anchor)
    torch.testing.assert_close(y, to_channels(torch.view_as_real(product)) + rest)
    assert network.network.out_channels == 2 * CHANNELS
    expected = torch.cat([x, cond.anchor, magnitude(cond.anchor)], dim=1)
    torch.testing.assert_close(network.network.seen, expected)
    assert network.network.channels == expected.shape[1]


def test_the_reach_is_the_inner_networks():
    network = make()
    torch.nn.init.normal_(network.network.output_projection.weight)
    assert network.receptive_field == 1 + 2 + 4
    x, c_noise, cond = inputs(frames=31)
    anchor = cond.anchor.clone().requires_grad_()
    network(x, c_noise, Condition(cond.local, anchor=anchor))[:, :, 15].sum().backward()
    touched = anchor.grad.abs().sum((0, 1)).nonzero().flatten().tolist()
    assert (min(touched), max(touched)) == (15 - 7, 15 + 7)


def test_what_is_prepared_once_gives_the_same():
    network = make()
    torch.nn.init.normal_(network.network.output_projection.weight)
    x, c_noise, cond = inputs()
    with torch.no_grad():
        kept = Condition(anchor=cond.anchor, prepared=network.prepare(cond))
        torch.testing.assert_close(network(x, c_noise, kept), network(x, c_noise, cond))


def test_gradients_are_finite_in_silence():
    network = make()
    torch.nn.init.normal_(network.network.output_projection.weight)
    x, c_noise, cond = inputs()
    silent = cond.map(torch.zeros_like)
    (network(0 * x, c_noise, silent) - 1).square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_only_stft_frames_with_an_anchor_like_them():
    for channels, anchor in ((12, 0), (12, 24), (11, 11)):
        with pytest.raises(ValueError, match="STFT frames"):
            Masked(INNER, channels, anchor)
    x, c_noise, _ = inputs()
    with pytest.raises(ValueError, match="anchor"):
        make()(x, c_noise, Condition())
