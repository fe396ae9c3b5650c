"""Which cells of a window a model is shown while it trains (CSDI, Tashiro et al. 2021).

Each is a function ``(present [variables, time], other, horizon, generator) -> known``, bool like
``present``: what is known to the model, always a part of what is there. ``other`` is what is there
in another window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Mask = Callable[[Tensor, Tensor, int, torch.Generator], Tensor]


def unconditional(
    present: Tensor, other: Tensor, horizon: int, generator: torch.Generator
) -> Tensor:
    """Everything is hidden: synthesis."""
    return torch.zeros_like(present)


def forecast(present: Tensor, other: Tensor, horizon: int, generator: torch.Generator) -> Tensor:
    """The last ``horizon`` steps are hidden."""
    known = present.clone()
    known[:, present.shape[1] - horizon :] = False
    return known


def random(present: Tensor, other: Tensor, horizon: int, generator: torch.Generator) -> Tensor:
    """Any share of the cells is hidden, each by itself."""
    share, cells = (
        torch.rand((), generator=generator),
        torch.rand(present.shape, generator=generator),
    )
    return present & (cells >= share)


def block(present: Tensor, other: Tensor, horizon: int, generator: torch.Generator) -> Tensor:
    """A stretch of up to the longer of ``horizon`` and half the window, of all or each variable."""
    variables, length = present.shape
    longest = max(1, min(length, max(horizon, length // 2)))
    together = bool(torch.rand((), generator=generator) < 0.5)
    draws = torch.rand(2, 1 if together else variables, 1, generator=generator)
    size = (draws[0] * longest).ceil().clamp(min=1)
    start = (draws[1] * (length - size + 1)).floor()
    place = torch.arange(length)
    return present & ~((place >= start) & (place < start + size))


def historical(present: Tensor, other: Tensor, horizon: int, generator: torch.Generator) -> Tensor:
    """What is missing in another window is hidden in this one."""
    return present & other


MASKS: dict[str, Mask] = {
    mask.__name__: mask for mask in (unconditional, forecast, random, block, historical)
}


def drawn(
    shares: Mapping[str, float],
    present: Tensor,
    other: Tensor,
    horizon: int,
    generator: torch.Generator,
) -> Tensor:
    """The known cells by a mask drawn with these shares (weights, which need not sum to 1).

    Raises:
        ValueError: for a mask that does not exist, or shares that cannot be.
    """
    check(shares)
    place = float(torch.rand((), generator=generator)) * sum(shares.values())
    for name in (name for name, share in shares.items() if share > 0):
        chosen, place = name, place - shares[name]
        if place < 0:
            break
    return MASKS[chosen](present, other, horizon, generator)


def check(shares: Mapping[str, float]) -> None:
    """Raises ValueError for a mask that does not exist, or shares that cannot be."""
    unknown = sorted(set(shares) - set(MASKS))
    if unknown:
        raise ValueError(f"there is no mask {unknown[0]!r}; choose from {', '.join(MASKS)}")
    if not any(shares.values()) or any(share < 0 for share in shares.values()):
        raise ValueError(f"the masks' shares must be positive, not {dict(shares)}")
