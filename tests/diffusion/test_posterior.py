import pytest
import torch

from wavediff.diffusion import times
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.exact import Correlated
from wavediff.diffusion.exponential import DPMpp2M
from wavediff.diffusion.posterior import PosteriorGuidance, conjugate_gradients
from wavediff.diffusion.schedule import VP, RectifiedFlow

FRAMES = 6
KNOWN = torch.eye(FRAMES, dtype=torch.float64)[[0, 1, 4]]  # inpainting: frames 2, 3 and 5 are lost
MIXED = torch.tensor([[0.5, 0.5, 0, 0, 0, 0], [0, 0, 1, -1, 0, 2]], dtype=torch.float64)


def data(schedule) -> Correlated:
    distance = torch.arange(FRAMES, dtype=torch.float64)[:, None] - torch.arange(FRAMES)
    covariance = 0.8 * torch.exp(-((distance / 2) ** 2)) + 0.1 * torch.eye(FRAMES)
    return Correlated(schedule, torch.linspace(-1, 1, FRAMES, dtype=torch.float64), covariance)


def measured(
    exact: Correlated, matrix: torch.Tensor, variance: float, **options
) -> PosteriorGuidance:
    exact.prepare = lambda cond: cond
    y = torch.linspace(0.5, -1.5, len(matrix), dtype=torch.float64)
    return PosteriorGuidance(
        exact, lambda x0: x0 @ matrix.mT, y.expand(1, 1, -1), variance, **options
    )


@pytest.mark.parametrize("schedule", [VP(), RectifiedFlow()])
@pytest.mark.parametrize("matrix", [KNOWN, MIXED])
@pytest.mark.parametrize("variance", [1e-4, 0.3])
def test_the_mean_given_the_noisy_and_the_measured_is_exact(schedule, matrix, variance):
    exact = data(schedule)
    denoiser = measured(exact, matrix, variance, iterations=2 * len(matrix))
    torch.manual_seed(0)
    for t in (0.05, 0.5, 0.95):
        x = torch.randn(1, 1, FRAMES, dtype=torch.float64)
        wanted, _ = exact.given_noisy(x[0, 0], t).given(matrix, denoiser.y[0, 0], variance)
        with torch.no_grad():
            estimate = denoiser(x, t, Condition())
        assert not estimate.requires_grad
        assert (estimate[0, 0] - wanted).abs().max() < 1e-8


@pytest.mark.parametrize("matrix", [KNOWN, MIXED])
def test_samples_have_the_conditional_mean_and_covariance(matrix):
    exact, variance = data(VP()), 0.01
    denoiser = measured(exact, matrix, variance, iterations=6)
    mean, covariance = exact.given(matrix, denoiser.y[0, 0], variance)
    # the sampler is affine in its start: unit vectors tell the covariance without Monte Carlo
    starts = torch.cat([torch.zeros(1, FRAMES), torch.eye(FRAMES)])[:, None].double()
    denoiser.y = denoiser.y.expand(len(starts), 1, -1)
    grid = times.log_snr_uniform(96, t_last=1e-3)(VP())
    ends = DPMpp2M(grid)(denoiser, starts, started=True)[:, 0]
    response = ends[1:] - ends[0]
    # N(0, 1) in place of alpha_1 x_0 + sigma_1 eps leaves alpha_1 = 0.0066 of the mean
    assert (ends[0] - mean).abs().max() < 1e-2
    assert (response.mT @ response - covariance).abs().max() < 5e-3


def test_items_of_a_batch_are_solved_each_by_itself():
    exact = data(VP())
    torch.manual_seed(0)
    x = torch.randn(3, 1, FRAMES, dtype=torch.float64)
    y = torch.randn(3, 1, 3, dtype=torch.float64) * torch.tensor([1, 100, 0])[:, None, None]
    y[2] = exact(x[2:], 0.5)[0] @ KNOWN.mT  # nothing is left to be done for this one

    def run(items):
        denoiser = PosteriorGuidance(exact, lambda x0: x0 @ KNOWN.mT, y[items], 0.1, iterations=2)
        return denoiser(x[items], torch.tensor(0.5), Condition())

    assert torch.allclose(run([0, 1, 2]), torch.cat([run([0]), run([1]), run([2])]), atol=1e-12)
    assert torch.allclose(run([2]), exact(x[2:], 0.5), atol=1e-12)


def test_works_in_inference_mode():
    denoiser = measured(data(VP()), KNOWN, 0.1)
    with torch.inference_mode():
        assert denoiser(torch.zeros(1, 1, FRAMES).double(), 0.5, Condition()).isfinite().all()


def test_conjugate_gradients_leave_what_is_not_positive():
    b = torch.ones(2, 2, dtype=torch.float64)
    matrix = torch.tensor([[1.0, 0.5], [0.5, 2.0]], dtype=torch.float64)
    sign = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    x = conjugate_gradients(lambda w: sign * (w @ matrix), b, 5)
    assert (x[0] @ matrix - b[0]).abs().max() < 1e-12
    assert (x[1] == 0).all()


def test_prepares_as_the_denoiser_does():
    denoiser = measured(data(VP()), KNOWN, 0.1)
    denoiser.denoiser.prepare = lambda cond: Condition(prepared="seen")
    assert denoiser.prepare(Condition()).prepared == "seen"


def test_numbers_that_cannot_be_are_refused():
    for variance, iterations in ((0.0, 3), (0.1, 0)):
        with pytest.raises(ValueError, match=r"positive|at least 1"):
            measured(data(VP()), KNOWN, variance, iterations=iterations)
    with pytest.raises(ValueError, match="alpha > 0"):
        measured(data(RectifiedFlow()), KNOWN, 0.1)(
            torch.zeros(1, 1, FRAMES).double(), 1.0, Condition()
        )
