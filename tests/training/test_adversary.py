"""Adversarial training within the learner's contract."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from wavediff.diffusion.adversarial import Adversarial
from wavediff.networks.discriminator import MultiResolutionSpectrogram
from wavediff.training.adversary import Adversary
from wavediff.training.distributed import World
from wavediff.training.learner import Learner

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture
def make_gan(make_learner: Callable, trainer: Callable) -> Callable[..., Learner]:
    """make_gan(delay=..., key=value): a learner of the smallest size with discriminators."""

    def make(delay: int = 0, weight: float = 1.0, **changes) -> Learner:
        task = make_learner().task

        def generated(batch: dict, noise) -> tuple[Tensor, Tensor]:
            audio = batch["audio"]
            return task.network(noise.normal(*audio.shape[1:], stream=9).to(audio)), audio

        task.generated = generated
        task.network[2].p = 0.0  # dropout draws in the order of the parts
        torch.manual_seed(1)
        objective = Adversarial(
            MultiResolutionSpectrogram([[16, 4, 16], [8, 4, 8]], width=2),
            weight=weight,
            delay=delay,
        )

        def optimizer(parameters: list, lr: float) -> torch.optim.Optimizer:
            return torch.optim.AdamW(parameters, lr=lr, betas=(0.8, 0.99))

        config = trainer(**changes)
        adversary = Adversary(objective, config, ALONE, lambda p: optimizer(p, 1e-3))
        return Learner(task, config, ALONE, lambda p: optimizer(p, 1e-2), 3, adversary)

    return make


def everything(learner: Learner) -> dict[str, Tensor]:
    """A copy of all weights: the network's, averaged and the discriminators'."""
    modules = {"network": learner.network, "ema": learner.ema.module}
    if learner.adversary is not None:
        modules["adversary"] = learner.adversary.objective
    return {
        f"{name}.{key}": value.clone()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }


def test_both_sides_learn_and_are_logged_separately(make_gan, feed):
    learner = make_gan()
    before = everything(learner)
    step = learner.learn(0, feed(range(4)))
    after = everything(learner)
    assert all(not torch.equal(before[name], after[name]) for name in before)
    (losses,) = step.losses
    assert {name: tuple(value.shape) for name, value in losses.items()} == dict.fromkeys(
        ["loss", "squared", "log_snr", "adversarial", "feature_matching", "discriminator"], (4,)
    )
    expected = 2 * losses["squared"] + losses["adversarial"] + 2 * losses["feature_matching"]
    torch.testing.assert_close(losses["loss"], expected)


def test_a_batch_in_unequal_parts_gives_the_step_of_the_whole(make_gan, feed):
    whole, parts = make_gan(batch_size=7), make_gan(batch_size=7, accumulate=3)
    for number in range(2):
        one = whole.learn(number, feed(range(7)))
        other = parts.learn(number, feed(range(2), range(2, 4), range(4, 7)))
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
        assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-4)
    for name, value in everything(whole).items():
        torch.testing.assert_close(everything(parts)[name], value, rtol=1e-4, atol=1e-5)


def test_the_discriminators_are_neither_counted_nor_averaged_nor_exported(make_gan, make_learner):
    learner, plain = make_gan(), make_learner()
    assert learner.exported().keys() == plain.exported().keys()
    assert sum(p.numel() for p in learner.parameters) == sum(p.numel() for p in plain.parameters)
    assert learner.state_dict()["ema"].keys() == plain.state_dict()["ema"].keys()
    assert "adversary" not in plain.state_dict()
    theirs = {id(p) for p in learner.adversary.parameters}
    assert theirs.isdisjoint(id(p) for p in learner.model.parameters())


def test_before_the_delay_is_over_the_network_learns_as_without(make_gan, feed):
    learner, deaf = make_gan(delay=2), make_gan(weight=0.0)
    deaf.adversary.objective.feature_weight = 0.0
    began = everything(learner)
    for number in range(2):
        learner.learn(number, feed(range(4)))
        deaf.learn(number, feed(range(4)))
    one, other = everything(learner), everything(deaf)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert all(not torch.equal(one[name], began[name]) for name in one)
    learner.learn(2, feed(range(4)))
    deaf.learn(2, feed(range(4)))
    name = "network.0.weight"
    assert not torch.equal(everything(learner)[name], everything(deaf)[name])


def test_the_state_goes_through_a_file_unchanged(make_gan, feed, tmp_path):
    first, second = make_gan(precision="fp16"), make_gan(precision="fp16")
    for number in range(3):
        first.learn(number, feed(range(4)))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    first.learn(3, feed(range(4)))
    second.learn(3, feed(range(4)))
    one, other = everything(first), everything(second)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_state_without_discriminators_begins_with_new_ones(make_gan, make_learner, feed):
    """As trainer.accept_changes=true may want it, and the other way round."""
    plain, learner = make_learner(), make_gan()
    plain.learn(0, feed(range(4)))
    learner.load_state_dict(plain.state_dict() | {"optimizer": learner.optimizer.state_dict()})
    assert learner.learn(1, feed(range(4))).skipped is None
    plain.load_state_dict(learner.state_dict())
    assert plain.learn(2, feed(range(4))).skipped is None


@pytest.mark.parametrize("side", ["estimate", "reference"])
def test_a_step_that_is_not_finite_changes_nothing_on_either_side(make_gan, feed, side):
    learner = make_gan()
    learner.learn(0, feed(range(4)))
    before = everything(learner)
    generated = learner.task.generated

    def spoilt(batch: dict, noise) -> tuple[Tensor, Tensor]:
        estimate, reference = generated(batch, noise)
        bad = torch.tensor([1.0, float("nan"), 1.0, 1.0])[:, None, None]
        return (estimate * bad, reference) if side == "estimate" else (estimate, reference * bad)

    learner.task.generated = spoilt
    assert learner.learn(1, feed(range(4))).skipped == "the loss is not finite"
    after = everything(learner)
    assert all(torch.equal(before[name], after[name]) for name in before)
    learner.task.generated = generated
    assert learner.learn(2, feed(range(4))).skipped is None


def test_a_gradient_of_the_discriminators_that_is_not_finite_is_seen(make_gan, feed):
    learner = make_gan()
    before = everything(learner)
    weight = learner.adversary.parameters[0]
    hook = weight.register_hook(lambda gradient: gradient * float("inf"))
    assert learner.learn(0, feed(range(4))).skipped == "the discriminators' gradient is not finite"
    after = everything(learner)
    assert all(torch.equal(before[name], after[name]) for name in before)
    hook.remove()
    assert learner.learn(1, feed(range(4))).skipped is None


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.half)])
def test_autocast_is_for_the_discriminators_layers_too(make_gan, feed, precision, dtype):
    full, learner = make_gan(), make_gan(precision=precision)
    seen = []
    part = learner.adversary.objective.discriminator.parts[0]
    part.layers[1].register_forward_hook(lambda *args: seen.append(args[2].dtype))
    step, exact = learner.learn(0, feed(range(4))), full.learn(0, feed(range(4)))
    assert seen == [dtype] * 3
    (losses,), (wanted,) = step.losses, exact.losses
    for name in ("adversarial", "feature_matching", "discriminator"):
        assert losses[name].dtype == torch.float32
        torch.testing.assert_close(losses[name], wanted[name], rtol=0.1, atol=0.05)


def test_their_rate_follows_the_schedule_and_their_gradient_is_clipped(make_gan, feed):
    learner = make_gan(decay="linear", clip_norm=1e-3)
    norms = []
    adversary = learner.adversary
    adversary.optimizer.register_step_pre_hook(
        lambda *_: norms.append(nn.utils.get_total_norm(p.grad for p in adversary.parameters))
    )
    learner.learn(3, feed(range(4)))  # of 6
    assert adversary.optimizer.param_groups[0]["lr"] == pytest.approx(0.5e-3)
    assert norms[0].item() == pytest.approx(1e-3, rel=1e-3)
