import pytest
import torch

from wavediff.diffusion import preconditioning
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.forward import diffuse
from wavediff.diffusion.objective import DenoisingObjective
from wavediff.diffusion.schedule import VP, RectifiedFlow
from wavediff.diffusion.wiener import WienerDenoiser


def silent(x, c_noise, cond):
    """An untrained network."""
    assert cond.local.shape == (len(x), 4, x.shape[-1])
    return torch.zeros_like(x)


class Net(torch.nn.Module):
    def forward(self, x, c_noise, cond):
        return silent(x, c_noise, cond)


def untrained(schedule, **options) -> WienerDenoiser:
    return WienerDenoiser(Net(), schedule, preconditioning.v, groups=4, frames=5, **options)


def test_before_training_it_is_the_wiener_filter_of_each_place():
    schedule, t = VP(), torch.tensor(0.3, dtype=torch.float64)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    torch.manual_seed(0)
    # two places of different level, with many channels so that the level is known well
    std = torch.tensor([10.0, 2.0]).repeat_interleave(200).double()
    x0 = std * torch.randn(1, 8000, 400, dtype=torch.float64)
    x = alpha * x0 + sigma * torch.randn_like(x0)
    estimate = untrained(schedule, trust=1e-3)(x, t, Condition())
    wiener = alpha * std**2 / (alpha**2 * std**2 + sigma**2) * x
    away = torch.ones(400, dtype=torch.bool)
    away[195:205] = False  # the border between the two
    assert ((estimate - wiener)[..., away].abs() / std[away]).mean() < 5e-3  # 0.002 by chance


def test_the_level_has_a_floor_that_noise_sets_and_is_one_where_there_is_noise_alone():
    denoiser = untrained(RectifiedFlow(), trust=0.3)
    x = torch.zeros(1, 8, 20, dtype=torch.float64)
    alpha, sigma = torch.tensor(0.8).double(), torch.tensor(0.2).double()
    floor = 0.3 * sigma**2 / (alpha**2 + 0.3 * sigma**2)
    assert torch.allclose(denoiser.variance(x, alpha, sigma), floor)
    only = denoiser.variance(x, torch.zeros(()).double(), torch.ones(()).double())
    assert torch.allclose(only, torch.ones(()).double())


class Ones(torch.nn.Module):
    def forward(self, x, c_noise, cond):
        return torch.ones_like(x)


def test_the_networks_output_has_the_factor_c_out():
    t, x = torch.tensor([0.4, 0.7]).double(), torch.randn(2, 8, 20, dtype=torch.float64)
    with_ones = WienerDenoiser(Ones(), VP(), preconditioning.v, groups=4, frames=5)
    c_out = with_ones.c_out(x, t)
    assert (c_out > 0).all()
    torch.testing.assert_close(with_ones(x, t) - untrained(VP())(x, t), c_out)


@pytest.mark.parametrize(("norm", "power"), [("l1", 1), ("l2", 2)])
def test_it_is_trained_by_the_objective_that_is_configured(norm, power):
    denoiser, schedule = untrained(VP()), VP()
    torch.manual_seed(0)
    x0, eps = torch.randn(2, 3, 8, 20, dtype=torch.float64)
    u = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    t = schedule.quantile(u)
    x = diffuse(schedule, x0, t, eps)
    missed = denoiser(x, t) - x0

    def mean(error):
        return error.abs().pow(power).mean((1, 2))

    found = DenoisingObjective(norm=norm)(denoiser, x0, u=u, eps=eps).loss
    torch.testing.assert_close(found, mean(missed / denoiser.c_out(x, t)))
    found = DenoisingObjective(norm=norm, weighting="x0")(denoiser, x0, u=u, eps=eps).loss
    torch.testing.assert_close(found, mean(missed))


def test_before_training_its_jacobian_is_the_filters():
    denoiser = untrained(VP())
    torch.manual_seed(0)
    x = torch.randn(1, 8, 20, dtype=torch.float64, requires_grad=True)
    estimate = denoiser(x, 0.4)
    (gradient,) = torch.autograd.grad(estimate.sum(), x)
    # positive everywhere, as a covariance must be
    assert torch.allclose(gradient, (estimate / x).detach())
    assert (gradient > 0).all()
