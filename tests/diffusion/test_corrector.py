import math

import pytest
import torch

from wavediff.diffusion import reverse, times
from wavediff.diffusion.anchored import OUVE, AnchoredFlow, Bridge
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.corrector import PredictorCorrector, correct, predict
from wavediff.diffusion.forward import sde
from wavediff.diffusion.schedule import VP, RectifiedFlow, Schedule

THETA, SIGMA_MIN, SIGMA_MAX = 1.5, 0.05, 0.5
LOGSIG = math.log(SIGMA_MAX / SIGMA_MIN)


def f64(value):
    return torch.tensor(value, dtype=torch.float64)


def equal(a, b):
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def signals():
    torch.manual_seed(0)
    return torch.randn(4, 2, 1, 5, dtype=torch.float64)


# ---- as published with SGMSE+


def published_std(t):
    growth = math.exp(2 * (THETA + LOGSIG) * t) - 1
    scale = SIGMA_MIN**2 * math.exp(-2 * THETA * t) * LOGSIG / (THETA + LOGSIG)
    return (scale * growth) ** 0.5


def published_predictor(x, y, t, stepsize, score, z):
    drift = THETA * (y - x)
    diffusion = SIGMA_MIN * (SIGMA_MAX / SIGMA_MIN) ** t * (2 * LOGSIG) ** 0.5
    f, G = drift * stepsize, diffusion * stepsize**0.5
    mean = x - (f - G**2 * score)
    return mean + G * z, mean


def published_corrector(x, t, score, z, snr):
    step_size = (snr * published_std(t)) ** 2 * 2
    return x + step_size * score + z * (step_size * 2) ** 0.5


def score_of(x, x0_hat, y, t):
    alpha = math.exp(-THETA * t)
    return -(x - alpha * x0_hat - (1 - alpha) * y) / published_std(t) ** 2


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.9666), (0.5, 0.46), (0.06, 0.03), (0.03, 0.0)])
def test_the_predictor_is_the_published_one(t, s):
    x, x0_hat, y, z = signals()
    expected, mean = published_predictor(x, y, t, t - s, score_of(x, x0_hat, y, t), z)
    arguments = (OUVE(), x, x0_hat, f64(t), f64(s), Condition(anchor=y))
    equal(predict(*arguments, z), expected)
    equal(predict(*arguments), mean)


@pytest.mark.parametrize("t", [1.0, 0.5, 0.03])
@pytest.mark.parametrize("snr", [0.1, 0.5])
def test_the_corrector_is_the_published_one(t, snr):
    x, x0_hat, y, z = signals()
    expected = published_corrector(x, t, score_of(x, x0_hat, y, t), z, snr)
    equal(correct(OUVE(), x, x0_hat, f64(t), Condition(anchor=y), snr, z), expected)


class Towards:
    """Some denoiser of x and y, no closed form needed."""

    schedule = OUVE()

    def __call__(self, x, t, cond):
        return 0.4 * x + 0.3 * torch.tanh(cond.anchor) + float(t)


def test_the_sampler_is_the_published_loop():
    N = 6
    _, _, y, z = signals()
    cond = Condition(anchor=y)
    draws = torch.randn(2 * N, *y.shape, dtype=torch.float64)
    denoiser = Towards()
    x = y + published_std(1.0) * z
    timesteps = torch.linspace(1, 0.03, N, dtype=torch.float64).tolist()
    for i, t in enumerate(timesteps):
        stepsize = t - timesteps[i + 1] if i != N - 1 else timesteps[-1]
        score = score_of(x, denoiser(x, t, cond), y, t)
        x = published_corrector(x, t, score, draws[2 * i], 0.5)
        score = score_of(x, denoiser(x, t, cond), y, t)
        x, mean = published_predictor(x, y, t, stepsize, score, draws[2 * i + 1])
    sampler = PredictorCorrector(times.uniform_to_t_min(N))
    states = list(sampler.walk(denoiser, z, cond, noise=lambda x, i: draws[i]))
    equal(states[-1].x, mean)
    assert len(states) == N


# ---- and how they relate to the one reverse step


class Between(Schedule):
    """Three coefficients at a time t and three at a time s."""

    def __init__(self, t, at_t, s, at_s):
        self.table = {float(t): at_t, float(s): at_s}

    def alpha(self, t):
        return f64(self.table[float(t)][0])

    def anchor(self, t):
        return f64(self.table[float(t)][1])

    def sigma(self, t):
        return f64(self.table[float(t)][2])


def test_the_reverse_step_to_the_tangent_of_the_path_is_the_predictor():
    schedule, t, s = OUVE(), 0.8, 0.77
    x, x0_hat, y, z = signals()
    h, std = t - s, published_std(t)
    g = SIGMA_MIN * (SIGMA_MAX / SIGMA_MIN) ** t * (2 * LOGSIG) ** 0.5
    alpha = math.exp(-THETA * t)
    kept = std * (1 + THETA * h) - g**2 * h / std
    ahead = alpha * (1 + THETA * h)  # alpha's tangent; the anchor falls by as much
    path = Between(t, (alpha, 1 - alpha, std), s, (ahead, 1 - ahead, math.hypot(kept, g * h**0.5)))
    assert kept > 0
    expected, _ = published_predictor(x, y, t, h, score_of(x, x0_hat, y, t), z)
    cond = Condition(anchor=y)
    equal(reverse.step(path, x, x0_hat, f64(t), f64(s), cond, g * h**0.5, z), expected)
    equal(predict(schedule, x, x0_hat, f64(t), f64(s), cond, z), expected)


def test_the_reverse_step_onto_a_wider_path_is_the_corrector():
    # Langevin dynamics leaves the variance too wide, by 1 + 4 snr^4 after a step from its own
    t, snr = 0.4, 0.3
    x, x0_hat, y, z = signals()
    alpha, std = math.exp(-THETA * t), published_std(t)
    wider = std * (1 + 4 * snr**4) ** 0.5
    path = Between(t, (alpha, 1 - alpha, std), -1.0, (alpha, 1 - alpha, wider))
    ours = reverse.step(path, x, x0_hat, f64(t), f64(-1.0), Condition(anchor=y), 2 * snr * std, z)
    equal(ours, published_corrector(x, t, score_of(x, x0_hat, y, t), z, snr))


def gap(schedule, t, h):
    """(predictor - reverse step, noise of the predictor - of the ancestral step), one number."""
    x, x0_hat, y, _ = signals()
    t, s, cond = f64(t), f64(t - h), Condition(anchor=y)
    eta = reverse.posterior_std(schedule, t, s)
    exact = reverse.step(schedule, x, x0_hat, t, s, cond, eta)
    variance = float(sde(schedule, t)[2] * h - eta**2)
    return float((predict(schedule, x, x0_hat, t, s, cond) - exact).abs().max()), abs(variance)


@pytest.mark.parametrize("schedule", [OUVE(), Bridge(), AnchoredFlow(), VP()])
def test_predictor_and_ancestral_step_agree_to_first_order(schedule):
    coarse, fine = gap(schedule, 0.5, 1e-3), gap(schedule, 0.5, 5e-4)
    for a, b in zip(coarse, fine, strict=True):
        assert a > 0
        assert a / b == pytest.approx(4, abs=0.05)


def test_corrector_and_reverse_step_agree_to_fourth_order_of_the_snr():
    schedule, t = OUVE(), f64(0.5)
    x, x0_hat, y, z = signals()
    cond = Condition(anchor=y)

    def gap(snr):
        eta = 2 * snr * schedule.sigma(t)
        exact = reverse.step(schedule, x, x0_hat, t, t, cond, eta, z)
        return float((correct(schedule, x, x0_hat, t, cond, snr, z) - exact).abs().max())

    assert gap(0.05) / gap(0.025) == pytest.approx(16, abs=0.3)


# ---- where it ends


@pytest.mark.parametrize("schedule", [OUVE(), VP()])
def test_the_sampler_reaches_the_mean_and_variance_of_gaussian_data(schedule):
    """Every step is affine, so unit draws in a batch give the exact variance."""
    mu, c, y = 0.7, 0.09, -1.2

    class Posterior:
        """E[x_0 | x_t, y] for x_0 from N(mu, c)."""

        def __init__(self):
            self.schedule = schedule

        def __call__(self, x, t, cond):
            a, s = schedule.alpha(t), schedule.sigma(t)
            centred = x - a * mu - schedule.anchor(t) * cond.anchor
            return mu + a * c / (a**2 * c + s**2) * centred

    def moments(steps):
        draws = torch.eye(2 * steps + 2, dtype=torch.float64)[:, 1:, None, None]
        cond = Condition(anchor=torch.full_like(draws[:, 0], y))
        a, b, s = schedule.alpha(1.0), schedule.anchor(1.0), schedule.sigma(1.0)
        spread = (a**2 * c + s**2).sqrt() * draws[:, -1]
        x = PredictorCorrector(times.uniform(steps)(schedule), snr=0.2)(
            Posterior(), a * mu + b * y + spread, cond, noise=lambda x, i: draws[:, i], started=True
        ).flatten()
        return float(x[0]), float((x[1:] - x[0]).square().sum())

    coarse, fine = moments(100), moments(400)
    for coarsely, finely, target in zip(coarse, fine, (mu, c), strict=True):
        assert abs(finely - target) < 0.5 * abs(coarsely - target)
        assert finely == pytest.approx(target, rel=0.1)


@pytest.mark.parametrize(
    "schedule", [Bridge(), AnchoredFlow(), RectifiedFlow()], ids=lambda s: type(s).__name__
)
def test_a_path_without_signal_at_its_start_is_refused(schedule):
    denoiser = Towards()
    denoiser.schedule = schedule
    _, _, y, _ = signals()
    with pytest.raises(ValueError, match="t = 1 lacks one"):
        PredictorCorrector(times.uniform(3)(schedule))(
            denoiser, y, Condition(anchor=y), started=True
        )


@pytest.mark.parametrize("snr", [0.0, -1.0, math.nan])
def test_an_snr_out_of_range_is_refused(snr):
    _, _, y, _ = signals()
    grid = times.uniform(3)(OUVE())
    with pytest.raises(ValueError, match="snr must be positive"):
        PredictorCorrector(grid, snr=snr)(Towards(), y, Condition(anchor=y), started=True)
