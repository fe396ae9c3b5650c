"""Shared parts of the formats: the converted model and its configuration."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wavediff.diffusion import times
from wavediff.diffusion.schedule import DiscreteBetas
from wavediff.errors import UserError
from wavediff.networks.conditioner import upsampling_strides
from wavediff.representations.mel import mel_front_end

# Kong et al. 2021, appendix: the searched schedules of six steps for BASE and LARGE
FAST_BETAS = [1e-4, 1e-3, 0.01, 0.05, 0.2]
FAST_LAST = {"LARGE": 0.7, "BASE": 0.5}


@dataclass(frozen=True)
class Overrides:
    """Values that replace those of a checkpoint; None for the checkpoint's or the default.

    Attributes:
        steps, beta_min, beta_max: of the linear training schedule.
        fast_betas: of the fast sampler.
        sample_rate: in Hz.
    """

    steps: int | None = None
    beta_min: float | None = None
    beta_max: float | None = None
    fast_betas: tuple[float, ...] | None = None
    sample_rate: int | None = None

    @property
    def schedule(self) -> bool:
        """Whether any value of the training schedule is given."""
        return any(value is not None for value in (self.steps, self.beta_min, self.beta_max))


@dataclass(frozen=True)
class ForeignModel:
    """A converted foreign checkpoint.

    Attributes:
        origin: name of its project.
        config: configuration for ``build_task``.
        state: state dict of the network.
        extra: further values, such as the training step.
    """

    origin: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    extra: dict[str, Any]


class Weights(Mapping[str, Tensor]):
    """Tensors of a state dict by name, with error messages for missing and unused ones."""

    def __init__(self, state: Mapping[str, Tensor], origin: str) -> None:
        self._state, self.origin = dict(state), origin
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._state:
            raise UserError(f"this {self.origin} checkpoint lacks the tensor {name}")
        self.used.add(name)
        return self._state[name].float()

    def __contains__(self, name: object) -> bool:
        return name in self._state

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)

    def layers(self, pattern: str) -> int:
        """Number of layers, numbered from 0 by the group of ``pattern``."""
        numbers = {int(m[1]) for m in (re.match(pattern, name) for name in self) if m}
        if numbers != set(range(len(numbers))):
            raise UserError(f"this {self.origin} checkpoint lacks some of its layers")
        return len(numbers)

    def check_all_used(self) -> None:
        left = sorted(set(self) - self.used)
        if left:
            raise UserError(
                f"this {self.origin} checkpoint has a tensor {left[0]} that DiffWave does not "
                "have: it is another network"
            )


def strides(upsampling: Iterable[Tensor], hop_length: int | None, origin: str) -> int:
    """Hop length of transposed convolutions with weights ``[1, 1, 3, 2 stride]``.

    Raises:
        UserError: if it is not ``hop_length``, or the strides are not those of our upsampler.
    """
    found = [weight.shape[-1] // 2 for weight in upsampling]
    hop = 1
    for stride in found:
        hop *= stride
    if hop_length is not None and hop != hop_length:
        raise UserError(
            f"this {origin} checkpoint upsamples by {hop} but has a hop length of {hop_length}"
        )
    # the projects differ in their padding for odd strides
    if found != upsampling_strides(hop) or any(stride % 2 for stride in found):
        raise UserError(
            f"this {origin} checkpoint upsamples in strides of {found}: only even ones as equal as "
            "possible, such as [16, 16], can be imported"
        )
    return hop


def mel_config(preset: str, **changes: Any) -> dict[str, Any]:
    """Group ``mel``: ``preset`` with the ``changes`` that are not None."""
    changes = {key: value for key, value in changes.items() if value is not None}
    settings = mel_front_end(preset, **changes).settings()
    return {"_target_": "wavediff.representations.mel.MelFrontEnd", **settings}


def schedule_config(
    overrides: Overrides,
    steps: int,
    beta_min: float,
    beta_max: float,
    betas: list[float] | None = None,
) -> tuple[dict[str, Any], DiscreteBetas]:
    """Group ``schedule``, and the schedule itself.

    Args:
        steps, beta_min, beta_max: of a linear schedule, each overridden by ``overrides``.
        betas: of the checkpoint, used unchanged if nothing is overridden.

    Raises:
        UserError: for an invalid schedule.
    """
    if betas is not None:
        betas = [float(beta) for beta in betas]
        steps, beta_min, beta_max = len(betas), betas[0], betas[-1]
    steps = steps if overrides.steps is None else overrides.steps
    low = beta_min if overrides.beta_min is None else overrides.beta_min
    high = beta_max if overrides.beta_max is None else overrides.beta_max
    try:
        made = DiscreteBetas(torch.linspace(low, high, steps, dtype=torch.float64))
        if betas is not None and not overrides.schedule:
            told = DiscreteBetas(betas)
            if not torch.allclose(told.betas, made.betas, rtol=1e-9, atol=0):
                target = "wavediff.diffusion.schedule.DiscreteBetas"
                return {"_target_": target, "betas": betas}, told
    except (ValueError, RuntimeError) as error:
        raise UserError(f"these betas are not a valid noise schedule: {error}") from error
    target = "wavediff.diffusion.schedule.linear"
    return {"_target_": target, "steps": steps, "beta_min": low, "beta_max": high}, made


def sampler_config(
    schedule: DiscreteBetas, fast_betas: Iterable[float] | None, clamp: float | None
) -> dict[str, Any]:
    """Group ``sampler``: the fast sampling of DiffWave within the range of ``schedule``.

    Args:
        fast_betas: of the checkpoint or the user; by default those of the paper for LARGE or, if
            they are out of range, for BASE; if both are, all trained noise levels.

    Raises:
        UserError: for ``fast_betas`` out of the range of the schedule.
    """
    choices = [[*FAST_BETAS, last] for last in FAST_LAST.values()]
    if fast_betas is not None:
        choices = [[float(beta) for beta in fast_betas]]
    grid: dict[str, Any] = {"_target_": "wavediff.diffusion.times.nodes"}
    for betas in choices:
        try:
            times.from_betas(betas)(schedule)
        except ValueError as error:
            if fast_betas is not None:
                raise UserError(f"the fast betas {betas} do not fit: {error}") from error
            continue
        grid = {"_target_": "wavediff.diffusion.times.from_betas", "betas": betas}
        break
    sampler = {"_target_": "wavediff.diffusion.ddim.Ancestral", "times": grid}
    return sampler if clamp is None else sampler | {"clamp": clamp}


def vocoder_config(
    *,
    mel: dict[str, Any],
    network: dict[str, Any],
    schedule: dict[str, Any],
    sampler: dict[str, Any],
    norm: str,
) -> dict[str, Any]:
    """Configuration of a waveform vocoder that predicts the noise."""
    return {
        "task": {"_target_": "wavediff.tasks.vocoder.Vocoder"},
        "mel": mel,
        "representation": {"_target_": "wavediff.representations.waveform.Waveform"},
        "network": {"_target_": "wavediff.networks.diffwave.DiffWave", **network},
        "schedule": schedule,
        "prediction": {
            "_target_": "wavediff.diffusion.preconditioning.eps",
            "_partial_": True,
        },
        "objective": {
            "_target_": "wavediff.diffusion.objective.DenoisingObjective",
            "norm": norm,
        },
        "sampler": sampler,
    }
