"""Both layouts in memory give the same convolutions, gradients and networks."""

import pytest
import torch
from torch.nn import functional as F

from wavediff.diffusion.condition import Condition
from wavediff.networks import diffwave
from wavediff.networks.diffwave import DiffWave
from wavediff.networks.layout import channels_innermost, conv1d, has_channels_innermost


@pytest.mark.parametrize(("size", "dilation"), [(1, 1), (3, 1), (3, 8), (5, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_and_its_gradients(size, dilation, bias):
    torch.manual_seed(0)
    padding = dilation * (size - 1) // 2
    weight = torch.randn(6, 4, size, requires_grad=True)
    offset = torch.randn(6, requires_grad=True) if bias else None
    results = []
    for layout in (lambda x: x, channels_innermost):
        x = torch.linspace(-1, 1, 2 * 4 * 50).reshape(2, 4, 50).sin().requires_grad_()
        y = conv1d(layout(x), weight, offset, padding, dilation)
        inputs = [x, weight] + ([offset] if bias else [])
        results.append([y, *torch.autograd.grad(y.square().sum(), inputs)])
    direct = F.conv1d(x, weight, offset, padding=padding, dilation=dilation)
    assert has_channels_innermost(y)
    assert not has_channels_innermost(direct)
    torch.testing.assert_close(y, direct, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("step_in_residual", [False, True])
def test_a_network_and_its_gradients(step_in_residual, monkeypatch):
    torch.manual_seed(0)
    network = DiffWave(
        channels=2, local_channels=3, upsample=4, width=8, layers=4, dilation_cycle=3,
        step_in_residual=step_in_residual,
    )  # fmt: skip
    torch.nn.init.normal_(network.output_projection.weight)
    x, local = torch.randn(2, 2, 64), torch.randn(2, 3, 16)

    def outputs():
        network.zero_grad()
        y = network(x, torch.tensor([1.0, 5.0]), Condition(local=local))
        y.square().sum().backward()
        with torch.no_grad():
            again = network(x, torch.tensor([1.0, 5.0]), Condition(local=local))
        torch.testing.assert_close(y, again, rtol=1e-4, atol=1e-4)
        return [y, *(p.grad.clone() for p in network.parameters() if p.grad is not None)]

    inner = outputs()
    monkeypatch.setattr(diffwave, "channels_innermost", lambda x: x)
    torch.testing.assert_close(inner, outputs(), rtol=1e-3, atol=1e-3)
