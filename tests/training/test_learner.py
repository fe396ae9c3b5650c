from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from wavediff.training.learner import Learner
from wavediff.training.precision import accelerate


def weights(learner: Learner) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in learner.network.state_dict().items()}


def test_a_batch_in_unequal_parts_gives_the_step_of_the_whole(make_learner, feed):
    whole, parts = make_learner(batch_size=7), make_learner(batch_size=7, accumulate=3)
    for learner in (whole, parts):  # dropout draws in the order of the parts
        learner.network[2].p = 0.0
    one = whole.learn(0, feed(range(7)))
    other = parts.learn(0, feed(range(2), range(2, 4), range(4, 7)))
    assert other.loss == pytest.approx(one.loss, rel=1e-6)
    assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-5)
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], value, rtol=1e-5, atol=1e-7)


def test_the_gradient_is_clipped_and_its_norm_reported_unclipped(make_learner, feed):
    learner = make_learner(clip_norm=1e-3)
    norms = []
    learner.optimizer.register_step_pre_hook(
        lambda *_: norms.append(torch.nn.utils.get_total_norm(p.grad for p in learner.parameters))
    )
    step = learner.learn(0, feed(range(4)))
    assert step.gradient_norm > 0.01
    assert norms[0].item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_changes_nothing(make_learner, feed, fake_data, bad: float):
    learner = make_learner()
    learner.learn(0, feed(range(4)))
    before, average = weights(learner), {k: v.clone() for k, v in learner.exported().items()}
    spoilt = fake_data(lambda index, audio: audio * bad if index == 2 else audio)
    step = learner.learn(1, feed(range(4), data=spoilt))
    assert step.skipped == "the loss is not finite"
    assert all(torch.equal(before[k], v) for k, v in weights(learner).items())
    assert all(torch.equal(average[k], v) for k, v in learner.exported().items())
    assert learner.learn(2, feed(range(4))).skipped is None


def test_a_gradient_that_is_not_finite_is_seen_behind_a_finite_loss(make_learner, feed):
    learner = make_learner()
    learner.network[0].weight.register_hook(lambda gradient: gradient * float("nan"))
    assert learner.learn(0, feed(range(4))).skipped == "the gradient is not finite"


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.half)])
def test_autocast_is_for_the_training_network_only(make_learner, feed, precision, dtype):
    full, learner = make_learner(), make_learner(precision=precision)
    seen = []
    learner.network[0].register_forward_hook(lambda *args: seen.append(args[2].dtype))
    step, exact = learner.learn(0, feed(range(4))), full.learn(0, feed(range(4)))
    assert step.loss == pytest.approx(exact.loss, rel=2e-2)
    assert step.loss != exact.loss
    assert step.losses[0]["loss"].dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in weights(learner).values())
    with learner.averaged_weights():
        learner.network(torch.zeros(1, 1, 8))
    assert seen == [dtype, torch.float32]


def test_an_overflow_of_fp16_lowers_the_scale_and_is_skipped(make_learner, feed):
    learner = make_learner(precision="fp16")
    learner.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    steps = [learner.learn(n, feed(range(4))) for n in range(40)]
    assert steps[0].skipped == "the gradient is not finite"
    assert steps[-1].skipped is None
    assert learner.scaler.get_scale() < 2.0**40


def test_the_state_goes_through_a_file_unchanged(make_learner, feed, tmp_path):
    first = make_learner(precision="fp16")
    for n in range(3):
        first.learn(n, feed(range(4)))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = make_learner(precision="fp16")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    one, other = first.learn(3, feed(range(4))), second.learn(3, feed(range(4)))
    assert one.loss == other.loss
    assert all(torch.equal(v, weights(second)[k]) for k, v in weights(first).items())
    assert all(torch.equal(v, second.exported()[k]) for k, v in first.exported().items())


def test_compile_takes_the_training_network_only_and_keeps_its_names(monkeypatch):
    compiled = []

    def fake_compile(function: Callable) -> Callable:
        def run(*args: Tensor) -> Tensor:
            compiled.append(args)
            return function(*args)

        return run

    monkeypatch.setattr(torch, "compile", fake_compile)
    network = torch.nn.Linear(2, 2)
    names = list(network.state_dict())
    from wavediff.training.config import Precision

    accelerate(network, torch.device("cpu"), Precision.fp32, compile=True)
    network(torch.zeros(1, 2))
    assert len(compiled) == 1
    network.eval()
    network(torch.zeros(1, 2))
    assert len(compiled) == 1
    assert list(network.state_dict()) == names


@pytest.mark.slow
def test_a_compiled_network_learns_the_same(make_learner, feed):
    plain, learner = make_learner(), make_learner(compile=True)
    for one in (plain, learner):
        one.network[2].p = 0.0
    assert learner.learn(0, feed(range(4))).loss == pytest.approx(
        plain.learn(0, feed(range(4))).loss, rel=1e-5
    )
