"""Which calls of a network are replayed, with a recorder that computes on the CPU."""

from typing import NamedTuple

import pytest
import torch

from wavediff.diffusion.condition import Condition
from wavediff.networks.diffwave import DiffWave
from wavediff.networks.graphs import Replayed, replay_graphs
from wavediff.networks.unet import UNet


class Recorder:
    """Computes from the fixed inputs into fixed memory, as a graph does."""

    def __init__(self) -> None:
        self.records = self.replays = 0

    def __call__(self, call):
        self.records += 1
        out = call()

        def replay():
            self.replays += 1
            return out.copy_(call())

        return replay


def network(**options):
    torch.manual_seed(0)
    settings = {"local_channels": 3, "upsample": 4, "width": 4, "layers": 2} | options
    made = DiffWave(**settings).eval()
    torch.nn.init.normal_(made.output_projection.weight)
    return made


def call(frames: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 1, 4 * frames, generator=generator)
    cond = Condition(local=torch.randn(2, 3, frames, generator=generator))
    return x, torch.tensor([3.0]).expand(2), cond


@pytest.fixture
def replayed():
    made = network()
    plain, recorder = made.forward, Recorder()
    made.forward = Replayed(made, recorder, 2, "cpu")
    return made, plain, recorder


@torch.no_grad()
def test_a_shape_is_recorded_at_its_second_call(replayed):
    made, plain, recorder = replayed
    results = []
    for number in range(4):
        x, step, cond = call(5, number)
        cond = Condition(prepared=made.prepare(cond))
        results.append((made(x, step, cond), plain(x, step, cond)))
        assert recorder.records == min(number, 1)
    assert recorder.replays == 3
    for found, wanted in results:
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_a_condition_that_stays_is_copied_once_and_again_when_it_changes(replayed):
    made, plain, _ = replayed
    x, step, cond = call(5)
    for change in (0.0, 0.0, 0.0, 1.0):
        cond.local.add_(change)
        torch.testing.assert_close(made(x, step, cond), plain(x, step, cond), rtol=1e-6, atol=1e-6)
    (found,) = made.forward.kept.values()
    before = found.inputs[2].clone()
    found.inputs[2].zero_()  # fixed memory is not written while the condition is the same
    made(x, step, cond)
    assert not found.inputs[2].any()
    made(x, step, Condition(local=cond.local.clone()))
    torch.testing.assert_close(found.inputs[2], before)


class Features(NamedTuple):
    keys: list[torch.Tensor]
    mask: torch.Tensor | None


class Sum(torch.nn.Module):
    def forward(self, x, c_noise, cond):
        return x + sum(cond.prepared.keys) + c_noise[:, None]


@torch.no_grad()
def test_a_condition_may_be_prepared_in_any_structure_of_tensors():
    made, recorder = Sum().eval(), Recorder()
    made.forward = Replayed(made, recorder, 2, "cpu")
    for number in range(4):
        x, keys = torch.full((2, 3), number), [torch.full((2, 3), k) for k in range(number % 2, 3)]
        found = made(x, torch.tensor([1, 2]), Condition(prepared=Features(keys, None)))
        assert (found == x + 3 + torch.tensor([[1], [2]])).all()
    assert recorder.records == 2  # one for each number of keys


@torch.no_grad()
def test_shapes_are_forgotten_in_order_of_use(replayed):
    made, _, recorder = replayed
    for frames in (5, 5, 6, 6, 5, 7, 7, 5):
        made(*call(frames))
    assert recorder.records == 3
    made(*call(6))  # forgotten for that of 7 frames
    made(*call(6))
    assert recorder.records == 4


def test_calls_that_cannot_be_recorded_are_computed(replayed):
    made, _, recorder = replayed
    for _ in range(3):
        made(*call(5))[0].sum().backward()
    with torch.no_grad():
        made.train()
        for _ in range(3):
            made(*call(5))
        made.eval()
        with torch.autocast("cpu", torch.bfloat16):
            for _ in range(3):
                made(*call(5))
        other = Condition(local=call(5)[2].local, prepared={"a": object()})
        made.forward.plain = lambda x, c_noise, cond: x
        for _ in range(3):
            made(*call(5)[:2], other)
    assert not recorder.records


@torch.no_grad()
def test_a_network_that_cannot_be_recorded_is_computed_with_a_warning(replayed):
    made, plain, _ = replayed

    def fails(call):
        raise RuntimeError("operation not permitted when stream is capturing")

    made.forward.record = fails
    made(*call(5))
    with pytest.warns(UserWarning, match="no CUDA graph .* not permitted"):
        found = made(*call(5))
    torch.testing.assert_close(found, plain(*call(5)))
    torch.testing.assert_close(made(*call(5)), plain(*call(5)))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("make", [network, lambda: UNet(1, widths=[8, 16]).eval()])
@torch.no_grad()
def test_graphs_give_the_same(make):
    made, plain = make().cuda(), make().cuda()
    replay_graphs(made)
    for number in range(5):
        x, step, cond = call(16, number)
        cond = Condition(local=cond.local.cuda())
        found, wanted = (one(x.cuda(), step.cuda(), cond) for one in (made, plain))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert any(made.forward.kept.values())
