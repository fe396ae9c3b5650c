"""The discriminators of adversarial training, and everything that a step changes of them."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from wavediff.diffusion.adversarial import Adversarial
from wavediff.training.config import TrainerConfig
from wavediff.training.distributed import World
from wavediff.training.optim import set_learning_rate
from wavediff.training.precision import accelerate


class Adversary:
    """Discriminators with their optimizer, which learn in the same steps as the network.

    Both gradients of a step are taken at the weights before it (simultaneous gradient descent), so
    that a batch can be cut into parts. The discriminators are no part of the model: they are not
    averaged, counted or exported, and a run's checkpoint alone keeps them.

    Args:
        objective: the discriminators and what their losses weigh.
        config: its precision, compilation and `clip_norm` hold here too.
        make_optimizer: called with their parameters; its rate follows the network's schedule.
    """

    def __init__(
        self,
        objective: Adversarial,
        config: TrainerConfig,
        world: World,
        make_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
    ) -> None:
        self.objective, self.config, self.world = objective.to(world.device).train(), config, world
        self.parameters = list(objective.parameters())
        self.optimizer = make_optimizer(self.parameters)
        accelerate(objective.discriminator, world.device, config.precision, config.compile)

    def begin(self, number: int, factor: float) -> bool:
        """Step `number` (from 0) at so much of the rate: whether the network hears them in it."""
        set_learning_rate(self.optimizer, factor)
        return number >= self.objective.delay

    def judge(
        self, losses: Mapping[str, Tensor], estimate: Tensor, reference: Tensor, heard: bool
    ) -> dict[str, Tensor]:
        """The task's `losses` with those of the comparison, where it is heard in "loss" too."""
        found = self.objective(estimate, reference, heard)
        if heard:
            found["loss"] = losses["loss"] + found.pop("generator")
        return {**losses, **found}

    def exchange_gradients(self) -> None:
        """Sum over the processes."""
        for parameter in self.parameters:
            self.world.sum(parameter.grad)

    def clip(self) -> float:
        """The gradient's norm before clipping."""
        return clip_grad_norm_(self.parameters, self.config.clip_norm or math.inf).item()

    def state_dict(self) -> dict[str, Any]:
        return {
            "discriminator": self.objective.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.objective.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["optimizer"])
