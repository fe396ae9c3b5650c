"""The U-Net over time: finite reach, shifts by its stride, conditions, gradients."""

import pytest
import torch

from wavediff.diffusion.condition import Condition
from wavediff.networks.frames import FrameStream
from wavediff.networks.resampling import (
    downsampler,
    seen_by_downsampler,
    seen_by_upsampler,
    upsampler,
)
from wavediff.networks.unet import LocalAttention, UNet

SETTINGS = {"widths": (4, 6, 8), "strides": (2, 3), "blocks": 1, "heads": 2, "window": 2}
VARIANTS = [
    {},
    {"channels": 3, "anchor_channels": 3, "local_channels": 5},
    {"channels": 2, "out_channels": 7, "attention": 0},
    {"widths": (4,), "strides": (), "attention": 1},
    {"strides": (1, 4), "attention": 3, "blocks": 2},
]


def make(**options) -> UNet:
    torch.manual_seed(0)
    network = UNet(**SETTINGS | options).double()
    for name, parameter in network.named_parameters():
        if name.startswith("output_projection") or name.endswith("attention.bias"):
            torch.nn.init.normal_(parameter)
    return network


def inputs(network: UNet, frames: int = 30, batch: int = 2):
    generator = torch.Generator().manual_seed(1)

    def normal(channels: int) -> torch.Tensor:
        return torch.randn(batch, channels, frames, generator=generator, dtype=torch.float64)

    channels = network.input_projection.in_channels - network.anchor_channels
    c_noise = torch.linspace(3.0, 700.0, batch, dtype=torch.float64)
    return (
        normal(channels),
        c_noise,
        Condition(local=normal(5), anchor=normal(network.anchor_channels or 1)),
    )


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("frames", [1, 5, 6, 13])
def test_any_number_of_frames_with_and_without_conditions(options, frames):
    network = make(**options)
    x, c_noise, cond = inputs(network, frames)
    y = network(x, c_noise, cond)
    assert y.shape == (2, options.get("out_channels", x.shape[1]), frames)
    assert y.dtype == x.dtype
    assert y.isfinite().all()


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_the_receptive_field_is_what_it_says(options):
    """The farthest input of all output frames within one stride."""
    network = make(**options)
    reach, stride = network.receptive_field, network.stride
    first = -(-reach // stride + 1) * stride
    x, c_noise, cond = inputs(network, first + reach + 2 * stride, batch=1)
    farthest = 0
    for at in range(first, first + stride):
        x.requires_grad_().grad = None
        network(x, c_noise, cond)[0, :, at].square().sum().backward()
        touched = x.grad[0].abs().sum(0).nonzero().flatten().tolist()
        farthest = max(farthest, at - min(touched), max(touched) - at)
    assert farthest == reach


@pytest.mark.parametrize("options", VARIANTS[1:], ids=str)
def test_a_piece_cut_at_a_stride_with_enough_context_is_the_whole(options):
    network = make(**options)
    reach, stride = network.receptive_field, network.stride
    left = 2 * stride
    right = left + (2 * reach // stride + 3) * stride
    x, c_noise, cond = inputs(network, right + 2 * stride + 1)
    with torch.no_grad():
        whole = network(x, c_noise, cond)
        piece = network(x[..., left:right], c_noise, cond.map(lambda value: value[..., left:right]))
    torch.testing.assert_close(
        piece[..., reach:-reach], whole[..., left + reach : right - reach], rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("frames", [1, 3, 4, 11])
def test_attention_is_softmax_over_the_window_and_distances(frames):
    window, heads, width = 4, 2, 6
    torch.manual_seed(0)
    attention = LocalAttention(width, heads, window).double()
    torch.nn.init.normal_(attention.bias)
    h = torch.randn(2, width, frames, dtype=torch.float64)
    query, key, value = (
        part.reshape(2, heads, width // heads, frames)
        for part in attention.query_key_value(attention.norm(h)).chunk(3, dim=1)
    )
    at = torch.arange(frames)
    distance = at[None] - at[:, None]
    logits = torch.einsum("bhdq,bhdk->bhqk", query, key) / (width // heads) ** 0.5
    logits = logits + attention.bias[:, distance.clamp(-window, window) + window]
    weights = logits.masked_fill(distance.abs() > window, -torch.inf).softmax(-1)
    y = torch.einsum("bhqk,bhdk->bhdq", weights, value).reshape(2, width, frames)
    expected = (h + attention.output(y)) / 2**0.5
    torch.testing.assert_close(attention(h), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5])
def test_resampling_sees_what_it_says(stride):
    frames = 12
    for layer, sees, ratio in (
        (downsampler(1, 1, stride), seen_by_downsampler, 1 / stride),
        (upsampler(1, 1, stride), seen_by_upsampler, stride),
    ):
        torch.nn.init.ones_(layer.weight)
        x = torch.randn(1, 1, frames * stride, requires_grad=True)
        y = layer(x)
        assert y.shape[-1] == round(x.shape[-1] * ratio)
        for at in range(y.shape[-1]):
            x.grad = None
            y[0, 0, at].backward(retain_graph=True)
            touched = x.grad[0, 0].nonzero().flatten().tolist()
            low, high = sees((at, at), stride)
            assert touched == list(range(max(low, 0), min(high, x.shape[-1] - 1) + 1))


def test_every_item_by_itself_and_every_input_counts():
    network = make(anchor_channels=1, local_channels=5, labels=3)
    x, c_noise, cond = inputs(network)
    cond = Condition(cond.local, torch.tensor([0, 2]), cond.anchor)
    with torch.no_grad():
        both = network(x, c_noise, cond)
        second = network(x[1:], c_noise[1:], cond.map(lambda value: value[1:]))
        torch.testing.assert_close(second, both[1:], rtol=0, atol=1e-10)
        changed = [
            network(x + 1, c_noise, cond),
            network(x, c_noise + 1, cond),
            network(x, c_noise, Condition(cond.local + 1, cond.label, cond.anchor)),
            network(x, c_noise, Condition(cond.local, cond.label.flip(0), cond.anchor)),
            network(x, c_noise, Condition(cond.local, cond.label, cond.anchor + 1)),
        ]
        prepared = Condition(cond.local, cond.label, cond.anchor, prepared=network.prepare(cond))
        assert torch.equal(network(x, c_noise, prepared), both)
        twice = [torch.cat([part, part]) for part in (x, c_noise, cond.label, cond.anchor)]
        repeated = Condition(None, twice[2], twice[3], prepared=network.prepare(cond))
        two = network(twice[0], twice[1], repeated)
        torch.testing.assert_close(two, torch.cat([both, both]), rtol=0, atol=1e-10)
    for y in changed:
        assert (y - both).abs().amax((1, 2)).min() > 1e-3
    for missing in (
        Condition(None, cond.label, cond.anchor),
        Condition(cond.local, None, cond.anchor),
        Condition(cond.local, cond.label, None),
    ):
        with pytest.raises(ValueError, match="needs"):
            network(x, c_noise, missing)


def test_no_class_is_a_label_too():
    network = make(labels=3)
    x, c_noise, _ = inputs(network)
    none = network(x, c_noise, Condition(label=torch.tensor([-1, -1])))
    network.label_embedding.weight.data += 1
    assert torch.equal(network(x, c_noise, Condition(label=torch.tensor([-1, -1]))), none)


def test_a_local_condition_at_a_lower_rate():
    network = make(local_channels=5, upsample=8)
    x, c_noise, _ = inputs(network, frames=21)
    local = torch.randn(2, 5, 3, dtype=torch.float64)
    assert network(x, c_noise, Condition(local=local)).shape == x.shape


def test_the_defaults_are_of_the_size_that_they_say_and_begin_at_zero():
    torch.manual_seed(0)
    network = UNet(local_channels=80, upsample=256)
    assert 5e6 < sum(p.numel() for p in network.parameters()) < 7e6
    assert network.stride == 256
    assert network.receptive_field < 9000
    with torch.no_grad():
        y = network(torch.randn(1, 1, 300), torch.ones(1), Condition(local=torch.randn(1, 80, 2)))
    assert y.abs().max() == 0


def test_gradients_reach_every_weight_and_stay_finite_on_silence():
    network = make(anchor_channels=1, local_channels=5, labels=2)
    x, c_noise, cond = inputs(network)
    cond = Condition(cond.local, torch.tensor([0, 1]), cond.anchor)
    for scale in (1.0, 0.0):
        network.zero_grad()
        silent = cond.map(lambda v, s=scale: v * s if v.is_floating_point() else v)
        (network(scale * x, c_noise, silent) - 1).square().mean().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad.isfinite().all(), name
            if scale:
                assert parameter.grad.abs().max() > 0, name


def test_the_gradient_is_that_of_the_function():
    network = make(local_channels=5)
    x, c_noise, cond = inputs(network, frames=7, batch=1)
    assert torch.autograd.gradcheck(lambda x: network(x, c_noise, cond), x.requires_grad_())


@pytest.mark.parametrize("emulated", [False, True])
def test_bfloat16_autocast_is_near_float32(monkeypatch, emulated):
    """Also where the CPU would only emulate it, and therefore computes in float32."""
    supported = "torch.ops.mkldnn._is_mkldnn_bf16_supported"
    monkeypatch.setattr(supported, lambda: not emulated)
    network = make(anchor_channels=1).float()
    x, c_noise, cond = inputs(network)
    x, c_noise, cond = x.float(), c_noise.float(), cond.map(torch.Tensor.float)
    exact = network(x, c_noise, cond)
    with torch.autocast("cpu", torch.bfloat16):
        y = network(x, c_noise, cond)
    error = ((y - exact).square().mean() / exact.square().mean()).sqrt()
    assert (error == 0) if emulated else (0 < error < 0.05)
    y.float().square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_settings_that_do_not_fit_are_refused():
    for wrong in ({"widths": (4, 6)}, {"heads": 3}, {"strides": (2, 0)}, {"blocks": 0}):
        with pytest.raises(ValueError, match=r"stride|heads|1 or more"):
            UNet(**SETTINGS | wrong)


@pytest.mark.parametrize(("widths", "strides"), [([8], []), ([8, 8], [3]), ([8, 8, 8], [2, 2])])
@pytest.mark.parametrize("frames", [5, 240, 241])
def test_a_signal_in_parts_gives_what_the_whole_gives(widths, strides, frames):
    torch.manual_seed(0)
    network = UNet(5, 3, widths=widths, strides=strides, blocks=1, heads=2, window=2).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, local, c_noise = torch.randn(2, 5, frames), torch.randn(2, 3, frames), torch.rand(2)
    reach, size = network.receptive_field, 4 * network.stride
    stops = [*range(reach + size, frames, size), frames]
    stream, start, parts, complete = FrameStream(), 0, [], 0
    with torch.no_grad():
        expected = network(x, c_noise, Condition(local=local))
        for stop in stops:
            stream.begin(last=stop == frames)
            cond = Condition(local=local[..., start:stop])
            parts.append(network(x[..., start:stop], c_noise, cond, stream))
            complete, start = complete + parts[-1].shape[-1], stop
            assert complete >= stop - reach
    assert len(stops) > 5 or frames == 5
    found = torch.cat(parts, dim=-1)
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)
