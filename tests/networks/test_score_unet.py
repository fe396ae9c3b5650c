import pytest
import torch

from wavediff.diffusion.condition import Condition
from wavediff.networks.score_unet import ScoreUNet, doubled, halved

CHANNELS = 20  # 11 bins, 6, 3


def make(channels: int = CHANNELS, **options) -> ScoreUNet:
    torch.manual_seed(0)
    settings = {"widths": (4, 6, 8), "dilations": (1, 2, 2), "heads": 2}
    network = ScoreUNet(channels, **settings | options).double()
    torch.nn.init.normal_(network.output_projection.weight)
    torch.nn.init.normal_(network.frequency)
    return network


def inputs(network: ScoreUNet, frames: int = 30, batch: int = 2):
    generator = torch.Generator().manual_seed(1)

    def normal(channels: int) -> torch.Tensor:
        return torch.randn(batch, channels, frames, generator=generator, dtype=torch.float64)

    x, c_noise = normal(network.channels), torch.linspace(3.0, 700.0, batch, dtype=torch.float64)
    return x, c_noise, Condition(local=normal(5), anchor=normal(network.anchor_channels or 1))


VARIANTS = [
    {},
    {"anchor_channels": CHANNELS},
    {"anchor_channels": 2 * CHANNELS, "local_channels": 5},
    {"channels": 18, "anchor_channels": 18, "heads": 0},
    {"widths": (4,), "dilations": (3,)},
    {"channels": 2, "local_channels": 5},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_any_number_of_frames_with_and_without_conditions(options, frames):
    network = make(**options)
    x, c_noise, cond = inputs(network, frames)
    y = network(x, c_noise, cond)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert y.isfinite().all()


@pytest.mark.parametrize("options", VARIANTS[1:4], ids=str)
def test_a_piece_with_enough_context_is_the_whole(options):
    network = make(**options)
    x, c_noise, cond = inputs(network, 60)
    with torch.no_grad():
        whole = network(x, c_noise, cond)
        reach, left, right = network.receptive_field, 7, 53
        assert right - left > 2 * reach
        piece = network(x[..., left:right], c_noise, cond.map(lambda value: value[..., left:right]))
    torch.testing.assert_close(
        piece[..., reach:-reach], whole[..., left + reach : right - reach], rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("options", [VARIANTS[1], VARIANTS[4]], ids=str)
def test_the_receptive_field_is_what_it_says(options):
    network = make(**options)
    frames, at = 2 * network.receptive_field + 9, network.receptive_field + 4
    x, c_noise, cond = inputs(network, frames, batch=1)
    x.requires_grad_()
    network(x, c_noise, cond)[0, :, at].square().sum().backward()
    touched = x.grad[0].abs().sum(0).nonzero().flatten().tolist()
    assert [at - min(touched), max(touched) - at] == 2 * [network.receptive_field]


def test_every_item_by_itself_and_every_input_counts():
    network = make(anchor_channels=CHANNELS, local_channels=5, labels=3)
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
    for y in changed:
        assert (y - both).abs().amax((1, 2)).min() > 1e-3


def test_a_local_condition_at_a_lower_rate():
    network = make(local_channels=5, upsample=8)
    x, c_noise, _ = inputs(network, frames=21)
    local = torch.randn(2, 5, 3, dtype=torch.float64)
    assert network(x, c_noise, Condition(local=local)).shape == x.shape


def test_the_default_is_of_modest_size_and_begins_at_zero():
    torch.manual_seed(0)
    network = ScoreUNet(channels=512, anchor_channels=512, local_channels=80)
    count = sum(p.numel() for p in network.parameters())
    assert 2e6 < count < 5e6
    x, cond = torch.randn(1, 512, 3), torch.randn(1, 512, 3)
    with torch.no_grad():
        y = network(x, torch.ones(1), Condition(local=torch.randn(1, 80, 3), anchor=cond))
    assert y.abs().max() == 0


def test_gradients_reach_every_weight_and_stay_finite_on_silence():
    network = make(anchor_channels=CHANNELS, local_channels=5, labels=2)
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


@pytest.mark.parametrize("emulated", [False, True])
def test_bfloat16_autocast_is_near_float32(monkeypatch, emulated):
    """Also where the CPU would only emulate it, and therefore computes in float32."""
    supported = "torch.ops.mkldnn._is_mkldnn_bf16_supported"
    monkeypatch.setattr(supported, lambda: not emulated)
    network = make(anchor_channels=CHANNELS).float()
    x, c_noise, cond = inputs(network)
    x, c_noise, cond = x.float(), c_noise.float(), cond.map(torch.Tensor.float)
    exact = network(x, c_noise, cond)
    with torch.autocast("cpu", torch.bfloat16):
        y = network(x, c_noise, cond)
    error = ((y - exact).square().mean() / exact.square().mean()).sqrt()
    assert (error == 0) if emulated else (0 < error < 0.05)
    y.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("bins", [1, 2, 5, 8, 9])
def test_halving_and_doubling_keep_lines(bins):
    """A linear function of the bin is kept but at the ends; 2^k + 1 bins nest."""
    line = torch.arange(bins, dtype=torch.float64)[None, None, :, None]
    half = halved(line)
    assert half.shape[2] == -(-bins // 2)
    inside = slice(1, -1)
    torch.testing.assert_close(half[:, :, inside], line[:, :, ::2][:, :, inside])
    back = doubled(line[:, :, ::2], bins)
    torch.testing.assert_close(back[:, :, : bins - 1 + bins % 2], line[:, :, : bins - 1 + bins % 2])
    torch.testing.assert_close(halved(torch.ones_like(line)), torch.ones_like(half))


def test_halving_removes_what_would_alias():
    alternating = torch.tensor([1.0, -1.0]).repeat(8)[None, None, :, None]
    assert halved(alternating)[:, :, 1:].abs().max() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 21}, "even"),
        ({"anchor_channels": 7}, "multiple"),
        ({"widths": (4, 6)}, "as many dilations"),
        ({"widths": (), "dilations": ()}, "as many dilations"),
        ({"heads": 3}, "do not divide"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anchor_channels": CHANNELS}, "anchor"),
        ({"local_channels": 5}, "local condition"),
        ({"labels": 2}, "label"),
    ],
)
def test_missing_conditions_are_asked_for(options, message):
    network = make(**options)
    x, c_noise, _ = inputs(network)
    with pytest.raises(ValueError, match=message):
        network(x, c_noise, Condition())
