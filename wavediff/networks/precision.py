"""The precision of a network under autocast."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device has bfloat16 arithmetic; a CPU without it emulates it slowly."""
    return device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def in_bfloat16(network: nn.Module) -> None:
    """Let ``forward`` and ``prepare`` of a network run under autocast to bfloat16 from now on.

    The weights stay as they are, and outputs of ``forward`` are float32.
    """
    plain: Callable[..., Any] = network.forward

    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return plain(x, *args, **kwargs).float()

    network.forward = forward
    prepare = getattr(network, "prepare", None)
    if prepare is not None:

        def prepared(cond: Any) -> Any:
            kind = next(network.parameters()).device.type
            with torch.autocast(kind, torch.bfloat16):
                return prepare(cond)

        network.prepare = prepared  # type: ignore[assignment]


def precision(x: Tensor) -> AbstractContextManager:
    """Disable autocast on a CPU that emulates bfloat16, where float32 is much faster."""
    if (
        x.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and not computes_in_bfloat16(x.device)
    ):
        return torch.autocast("cpu", enabled=False)
    return nullcontext()


def reduced(device: torch.device) -> AbstractContextManager:
    """Autocast to bfloat16 on a CPU that computes in it: inference where digits do not matter."""
    able = device.type == "cpu" and computes_in_bfloat16(device)
    return torch.autocast("cpu", torch.bfloat16) if able else nullcontext()
