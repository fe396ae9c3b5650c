"""Causal networks: nothing of the future, and a step form that equals the whole form."""

from functools import partial

import pytest
import torch

from wavediff.diffusion.condition import Condition
from wavediff.networks.causal import CausalStream
from wavediff.networks.diffwave import DiffWave
from wavediff.networks.frequency_unet import FrequencyUNet

CHANNELS, FRAMES = 32, 40
C_NOISE = torch.tensor([0.3, 0.7])


def make(kernel_size: int = 2, time_kernel: int = 2) -> FrequencyUNet:
    inner = partial(
        DiffWave,
        width=12,
        layers=4,
        dilation_cycle=3,
        kernel_size=kernel_size,
        hidden=8,
        rectify_input=False,
        causal=True,
    )
    torch.manual_seed(0)
    network = FrequencyUNet(inner, CHANNELS, CHANNELS, widths=(4, 6), time_kernel=time_kernel)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


def signal(seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, CHANNELS, FRAMES, generator=generator)


@pytest.fixture(params=[(2, 2), (3, 1), (2, 3)], ids=str)
def network(request):
    return make(*request.param)


@torch.no_grad()
def test_the_past_of_the_output_does_not_move_by_a_bit_with_the_future(network):
    x = signal()
    y = network(x, C_NOISE, Condition(anchor=x))
    for frame in (0, 7, 20, FRAMES - 1):
        changed = x.clone()
        changed[..., frame + 1 :] = 9 * signal(seed=2)[..., frame + 1 :]
        other = network(changed, C_NOISE, Condition(anchor=changed))
        assert torch.equal(y[..., : frame + 1], other[..., : frame + 1])


@torch.no_grad()
def test_a_frame_depends_on_the_receptive_field_before_it_and_no_more(network):
    x = signal()
    reach = network.receptive_field
    y = network(x, C_NOISE, Condition(anchor=x))
    changed = x.clone()
    changed[..., FRAMES - 1 - reach - 1] += 5
    other = network(changed, C_NOISE, Condition(anchor=changed))
    assert torch.equal(y[..., -1], other[..., -1])
    changed[..., FRAMES - 1 - reach] += 5
    other = network(changed, C_NOISE, Condition(anchor=changed))
    assert not torch.equal(y[..., -1], other[..., -1])


@torch.no_grad()
@pytest.mark.parametrize("parts", [[1] * FRAMES, [3, 1, 20, 16], [FRAMES]], ids=len)
def test_the_step_form_equals_the_whole_form(network, parts):
    x = signal()
    whole = network(x, C_NOISE, Condition(anchor=x))
    stream, out = CausalStream(), []
    for part in x.split(parts, dim=-1):
        stream.begin()
        out.append(network(part, C_NOISE, Condition(anchor=part), stream))
    assert (torch.cat(out, dim=-1) - whole).abs().max() < 1e-5 * whole.abs().max()


@torch.no_grad()
def test_the_state_is_all_that_is_known_of_the_past(network):
    x = signal()
    stream, out = CausalStream(), []
    for part in x.split(8, dim=-1):
        stream = CausalStream(stream.state)  # as one that was kept elsewhere
        out.append(network(part, C_NOISE, Condition(anchor=part), stream))
    whole = network(x, C_NOISE, Condition(anchor=x))
    assert (torch.cat(out, dim=-1) - whole).abs().max() < 1e-5 * whole.abs().max()


def test_even_kernels_need_a_causal_network():
    inner = partial(DiffWave, width=12, layers=1, rectify_input=False)
    with pytest.raises(ValueError, match="time_kernel must be odd"):
        FrequencyUNet(inner, CHANNELS, CHANNELS, time_kernel=2)
