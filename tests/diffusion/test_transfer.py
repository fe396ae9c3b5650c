"""Samplers and objectives queue work without waiting for the device.

Tensors of the device ``meta`` have no values: reading one, as a GPU would be waited for, is an
error there.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from wavediff.diffusion import Denoiser, DenoisingObjective
from wavediff.diffusion import preconditioning as predictions
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.consistency_models import ConsistencyTraining
from wavediff.diffusion.noise import PositionNoise
from wavediff.diffusion.schedule import linear
from wavediff.diffusion.times import karras
from wavediff.diffusion.transfer import like, per_item
from wavediff.tasks.sampler import sampler_by_name


class Copies(TorchDispatchMode):
    """Counts copies from the CPU to another device."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._to_copy.default:
            self.count += args[0].device.type == "cpu" != found.device.type
        return found


def network(x, c_noise, cond):
    assert c_noise.shape == x.shape[:1]
    assert c_noise.device == x.device
    return x * torch.cos(c_noise)[:, None, None]


def test_values_take_the_type_and_device():
    values = torch.arange(3, dtype=torch.float64)
    for x in (torch.empty(3, 2, device="meta"), torch.empty(3, 2, dtype=torch.bfloat16)):
        for found in (like(values, x), per_item(values, x), per_item(values[1], x)):
            assert (found.dtype, found.device, found.shape) == (x.dtype, x.device, (3,))
    torch.testing.assert_close(per_item(values[2], torch.empty(4, 1)), torch.full((4,), 2.0))


@pytest.mark.parametrize(
    "name",
    [
        "ddim", "ancestral", "heun", "dpmpp_2m", "dpmpp_3s", "unipc", "dpmpp_2m_sde",
        "euler_maruyama", "predictor_corrector",
    ],
)  # fmt: skip
def test_samplers_neither_wait_nor_copy_coefficients(name):
    denoiser = Denoiser(network, linear(50), predictions.eps)
    z = torch.empty(2, 1, 8, device="meta")
    cond = Condition(anchor=torch.empty(2, 1, 8, device="meta"))
    sampler = sampler_by_name(name).with_steps(3)
    with Copies() as copies:
        found = sampler(denoiser, z, cond, noise=lambda x, i: torch.randn_like(x))
    assert found.shape == z.shape
    assert copies.count == 0


def test_noise_by_position_is_one_copy_a_draw():
    with Copies() as copies:
        PositionNoise(0)(torch.empty(2, 1, 8, device="meta"), 0)
    assert copies.count == 1


@pytest.mark.parametrize(
    ("prediction", "weighting"),
    [("eps", "target"), ("v", "x0"), ("x0", "eps"), ("velocity", "min_snr"), ("edm", "likelihood")],
)
def test_objectives_do_not_wait(prediction, weighting):
    denoiser = Denoiser(network, linear(50), getattr(predictions, prediction))
    x0 = torch.empty(3, 1, 8, device="meta")
    found = DenoisingObjective(weighting=weighting)(denoiser, x0)
    assert found.loss.device == x0.device
    assert found.t.device.type == found.log_snr.device.type == "cpu"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["ancestral", "heun", "predictor_corrector"])
def test_neither_samplers_nor_noise_nor_objectives_wait_for_a_gpu(name):
    denoiser = Denoiser(network, linear(50), predictions.eps)
    z = torch.zeros(2, 1, 8, device="cuda")
    sampler = sampler_by_name(name).with_steps(3)
    PositionNoise(0)(z, 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = sampler(denoiser, z, noise=PositionNoise(0))
        DenoisingObjective()(denoiser, z)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    wanted = sampler(denoiser, z.cpu(), noise=PositionNoise(0))
    torch.testing.assert_close(found.cpu(), wanted, rtol=1e-4, atol=1e-4)


def test_consistency_training_does_not_wait():
    denoiser = Denoiser(network, linear(50), predictions.consistency)
    found = ConsistencyTraining(karras)(denoiser, torch.empty(3, 1, 8, device="meta"))
    assert found.loss.shape == (3,)
