"""Autocast and compilation of the network during training."""

from typing import Any

import torch
from torch import nn

from wavediff.training.config import Precision

_DTYPES = {Precision.bf16: torch.bfloat16, Precision.fp16: torch.float16}


def accelerate(
    network: nn.Module, device: torch.device, precision: Precision, compile: bool
) -> None:
    """Run the network's ``forward`` under autocast, or compiled, in training mode.

    Front-ends and losses stay in float32, which the network's output is cast to. In evaluation
    mode the network computes eagerly in float32, as it does at inference.

    Args:
        network: changed in place.
        device: of the network.
        precision: fp32 for no autocast.
        compile: whether to compile ``forward``.
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
        network.forward = forward


def _single(output: Any) -> Any:
    """Cast a tensor, a named tuple or nested lists of tensors to float32."""
    if isinstance(output, list):
        return [_single(value) for value in output]
    return type(output)(*map(_single, output)) if isinstance(output, tuple) else output.float()


def grad_scaler(device: torch.device, precision: Precision) -> torch.amp.GradScaler:
    """Return a gradient scaler, enabled for fp16, whose range is too small for gradients."""
    return torch.amp.GradScaler(device.type, enabled=precision is Precision.fp16)
