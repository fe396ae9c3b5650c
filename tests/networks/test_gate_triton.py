"""The gate as one kernel against the plain form, on a CPU in Triton's interpreter."""

import importlib
import sys
from types import ModuleType

import pytest
import torch

from wavediff.diffusion.condition import Condition
from wavediff.networks import diffwave
from wavediff.networks.conditioner import add_to_each_
from wavediff.networks.diffwave import DiffWave
from wavediff.networks.layout import has_channels_innermost

NAME = "wavediff.networks.gate_triton"
TOLERANCES = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 2e-2}


def defined(interpret: str) -> ModuleType:
    """The module, whose kernels are interpreted or compiled as set when they are defined."""
    pytest.importorskip("triton")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", interpret)
        patch.delitem(sys.modules, NAME, raising=False)
        return importlib.import_module(NAME)


@pytest.fixture(scope="module")
def kernel():
    return defined("1")


def signal(*shape: int, innermost: bool, dtype=torch.float64) -> torch.Tensor:
    x = torch.randn(*shape, dtype=torch.float64).to(dtype)
    return x.mT.contiguous().mT if innermost else x


@pytest.mark.parametrize("innermost", [False, True])
@pytest.mark.parametrize(
    ("items", "dtype"),
    [(None, torch.float64), (4, torch.float32), (2, torch.float64), (4, torch.bfloat16)],
)
def test_results_and_gradients_are_those_of_the_plain_form(kernel, innermost, items, dtype):
    torch.manual_seed(0)
    y = signal(4, 6, 411, innermost=innermost, dtype=dtype).requires_grad_()
    inputs = [y]
    if items is not None:
        inputs.append(signal(items, 6, 411, innermost=innermost, dtype=dtype).requires_grad_())
    plain = diffwave.gated(y.clone() if items is None else add_to_each_(y.clone(), inputs[1]))
    found = kernel.gated(*inputs)
    assert has_channels_innermost(found) == innermost
    with torch.no_grad():
        torch.testing.assert_close(kernel.gated(*inputs), found, rtol=0, atol=0)
    weights = torch.randn_like(plain)
    tolerance = {"rtol": TOLERANCES[dtype], "atol": TOLERANCES[dtype]}
    torch.testing.assert_close(found, plain, **tolerance)
    wanted = torch.autograd.grad((plain * weights).sum(), inputs)
    gradients = torch.autograd.grad((found * weights).sum(), inputs)
    for gradient, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, other, **tolerance)


def test_a_network_with_the_kernel_is_the_same(kernel):
    torch.manual_seed(0)
    network = DiffWave(local_channels=3, upsample=4, width=4, layers=3, dilation_cycle=2)
    torch.nn.init.normal_(network.output_projection.weight)
    x, cond = torch.randn(2, 1, 32), Condition(local=torch.randn(2, 3, 8))
    step = torch.tensor([0.0, 7.5])
    plain = network(x, step, cond)
    wanted = torch.autograd.grad(plain.square().sum(), list(network.parameters()))
    assert kernel.fuse_gates(network) == 3
    found = network(x, step, cond)
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(found.square().sum(), list(network.parameters()))
    for gradient, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:overflow")  # exp(200) is infinite, and 1 / inf is 0
def test_large_values_saturate(kernel):
    y = torch.tensor([[-200.0, 200.0, 200.0, -200.0]])[..., None]
    torch.testing.assert_close(kernel.gated(y)[0, :, 0], torch.tensor([0.0, -1.0]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_the_kernels_compile_for_a_card(kind):
    triton = pytest.importorskip("triton")
    module = defined("0")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {"size": "i64", "inner": "i32", "local_size": "i64"}
    wide = {"WIDE": triton.language.float32, "BLOCK": module.BLOCK}
    for kernel, constants in (
        (module._forward_kernel, wide | {"ADD": True, "SAVE": True}),
        (module._backward_kernel, wide),
    ):
        signature = {
            name: "constexpr" if name in constants else types.get(name, f"*{kind}")
            for name in kernel.arg_names
        }
        source = ASTSource(kernel, signature, constants)
        assert triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("innermost", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_compiled_kernel(innermost, dtype):
    y = signal(4, 128, 4001, innermost=innermost, dtype=dtype).cuda().requires_grad_()
    local = signal(4, 128, 4001, innermost=innermost, dtype=dtype).cuda().requires_grad_()
    plain, found = diffwave.gated(y + local), defined("0").gated(y, local)
    tolerance = {"rtol": TOLERANCES[dtype], "atol": TOLERANCES[dtype]}
    torch.testing.assert_close(found, plain, **tolerance)
    wanted = torch.autograd.grad(plain.square().sum(), [y, local])
    for gradient, other in zip(
        torch.autograd.grad(found.square().sum(), [y, local]), wanted, strict=True
    ):
        torch.testing.assert_close(gradient, other, **tolerance)
