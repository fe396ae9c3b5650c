"""What every trainable model is."""

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
from wavediff.tasks.checkpoint import load_task, save_task
from wavediff.tasks.names import FILE_NAME
from wavediff.tasks.sampler import checked_sampler

if TYPE_CHECKING:
    from wavediff.evaluation.metrics import Metric
    from wavediff.training.config import TrainerConfig
    from wavediff.training.distributed import World
    from wavediff.training.validation import Validation

FIXED = "representation."  # begins the names of weights that are not the network's


class Task(nn.Module):
    """A model that ``wavediff train`` can train, and what it is used for.

    A subclass sets ``network`` (all that is learnt) and defines ``loss`` and ``validate``; the rest
    has defaults. Its constructor takes one argument for each of its ``groups``, beside the options
    of the group ``task``.

    Attributes:
        groups: of the configuration, which the task is made of.
        command: by which a trained model is used; ``info`` where there is none.
        title: what messages call it, with its article.
        advice: where such a model comes from, for messages.
        network: all that is learnt.
        sample_rate: of its audio in Hz; 0 for other signals.
        crop_length: samples of a training example.
        labels: number of classes or speakers that the network tells apart, 0 for none.
        adversarial: whether discriminators can compare what it has ``generated``.
        tunable: whether the times of its sampler can be searched with its ``examples``.
        config: what ``build_task`` rebuilds it from.
        extra: what its checkpoint remembers besides (steps, seed, names of labels).
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
    tunable: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.config: Mapping[str, Any] = {}
        self.extra: Mapping[str, Any] = {}

    # what a subclass defines

    def loss(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> dict[str, Tensor]:
        """Training losses, each ``[batch]``; the one called ``loss`` is minimised.

        Args:
            batch: of the training data; ``audio [batch, 1, crop_length]`` and what else it has.
            noise: to draw from, a function of the seed and of the items alone.
        """
        raise NotImplementedError

    def validate(self, batch: Mapping[str, Tensor], seed: int = 0) -> Tensor:
        """The model's own version of ``batch["audio"] [1, 1, time]``, like it."""
        raise NotImplementedError

    # building, loading and saving

    @staticmethod
    def network_arguments(channels: int) -> dict[str, int]:
        """What the network takes for a signal of ``channels``."""
        return {"channels": channels}

    @staticmethod
    def complete(config: Mapping[str, Any]) -> Mapping[str, Any]:
        """``config`` with what follows from its data."""
        return config

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path) -> Self:
        """A bundled model by name, or a run folder, or a checkpoint file, in ``eval`` mode.

        Raises:
            UserError: where there is none, it is damaged, or it is another kind of model.
        """
        task = load_task(name_or_path)
        if not isinstance(task, cls):
            raise UserError(f"{name_or_path} is not {cls.title} but {task.title}: {cls.advice}")
        return task

    def save_pretrained(self, path: str | Path) -> None:
        """Write the model to a folder, or to a file in .safetensors, for ``from_pretrained``.

        Raises:
            UserError: where it cannot be written.
        """
        path = Path(path)
        file = path if path.suffix == ".safetensors" else path / FILE_NAME
        save_task(file, self.config, self.fixed_state() | self.network.state_dict(), self.extra)

    def fixed_state(self) -> dict[str, Tensor]:
        """Weights that the model needs besides its network's, by names of their own."""
        return {}

    def load_fixed(self, state: Mapping[str, Tensor]) -> None:
        """Put back what ``fixed_state`` gave; other names are passed over."""

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    # training

    @property
    def networks(self) -> Sequence[nn.Module]:
        """The parts of ``network`` that are called, to be compiled and cast one by one."""
        return [self.network]

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a checkpoint remembers of the data."""
        return {}

    def read(self, config: Mapping[str, Any], seed: int) -> tuple[Any, Any]:
        """(training examples, held-out examples) of a data configuration."""
        from wavediff.data import build_data  # what only training needs is not imported before it

        return build_data(config, self.crop_length, self.sample_rate, seed)

    def judge(
        self, held_out: Any, config: TrainerConfig, metrics: Mapping[str, Metric], world: World
    ) -> Validation:
        """Metrics of the model on what is held out."""
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
        """Take notice of the share of the training steps that are done, 0 to 1."""

    def set_teacher(self, teacher: Task) -> None:
        """Learn from a trained model.

        Raises:
            UserError: where the model does not learn from one.
        """
        raise UserError(
            "this model learns without a teacher: leave teacher out, or give "
            "objective=consistency_distillation"
        )

    @property
    def needs_teacher(self) -> bool:
        """Whether it can only be trained with ``set_teacher``."""
        return False

    def generated(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> tuple[Tensor, Tensor]:
        """(estimates, true signals), each ``[batch, 1, time]``, of an ``adversarial`` task."""
        raise NotImplementedError

    # use

    def examples(self, batch: Mapping[str, Tensor], noise: ItemNoise) -> tuple[Tensor, Condition]:
        """(noise, condition) to sample signals like those of a batch, of a ``tunable`` task."""
        raise NotImplementedError

    def summary(self) -> dict[str, Any]:
        """What ``wavediff info`` says of the model besides its configuration."""
        return {"sample_rate": self.sample_rate} if self.sample_rate else {}


class DiffusionTask(Task):
    """A task whose network is part of a denoiser, and which is sampled from.

    Args:
        denoiser: the network with its schedule and prediction.
        objective: by which it is trained.
        sampler: by which it is sampled unless another is asked for.
        representation: in which its signal is diffused; None for the signal itself.
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
        """All that is learnt."""
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
                "the teacher works in another representation than this model: give both the same"
            )
        self.objective.teacher = teacher.denoiser.to(self.device).requires_grad_(False)

    def with_sampler(self, name: str | None = None, steps: int | None = None) -> Sampler:
        """The sampler called ``name`` (the checkpoint's own by default) on ``steps`` steps.

        Raises:
            UserError: for a name that does not exist, or a sampler that does not fit the model.
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
        """A sample of x_0 of ``shape``, ``[batch, channels, time]``, on the model's device.

        Args:
            noise: ``(like, number) -> standard normal``; number -1 is the start.
            sampler: instead of the model's own.
            denoiser: instead of the model's own, such as a guided one.
        """
        sampler = self.sampler if sampler is None else sampler
        z = noise(torch.empty(*shape, device=self.device), -1)
        return sampler(self.denoiser if denoiser is None else denoiser, z, cond, noise=noise)

    def summary(self) -> dict[str, Any]:
        schedule = self.denoiser.schedule
        try:
            steps, calls = len(self.sampler.grid(schedule)) - 1, self.sampler.calls(schedule)
        except ValueError as error:
            raise UserError(f"its sampler does not fit the model: {error}") from error
        return super().summary() | {"steps": steps, "network_calls": calls}
