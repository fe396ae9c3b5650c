import math

import pytest
import torch

from wavediff.evaluation.coverage import density_and_coverage, expected_coverage, log_spectrum


def normal(n: int, seed: int, d: int = 3) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_on_a_line_the_balls_can_be_counted():
    """Real points 0 to 9 with k = 2: inner balls reach 1, those at the ends 2."""
    real = torch.arange(10.0)[:, None]
    density, coverage = density_and_coverage(real, torch.tensor([[4.0], [1.5]]), k=2)
    # 4 is in the balls of 3, 4 and 5; 1.5 in those of 0, 1 and 2
    assert density == pytest.approx((3 / 2 + 3 / 2) / 2)
    assert coverage == pytest.approx(6 / 10)


@pytest.mark.parametrize(("n", "m", "k"), [(400, 400, 5), (300, 60, 3)])
def test_of_one_distribution_both_are_as_expected(n, m, k):
    found = [density_and_coverage(normal(n, i), normal(m, 1000 + i), k) for i in range(40)]
    density, coverage = (torch.tensor(values) for values in zip(*found, strict=True))
    assert density.mean().item() == pytest.approx(1, abs=0.05)
    assert coverage.mean().item() == pytest.approx(expected_coverage(n, m, k), abs=0.01)


def test_the_expectation_for_equal_sizes_is_one_minus_two_to_the_minus_k():
    assert expected_coverage(10**6, 10**6, 5) == pytest.approx(1 - 2**-5, abs=1e-5)


def test_a_lost_mode_is_seen_in_coverage_and_a_strange_sound_in_density():
    """Ten kinds far apart, of which seven come out, or all with half of the sounds elsewhere."""
    centres = 100 * torch.eye(10, dtype=torch.float64)
    real = torch.cat([centre + normal(50, i, 10) for i, centre in enumerate(centres)])
    made = torch.cat([centre + normal(50, 100 + i, 10) for i, centre in enumerate(centres)])
    _, whole = density_and_coverage(real, made)
    density, coverage = density_and_coverage(real, made[:350].repeat(2, 1))
    assert coverage == pytest.approx(0.7 * whole, abs=0.01)
    assert density == pytest.approx(1, abs=0.1)
    strange = torch.cat([made[::2], made[1::2] + 1000])
    assert density_and_coverage(real, strange)[0] == pytest.approx(0.5, abs=0.05)
    # one good sound again and again
    density, coverage = density_and_coverage(real, centres[:1].repeat(500, 1))
    assert density > 1
    assert coverage <= 0.1


def test_a_spectrum_knows_the_pitch_and_not_the_loudness():
    time = torch.arange(1024)
    low, high = (torch.sin(2 * math.pi * bin_ * time / 1024)[None] for bin_ in (40, 50))
    assert torch.equal(log_spectrum(0.01 * low).argmax(), torch.tensor(40))
    torch.testing.assert_close(log_spectrum(0.01 * low), log_spectrum(low))
    assert torch.dist(log_spectrum(low), log_spectrum(high)) > 5
    assert log_spectrum(torch.zeros(1, 64)).isfinite().all()


@pytest.mark.parametrize(
    ("real", "made", "words"),
    [
        (torch.zeros(4, 2), torch.zeros(4, 3), "must be"),
        (torch.zeros(5, 2), torch.zeros(4, 2), "need 6 real sounds"),
        (torch.zeros(9, 2), torch.zeros(0, 2), "a generated one"),
        (torch.zeros(9, 2), torch.full((2, 2), math.nan), "not finite"),
    ],
)
def test_bad_sets_are_refused(real, made, words):
    with pytest.raises(ValueError, match=words):
        density_and_coverage(real, made)
