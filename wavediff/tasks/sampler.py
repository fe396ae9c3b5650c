"""Samplers by name, and training on a sampler's own path."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser
from wavediff.diffusion.noise import ItemNoise
from wavediff.diffusion.reverse import start
from wavediff.diffusion.sampler import Sampler
from wavediff.errors import UserError
from wavediff.tasks.build import make
from wavediff.tasks.names import find_sampler

FIRST_STREAM = 16  # of the noise of `on_path`; the tasks' losses draw from lower ones


def on_path(
    sampler: Sampler, denoiser: Denoiser, like: Tensor, cond: Condition, noise: ItemNoise
) -> Tensor:
    """x0_hat at one of the sampler's own times for each item, with a gradient.

    Item by item one of the times is drawn, all alike, and the sampler walks there from noise, as it
    does when it is used: nothing of the true x_0 is in what the denoiser sees. Only the call at
    that time has a gradient. At the first time x0_hat is what one call gives, at the last time what
    all give: a walk of two steps teaches for one call and for two.

    This is training on the sampler's own path (InferGrad, Chen et al. 2022; PeriodWave-Turbo,
    Lee et al. 2024), cut before the last call as in DMD2's backward simulation (Yin et al. 2024),
    which takes the memory of one call.

    Args:
        like: anything of the shape, type and place of x_0, ``[batch, channels, time]``.
        noise: of the start, of the sampler, and of the times.
    """
    grid = sampler.grid(denoiser.schedule)

    def draw(x: Tensor, i: int) -> Tensor:
        return noise.normal(*x.shape[1:], stream=FIRST_STREAM + 2 + i).to(x)

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
    """``conf/sampler/<name>.yaml``.

    Raises:
        UserError: for a name that does not exist, with those that do.
    """
    config = OmegaConf.load(find_sampler(name))
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]


def sampler_by_name(name: str) -> Sampler:
    """The sampler of ``conf/sampler/<name>.yaml``.

    Raises:
        UserError: for a name that does not exist, with those that do.
    """
    return make(sampler_config(name))


def checked_sampler(
    denoiser: Denoiser, default: Sampler, name: str | None = None, steps: int | None = None
) -> Sampler:
    """The sampler called ``name``, or ``default``, on ``steps`` steps, if ``denoiser`` can use it.

    Raises:
        UserError: for a name that does not exist, or a sampler that does not fit the model.
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
