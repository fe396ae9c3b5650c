"""Sub-VP, VE and EDM against Song et al. 2021 and Karras et al. 2022, written as published."""

import math

import pytest
import torch
from orders import slope

from wavediff.diffusion.ddim import DDIM
from wavediff.diffusion.exact import Gaussian, Mixture
from wavediff.diffusion.exploding import EDM, VE
from wavediff.diffusion.exponential import DPMpp2M
from wavediff.diffusion.forward import sde
from wavediff.diffusion.schedule import VP, SubVP

T = torch.tensor([0.01, 0.1, 0.5, 0.9, 1.0], dtype=torch.float64)


def equal(a, b, rtol=1e-12):
    torch.testing.assert_close(a, b, rtol=rtol, atol=0)


def test_sub_vp_is_the_published_sde():
    # drift -beta/2 x, diffusion^2 beta (1 - exp(-2 int beta)) (Song et al. 2021, eq. 29)
    beta, integral = 0.1 + 19.9 * T, 0.1 * T + 19.9 * T**2 / 2
    drift, _, g2 = sde(SubVP(), T)
    equal(drift, -beta / 2)
    equal(g2, beta * (1 - torch.exp(-2 * integral)))
    # and its marginal (appendix B): mean of VP, standard deviation 1 - exp(-int beta)
    equal(SubVP().alpha(T), VP().alpha(T))
    equal(SubVP().sigma(T), 1 - torch.exp(-integral))
    assert (SubVP().sigma(T) < VP().sigma(T)).all()
    assert SubVP().prior_std(1.0) == 1


def test_ve_is_the_published_sde():
    # no drift, diffusion sigma_min r^t sqrt(2 log r) (Song et al. 2021, appendix C)
    drift, _, g2 = sde(VE(), T)
    assert (drift == 0).all()
    equal(g2.sqrt(), 0.01 * 5000**T * math.sqrt(2 * math.log(5000)))
    # away from the clean end NCSN's levels, whose variance is sigma_min^2 more
    equal(VE().sigma(T) ** 2 + 0.01**2, (0.01 * 5000**T) ** 2)
    assert VE().prior_std(1.0) == VE().sigma(1.0)


def test_edm_is_the_published_path():
    # dx = sqrt(2 t) dw (Karras et al. 2022, eq. 6 without its Langevin part)
    schedule, t = EDM(), T * 80
    drift, _, g2 = sde(schedule, t)
    assert (drift == 0).all()
    equal(g2, 2 * t)
    assert schedule.prior_std(80.0) == 80


def test_they_keep_their_digits_near_the_clean_end():
    t = 1e-12
    # to first order in t: int beta, and sigma_min^2 2 t log r
    assert float(SubVP().sigma(t)) == pytest.approx(0.1 * t, rel=1e-9)
    assert float(VE().sigma(t)) == pytest.approx(0.01 * math.sqrt(2e-12 * math.log(5000)), rel=1e-9)
    assert float(SubVP().log_sigma(t)) == pytest.approx(math.log(0.1e-12), rel=1e-10)
    for schedule in (SubVP(), VE(), EDM()):
        assert schedule.log_snr(0.0) == torch.inf
        assert float(schedule.log_snr(1e-300)) < torch.inf


def test_edm_trains_at_log_normal_times():
    schedule, u = EDM(), torch.rand(200_000, generator=torch.Generator().manual_seed(0)).double()
    log_t = schedule.quantile(u).log()
    assert float(log_t.mean()) == pytest.approx(-1.2, abs=0.015)
    assert float(log_t.std()) == pytest.approx(1.2, abs=0.015)
    ends = torch.tensor([0.0, 0.5, 1 - 1e-16], dtype=torch.float64)
    assert schedule.quantile(ends).tolist() == pytest.approx([0.002, math.exp(-1.2), 80.0])


def test_what_the_network_is_told_of_the_noise_is_linear_in_its_log():
    schedule = EDM()
    t = torch.tensor([0.0, 0.002, 0.4, 80.0], dtype=torch.float64)
    c_noise = schedule.c_noise(t)
    assert c_noise.tolist() == pytest.approx([0, 0, 500, 1000], abs=1e-9)


@pytest.mark.parametrize("schedule", [SubVP(), VE(), EDM()], ids=["subvp", "ve", "edm"])
@pytest.mark.parametrize(("sampler", "order"), [(DDIM, 1), (DPMpp2M, 2)])
def test_samplers_converge_to_the_exact_flow(schedule, sampler, order):
    # equal steps of log-SNR: with EDM's equal steps of sigma nothing is in its limit yet
    log_snr = schedule.log_snr(torch.tensor([0.9, 0.01]).double() * schedule.t_max)
    if isinstance(schedule, EDM):
        log_snr[1] = schedule.log_snr(0.02)
    mixture = Mixture(
        schedule, torch.tensor([0.3, 0.7]), torch.tensor([-1.0, 1.5]), torch.tensor([0.4, 0.3])
    )
    gaussian = Gaussian(schedule, torch.tensor([0.3, -1.0]), torch.tensor([0.5, 0.01]))
    z = torch.linspace(-2.0, 2.0, 10, dtype=torch.float64).reshape(5, 1, 2)
    steps = [64, 128, 256]
    for exact in (gaussian, mixture):
        errors = []
        for n in steps:
            levels = torch.linspace(float(log_snr[0]), float(log_snr[1]), n + 1).double()
            grid = schedule.time_at(levels)
            x = schedule.prior_std(grid[0]) * z
            expected = exact.flow(x, grid[0], grid[-1])
            sample = sampler(grid)(exact, x, started=True)
            errors.append(float((sample - expected).abs().max()))
        assert slope(steps, errors) == pytest.approx(order, abs=0.15)
        assert errors[-1] < {1: 4e-2, 2: 2e-3}[order]


@pytest.mark.parametrize(
    "make",
    [
        lambda: VE(sigma_min=0.0),
        lambda: VE(sigma_min=2.0, sigma_max=1.0),
        lambda: VE(t_min=0.0),
        lambda: EDM(sigma_min=0.0),
        lambda: EDM(p_std=0.0),
    ],
)
def test_numbers_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match="needs"):
        make()
