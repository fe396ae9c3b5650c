"""What the formats have in common: a model in our terms, and how its parts are found."""

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

# Kong et al. 2021, appendix: the schedules of six steps that were searched for BASE and LARGE
FAST_BETAS = [1e-4, 1e-3, 0.01, 0.05, 0.2]
FAST_LAST = {"LARGE": 0.7, "BASE": 0.5}


@dataclass(frozen=True)
class Overrides:
    """What a checkpoint may not say, or say wrongly; None for what it says, or its usual value.

    Attributes:
        steps, beta_min, beta_max: of the training schedule, linear.
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
        """Whether the training schedule is given."""
        return any(value is not None for value in (self.steps, self.beta_min, self.beta_max))


@dataclass(frozen=True)
class ForeignModel:
    """A foreign checkpoint in our terms.

    Attributes:
        origin: the project that it comes from.
        config: what ``build_task`` takes.
        state: of the network.
        extra: what else it tells, such as the step of its training.
    """

    origin: str
    config: dict[str, Any]
    state: dict[str, Tensor]
    extra: dict[str, Any]


class Weights(Mapping[str, Tensor]):
    """The tensors of a state dict by name; missing and extra tensors are reported in a sentence."""

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
        """How many layers there are, numbered from 0 by the group of ``pattern``."""
        numbers = {int(m[1]) for m in (re.match(pattern, name) for name in self) if m}
        if numbers != set(range(len(numbers))):
            raise UserError(f"this {self.origin} checkpoint lacks some of its layers")
        return len(numbers)

    def check_all_used(self) -> None:
        left = sorted(set(self) - self.used)
        if left:
            raise UserError(
                f"this {self.origin} checkpoint has a tensor {left[0]} that DiffWave has not: "
                "it is another network"
            )


def strides(upsampling: Iterable[Tensor], hop_length: int | None, origin: str) -> int:
    """The hop length that transposed convolutions of ``[1, 1, 3, 2 stride]`` make.

    Raises:
        UserError: where it is not what the checkpoint says, or made of strides that ours is not.
    """
    found = [weight.shape[-1] // 2 for weight in upsampling]
    hop = 1
    for stride in found:
        hop *= stride
    if hop_length is not None and hop != hop_length:
        raise UserError(
            f"this {origin} checkpoint upsamples by {hop} but has a hop length of {hop_length}"
        )
    # at odd strides the projects pad in their own ways
    if found != upsampling_strides(hop) or any(stride % 2 for stride in found):
        raise UserError(
            f"this {origin} checkpoint upsamples in strides of {found}: only even ones as equal as "
            "possible, such as [16, 16], can be imported"
        )
    return hop


def mel_config(preset: str, **changes: Any) -> dict[str, Any]:
    """The ``mel`` group: ``preset`` with what is not None in ``changes``."""
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
    """The ``schedule`` group, and what it makes.

    Args:
        steps, beta_min, beta_max: of a linear schedule, each overridden by ``overrides``.
        betas: those of the checkpoint, used as they are where nothing is overridden.

    Raises:
        UserError: for numbers that make no schedule.
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
        raise UserError(f"these betas make no noise schedule: {error}") from error
    target = "wavediff.diffusion.schedule.linear"
    return {"_target_": target, "steps": steps, "beta_min": low, "beta_max": high}, made


def sampler_config(
    schedule: DiscreteBetas, fast_betas: Iterable[float] | None, clamp: float | None
) -> dict[str, Any]:
    """The ``sampler`` group: DiffWave's fast steps, as far as ``schedule`` was trained.

    Args:
        fast_betas: the checkpoint's own; by default the paper's for LARGE where they fit, or
            those for BASE; where neither does, every trained level.

    Raises:
        UserError: for betas of the user's that the schedule does not reach.
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
    """A whole configuration: a vocoder of waveforms that predicts the noise."""
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
