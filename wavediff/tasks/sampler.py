"""Samplers by name, and training on the path of a sampler."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wavediff.diffusion import transfer
from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.noise import ItemNoise
from wavediff.diffusion.reverse import start
from wavediff.diffusion.sampler import Sampler
from wavediff.errors import UserError
from wavediff.tasks.build import make
from wavediff.tasks.names import find_sampler

FIRST_STREAM = 16  # of the noise of ``on_path``; the tasks' losses draw from lower streams


def on_path(
    sampler: Sampler, denoiser: Denoiser, like: Tensor, cond: Condition, noise: ItemNoise
) -> Tensor:
    """Estimate x_0 at a random one of the sampler's times per item, with a gradient.

    The times are drawn uniformly for each item, and the sampler is run from noise up to that time,
    as in inference: the input of the denoiser contains nothing of the true x_0. Only the call at
    that time has a gradient. At the first time, x0_hat is the result of one call, at the last time
    that of all calls: training with two steps optimises for both one and two.

    This is training on the sampler's own path (InferGrad, Chen et al. 2022; PeriodWave-Turbo,
    Lee et al. 2024), truncated before the last call as in DMD2's backward simulation (Yin et al.
    2024), which needs the memory of one call.

    Args:
        like: a tensor with the shape, type and device of x_0, ``[batch, channels, time]``.
        noise: for the initial state, the sampler, and the times.
    """
    grid = sampler.grid(denoiser.schedule)

    def draw(x: Tensor, i: int) -> Tensor:
        return transfer.like(noise.normal(*x.shape[1:], stream=FIRST_STREAM + 2 + i), x)

    states = [start(denoiser.schedule, grid[0], draw(like, -1), cond)]
    if len(grid) > 2:
        walk = Sampler(sampler.method, grid[:-1]).walk(
            denoiser, states[0], cond, noise=draw, started=True
        )
        states += [state.x for state in walk]
    chosen = (noise.uniform(FIRST_STREAM) * len(states)).long()
    x = torch.stack([states[i][item] for item, i in enumerate(chosen.tolist())])
    return denoiser(x, grid[chosen], cond)


def sampler_config(name: str) -> dict[str, Any]:
    """Read ``conf/sampler/<name>.yaml``.

    Raises:
        UserError: for an unknown name, with the known ones.
    """
    from omegaconf import OmegaConf  # takes 0.1 s, which models do not need

    config = OmegaConf.load(find_sampler(name))
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def sampler_by_name(name: str) -> Sampler:
    """Build the sampler of ``conf/sampler/<name>.yaml``.

    Raises:
        UserError: for an unknown name, with the known ones.
    """
    return make(sampler_config(name))


def checked_sampler(
    denoiser: Denoiser, default: Sampler, name: str | None = None, steps: int | None = None
) -> Sampler:
    """The sampler ``name`` or ``default`` on ``steps`` steps, checked against ``denoiser``.

    Raises:
        UserError: for an unknown name, or a sampler that does not fit the model.
    """
    sampler = default if name is None else sampler_by_name(name)
    try:
        sampler = sampler if steps is None else sampler.with_steps(steps)
    except ValueError as error:
        raise UserError(str(error)) from error
    try:
        sampler.check(denoiser)
    except ValueError as error:
        raise UserError(f"this sampler does not fit the model: {error}") from error
    except ImportError as error:
        raise UserError(str(error)) from error
    return sampler
