"""In what precision a network computes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def precision(x: Tensor) -> AbstractContextManager:
    """Autocast, except to a bfloat16 that the CPU would only emulate: float32 is far faster."""
    if (
        x.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
        and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    ):
        return torch.autocast("cpu", enabled=False)
    return nullcontext()
