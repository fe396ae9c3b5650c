"""A small network, trained here by the project's own objective, comes near the data's entropy."""

import math

import pytest
import torch
from torch import nn

from wavediff.diffusion import preconditioning
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.exploding import EDM
from wavediff.diffusion.likelihood import log_density
from wavediff.diffusion.objective import DenoisingObjective

BATCH, LEARNING_RATE = 1024, 3e-3
HELD_OUT = 4000
WIDTH, WAVES, TONES = 128, 64, 16


def checkerboard(n, generator):
    """Eight squares of 2 by 2 in [-4, 4]^2; entropy log 32 nats."""
    column = torch.randint(4, (n,), generator=generator)
    row = 2 * torch.randint(2, (n,), generator=generator) + column % 2
    corner = torch.stack([column, row], dim=1).double()
    return 2 * (corner + torch.rand(n, 2, generator=generator, dtype=torch.float64)) - 4


def eight_gaussians(n, generator):
    """FFJORD's: on a circle of radius 4, of deviation 0.5, all divided by 1.414."""
    angle = torch.randint(8, (n,), generator=generator) * (math.pi / 4)
    centre = 4 * torch.stack([angle.cos(), angle.sin()], dim=1).double()
    return (centre + 0.5 * torch.randn(n, 2, generator=generator, dtype=torch.float64)) / 1.414


def checkerboards_nats(x):
    """-log p of points on it."""
    return torch.full((len(x),), math.log(32), dtype=torch.float64)


def eight_gaussians_nats(x):
    angle = torch.arange(8) * (math.pi / 4)
    centre = 4 * torch.stack([angle.cos(), angle.sin()], dim=1).double() / 1.414
    variance = (0.5 / 1.414) ** 2
    squares = (x[:, None] - centre).square().sum(-1) / variance
    return math.log(8 * 2 * math.pi * variance) - torch.logsumexp(-squares / 2, dim=1)


class Perceptron(nn.Module):
    """Of the two numbers, waves over them and tones of the noise level; two residual blocks."""

    def __init__(self):
        super().__init__()
        self.register_buffer("waves", 3.0 * torch.randn(2, WAVES))
        self.register_buffer("tones", 2 * math.pi * 1.5 * torch.randn(TONES))
        self.first = nn.Linear(4 + 2 * WAVES + 2 * TONES, WIDTH)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))
            for _ in range(2)
        )
        self.last = nn.Sequential(nn.SiLU(), nn.Linear(WIDTH, 2))

    def forward(self, x, c_noise, cond):
        """x is [batch, 2, 1], of variance 1; waves are over the point itself while noise is low."""
        level = c_noise[:, None] / 1000
        sigma = torch.exp(math.log(EDM().t_min) * (1 - level) + math.log(EDM().t_max) * level)
        scaled = x[..., 0]
        point = scaled * torch.sqrt(1 + sigma**2) / (1 + sigma)
        wave, tone = point @ self.waves, level * self.tones
        features = (scaled, point, wave.sin(), wave.cos(), tone.sin(), tone.cos())
        hidden = self.first(torch.cat(features, dim=1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.last(hidden)[..., None]


def trained(draw, scale, steps):
    """A denoiser of ``draw(n, generator) / scale``, weights averaged."""
    torch.manual_seed(0)
    network = Perceptron()
    denoiser = Denoiser(network, EDM(), preconditioning.edm)
    objective = DenoisingObjective()
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE, betas=(0.9, 0.99))
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995)
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        x0 = (draw(BATCH, generator) / scale).float()[..., None]
        eps = torch.randn(x0.shape, generator=generator)
        # evenly spread over the quantiles of the training times
        u = (torch.arange(BATCH, dtype=torch.float64) + torch.rand(1, generator=generator)) / BATCH
        loss = objective(denoiser, x0, Condition(), u=u, eps=eps).loss.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
        average.update_parameters(network)
    denoiser.network = average.module.eval()
    return denoiser


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "exact", "scale", "steps", "floor"),
    [
        (checkerboard, checkerboards_nats, 2.31, 7000, math.log(32)),
        (eight_gaussians, eight_gaussians_nats, 2.03, 3500, 2.829),
    ],
    ids=["checkerboard", "8gaussians"],
)
def test_likelihood_of_a_toy(draw, exact, scale, steps, floor):
    x = draw(HELD_OUT, torch.Generator().manual_seed(1))
    true = exact(x)
    assert float(true.mean()) == pytest.approx(floor, abs=0.05)  # of these points
    denoiser = trained(draw, scale, steps)
    nats = (
        2 * math.log(scale) - log_density(denoiser, (x / scale).float()[..., None], steps=25).nats
    )
    # over the same points, so that their luck is not the model's
    excess = float((nats - true).mean())
    error = float((nats - true).std()) / HELD_OUT**0.5
    print(f"{draw.__name__}: {excess:.4f} +- {error:.4f} nats above {floor:.4f}")
    assert -3 * error < excess < 0.1
