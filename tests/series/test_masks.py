import pytest
import torch

from wavediff.series import masks

PRESENT = torch.rand(3, 40, generator=torch.Generator().manual_seed(0)) < 0.8
OTHER = torch.rand(3, 40, generator=torch.Generator().manual_seed(1)) < 0.5


def draw(name: str, seed: int = 0) -> torch.Tensor:
    return masks.MASKS[name](PRESENT, OTHER, 10, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", masks.MASKS)
def test_what_is_known_is_part_of_what_is_there_and_follows_from_the_generator(name):
    for seed in range(20):
        known = draw(name, seed)
        assert known.shape == PRESENT.shape
        assert not (known & ~PRESENT).any()
        assert torch.equal(known, draw(name, seed))


def test_what_each_mask_hides():
    assert not draw("unconditional").any()
    known = draw("forecast")
    assert torch.equal(known[:, :30], PRESENT[:, :30])
    assert not known[:, 30:].any()
    assert torch.equal(draw("historical"), PRESENT & OTHER)


def test_a_random_mask_hides_every_share_alike():
    shares = [float(draw("random", seed).sum() / PRESENT.sum()) for seed in range(200)]
    assert min(shares) < 0.1
    assert max(shares) > 0.9
    # the mean of 200 uniform shares has a standard deviation of 0.02
    assert abs(sum(shares) / len(shares) - 0.5) < 0.08


def test_a_block_is_one_stretch_of_up_to_half_the_window():
    together = 0
    for seed in range(100):
        hidden = ~masks.block(torch.ones(3, 40) > 0, OTHER, 10, torch.Generator().manual_seed(seed))
        for row in hidden:
            at = row.nonzero().flatten()
            assert 1 <= len(at) <= 20
            assert int(at[-1] - at[0]) + 1 == len(at)
        together += bool((hidden == hidden[0]).all())
    assert 20 < together < 90


def test_masks_are_drawn_by_their_shares():
    shares = {"forecast": 3, "unconditional": 1, "random": 0}
    found = [
        bool(masks.drawn(shares, PRESENT, OTHER, 10, torch.Generator().manual_seed(seed)).any())
        for seed in range(400)
    ]
    assert abs(sum(found) / 400 - 0.75) < 0.1


def test_masks_that_there_are_not():
    with pytest.raises(ValueError, match="'some' is not a mask"):
        masks.check({"some": 1})
    with pytest.raises(ValueError, match="positive"):
        masks.check({"forecast": 0})
