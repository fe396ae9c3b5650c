"""A small trained model of series beside the exact answer, for a process where it is known.

x_t = PHI x_{t-1} + e with variance 1: a Gaussian process of covariance PHI^|i - j|. Means are
compared relative to the standard deviation of the process, not to themselves: most lie near 0.
"""

import numpy as np
import pytest
import torch
from fitted import fit
from torch import Tensor, nn

from wavediff.diffusion.condition import Condition
from wavediff.series.condition import Window, network_sizes
from wavediff.series.model import SeriesModel
from wavediff.series.series_set import Series, SeriesSet
from wavediff.series.settings import recipe_config
from wavediff.tasks.build import build_task

PHI, CONTEXT, HORIZON, WINDOWS, SAMPLES = 0.9, 24, 12, 48, 200
LENGTH = CONTEXT + HORIZON
WITHIN, STEPS = 0.1, 4000


def walks(count: int, length: int, seed: int) -> np.ndarray:
    """``[count, length]`` of the process."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(length, count))
    noise[1:] *= np.sqrt(1 - PHI**2)
    for step in range(1, length):
        noise[step] += PHI * noise[step - 1]
    return noise.T


@pytest.fixture(scope="module")
def model() -> SeriesModel:
    series = SeriesSet(
        [Series(str(i), 0, x[None]) for i, x in enumerate(walks(50, 4000, 0))], ["x"]
    )
    changes = [
        "task.masks={forecast: 1, random: 1, block: 0, historical: 0, unconditional: 0}",
        # a window's own scale would be one more thing that the exact answer does not know
        "data.scaling=none",
        "data.lags=[]",
        "network.width=24",
        "network.layers=6",
        "network.dilation_cycle=5",
        "optimizer.lr=2e-3",
    ]
    config = recipe_config("series", changes)
    return fit(series, HORIZON, context=CONTEXT, steps=STEPS, config=config)


def drawn(model: SeriesModel, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(samples ``[S, windows, length]``, exact means, exact standard deviations)."""
    values = torch.from_numpy(walks(WINDOWS, LENGTH, 1)).float()
    no = torch.zeros(WINDOWS, 0, LENGTH)
    window = Window(values[:, None], torch.ones_like(known)[:, None], no, no, no.bool())
    sampler = model.with_sampler(steps=30)
    samples = model.sample_windows(window, known[:, None], SAMPLES, sampler=sampler)[
        :, :, 0
    ].double()
    steps = torch.arange(LENGTH, dtype=torch.float64)
    covariance = PHI ** (steps[:, None] - steps).abs()
    m = known.double()
    seen = m[:, :, None] * m[:, None] * covariance + torch.diag_embed(1 - m)
    gain = covariance * m[:, None] @ torch.linalg.inv(seen)
    mean = (gain @ (m * values)[..., None])[..., 0]
    variance = 1 - (gain * (covariance * m[:, None])).sum(-1)
    return samples, mean, variance.clamp(min=0).sqrt()


@pytest.mark.slow
@pytest.mark.timeout(1800)  # the training, in whichever comes first
def test_a_trained_models_forecasts_are_those_of_the_process(model):
    known = torch.arange(LENGTH).expand(WINDOWS, -1) < CONTEXT
    samples, mean, std = (part[..., CONTEXT:] for part in drawn(model, known))
    # the exact mean is PHI^h of the last value: that this is what is compared with
    horizons = torch.arange(1, HORIZON + 1).double()
    torch.testing.assert_close(std[0], (1 - PHI ** (2 * horizons)).sqrt())
    error = (samples.mean(0) - mean).square().mean(0)
    error = (error - std[0] ** 2 / SAMPLES).clamp(min=0).sqrt()  # less what few samples add
    assert error.max() < WITHIN, error
    low, high = samples.quantile(torch.tensor([0.1, 0.9]).double(), dim=0)
    width = (high - low).mean(0) / (2 * 1.2816 * std[0])
    assert (width - 1).abs().max() < WITHIN, width


@pytest.mark.slow
@pytest.mark.timeout(1800)  # the training, in whichever comes first
def test_a_trained_models_filled_gaps_are_those_of_the_process(model):
    known = torch.rand(WINDOWS, LENGTH, generator=torch.Generator().manual_seed(2)) < 0.6
    samples, mean, std = drawn(model, known)
    error = (samples.mean(0) - mean)[~known].square().mean()
    error = (error - std[~known].square().mean() / SAMPLES).clamp(min=0).sqrt()
    assert error < WITHIN, error
    ratio = samples.std(0)[~known].mean() / std[~known].mean()
    assert abs(ratio - 1) < WITHIN, ratio


def test_a_known_cell_tells_its_neighbours_however_the_dilations_are():
    """Dilations 1, 2, 4 once: the local condition alone reaches even distances only."""
    config = recipe_config("series", ["network.width=8", "network.layers=3"])
    sizes = {"variables": 1, "features": 0, "lags": [], "context": 4, "horizon": 4}
    groups = {key: config[key] for key in SeriesModel.groups}
    groups["task"] = groups["task"] | sizes | {"scaling": "none"}
    groups["network"] = groups["network"] | network_sizes(groups["network"], **sizes)
    torch.manual_seed(0)
    denoiser = build_task(groups).denoiser
    for parameter in denoiser.parameters():
        nn.init.normal_(parameter, std=0.2)
    local = torch.zeros(1, 2, 8)
    local[:, :, :4] = 1
    local.requires_grad_()
    x = torch.zeros(1, 1, 8)
    estimate = denoiser(x, 1.0, Condition(local=local))
    for ahead in range(4):
        (told,) = torch.autograd.grad(estimate[0, 0, 4 + ahead], local, retain_graph=True)
        assert (told[0, 0, ahead:4] != 0).all(), ahead
