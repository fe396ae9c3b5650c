import pytest
import torch

from wavediff.diffusion.condition import Condition
from wavediff.networks.conditioner import Upsampler, upsampling_strides
from wavediff.networks.diffwave import DiffWave, gated
from wavediff.networks.embedding import SinusoidalEmbedding, TableEmbedding


def make(**options) -> DiffWave:
    torch.manual_seed(0)
    settings = {"local_channels": 5, "upsample": 8, "width": 6, "layers": 4, "dilation_cycle": 3}
    network = DiffWave(**settings | options).double()
    torch.nn.init.normal_(network.output_projection.weight)
    return network


def inputs(network: DiffWave, batch: int = 2, frames: int = 7, length: int | None = None):
    torch.manual_seed(1)
    channels = network.output_projection.out_channels
    x = torch.randn(batch, channels, length or 8 * frames, dtype=torch.float64)
    cond = Condition(local=torch.randn(batch, 5, frames, dtype=torch.float64))
    return x, torch.tensor([0.0, 12.75], dtype=torch.float64)[:batch], cond


VARIANTS = [
    {},
    {"shared_upsampler": False, "step_in_residual": True},
    {"embedding": "table", "kernel_size": 5},
    {"channels": 3, "rectify_input": False, "layers": 5},
]


@pytest.mark.parametrize("options", VARIANTS)
def test_what_is_prepared_once_gives_the_same(options):
    network = make(**options)
    x, c_noise, cond = inputs(network)
    with torch.no_grad():
        kept = network(x, c_noise, Condition(prepared=network.prepare(cond)))
    torch.testing.assert_close(kept, network(x, c_noise, cond), rtol=1e-12, atol=1e-12)


def test_what_is_prepared_of_an_item_serves_several_samples_of_it():
    network = make()
    x, c_noise, cond = inputs(network)
    samples = torch.stack([x, x + 1, 2 * x])
    with torch.no_grad():
        prepared = Condition(prepared=network.prepare(cond))
        together = network(samples.flatten(0, 1), c_noise.repeat(3), prepared)
        apart = [network(sample, c_noise, cond) for sample in samples]
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-12, atol=1e-12)


def test_the_receptive_field_is_what_it_says():
    network = make(layers=3)
    assert network.receptive_field == 1 + 2 + 4
    x, c_noise, cond = inputs(network, batch=1, frames=6)
    x.requires_grad_()
    network(x, c_noise[:1], cond)[0, 0, 24].backward()
    touched = x.grad[0, 0].nonzero().flatten().tolist()
    assert (min(touched), max(touched)) == (24 - 7, 24 + 7)


def test_base_has_the_receptive_field_of_the_paper():
    assert DiffWave(width=2).receptive_field == 3069


def test_signals_shorter_than_their_condition():
    network = make()
    x, c_noise, cond = inputs(network, length=50)
    assert network(x, c_noise, cond).shape == x.shape


def test_labels_matter_and_are_asked_for():
    network = make(labels=3)
    x, c_noise, cond = inputs(network)
    a, b = (network(x, c_noise, Condition(cond.local, torch.tensor([k, k]))) for k in (0, 2))
    assert not torch.allclose(a, b)
    none = network(x, c_noise, Condition(cond.local, torch.tensor([-1, 2])))
    torch.testing.assert_close(none[1], b[1])
    assert not torch.allclose(none[0], a[0])
    with pytest.raises(ValueError, match="label"):
        network(x, c_noise, cond)


def test_without_a_local_condition():
    network = make(local_channels=0)
    x, c_noise, _ = inputs(network)
    assert network(x, c_noise, Condition()).shape == x.shape
    with pytest.raises(ValueError, match="local condition"):
        make()(x, c_noise, Condition())


def test_a_fresh_network_predicts_its_bias():
    torch.manual_seed(0)
    network = DiffWave(local_channels=5, upsample=8, width=6, layers=2).double()
    x, c_noise, cond = inputs(network)
    bias = network.output_projection.bias[:, None].expand_as(x)
    torch.testing.assert_close(network(x, c_noise, cond), bias)


@pytest.mark.parametrize(
    ("factor", "strides"),
    [(1, []), (12, [12]), (200, [10, 20]), (240, [15, 16]), (256, [16, 16]), (275, [11, 25]),
     (300, [15, 20]), (320, [16, 20]), (441, [21, 21]), (17, [17])],
)  # fmt: skip
def test_strides_follow_from_any_hop(factor, strides):
    assert upsampling_strides(factor) == strides
    assert Upsampler(factor)(torch.randn(2, 5, 3)).shape == (2, 5, 3 * factor)


def test_the_table_is_linear_between_steps_and_exact_at_them():
    table = TableEmbedding(50)
    at = table(torch.tensor([3.0, 4.0, 3.25]))
    torch.testing.assert_close(at[2], 0.75 * at[0] + 0.25 * at[1])
    frequencies = 10.0 ** (torch.arange(64) * 4.0 / 63)
    expected = torch.cat([(3 * frequencies).sin(), (3 * frequencies).cos()])
    torch.testing.assert_close(at[0], expected)


def test_sinusoids_fall_from_one_to_a_ten_thousandth():
    embedding = SinusoidalEmbedding()(torch.tensor([1.0]))[0]
    torch.testing.assert_close(embedding[:64].asin()[[0, 63]], torch.tensor([1.0, 1e-4]))


def test_the_gate_and_its_gradient():
    y = torch.randn(2, 8, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: gated(1.0 * y), (y,))
    with torch.no_grad():
        expected = torch.sigmoid(y[:, :4]) * torch.tanh(y[:, 4:])
        torch.testing.assert_close(gated(y.clone()), expected, rtol=1e-12, atol=1e-12)


def test_an_anchor_is_joined_and_the_output_may_have_its_own_channels():
    network = make(channels=3, anchor_channels=4, out_channels=2)
    x = torch.randn(2, 3, 56, dtype=torch.float64)
    _, c_noise, cond = inputs(network)
    anchor = torch.randn(2, 4, 56, dtype=torch.float64, requires_grad=True)
    y = network(x, c_noise, Condition(cond.local, anchor=anchor))
    assert y.shape == (2, 2, 56)
    y[:, :, 30].sum().backward()
    touched = anchor.grad.abs().sum((0, 1)).nonzero().flatten().tolist()
    assert 30 in touched
    assert max(touched) - min(touched) <= 2 * network.receptive_field
    with pytest.raises(ValueError, match="anchor"):
        network(x, c_noise, cond)
