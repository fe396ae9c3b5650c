"""A training step, and the state that it changes."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from warnings import filterwarnings

import torch
from torch import Tensor, nn
from torch.distributed import is_initialized
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from wavediff.diffusion.noise import ItemNoise
from wavediff.errors import UserError
from wavediff.training.adversary import Adversary
from wavediff.training.config import TrainerConfig
from wavediff.training.distributed import World
from wavediff.training.optim import averaged, exchanged, learning_rate_factor, set_learning_rate
from wavediff.training.precision import accelerate, grad_scaler
from wavediff.training.trainable import Trainable

if TYPE_CHECKING:
    from wavediff.training.sharding import Shards


@dataclass(frozen=True)
class Step:
    """The outcome of a step."""

    loss: float  # mean over the global batch
    gradient_norm: float  # before clipping
    learning_rate: float
    losses: list[dict[str, Tensor]]  # [items] each, of this process, one entry per part
    skipped: str | None = None  # why the weights were not updated


class _Losses(nn.Module):
    """The task's loss as a forward pass, which DistributedDataParallel and FSDP2 need."""

    def __init__(self, task: Trainable) -> None:
        super().__init__()
        self.task: Any = task

    def forward(
        self, batch: Mapping[str, Tensor], noise: ItemNoise, generate: bool | None
    ) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor] | None]:
        """Return the losses, and what the task generates with its target.

        ``generate`` is whether the generated pair carries a gradient; with None there is no pair.
        """
        losses = self.task.loss(batch, noise)
        if generate is None:
            return losses, None
        with torch.set_grad_enabled(generate):
            return losses, self.task.generated(batch, noise)


class Learner:
    """The weights of ``task.network``, their moving average, the optimizer and the scaler.

    Args:
        task: the model to train.
        config: the configuration of the trainer.
        world: the processes that train together.
        make_optimizer: called with the parameters.
        seed: for noise and dropout.
        adversary: discriminators of the task's ``generated(batch, noise)``, a pair of estimate and
            target; None for training without them.
    """

    def __init__(
        self,
        task: Trainable,
        config: TrainerConfig,
        world: World,
        make_optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        seed: int,
        adversary: Adversary | None = None,
    ) -> None:
        self.task, self.config, self.world, self.seed = task.to(world.device), config, world, seed
        self.network = task.network
        self.ema = averaged(self.network, config.ema_decay)
        self.model: nn.Module = _Losses(task)
        self.shards: Shards | None = None
        if config.shard and is_initialized():
            from wavediff.training import sharding  # the import takes a second

            self.shards = sharding.Shards(self.model, self.network, self.ema.module, world)
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(self.parameters)
        self.adversary = adversary
        self.scaler = grad_scaler(world.device, config.precision)
        for network in task.networks:
            accelerate(network, world.device, config.precision, config.compile)
        if world.size > 1 and self.shards is None:
            # of dimensions of size 1, whose strides mean nothing
            filterwarnings("ignore", "Grad strides do not match bucket view strides")
            self.model = DistributedDataParallel(self.model, gradient_as_bucket_view=True)
        task.train()

    def learn(self, number: int, batches: Iterator[Mapping[str, Tensor]]) -> Step:
        """Do step ``number`` (from 0) on the next ``accumulate`` of ``batches``.

        The gradient is that of the mean loss over the global batch, however the batch is split. If
        it or the loss is not finite in any process, no process updates the weights.
        """
        config, world, adversary = self.config, self.world, self.adversary
        self.task.progress(number / config.max_steps)
        factor = learning_rate_factor(
            number, config.max_steps, config.warmup_steps, config.decay, config.final_lr
        )
        rate = set_learning_rate(self.optimizer, factor)
        adversarial = None if adversary is None else adversary.begin(number, factor)
        parts = []
        for part in range(config.accumulate):
            loaded = next(batches)
            indices = loaded["index"].tolist()  # before they are moved: reading back would wait
            batch = {k: v.to(world.device, non_blocking=True) for k, v in loaded.items()}
            noise = ItemNoise(self.seed, indices)
            # dropout too depends on the sample numbers alone; set after the loader, which draws
            torch.manual_seed(self.seed * 1_000_003 + indices[0])
            with self._exchange_gradients(part == config.accumulate - 1):
                losses, generated = self.model(batch, noise, adversarial)
                if adversary is not None:
                    losses = adversary.add_losses(
                        losses,
                        *generated,
                        adversarial=bool(adversarial),
                        label=batch.get("label"),
                        noise=noise,
                    )
                # DistributedDataParallel and FSDP2 average over the processes
                loss = losses["loss"].sum() * (world.size / config.batch_size)
                if adversary is not None:
                    # its gradient reaches the discriminators' weights only
                    loss = loss + losses["discriminator"].sum() / config.batch_size
                self.scaler.scale(loss).backward()
            parts.append({name: values.detach() for name, values in losses.items()})
        self.scaler.unscale_(self.optimizer)
        norms = [self._clip()]
        optimizers = [self.optimizer]
        if adversary is not None:
            adversary.exchange_gradients()
            self.scaler.unscale_(adversary.optimizer)
            norms.append(adversary.clip())
            optimizers.append(adversary.optimizer)

        total = torch.stack([part["loss"].sum(dtype=torch.float64) for part in parts]).sum()
        # the one point of a step where a GPU is waited for
        mean, norm, *others = torch.stack([world.sum(total), *norms]).tolist()
        mean /= config.batch_size
        skipped = None
        if not math.isfinite(mean):
            skipped = "the loss is not finite"
        elif not math.isfinite(norm):
            skipped = "the gradient is not finite"
        elif not all(map(math.isfinite, others)):
            skipped = "the discriminators' gradient is not finite"
        else:
            for optimizer in optimizers:
                self.scaler.step(optimizer)
            self.ema.update_parameters(self.network)
        self.scaler.update()
        for optimizer in optimizers:
            optimizer.zero_grad()
        return Step(mean, norm, rate, parts, skipped)

    def _clip(self) -> Tensor:
        """Clip the gradient to ``clip_norm``; return its norm before that."""
        norm = clip_grad_norm_(self.parameters, self.config.clip_norm or math.inf)
        return norm if self.shards is None else self.shards.whole(norm)

    def _exchange_gradients(self, now: bool) -> AbstractContextManager:
        if self.shards is not None:
            self.shards.exchange_gradients(now)
        if now or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Let the task compute with the averaged weights, in evaluation mode, in the block."""
        self.task.eval()
        with exchanged(self.network, self.ema), self.gathered_weights(), torch.no_grad():
            yield
        self.task.train()

    def gathered_weights(self) -> AbstractContextManager:
        """Let the task be called outside of its loss within the block, if its network is sharded.

        All processes must enter and leave it.
        """
        return nullcontext() if self.shards is None else self.shards.gathered_weights()

    def gathered(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return a nested state with whole tensors where they are sharded; in the main process.

        All processes must call it.
        """
        return dict(state) if self.shards is None else self.shards.gathered(state)

    def exported(self) -> dict[str, Tensor]:
        """Return the averaged weights under the network's own names, see ``gathered``."""
        return self.gathered(self.ema.module.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs to restore the learner, see ``gathered``."""
        state = {
            "network": self.network.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        if self.adversary is not None:
            state["adversary"] = self.adversary.state_dict()
        return self.gathered(state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned.

        Raises:
            UserError: if the weights belong to another network or optimizer.
        """
        if self.shards is not None:
            state = {**state, **self.shards.divided(state, self.network, self.ema, self.optimizer)}
        try:
            self.network.load_state_dict(state["network"])
            self.ema.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.adversary is not None and "adversary" in state:
                self.adversary.load_state_dict(state["adversary"])
        except (RuntimeError, ValueError) as error:
            raise UserError(
                "the run's checkpoint does not fit the configured network or optimizer. Use "
                "another run_dir, or trainer.restart=true to start again."
            ) from error
        if state["scaler"] and self.scaler.is_enabled():  # precision is free to change
            self.scaler.load_state_dict(state["scaler"])
