"""Autocast and compilation of the network while it trains."""

from typing import Any

import torch
from torch import nn

from wavediff.training.config import Precision

_DTYPES = {Precision.bf16: torch.bfloat16, Precision.fp16: torch.float16}


def accelerate(
    network: nn.Module, device: torch.device, precision: Precision, compile: bool
) -> None:
    """Run ``network``'s forward under autocast, and compiled, while it is in training mode.

    Only the network: front-ends and losses stay in float32, which its output is cast to. In
    evaluation it computes as it will for the user, eagerly in float32.
    """
    plain = network.forward
    dtype = _DTYPES.get(precision)
    fast = torch.compile(plain) if compile else plain

    def forward(*args: Any, **kwargs: Any) -> Any:
        if not network.training:
            return plain(*args, **kwargs)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            return _single(fast(*args, **kwargs))

    if compile or dtype is not None:
        network.forward = forward  # type: ignore[method-assign]


def _single(output: Any) -> Any:
    """A tensor, or a named tuple or nested lists of tensors, in float32."""
    if isinstance(output, list):
        return [_single(value) for value in output]
    return type(output)(*map(_single, output)) if isinstance(output, tuple) else output.float()


def grad_scaler(device: torch.device, precision: Precision) -> torch.amp.GradScaler:
    """fp16 has too small a range for gradients as they are."""
    return torch.amp.GradScaler(device.type, enabled=precision is Precision.fp16)
