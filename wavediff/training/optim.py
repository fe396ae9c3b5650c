"""The optimizer, its learning rate schedule, and averaged weights."""

import inspect
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from wavediff.errors import UserError, shorten
from wavediff.training.config import Decay


def configured_optimizer(
    config: Mapping[str, Any], parameters: Iterable[nn.Parameter], name: str = "optimizer"
) -> Optimizer:
    """Build an optimizer of ``torch.optim``.

    Args:
        config: ``_target_``, such as ``torch.optim.AdamW``, and its options.
        parameters: the parameters to optimise.
        name: of the configuration, for messages.

    Raises:
        UserError: for another target, or invalid options.
    """
    options = dict(config)
    target = str(options.pop("_target_", None))
    found = getattr(torch.optim, target.removeprefix("torch.optim."), None)
    if not (isinstance(found, type) and issubclass(found, Optimizer)):
        raise UserError(
            f"{name}._target_={shorten(target)} is not an optimizer of torch.optim. Use, for "
            "example, torch.optim.AdamW."
        )
    try:
        return found(parameters, **options)
    except (TypeError, ValueError, RuntimeError) as error:
        known = [*inspect.signature(found).parameters][1:]
        unknown = [str(option) for option in options if option not in known]
        reason = "a value has the wrong type"
        if unknown:
            reason = f"unknown: {shorten(', '.join(unknown))}"
        elif isinstance(error, ValueError):
            reason = shorten(error)  # names the option and its value
        raise UserError(
            f"{name}: {target} does not take these options ({reason}). It has {', '.join(known)}."
        ) from error


def learning_rate_factor(
    step: int, max_steps: int, warmup_steps: int, decay: Decay, final: float
) -> float:
    """Return the factor of the learning rate after ``step`` finished steps.

    It rises linearly to 1 over ``warmup_steps``, then decays to ``final`` at ``max_steps``.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = min((step - warmup_steps) / max(max_steps - warmup_steps, 1), 1.0)
    if decay is Decay.linear:
        return 1 + (final - 1) * progress
    if decay is Decay.cosine:
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2
    if decay is Decay.exponential:
        return max(final, 1e-8) ** progress
    return 1.0


def set_learning_rate(optimizer: Optimizer, factor: float) -> float:
    """Set every group's learning rate to ``factor`` times its configured one.

    There is no scheduler, whose state would have to be saved: the rate depends on the step alone.

    Returns:
        The rate of the first group.
    """
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", float(group["lr"]))
        group["lr"] = group["initial_lr"] * factor
    return optimizer.param_groups[0]["lr"]


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """Return the exponential moving average of the network's weights.

    It starts as the weights themselves; update n decays by min(``decay``, (1 + n) / (10 + n)).
    """

    return _Averaged(network, decay)


class _Averaged(AveragedModel):
    """``AveragedModel`` whose count of updates is read on the CPU: a step waits for no GPU."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        own: list[Tensor] = list(self.module.parameters())
        current: list[Tensor] = list(model.parameters())
        n = int(self.n_averaged)
        weight = 1 - min(self.decay, (1 + n) / (10 + n)) if n else 1.0
        torch._foreach_lerp_(own, current, weight)
        for mine, other in zip(self.module.buffers(), model.buffers(), strict=True):
            mine.copy_(other)
        self.n_averaged += 1


@contextmanager
def exchanged(network: nn.Module, ema: AveragedModel) -> Iterator[None]:
    """Let ``network`` compute with the averaged weights within the block."""
    pairs = list(zip(network.parameters(), ema.module.parameters(), strict=True))

    @torch.no_grad()
    def exchange() -> None:
        for p, q in pairs:  # in place: parameters that are sharded are views of a buffer
            kept = p.clone()
            p.copy_(q)
            q.copy_(kept)

    exchange()
    try:
        yield
    finally:
        exchange()
