"""A network whose parameters are sharded, over a group of one process, beside one that is whole."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor


@pytest.fixture(autouse=True)
def _group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def equal(one: object, other: object) -> bool:
    """Whether nested states are equal, bit for bit, and of the same types."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[k], other[k]) for k in one)
    if torch.is_tensor(one):
        return type(one) is type(other) and torch.equal(one, other)
    return one == other


def test_a_sharded_network_learns_the_same_and_its_state_is_whole(make_learner, feed, tmp_path):
    plain = make_learner(batch_size=6, accumulate=2)
    sharded = make_learner(batch_size=6, accumulate=2, shard=True)
    assert all(isinstance(p, DTensor) for p in sharded.network.parameters())
    for number in range(3):
        parts = [range(6 * number, 6 * number + 3), range(6 * number + 3, 6 * number + 6)]
        one, other = (learner.learn(number, feed(*parts)) for learner in (plain, sharded))
        assert (other.loss, other.gradient_norm) == (one.loss, one.gradient_norm)
    assert equal(sharded.state_dict(), plain.state_dict())
    assert equal(dict(sharded.exported()), dict(plain.exported()))

    torch.save(sharded.state_dict(), tmp_path / "state.pt")
    for shard in (False, True):  # readable by one that shards, and one that does not
        learner = make_learner(batch_size=6, accumulate=2, shard=shard)
        learner.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert equal(learner.state_dict(), plain.state_dict())
    learner.learn(3, feed(*parts))
    plain.learn(3, feed(*parts))
    assert equal(learner.state_dict(), plain.state_dict())


def test_gradients_are_exchanged_after_the_last_part(make_learner, feed):
    learner = make_learner(batch_size=4, accumulate=2, shard=True)
    exchanged = []

    def parts() -> Iterator[dict]:
        for batch in feed(range(2), range(2, 4)):
            yield batch
            exchanged.append(any(p.grad is not None for p in learner.parameters))

    batches = parts()
    learner.optimizer.register_step_pre_hook(lambda *_: next(batches, None))
    learner.learn(0, batches)
    assert exchanged == [False, True]


def test_validation_uses_the_averaged_weights_outside_of_the_loss(make_learner, feed):
    plain, sharded = make_learner(), make_learner(shard=True)
    signal = torch.randn(1, 1, 32)
    found = []
    for learner in (plain, sharded):
        learner.learn(0, feed(range(4)))
        before = learner.state_dict()
        with learner.averaged_weights():
            found.append(learner.network(signal))
        assert equal(learner.state_dict(), before)
        learner.learn(1, feed(range(4)))
    assert torch.equal(found[0], found[1])
    assert equal(sharded.state_dict(), plain.state_dict())


def test_a_step_that_is_not_finite_changes_nothing(make_learner, feed, fake_data):
    learner = make_learner(shard=True)
    learner.learn(0, feed(range(4)))
    before = learner.state_dict()
    spoilt = fake_data(lambda index, audio: audio * float("nan") if index == 2 else audio)
    assert learner.learn(1, feed(range(4), data=spoilt)).skipped == "the loss is not finite"
    assert equal(learner.state_dict(), before)
    assert learner.learn(2, feed(range(4))).skipped is None


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_precisions(make_learner, feed, precision: str):
    plain, sharded = (
        make_learner(precision=precision),
        make_learner(precision=precision, shard=True),
    )
    for learner in (plain, sharded):
        learner.learn(0, feed(range(4)))
        learner.learn(1, feed(range(4)))
    assert equal(sharded.state_dict(), plain.state_dict())
