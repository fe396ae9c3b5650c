"""The core on tensors of any rank, and what the driver of samplers does once for all."""

import math

import pytest
import torch
from torch import nn

from wavediff.diffusion import (
    DDIM,
    EDM,
    VP,
    AnnealedLangevin,
    Condition,
    Denoiser,
    DenoisingObjective,
    DPMpp2M,
    Gaussian,
    Heun,
    PredictorCorrector,
    Renoise,
    UniPC,
    edm,
    fixed,
    karras,
    log_density,
    method,
    step,
    uniform,
    v,
)

Z = torch.ones(2)
SHAPES = [(8, 2), (4, 1, 16), (2, 3, 4, 4)]


class Affine(nn.Module):
    """A network of two arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))

    def forward(self, x, c_noise):
        assert c_noise.shape == (len(x),)
        return self.gain * x + self.shift


@pytest.mark.parametrize("shape", SHAPES)
def test_training_and_sampling_at_any_rank(shape):
    denoiser = Denoiser(Affine(), EDM(), edm)
    loss = DenoisingObjective()(denoiser, torch.randn(shape)).loss
    assert loss.shape == (shape[0],)
    loss.mean().backward()
    assert denoiser.network.gain.grad.isfinite()
    states = list(Heun(karras(5)).walk(denoiser, torch.randn(shape)))
    assert len(states) == 5
    assert all(state.x.shape == shape and not state.x.requires_grad for state in states)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sampler", [Heun, DPMpp2M, UniPC])
def test_a_gaussian_s_flow_at_any_rank(sampler, shape):
    exact = Gaussian(VP(), 0.7, 0.3)
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    grid = torch.linspace(0.9, 0.05, 129, dtype=torch.float64)
    found = sampler(grid)(exact, x, started=True)
    torch.testing.assert_close(found, exact.flow(x, 0.9, 0.05), rtol=0, atol=2e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_gaussian_s_log_density_at_any_rank(shape):
    exact = Gaussian(VP(), 0.0, 0.3)
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = log_density(exact, x, steps=60)
    variance = float(exact.variance(VP().t_min)) / float(VP().alpha(VP().t_min)) ** 2
    squares = x.square().flatten(1).sum(1) / variance
    expected = -squares / 2 - x[0].numel() * math.log(2 * math.pi * variance) / 2
    torch.testing.assert_close(found.nats, expected, rtol=1e-3, atol=1e-3)


def test_times_of_each_item_are_those_of_one():
    exact, t = Gaussian(VP(), 0.7, 0.3), torch.tensor([0.2, 0.9], dtype=torch.float64)
    x = torch.randn(2, 3, dtype=torch.float64)
    both = exact(x, t)
    torch.testing.assert_close(both[1], exact(x, 0.9)[1])


def test_a_network_may_take_the_condition_or_not():
    seen = []

    def network(x, c_noise, cond):
        seen.append(cond)
        return x

    Denoiser(network, VP(), v)(torch.ones(2, 2), 0.5)
    assert seen == [Condition()]
    label = Condition(label=torch.zeros(2))
    Denoiser(network, VP(), v)(torch.ones(2, 2), 0.5, label)
    assert seen[1] is label


def test_what_is_drawn_and_what_is_given_train_alike():
    denoiser, x0 = Denoiser(Affine(), EDM(), edm), torch.randn(3, 2)
    torch.manual_seed(1)
    drawn = DenoisingObjective()(denoiser, x0)
    torch.manual_seed(1)
    u, eps = torch.rand(3, dtype=torch.float64), torch.randn(3, 2)
    given = DenoisingObjective()(denoiser, x0, u=u, eps=eps)
    assert torch.equal(drawn.loss, given.loss)


def test_the_driver_starts_from_the_schedules_noise():
    schedule, z = EDM(sigma_max=5.0), torch.ones(1, 2, dtype=torch.float64)
    seen = []

    def watched(x, t, cond):
        seen.append(x)
        return x

    watched.schedule = schedule
    DDIM(uniform(2))(watched, z)
    torch.testing.assert_close(seen[0], 5 * z)
    assert DDIM(uniform(2))(watched, z, started=True).shape == z.shape
    torch.testing.assert_close(seen[2], z)


def test_draws_are_stated_and_counted():
    assert not DDIM(uniform(5)).stochastic
    assert DDIM(uniform(5), eta=0.5).stochastic
    assert not DPMpp2M(uniform(5)).stochastic
    assert DPMpp2M(uniform(5), eta=1.0).stochastic
    assert Renoise(uniform(5)).stochastic
    assert Heun(uniform(5)).calls(VP()) == 10
    assert AnnealedLangevin(karras(5), langevin_steps=3).calls(EDM()) == 4 * 5
    draws = []

    def noise(x, number):
        draws.append(number)
        return torch.zeros_like(x)

    PredictorCorrector([0.9, 0.5, 0.1]).walk(Gaussian(VP(), 0, 1), torch.ones(1, 1), noise=noise)
    assert draws == []  # nothing happens before the first state is asked for
    PredictorCorrector([0.9, 0.5, 0.1])(Gaussian(VP(), 0, 1), torch.ones(1, 1), noise=noise)
    assert draws == [0, 1, 2]


def test_other_numbers_of_steps():
    five = Heun(karras(18, rho=5.0)).with_steps(5)
    torch.testing.assert_close(five.grid(EDM()), karras(5, rho=5.0)(EDM()))
    own = DDIM(fixed([1.0, 0.7, 0.0]))
    assert own.with_steps(2).grid(VP()).tolist() == [1.0, 0.7, 0.0]
    torch.testing.assert_close(own.with_steps(4).grid(VP()), uniform(4)(VP()))
    with pytest.raises(ValueError, match="at least 1 step"):
        own.with_steps(0)


def test_a_misspelt_option_is_refused_at_once():
    with pytest.raises(TypeError, match=r"^DDIM got an unexpected keyword argument 'etta'"):
        DDIM(uniform(5), etta=1.0)
    with pytest.raises(TypeError, match="rhoo"):
        karras(5, rhoo=3)


def steps_without_estimate(denoiser, x, times, cond, noise):
    yield x


def steps_with_noise(denoiser, x, times, cond, noise):
    yield noise(x, 0), x


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: method(steps_with_noise), r"steps_with_noise with @method\(\)"),
        (lambda: method()(lambda denoiser, x: x), r"must take \(denoiser, x, times, cond, noise\)"),
        (
            lambda: method()(steps_without_estimate)([1.0, 0.0])(Gaussian(VP(), 0, 1), Z),
            r"must yield \(x, x0_hat\)",
        ),
        (
            lambda: method()(steps_with_noise)([1.0, 0.0])(Gaussian(VP(), 0, 1), Z),
            "stochastic=True",
        ),
        (lambda: Heun(karras(3))(Affine(), torch.ones(2, 2)), "needs a denoiser"),
    ],
)  # fmt: skip
def test_a_wrong_method_is_one_sentence(build, message):
    with pytest.raises(TypeError, match=message):
        build()


def test_what_a_network_would_ignore_or_return_wrong_is_refused():
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match="would ignore the condition"):
        Denoiser(Affine(), EDM(), edm)(x, 1.0, Condition(label=torch.zeros(2)))
    with pytest.raises(ValueError, match=r"returned \[2, 1\] for an input of \[2, 3\]"):
        Denoiser(lambda x, c_noise: x[:, :1], EDM(), edm)(x, 1.0)
    with pytest.raises(TypeError, match="cond must be a Condition, not a Tensor"):
        DenoisingObjective()(Denoiser(Affine(), EDM(), edm), x, torch.rand(2))


def test_more_noise_than_there_is_is_refused():
    x, t, s = torch.ones(2, 3), torch.tensor(2.0).double(), torch.tensor(1.0).double()
    with pytest.raises(ValueError, match=r"eta = 1\.5 exceeds sigma_s = 1"):
        step(EDM(), x, x, t, s, Condition(), 1.5, x)
