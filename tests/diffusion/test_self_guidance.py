import pytest
import torch

from wavediff.diffusion import times
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.exact import Correlated
from wavediff.diffusion.exponential import DPMpp2M
from wavediff.diffusion.schedule import VP, RectifiedFlow
from wavediff.diffusion.self_guidance import SelfGuidance, mean_square, pinball, quantiles

FRAMES = 6
KNOWN = torch.tensor([True, True, False, False, True, False])
ROWS = torch.eye(FRAMES, dtype=torch.float64)[KNOWN]
Y = torch.tensor([0.5, -0.3, 0.0, 0.0, -1.5, 0.0], dtype=torch.float64)


def data(schedule) -> Correlated:
    distance = torch.arange(FRAMES, dtype=torch.float64)[:, None] - torch.arange(FRAMES)
    covariance = 0.8 * torch.exp(-((distance / 2) ** 2)) + 0.1 * torch.eye(FRAMES)
    exact = Correlated(schedule, torch.linspace(-1, 1, FRAMES, dtype=torch.float64), covariance)
    exact.prepare = lambda cond: cond
    return exact


def observed(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    return Y.expand(batch, 1, -1), KNOWN.expand(batch, 1, -1)


def gain(exact: Correlated, t: float) -> torch.Tensor:
    """d x0_hat / d x."""
    a, s = exact.schedule.alpha(t), exact.schedule.sigma(t)
    return a * exact.c @ torch.linalg.inv(a**2 * exact.c + s**2 * exact.one)


@pytest.mark.parametrize("data_std", [0.0, 1.0, 0.7])
@pytest.mark.parametrize("schedule", [VP(), RectifiedFlow()])
def test_mean_square_guidance_adds_the_score_of_the_observation(schedule, data_std):
    exact, scale = data(schedule), 3.0
    guided = SelfGuidance(exact, mean_square(*observed(4)), scale, data_std)
    x = torch.randn(4, 1, FRAMES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for t in (0.05, 0.5, 0.95):
        a, s = schedule.alpha(t), schedule.sigma(t)
        plain = exact(x, t)
        analytic = torch.where(KNOWN, Y - plain, 0) @ gain(exact, t)
        # one over the variance of y given x_t: TSDiff's, and that of x_0 of independent cells
        spread = data_std**2 * s**2 / (a**2 * data_std**2 + s**2)
        with torch.no_grad():
            found = guided(x, t, Condition())
        assert not found.requires_grad
        wanted = (a * plain - x) / s**2 + analytic / (1 / scale + spread)
        assert ((a * found - x) / s**2 - wanted).abs().max() < 1e-10
        assert (found - plain - s**2 / a * analytic / (1 / scale + spread)).abs().max() < 1e-10


@pytest.mark.parametrize("schedule", [VP(), RectifiedFlow()])
def test_pinball_guidance_pulls_each_sample_by_its_own_quantile(schedule):
    exact, scale, t = data(schedule), 2.0, torch.tensor(0.4, dtype=torch.float64)
    quantile = quantiles(5)
    assert torch.allclose(quantile, torch.tensor([1, 2, 3, 4, 5]).double() / 6)
    guided = SelfGuidance(exact, pinball(*observed(5), quantile), scale)
    x = torch.randn(5, 1, FRAMES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain = exact(x, t)
    k = quantile[:, None, None]
    below = torch.where(KNOWN, torch.where(plain < Y, k, k - 1), 0.0)
    assert (below > 0).any()
    assert (below < 0).any()
    wanted = plain + scale * schedule.sigma(t) ** 2 / schedule.alpha(t) * below @ gain(exact, t)
    assert (guided(x, t, Condition()) - wanted).abs().max() < 1e-10


def test_at_low_noise_the_guided_score_is_that_of_a_noisy_observation():
    """Where x_0 is nearly told by x_t, p(y | x0_hat) is p(y | x_t), of noise with variance
    1 / scale: the guided denoiser is the exact one given x_t and y."""
    exact, scale = data(VP()), 3.0
    guided = SelfGuidance(exact, mean_square(*observed(1)), scale)
    plain, x, errors = [], torch.full((1, 1, FRAMES), 0.3, dtype=torch.float64), []
    for t in (0.04, 0.02, 0.01):
        wanted, _ = exact.given_noisy(x[0, 0], t).given(ROWS, Y[KNOWN], 1 / scale)
        errors.append(float((guided(x, t, Condition())[0, 0] - wanted).abs().max()))
        plain.append(float((exact(x, t)[0, 0] - wanted).abs().max()))
    assert errors[0] < 0.1 * plain[0]
    # the error is of the next order in sigma^2
    assert errors[2] / plain[2] < 0.3 * errors[0] / plain[0]


@pytest.mark.parametrize("data_std", [0.0, 1.0])
def test_samples_move_towards_the_exact_posterior(data_std):
    exact, scale = data(VP()), 2.0
    wanted, _ = exact.given(ROWS, Y[KNOWN], 1 / scale)
    # the sampler is affine in its start: the mean of the samples is where the mean start ends
    start = torch.zeros(1, 1, FRAMES, dtype=torch.float64)
    grid = times.log_snr_uniform(60, t_last=1e-3)(VP())

    def mean(factor: float) -> torch.Tensor:
        guided = SelfGuidance(exact, mean_square(*observed(1)), factor, data_std)
        return DPMpp2M(grid)(guided, start, started=True)[0, 0]

    distance = [float((mean(factor) - wanted).norm()) for factor in (0.0, 0.1, 0.5)]
    assert distance[0] > distance[1] > distance[2]
    assert distance[2] < 0.6 * distance[0]
    # with the variance of x_0 counted, the shift is right in full
    if data_std:
        assert float((mean(scale) - wanted).norm()) < 0.35 * distance[0]


def test_a_large_scale_diverges_unless_the_datas_variance_is_counted():
    exact = data(VP())
    grid = times.uniform(10)(VP())
    x = torch.randn(8, 1, FRAMES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ends = []
    for data_std in (0.0, 1.0):
        guided = SelfGuidance(exact, mean_square(*observed(8)), 100.0, data_std)
        ends.append(DPMpp2M(grid)(guided, x, started=True))
    assert ends[0].abs().max() > 100
    assert (ends[1] - Y)[..., KNOWN].abs().mean() < 0.2


def test_without_a_scale_or_a_signal_the_denoiser_is_plain():
    x = torch.ones(1, 1, FRAMES, dtype=torch.float64)
    for schedule, t, scale in ((VP(), 0.5, 0.0), (RectifiedFlow(), 1.0, 2.0)):
        exact = data(schedule)
        guided = SelfGuidance(exact, mean_square(*observed(1)), scale)
        assert torch.equal(guided(x, t, Condition()), exact(x, t))


def test_items_at_times_of_their_own_are_guided_each_by_its_own():
    schedule = RectifiedFlow()

    class Plain:
        def __init__(self):
            self.schedule = schedule

        def __call__(self, x, t, cond):
            return x * 2

    x = torch.ones(2, 1, FRAMES, dtype=torch.float64)
    both = SelfGuidance(Plain(), mean_square(*observed(2)), 1.0)(
        x, torch.tensor([0.5, 1.0]), Condition()
    )
    one = SelfGuidance(Plain(), mean_square(*observed(1)), 1.0)
    assert torch.equal(both[:1], one(x[:1], 0.5, Condition()))
    assert torch.equal(both[1:], one(x[1:], 1.0, Condition()))
    assert not torch.equal(both[0], both[1])


def test_prepares_as_the_denoiser_does_and_works_in_inference_mode():
    exact = data(VP())
    exact.prepare = lambda cond: Condition(prepared="seen")
    guided = SelfGuidance(exact, mean_square(*observed(1)), 1.0)
    assert guided.prepare(Condition()).prepared == "seen"
    with torch.inference_mode():
        assert guided(torch.zeros(1, 1, FRAMES).double(), 0.5, Condition()).isfinite().all()


def test_a_scale_below_0_is_refused():
    with pytest.raises(ValueError, match="0 or more"):
        SelfGuidance(data(VP()), mean_square(*observed(1)), -1.0)
