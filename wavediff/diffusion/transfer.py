"""Moving small tensors to a device without waiting for it.

A copy from ordinary memory to a GPU waits for all work that was queued before. Times, coefficients
and noise are therefore computed on the CPU, and reach the device by copies from pinned memory or as
arguments of kernels.
"""

from __future__ import annotations

from torch import Tensor


def like(values: Tensor, x: Tensor) -> Tensor:
    """``values`` with the type and on the device of ``x``."""
    values = values.to(x.dtype)
    if x.device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(x.device, non_blocking=True)
    return values.to(x.device)


def per_item(value: Tensor, x: Tensor) -> Tensor:
    """``value``, ``[]`` or ``[batch]``, as ``[batch]`` with the type and on the device of ``x``."""
    if value.ndim == 0 and value.device.type == "cpu" and x.device.type != "cpu":
        return x.new_full((x.shape[0],), value.item())
    return like(value, x).expand(x.shape[0])  # len would fix the size in an export
