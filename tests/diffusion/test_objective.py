from functools import partial

import pytest
import torch
from torch import nn

from wavediff.diffusion import preconditioning
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.exploding import EDM, VE
from wavediff.diffusion.forward import sde
from wavediff.diffusion.objective import DenoisingObjective
from wavediff.diffusion.schedule import VP, RectifiedFlow, SubVP, linear


class Constant(nn.Module):
    def forward(self, x, c_noise, cond):
        return torch.full_like(x, 0.25)


def run(prediction, schedule, **options):
    torch.manual_seed(0)
    x0, eps = torch.randn(3, 2, 5).double(), torch.randn(3, 2, 5).double()
    u = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    denoiser = Denoiser(Constant(), schedule, prediction)
    return x0, eps, DenoisingObjective(**options)(denoiser, x0, Condition(), u=u, eps=eps)


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


def test_an_edm_prediction_on_its_target_has_edm_s_weight():
    # lambda(sigma) = (sigma^2 + s^2) / (sigma s)^2 (Karras et al. 2022, table 1)
    x0, _, result = run(partial(preconditioning.edm, data_std=0.5), EDM())
    weight = (result.t**2 + 0.25) / (0.5 * result.t) ** 2
    error = (result.x0_hat - x0).square().mean((1, 2))
    torch.testing.assert_close(result.loss, weight * error)


@pytest.mark.parametrize("schedule", [VP(), SubVP(), VE(), EDM()])
def test_score_weightings_count_the_error_of_the_score(schedule):
    # NCSN: sigma^2 |score error|^2; maximum likelihood: g^2 |score error|^2
    x0, eps, result = run(preconditioning.x0, schedule, weighting="eps")
    alpha, sigma = schedule.alpha(result.t)[:, None, None], schedule.sigma(result.t)[:, None, None]
    x = alpha * x0 + sigma * eps
    score, score_hat = -eps / sigma, (alpha * result.x0_hat - x) / sigma**2
    error = (score_hat - score).square()
    torch.testing.assert_close(result.loss, (sigma**2 * error).mean((1, 2)))
    _, _, likelihood = run(preconditioning.x0, schedule, weighting="likelihood")
    g2 = sde(schedule, result.t)[2]
    torch.testing.assert_close(likelihood.loss, g2 * error.mean((1, 2)))
    # on its target the ncsn prediction has NCSN's weights
    _, _, ncsn = run(preconditioning.ncsn, schedule)
    x0_hat = (x + 0.25 * sigma) / alpha
    score_hat = (alpha * x0_hat - x) / sigma**2
    expected = (sigma**2 * (score_hat - score).square()).mean((1, 2))
    torch.testing.assert_close(ncsn.loss, expected)


class Linear(nn.Module):
    """One gain and one offset per frame."""

    def __init__(self, frames):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(frames, dtype=torch.float64))
        self.offset = nn.Parameter(torch.zeros(frames, dtype=torch.float64))

    def forward(self, x, c_noise, cond):
        return self.gain * x + self.offset


@pytest.mark.slow
@pytest.mark.parametrize("prediction", ["x0", "v", "edm"])
@pytest.mark.parametrize("schedule", [VP(beta_max=3.0), SubVP(beta_max=3.0), EDM(sigma_max=0.8)])
def test_a_trained_linear_network_reaches_the_denoising_loss_s_floor(schedule, prediction):
    # E|D - x0|^2 = sum of c sigma^2 / (alpha^2 c + sigma^2); two points per variable carry the
    # first two moments, and a linear network's loss knows no others
    mu, c = torch.tensor([0.3, -1.0, 2.0]).double(), torch.tensor([0.5, 1.0, 0.01]).double()
    signs = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]]).double()[..., None, None]
    x0, eps = mu + c.sqrt() * signs[:, 0], signs[:, 1].expand(-1, 1, 3)
    network = Linear(3)
    denoiser = Denoiser(network, schedule, getattr(preconditioning, prediction))
    objective = DenoisingObjective(weighting="x0", start=1.0)
    optimizer = torch.optim.LBFGS(
        network.parameters(), max_iter=60, line_search_fn="strong_wolfe", tolerance_grad=1e-12
    )

    def loss():
        optimizer.zero_grad()
        value = objective(denoiser, x0, Condition(), u=torch.zeros(4).double(), eps=eps).loss.mean()
        value.backward()
        return value

    before = float(optimizer.step(loss).detach())
    t = schedule.t_max
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    floor = float((c * sigma**2 / (alpha**2 * c + sigma**2)).mean())
    assert before > 1.2 * floor
    assert float(loss().detach()) == pytest.approx(floor, rel=1e-8)


def test_only_what_weighs_counts():
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, 3, 2, 6, generator=generator).double()
    denoiser = Denoiser(Linear(6), VP(), preconditioning.x0)
    u, weight = torch.tensor([0.2, 0.7, 0.9]).double(), torch.zeros(3, 2, 6).double()
    weight[0, :, :2], weight[1, 1] = 1, 3
    whole = DenoisingObjective()(denoiser, x0, Condition(), u=u, eps=eps)
    loss = DenoisingObjective()(denoiser, x0, Condition(), u=u, eps=eps, weight=weight).loss
    error = (whole.x0_hat - x0).square()
    expected = torch.stack([error[0, :, :2].mean(), error[1, 1].mean(), torch.zeros(()).double()])
    torch.testing.assert_close(loss, expected)
