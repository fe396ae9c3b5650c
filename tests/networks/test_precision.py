"""Inference in bfloat16: close to float32, with outputs in float32."""

import pytest
import torch

from wavediff.diffusion.condition import Condition
from wavediff.networks import precision
from wavediff.networks.diffwave import DiffWave
from wavediff.networks.precision import computes_in_bfloat16, in_bfloat16

CPU = torch.device("cpu")


@pytest.mark.skipif(not computes_in_bfloat16(CPU), reason="this CPU has no bfloat16 arithmetic")
def test_a_network_in_bfloat16_is_close():
    torch.manual_seed(0)
    network = DiffWave(channels=2, local_channels=3, upsample=4, width=16, layers=4)
    torch.nn.init.normal_(network.output_projection.weight)
    x, cond = torch.randn(1, 2, 64), Condition(local=torch.randn(1, 3, 16))
    with torch.no_grad():
        exact = network(x, torch.ones(1), cond)
        in_bfloat16(network)
        coarse = network(x, torch.ones(1), cond)
        assert network.prepare(cond)[0].dtype == torch.bfloat16
    assert coarse.dtype == torch.float32
    error = (coarse - exact).norm() / exact.norm()
    assert 1e-5 < error < 0.05


def test_a_cpu_without_bfloat16_says_so(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert not precision.computes_in_bfloat16(CPU)
    assert precision.computes_in_bfloat16(torch.device("cuda"))
