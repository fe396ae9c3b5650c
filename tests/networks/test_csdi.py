import pytest
import torch

from wavediff.diffusion.condition import Condition
from wavediff.networks.csdi import CSDI, MAX_CELLS

CHANNELS, SHARED, LAGS = 4, 3, 2
TOLD = 2 * CHANNELS + SHARED + 2 * CHANNELS * LAGS


def make(**options) -> CSDI:
    torch.manual_seed(0)
    settings = {
        "channels": CHANNELS,
        "local_channels": TOLD,
        "shared_start": 2 * CHANNELS,
        "shared_channels": SHARED,
        "width": 8,
        "layers": 3,
        "dilation_cycle": 2,
        "heads": 2,
        "attention_every": 2,
    }
    network = CSDI(**settings | options).double()
    torch.nn.init.normal_(network.output_projection.weight)
    for attention in network.attentions:
        if attention is not None:
            torch.nn.init.normal_(attention.output.weight)
    return network


def inputs(batch: int = 2, length: int = 9, told: int = TOLD):
    torch.manual_seed(1)
    x = torch.randn(batch, CHANNELS, length, dtype=torch.float64)
    local = torch.randn(batch, told, length, dtype=torch.float64)
    return x, torch.linspace(0, 12.75, batch, dtype=torch.float64), Condition(local=local)


def permuted(local: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """As ``SeriesModel`` puts it: values, mask, calendar, lags, where there are lags."""
    values, mask, shared, lags, there = local.split(
        [CHANNELS, CHANNELS, SHARED, CHANNELS * LAGS, CHANNELS * LAGS], dim=1
    )
    lags, there = (
        part.unflatten(1, (CHANNELS, LAGS))[:, order].flatten(1, 2) for part in (lags, there)
    )
    return torch.cat([values[:, order], mask[:, order], shared, lags, there], dim=1)


@pytest.mark.parametrize("every", [0, 1, 2])
def test_permuted_channels_with_permuted_embeddings_give_permuted_outputs(every):
    network = make(attention_every=every)
    x, c_noise, cond = inputs()
    out = network(x, c_noise, cond)
    assert out.shape == x.shape
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        network.channel_embedding.copy_(network.channel_embedding[order])
    again = network(x[:, order], c_noise, Condition(local=permuted(cond.local, order)))
    torch.testing.assert_close(again, out[:, order], rtol=1e-10, atol=1e-10)


def test_which_channel_it_is_matters():
    network = make()
    x, c_noise, cond = inputs()
    order = torch.tensor([2, 0, 3, 1])
    again = network(x[:, order], c_noise, Condition(local=permuted(cond.local, order)))
    assert not torch.allclose(again, network(x, c_noise, cond)[:, order])


def test_channels_see_each_other_by_attention_alone():
    x, c_noise, cond = inputs()
    changed = x.clone()
    changed[:, 1] += 1
    for every, seen in ((0, False), (1, True)):
        network = make(attention_every=every)
        change = network(changed, c_noise, cond) - network(x, c_noise, cond)
        others = change[:, [0, 2, 3]].abs()
        # the last ReLU may be shut on all of a cell
        assert (others > 0).double().mean() > 0.9 if seen else not others.any()


def test_gradients_reach_everything():
    network = make()
    x, c_noise, cond = inputs()
    network(x, c_noise, cond).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_in_pieces_without_gradients_it_is_the_same():
    length = MAX_CELLS // CHANNELS // 2  # two windows fill a piece
    network = make(width=2, layers=1)
    x, c_noise, cond = inputs(batch=3, length=length)
    with torch.no_grad():
        pieces = network(x, c_noise, cond)
    whole = network(x, c_noise, cond).detach()
    torch.testing.assert_close(pieces, whole, rtol=1e-12, atol=1e-12)


def test_without_a_local_condition():
    network = make(local_channels=0, shared_start=0, shared_channels=0)
    x, c_noise, _ = inputs()
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            assert network(x, c_noise, Condition()).shape == x.shape
    with pytest.raises(ValueError, match="local condition"):
        make()(x, c_noise, Condition())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shared_start": CHANNELS + 1}, "do not divide"),
        ({"local_channels": TOLD + 1}, "do not divide"),
        ({"upsample": 2}, "upsample"),
        ({"heads": 3}, "heads"),
    ],
)
def test_sizes_that_cannot_be_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
