"""Base classes of the tasks: trainable models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from wavediff.diffusion.condition import Condition
from wavediff.diffusion.denoiser import Denoiser, DenoiserLike
from wavediff.diffusion.noise import ItemNoise
from wavediff.diffusion.objective import Objective
from wavediff.diffusion.sampler import Noise, Sampler
from wavediff.errors import UserError
from wavediff.inputs import expanded
from wavediff.tasks.checkpoint import load_task, save_task
from wavediff.tasks.names import FILE_NAME
from wavediff.tasks.sampler import checked_sampler

if TYPE_CHECKING:
    from wavediff.evaluation.metrics import Metric
    from wavediff.training.config import TrainerConfig
    from wavediff.training.distributed import World
    from wavediff.training.validation import Validation

FIXED = "representation."  # prefix of the names of weights outside the network


class Task(nn.Module):
    """A model that ``wavediff train`` can train, with its use.

    A subclass sets ``network`` (all trainable parameters) and defines ``loss`` and ``validate``;
    the rest has defaults. Its constructor has one argument for each of its ``groups``, besides
    the options of the group ``task``.

    Attributes:
        groups: of the configuration, from which the task is built.
        command: that uses a trained model; ``info`` for none.
        title: name of the kind of model in messages, with its article.
        advice: how to obtain such a model, for messages.
        network: all trainable parameters.
        sample_rate: of its audio, in Hz; 0 for other signals.
        crop_length: length of a training example, in samples.
        labels: number of classes or speakers of the network, 0 for none.
        adversarial: whether it can be trained with discriminators, by ``generated``.
        paired: whether ``generated`` returns estimates of the true signals, not others like them.
        estimate_weights: names of its weights of losses on the objective's estimate of x_0.
        tunable: whether the time grid of its sampler can be searched, by ``examples``.
        config: configuration for ``build_task``.
        extra: further values in the checkpoint (steps, seed, names of labels).
    """

    groups: ClassVar[tuple[str, ...]] = ("task", "network")
    command: ClassVar[str] = "info"
    title: ClassVar[str] = "a model"
    advice: ClassVar[str] = "give the run folder of one"
    network: Any  # a module; networks have attributes that nn.Module cannot declare
    sample_rate: int = 0
    crop_length: int
    labels: int = 0
    adversarial: ClassVar[bool] = False
    paired: ClassVar[bool] = True
    estimate_weights: ClassVar[tuple[str, ...]] = ()
    tunable: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.config: Mapping[str, Any] = {}
        self.extra: Mapping[str, Any] = {}

    # defined by a subclass

    def loss(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> dict[str, Tensor]:
        """Training losses, each ``[batch]``; ``loss`` is minimised, the others are logged.

        Args:
            batch: of the training data: ``audio [batch, 1, crop_length]`` and other fields.
            noise: source of noise that depends on the seed and the items only.
        """
        raise NotImplementedError

    def validate(self, batch: Mapping[str, Tensor], seed: int = 0) -> Tensor:
        """Estimate ``batch["audio"] [1, 1, time]``, in the same shape."""
        raise NotImplementedError

    # building, loading and saving

    @staticmethod
    def network_arguments(channels: int) -> dict[str, int]:
        """Arguments of the network for a signal of ``channels``."""
        return {"channels": channels}

    @staticmethod
    def complete(config: Mapping[str, Any]) -> Mapping[str, Any]:
        """``config`` with the values that depend on its data."""
        return config

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path) -> Self:
        """Load a bundled model by name, a run folder or a checkpoint file, in ``eval`` mode.

        Raises:
            UserError: for a checkpoint that does not exist, is damaged, or is of another kind.
        """
        task = load_task(name_or_path)
        if not isinstance(task, cls):
            raise UserError(f"{name_or_path} is not {cls.title} but {task.title}: {cls.advice}")
        return task

    def save_pretrained(self, path: str | Path) -> None:
        """Write the model for ``from_pretrained``: to a folder, or a file if the name has a suffix.

        Raises:
            UserError: if the file cannot be written, or for another kind of value.
        """
        path = expanded(path)
        file = path if path.suffix else path / FILE_NAME
        save_task(file, self.config, self.fixed_state() | self.network.state_dict(), self.extra)

    def check_extra(self) -> None:
        """Check ``extra``, which was read from a checkpoint.

        Raises:
            UserError: for a value that the model cannot use.
        """

    def fixed_state(self) -> dict[str, Tensor]:
        """Weights outside the network that the model needs, by name."""
        return {}

    def load_fixed(self, state: Mapping[str, Tensor]) -> None:
        """Load the weights of ``fixed_state``; other names are ignored."""

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return next(self.network.parameters()).device

    # training

    @property
    def networks(self) -> Sequence[nn.Module]:
        """Parts of ``network`` that are called, to be compiled and cast separately."""
        return [self.network]

    @property
    def facts(self) -> Mapping[str, Any]:
        """Properties of the data for the checkpoint."""
        return {}

    def read(self, config: Mapping[str, Any], seed: int) -> tuple[Any, Any]:
        """Read (training examples, held-out examples) of a data configuration."""
        from wavediff.data.build import build_data  # not needed for inference

        return build_data(config, self.crop_length, self.sample_rate, seed)

    def judge(
        self, held_out: Any, config: TrainerConfig, metrics: Mapping[str, Metric], world: World
    ) -> Validation:
        """Compute metrics of the model on held-out examples."""
        from wavediff.training.validation import validate

        return validate(
            self.validate,
            held_out,
            metrics,
            world,
            self.sample_rate,
            files=config.validate_files,
            seconds=config.validate_seconds,
            media=config.validate_media,
        )

    def progress(self, share: float) -> None:
        """Report the completed fraction of the training steps, 0 to 1, to the model."""

    def set_teacher(self, teacher: Task) -> None:
        """Set the trained model to distil.

        Raises:
            UserError: for an objective without a teacher, or a teacher that does not fit.
        """
        raise UserError(
            "this model is trained without a teacher: leave teacher out, or give "
            "objective=consistency_distillation"
        )

    @property
    def needs_teacher(self) -> bool:
        """Whether training requires ``set_teacher``."""
        return False

    def generated(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> tuple[Tensor, Tensor]:
        """(generated, true signals) of an ``adversarial`` task, each ``[batch, 1, time]``."""
        raise NotImplementedError

    # use

    def examples(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> tuple[Tensor, Condition]:
        """(noise, condition) of a ``tunable`` task, to sample in the shape of a batch."""
        raise NotImplementedError

    def summary(self) -> dict[str, Any]:
        """Properties of the model for ``wavediff info``, besides its configuration."""
        return {"sample_rate": self.sample_rate} if self.sample_rate else {}


class DiffusionTask(Task):
    """A task whose network is part of a denoiser, with a sampler.

    Args:
        denoiser: the network with its schedule and prediction.
        objective: of the training.
        sampler: the default one.
        representation: of the signal in which diffusion takes place; None for the signal itself.
    """

    groups: ClassVar[tuple[str, ...]] = (
        "task",
        "representation",
        "network",
        "schedule",
        "prediction",
        "objective",
        "sampler",
    )

    def __init__(
        self,
        denoiser: Denoiser,
        objective: Objective,
        sampler: Sampler,
        representation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.objective = objective
        self.sampler = sampler
        self.representation: Any = representation  # as with network

    @property
    def network(self) -> Any:
        """All trainable parameters."""
        return self.denoiser.network

    def fixed_state(self) -> dict[str, Tensor]:
        state = {} if self.representation is None else self.representation.state_dict()
        return {f"{FIXED}{name}": value for name, value in state.items()}

    def load_fixed(self, state: Mapping[str, Tensor]) -> None:
        if self.fixed_state():
            own = {k.removeprefix(FIXED): v for k, v in state.items() if k.startswith(FIXED)}
            self.representation.load_state_dict(own)

    def progress(self, share: float) -> None:
        self.objective.progress = share

    @property
    def needs_teacher(self) -> bool:
        return self.objective.takes_teacher

    def set_teacher(self, teacher: Task) -> None:
        if not self.needs_teacher or not isinstance(teacher, DiffusionTask):
            super().set_teacher(teacher)
        if teacher.config.get("representation") != self.config.get("representation"):
            raise UserError(
                "the teacher has another representation than this model: use the same for both"
            )
        self.objective.teacher = teacher.denoiser.to(self.device).requires_grad_(False)

    def with_sampler(self, name: str | None = None, steps: int | None = None) -> Sampler:
        """The sampler ``name`` (default: the checkpoint's) on ``steps`` steps.

        Raises:
            UserError: for an unknown name, or a sampler that does not fit the model.
        """
        return checked_sampler(self.denoiser, self.sampler, name, steps)

    @torch.no_grad()
    def sample(
        self,
        cond: Condition,
        shape: Sequence[int],
        noise: Noise,
        sampler: Sampler | None = None,
        denoiser: DenoiserLike | None = None,
    ) -> Tensor:
        """Draw x_0 of ``shape``, ``[batch, channels, time]``, on the model's device.

        Args:
            noise: ``(like, step) -> standard normal``; step -1 is the initial state.
            sampler: by default the model's.
            denoiser: by default the model's; a guided one, for example.
        """
        sampler = self.sampler if sampler is None else sampler
        z = noise(torch.empty(*shape, device=self.device), -1)
        return sampler(self.denoiser if denoiser is None else denoiser, z, cond, noise=noise)

    def summary(self) -> dict[str, Any]:
        schedule = self.denoiser.schedule
        try:
            steps, calls = len(self.sampler.grid(schedule)) - 1, self.sampler.calls(schedule)
        except ValueError as error:
            raise UserError(f"the sampler does not fit the model: {error}") from error
        return super().summary() | {"steps": steps, "network_calls": calls}
