import pytest
import torch

from wavediff.diffusion import reverse, times
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.exact import Gaussian
from wavediff.diffusion.exploding import EDM, VE
from wavediff.diffusion.exponential import DPMpp2M
from wavediff.diffusion.schedule import VP, RectifiedFlow, linear

F64 = torch.float64


def test_karras_is_edm_s_grid():
    # (Karras et al. 2022, eq. 5), sigma = t from 80 to 0.002, rho 7
    i, n = torch.arange(18, dtype=F64), 18
    expected = (80 ** (1 / 7) + i / (n - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    grid = times.karras(n)(EDM())
    assert len(grid) == n + 1
    torch.testing.assert_close(grid[:-1], expected, rtol=1e-12, atol=0)
    assert grid[-1] == 0


@pytest.mark.parametrize("schedule", [VP(), VE(), linear(50, 1e-4, 0.05)])
def test_karras_on_other_schedules_is_even_in_the_root_of_the_effective_noise(schedule):
    grid = times.karras(9, rho=3.0)(schedule)
    assert (grid.diff() < 0).all()
    assert grid[0] == schedule.t_max
    assert float(grid[-2]) == pytest.approx(schedule.t_min, rel=1e-6)
    roots = (schedule.sigma(grid[:-1]) / schedule.alpha(grid[:-1])) ** (1 / 3)
    torch.testing.assert_close(roots.diff(), roots.diff()[:1].expand(8), rtol=1e-6, atol=0)


def test_a_large_rho_is_even_in_log_snr():
    torch.testing.assert_close(
        times.karras(6, rho=1e6)(VP()), times.log_snr_uniform(6)(VP()), rtol=1e-4, atol=1e-8
    )


@pytest.mark.parametrize("grid", [times.uniform, times.log_snr_uniform, times.karras])
@pytest.mark.parametrize("schedule", [VE(), EDM()])
@pytest.mark.parametrize("steps", [1, 2, 30])
def test_grids_of_exploding_paths_descend_to_the_clean_end(grid, schedule, steps):
    found = grid(steps)(schedule)
    assert len(found) == steps + 1
    assert (found.diff() < 0).all()
    assert (found[0], found[-1]) == (schedule.t_max, 0)
    exact = Gaussian(schedule, torch.zeros(3), torch.ones(3))
    x = reverse.start(schedule, found[0], torch.ones(1, 1, 3, dtype=F64), Condition())
    assert torch.isfinite(DPMpp2M(found)(exact, x, started=True)).all()


def test_karras_needs_signal_and_noise_at_its_ends_and_a_positive_rho():
    with pytest.raises(ValueError, match="finite"):
        times.karras(4)(RectifiedFlow())
    assert times.karras(4, t_start=0.99)(RectifiedFlow())[0] == 0.99
    with pytest.raises(ValueError, match="rho"):
        times.karras(4, rho=0.0)(VP())
    with pytest.raises(ValueError, match="rho not so small"):
        times.karras(4, rho=1e-3)(VP())
    with pytest.raises(ValueError, match="noisier than t_last"):
        times.karras(4, t_start=0.1, t_last=0.5)(VP())
    with pytest.raises(ValueError, match="at least 1 step"):
        times.karras(0)(VP())


def test_fixed_gives_back_its_times():
    grid = times.fixed([1.0, 0.25, 0.0])(VP())
    assert grid.dtype == F64
    assert grid.tolist() == [1.0, 0.25, 0.0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1.0], "at least two"),
        ([0.0, 1.0], "descending"),
        ([1.0, 1.0, 0.0], "descending"),
        ([1.5, 0.0], "outside the range"),
        ([1.0, -0.1], "outside the range"),
        ([float("nan"), 0.0], "descending"),
    ],
)
def test_fixed_times_that_cannot_be_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        times.fixed(given)(VP())
