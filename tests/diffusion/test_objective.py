import pytest
import torch
from torch import nn

from wavediff.diffusion import preconditioning
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.objective import DenoisingObjective
from wavediff.diffusion.schedule import RectifiedFlow, linear


class Constant(nn.Module):
    def forward(self, x, c_noise, cond):
        return torch.full_like(x, 0.25)


def run(prediction, schedule, **options):
    torch.manual_seed(0)
    x0, eps = torch.randn(3, 2, 5).double(), torch.randn(3, 2, 5).double()
    u = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    denoiser = Denoiser(Constant(), schedule, prediction)
    return x0, eps, DenoisingObjective(**options)(denoiser, x0, u, eps, Condition())


@pytest.mark.parametrize(("norm", "power"), [("l1", 1), ("l2", 2)])
def test_on_its_target_an_eps_prediction_is_compared_with_eps(norm, power):
    _, eps, result = run(preconditioning.eps, linear(50, 1e-4, 0.05), norm=norm)
    expected = (0.25 - eps).abs().pow(power).mean((1, 2))
    torch.testing.assert_close(result.loss, expected)


def test_on_its_target_a_velocity_is_compared_with_the_straight_lines_slope():
    x0, eps, result = run(preconditioning.velocity, RectifiedFlow())
    torch.testing.assert_close(result.loss, (0.25 - (eps - x0)).square().mean((1, 2)))


def test_min_snr_weighs_the_error_of_x0():
    schedule = linear(50, 1e-4, 0.05)
    x0, _, result = run(preconditioning.x0, schedule, weighting="min_snr", gamma=5.0)
    snr = (schedule.alpha(result.t) / schedule.sigma(result.t)) ** 2
    assert snr.min() < 5 < snr.max()
    expected = snr.clamp(max=5) * (0.25 - x0).square().mean((1, 2))
    torch.testing.assert_close(result.loss, expected)
    torch.testing.assert_close(result.log_snr, snr.log())


@pytest.mark.parametrize("options", [{"norm": "l3"}, {"weighting": "uniform"}])
def test_names_that_do_not_exist_are_refused(options):
    with pytest.raises(ValueError, match="not"):
        DenoisingObjective(**options)
