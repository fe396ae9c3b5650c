"""What every ODE sampler misses of a probability flow that is known exactly."""

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from wavediff.diffusion import times
from wavediff.diffusion.ddim import DDIM
from wavediff.diffusion.exact import Gaussian, Mixture
from wavediff.diffusion.exploding import EDM, VE
from wavediff.diffusion.exponential import DPMpp2M, DPMpp3S, UniPC
from wavediff.diffusion.heun import Heun
from wavediff.diffusion.schedule import VP, RectifiedFlow, Schedule, SubVP

ODE = {
    "ddim": (DDIM, 1),
    "heun": (Heun, 2),
    "dpmpp_2m": (DPMpp2M, 2),
    "dpmpp_3s": (DPMpp3S, 3),
    "unipc": (UniPC, 3),
}
PATHS = {"vp": VP, "subvp": SubVP, "ve": VE, "edm": EDM, "flow": RectifiedFlow}
# sigma / alpha from 8 to 0.1
LOG_SNR = (-2 * math.log(8), 2 * math.log(10))


def gaussian(schedule: Schedule) -> tuple[Gaussian, Tensor]:
    """Three frames of different mean and variance, and where to start from, with norm 1."""
    mu, c = torch.tensor([0.3, -1.0, 2.0]), torch.tensor([0.5, 1.0, 0.01])
    x = torch.randn(5, 1, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Gaussian(schedule, mu, c), x


def mixture(schedule: Schedule) -> tuple[Mixture, Tensor]:
    """Two modes, and points from left to right."""
    weights, means, stds = [0.3, 0.7], [-1.0, 1.5], [0.4, 0.3]
    exact = Mixture(schedule, torch.tensor(weights), torch.tensor(means), torch.tensor(stds))
    return exact, torch.linspace(-2.5, 2.5, 21, dtype=torch.float64).reshape(1, 1, -1)


PROBLEMS = {"gaussian": gaussian, "mixture": mixture}


@functools.cache
def grid(path: str, steps: int) -> Tensor:
    """Equal steps of log-SNR."""
    schedule = PATHS[path]()
    ends = schedule.time_at(torch.tensor(LOG_SNR, dtype=torch.float64))
    return times.log_snr_uniform(steps + 1, float(ends[0]), float(ends[1]))(schedule)[:-1]


def errors(name: str, path: str, problem: str, steps: Sequence[int]) -> list[float]:
    """Root mean square of what is missed of the exact flow, for each number of steps."""
    schedule = PATHS[path]()
    exact, z = PROBLEMS[problem](schedule)
    found = []
    for n in steps:
        t = grid(path, n)
        x = float(torch.hypot(schedule.alpha(t[0]), schedule.sigma(t[0]))) * z
        missed = ODE[name][0](t)(exact, x, started=True) - exact.flow(x, t[0], t[-1])
        found.append(float(missed.square().mean().sqrt()))
    return found


def slope(steps: list[int], errors: list[float]) -> float:
    """Order of convergence: minus the slope of log error over log steps, by least squares."""
    x = torch.tensor(steps, dtype=torch.float64).log()
    y = torch.tensor(errors, dtype=torch.float64).log()
    x = x - x.mean()
    return float(-(x * (y - y.mean())).sum() / (x**2).sum())
