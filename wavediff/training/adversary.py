"""The discriminators of adversarial training, and the state that a step changes."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from wavediff.diffusion.adversarial import Adversarial
from wavediff.diffusion.noise import ItemNoise
from wavediff.training.config import TrainerConfig
from wavediff.training.distributed import World
from wavediff.training.optim import set_learning_rate
from wavediff.training.precision import accelerate

STREAM = 15  # of the noise; tasks draw from others


class Adversary:
    """Discriminators and their optimizer, trained in the same steps as the network.

    Both gradients of a step are taken at the weights before it (simultaneous gradient descent), so
    that a batch can be split into parts. The discriminators are not part of the model: they are
    not averaged, counted or exported; only the checkpoints of a run hold them.

    Args:
        objective: the discriminators and the weights of their losses.
        config: its precision, compilation and ``clip_norm`` apply here too.
        world: the processes that train together.
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
        """Begin step ``number`` (from 0) at ``factor`` times the configured learning rate.

        Returns:
            Whether the network's loss includes the adversarial one in this step.
        """
        set_learning_rate(self.optimizer, factor)
        return number >= self.objective.delay

    def add_losses(
        self,
        losses: Mapping[str, Tensor],
        estimate: Tensor,
        reference: Tensor,
        *,
        adversarial: bool,
        label: Tensor | None,
        noise: ItemNoise,
    ) -> dict[str, Tensor]:
        """Add the discriminators' losses of the pair to the task's ``losses``, ``[batch]`` each.

        If ``adversarial``, the generator's loss is added to ``"loss"``.

        Args:
            label: classes of the pair, ``[batch]``, if any.
            noise: for the gradient penalty.
        """
        u = noise.uniform(STREAM)
        found = self.objective(estimate, reference, adversarial, label=label, u=u)
        if adversarial:
            found["loss"] = losses["loss"] + found.pop("generator")
        return {**losses, **found}

    def exchange_gradients(self) -> None:
        """Sum the gradients over the processes."""
        for parameter in self.parameters:
            if parameter.grad is not None:
                self.world.sum(parameter.grad)

    def clip(self) -> Tensor:
        """Clip the gradient to ``clip_norm``; return its norm before that, ``[]``."""
        return clip_grad_norm_(self.parameters, self.config.clip_norm or math.inf)

    def state_dict(self) -> dict[str, Any]:
        return {
            "discriminator": self.objective.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.objective.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["optimizer"])
