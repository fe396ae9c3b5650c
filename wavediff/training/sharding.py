"""Weights, gradients and states of the optimizer divided among processes: PyTorch's FSDP2."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from wavediff.training.distributed import World


class Shards:
    """A network whose parameters are divided among the processes, each holding its part of each.

    Each parameter becomes a ``DTensor``. They are gathered before the loss, and dropped after its
    gradient, of which each process keeps its part. An optimizer built on them has states alike.

    Args:
        model: whose ``forward`` returns the loss; its other parameters stay whole.
        network: the part of the model to divide.
        average: a copy of the network that is only read and written, divided like it.
        world: the processes that train together.
    """

    def __init__(self, model: nn.Module, network: nn.Module, average: nn.Module, world: World):
        self.main = world.main
        mesh = init_device_mesh(world.device.type, (world.size,))
        others = set(model.parameters()) - set(network.parameters())
        # gathered once per step, so that each process may call the network as often as it needs
        self.model = fully_shard(
            model, mesh=mesh, reshard_after_forward=False, ignored_params=others
        )
        fully_shard(average, mesh=mesh, reshard_after_forward=False)

    def exchange_gradients(self, now: bool) -> None:
        """Set whether the next backward pass exchanges gradients and drops the gathered weights."""
        self.model.set_requires_gradient_sync(now)
        self.model.set_reshard_after_backward(now)

    @contextmanager
    def gathered_weights(self) -> Iterator[None]:
        """Hold all weights of the network within the block, for use outside of the loss."""
        self.model.unshard()
        try:
            yield
        finally:
            self.model.reshard()

    def gathered(self, state: Any) -> Any:
        """Return a nested ``state`` of whole tensors, on the CPU, in the main process.

        All processes must call it; the others get None for each tensor that is divided.
        """
        if isinstance(state, Mapping):
            return {key: self.gathered(value) for key, value in state.items()}
        if not isinstance(state, DTensor):
            return state
        whole = state.full_tensor()  # one at a time on the device
        return whole.cpu() if self.main else None

    def whole(self, tensor: Tensor) -> Tensor:
        """Return the whole of ``tensor`` in each process; all must call it."""
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def divided(
        self, state: Mapping[str, Any], network: nn.Module, ema: nn.Module, optimizer: Optimizer
    ) -> dict[str, Any]:
        """Return this process's parts of whole ``{"network", "ema", "optimizer"}`` states.

        Each process has read them all, so that nothing is exchanged.
        """
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        states = {
            number: {name: _part(value, parameters[number]) for name, value in values.items()}
            for number, values in state["optimizer"]["state"].items()
        }
        return {
            "network": _parts(state["network"], network),
            "ema": _parts(state["ema"], ema),
            "optimizer": {**state["optimizer"], "state": states},
        }


def _parts(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    own = module.state_dict()
    return {name: _part(value, own.get(name)) for name, value in state.items()}


def _part(value: Any, like: Any) -> Any:
    """This process's part of a whole tensor, where ``like`` is divided and of the same shape."""
    if isinstance(like, DTensor) and torch.is_tensor(value) and value.shape == like.shape:
        return distribute_tensor(value, like.device_mesh, like.placements, src_data_rank=None)
    return value
