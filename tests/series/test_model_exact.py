"""The model of series where the answer is known: Gaussian processes."""

import pytest
import torch
from torch import Tensor, nn

from wavediff.diffusion import preconditioning
from wavediff.diffusion.adaptive import Adaptive
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.exponential import DPMpp2M
from wavediff.diffusion.noise import ItemNoise
from wavediff.diffusion.objective import DenoisingObjective
from wavediff.diffusion.schedule import VP, RectifiedFlow
from wavediff.diffusion.times import fixed, log_snr_uniform
from wavediff.errors import UserError
from wavediff.series.condition import Window
from wavediff.series.guidance import Guidance
from wavediff.series.model import SeriesModel
from wavediff.tasks.sampler import Sampler

VARIABLES, LENGTH, HORIZON, SAMPLES = 2, 7, 3, 40


def process() -> tuple[Tensor, Tensor]:
    """(mean, covariance) over variables and time of two coupled series, one smooth, one rough."""
    steps = torch.arange(LENGTH, dtype=torch.float64)
    distance = (steps[:, None] - steps).abs()
    smooth, rough = torch.exp(-((distance / 2) ** 2)), 0.8**distance
    mixing = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    covariance = sum(
        torch.kron(torch.outer(column, column), kernel)
        for column, kernel in zip(mixing.mT, (smooth, rough), strict=True)
    )
    covariance += 0.05 * torch.eye(VARIABLES * LENGTH)
    return torch.cat([torch.sin(steps), 0.3 * steps - 1]), covariance


def given(known: Tensor, y: Tensor, variance: float = 0.0) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the process given y where known, ``[batch, cells]`` each.

    ``variance``: of noise on y.
    """
    mean, covariance = process()
    m = known.double()
    # the rows and columns of unknown cells are those of the identity
    seen = m[:, :, None] * m[:, None] * covariance + torch.diag_embed(1 - m + variance * m)
    gain = covariance * m[:, None] @ torch.linalg.inv(seen)
    error = (m * (y - mean))[..., None]
    return mean + (gain @ error)[..., 0], covariance - gain @ (m[..., None] * covariance)


class Exact(nn.Module):
    """In place of the network: E[x_0 | x_t, what the local condition tells] of the process."""

    def __init__(self, schedule: VP) -> None:
        super().__init__()
        self.schedule, self.place = schedule, nn.Parameter(torch.zeros(()))
        self.told = 0

    def prepare(self, cond: Condition) -> tuple[Tensor, Tensor, Tensor]:
        """The mean and the eigenvectors of the covariance of x_0 given what is told."""
        y, known = (cond.local[:, k * VARIABLES : (k + 1) * VARIABLES].flatten(1) for k in range(2))
        self.told = int(known.sum())
        mean, covariance = given(known > 0, y)
        return (mean, *torch.linalg.eigh(covariance))

    def forward(self, x: Tensor, c_noise: Tensor, cond: Condition) -> Tensor:
        each = len(x) // len(cond.prepared[0])
        mean, values, vectors = (torch.cat([part] * each) for part in cond.prepared)
        t = float(c_noise[0]) / 1000
        a, s = self.schedule.alpha(t), self.schedule.sigma(t)
        rest = vectors.mT @ (x.flatten(1) - a * mean)[..., None]
        gain = (a * values / (a**2 * values + s**2))[..., None]
        return (mean + (vectors @ (gain * rest))[..., 0]).view_as(x)


def exact_model(masks: dict[str, float], scaling: str = "none") -> SeriesModel:
    # alpha at the start of 2e-9 leaves nothing of the mean in what sampling starts from
    schedule = VP(beta_max=80.0)
    sampler = Adaptive(fixed([1.0, 1e-7, 0.0]), rtol=1e-8, atol=1e-8)
    return SeriesModel(
        Exact(schedule),
        schedule,
        preconditioning.x0,
        DenoisingObjective(),
        sampler,
        variables=VARIABLES,
        features=0,
        lags=[],
        context=LENGTH - HORIZON,
        horizon=HORIZON,
        scaling=scaling,
        masks=masks,
    )


def a_window() -> tuple[Window, Tensor]:
    """A forecast, gaps, one variable by the other, and nothing known: (window, known)."""
    known = torch.ones(4, VARIABLES, LENGTH, dtype=torch.bool)
    known[0, :, -HORIZON:] = False
    known[1, 0, [1, 2, 5]] = False
    known[1, 1, [0, 2, 3, 6]] = False
    known[2, 1] = False
    known[3] = False
    generator = torch.Generator().manual_seed(0)
    mean, covariance = process()
    z = torch.randn(4, VARIABLES * LENGTH, dtype=torch.float64, generator=generator)
    values = (mean + z @ torch.linalg.cholesky(covariance).mT).view(4, VARIABLES, LENGTH)
    no = torch.zeros(4, 0, LENGTH, dtype=torch.float64)
    return Window(values, torch.ones_like(known), no, no, no.bool()), known


def law(samples: Tensor, seed: int, affine: bool = True) -> tuple[Tensor, Tensor]:
    """Mean and covariance that ``samples [S, batch, V, L]`` of a deterministic sampler are of.

    For Gaussian data they are an affine function of the noise that they start from, which is known:
    no Monte Carlo error, and little where they are nearly ``affine``.
    """
    count, batch = samples.shape[:2]
    noise = ItemNoise(seed, range(batch)).normal(count, VARIABLES, LENGTH, stream=0).double()
    start = torch.cat([torch.ones(batch, count, 1).double(), noise.flatten(2)], dim=2)
    ends = samples.transpose(0, 1).flatten(2)
    response = torch.linalg.lstsq(start, ends).solution
    assert not affine or (start @ response - ends).abs().max() < 1e-7
    return response[:, 0], response[:, 1:].mT @ response[:, 1:]


def test_with_the_exact_denoiser_forecasts_and_filled_gaps_are_the_exact_conditional():
    model = exact_model({"forecast": 1.0})
    window, known = a_window()
    mean, covariance = law(model.sample_windows(window, known, SAMPLES, seed=3), 3)
    expected = given(known.flatten(1), window.values.flatten(1))
    torch.testing.assert_close(mean, expected[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(covariance, expected[1], rtol=0, atol=1e-6)
    assert expected[1][2].diagonal()[LENGTH:].min() > 0.1  # there is something to tell


def quick(model: SeriesModel) -> Sampler:
    return DPMpp2M(log_snr_uniform(24, t_last=1e-4))


def test_an_unconditional_model_is_guided_and_never_conditioned():
    model = exact_model({"unconditional": 1.0, "forecast": 0.0})
    assert model.guidance == Guidance.of("mse")
    window, known = a_window()
    options = {"sampler": quick(model), "seed": 1}
    expected, _ = given(known.flatten(1), window.values.flatten(1), 1 / 100)
    hidden = ~known.flatten(1)
    for guidance in (None, Guidance.of("quantile")):
        guided = model.sample_windows(window, known, 60, guidance=guidance, **options)
        assert model.network.told == 0
        assert torch.equal(guided[:, known], window.values[known].expand(60, -1))
        error = (law(guided, 1, affine=False)[0] - expected)[:3][hidden[:3]]
        plain = (process()[0] - expected)[:3][hidden[:3]]
        assert error.square().mean() < 0.7 * plain.square().mean()


def test_a_conditional_model_is_not_guided_unless_asked():
    model = exact_model({"forecast": 1.0, "unconditional": 1.0})
    assert model.guidance is None
    model.guide("mse", 2.0)
    assert model.guidance == Guidance("mse", 2.0)
    model.guide("replace")
    assert model.guidance == Guidance.of("replace")
    model.guide(None)
    assert model.guidance is None
    with pytest.raises(UserError, match="a scale of guidance needs a guidance"):
        model.guide(None, 2.0)
    for kind, scale in (("best", None), ("none", None), ("mse", -1.0), ("mse", float("inf"))):
        with pytest.raises(UserError, match=r"one of replace, mse, quantile|must be above 0"):
            model.guide(kind, scale)
    with pytest.raises(UserError, match="also trained unconditionally"):
        exact_model({"forecast": 1.0}).guide("mse")
    unconditional = exact_model({"unconditional": 1.0})
    unconditional.guide(None, 7.0)
    assert unconditional.guidance == Guidance("mse", 7.0)


def test_guided_windows_are_scaled_by_what_is_known():
    model = exact_model({"unconditional": 1.0}, "standard")
    window, known = a_window()
    window, known = window.map(lambda part: part[:2]), known[:2]
    options = {"sampler": quick(model)}
    samples = model.sample_windows(window, known, 2, **options)
    other = torch.where(known, 1000 * window.values - 5, 1e6)  # what is hidden has no influence
    found = model.sample_windows(window._replace(values=other), known, 2, **options)
    torch.testing.assert_close(found, 1000 * samples - 5, rtol=1e-8, atol=1e-6)


def test_guidance_starts_from_noise_alone_too():
    model = exact_model({"unconditional": 1.0})
    model.denoiser.schedule = model.network.schedule = RectifiedFlow()
    window, known = a_window()
    sampler = DPMpp2M(fixed([1.0, 0.5, 0.0]))
    found = model.sample_windows(window, known, 2, sampler=sampler)
    assert found.isfinite().all()
