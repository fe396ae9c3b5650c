import math

import pytest
import torch
from torch import nn

from wavediff.training.config import Decay
from wavediff.training.optim import averaged, exchanged, learning_rate_factor, set_learning_rate


@pytest.mark.parametrize(
    ("decay", "half", "end"),
    [
        (Decay.none, 1.0, 1.0),
        (Decay.linear, 0.55, 0.1),
        (Decay.cosine, 0.55, 0.1),
        (Decay.exponential, math.sqrt(0.1), 0.1),
    ],
)
def test_the_rate_rises_then_falls_to_its_end(decay: Decay, half: float, end: float):
    def factor(step: int) -> float:
        return learning_rate_factor(step, max_steps=120, warmup_steps=20, decay=decay, final=0.1)

    assert [factor(step) for step in (0, 9, 19)] == pytest.approx([0.05, 0.5, 1.0])
    assert [factor(step) for step in (20, 70, 120)] == pytest.approx([1.0, half, end])
    assert factor(1000) == pytest.approx(end)


def test_cosine_is_not_linear():
    arguments = {"max_steps": 100, "warmup_steps": 0, "final": 0.0}
    assert learning_rate_factor(25, decay=Decay.cosine, **arguments) == pytest.approx(
        (1 + math.cos(math.pi / 4)) / 2
    )


def test_the_rate_is_set_from_the_configured_one_however_often():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    for _ in range(3):
        assert set_learning_rate(optimizer, 0.1) == pytest.approx(0.05)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


def test_the_average_follows_its_recursion():
    network = nn.Linear(1, 1, bias=False)
    ema = averaged(network, decay=0.5)
    expected = None
    for n in range(20):
        network.weight.data.fill_(float(n * n))
        ema.update_parameters(network)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = float(n * n) if n == 0 else decay * expected + (1 - decay) * n * n
    assert ema.module.weight.item() == pytest.approx(expected, rel=1e-6)


def test_weights_are_exchanged_and_come_back_even_after_an_error():
    network = nn.Linear(2, 2)
    ema = averaged(network, 0.9)
    mine = {k: v.clone() for k, v in network.state_dict().items()}
    for p in ema.module.parameters():
        p.data.fill_(7.0)

    def fail() -> None:
        with exchanged(network, ema):
            assert all((p == 7).all() for p in network.parameters())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert all(torch.equal(mine[k], v) for k, v in network.state_dict().items())
    assert all((p == 7).all() for p in ema.module.parameters())
