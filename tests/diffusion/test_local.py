import torch
from closed_forms import NOTHING

from wavediff.diffusion import preconditioning
from wavediff.diffusion.local import LocalDenoiser
from wavediff.diffusion.schedule import VP, RectifiedFlow


def silent(x, c_noise, cond):
    """An untrained network."""
    assert cond.local.shape == (len(x), 4, x.shape[-1])
    return torch.zeros_like(x)


class Net(torch.nn.Module):
    def forward(self, x, c_noise, cond):
        return silent(x, c_noise, cond)


def untrained(schedule, **options) -> LocalDenoiser:
    return LocalDenoiser(Net(), schedule, preconditioning.v, groups=4, frames=5, **options)


def test_before_training_it_is_the_wiener_filter_of_each_place():
    schedule, t = VP(), torch.tensor(0.3, dtype=torch.float64)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    torch.manual_seed(0)
    # two places of different level, with many channels so that the level is known well
    std = torch.tensor([10.0, 2.0]).repeat_interleave(200).double()
    x0 = std * torch.randn(1, 8000, 400, dtype=torch.float64)
    x = alpha * x0 + sigma * torch.randn_like(x0)
    estimate = untrained(schedule, trust=1e-3)(x, t, NOTHING)
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


def test_the_parts_make_the_estimate_and_its_jacobian_is_the_filters():
    denoiser = untrained(VP())
    torch.manual_seed(0)
    x = torch.randn(1, 8, 20, dtype=torch.float64, requires_grad=True)
    skip, c_out, output = denoiser.parts(x, 0.4, NOTHING)
    assert (output == 0).all()
    assert (c_out > 0).all()
    estimate = denoiser(x, 0.4, NOTHING)
    assert torch.equal(estimate, skip)
    (gradient,) = torch.autograd.grad(estimate.sum(), x)
    # positive everywhere, as a covariance must be
    assert torch.allclose(gradient, (estimate / x).detach())
    assert (gradient > 0).all()
