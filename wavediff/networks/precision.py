"""The precision of a network under autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def precision(x: Tensor) -> AbstractContextManager:
    """Disable autocast on a CPU that emulates bfloat16, where float32 is much faster."""
    if (
        x.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    ):
        return torch.autocast("cpu", enabled=False)
    return nullcontext()


def reduced(device: torch.device) -> AbstractContextManager:
    """Autocast to bfloat16 on a CPU that computes in it: inference where digits do not matter."""
    able = device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast("cpu", torch.bfloat16) if able else nullcontext()
