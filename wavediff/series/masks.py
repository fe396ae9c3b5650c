"""Training masks: the cells of a window that a model is conditioned on (CSDI, Tashiro et al. 2021).

Each is a function ``(present, other, horizon, generator) -> known`` of bool tensors
``[variables, time]``. ``known`` is a part of ``present``, ``other`` the ``present`` of another
window.
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
    """A random share of the cells is hidden, each independently."""
    share, cells = (
        torch.rand((), generator=generator),
        torch.rand(present.shape, generator=generator),
    )
    return present & (cells >= share)


def block(present: Tensor, other: Tensor, horizon: int, generator: torch.Generator) -> Tensor:
    """A block is hidden, at most ``horizon`` or half the window, the same or one per variable."""
    variables, length = present.shape
    longest = max(1, min(length, max(horizon, length // 2)))
    together = bool(torch.rand((), generator=generator) < 0.5)
    draws = torch.rand(2, 1 if together else variables, 1, generator=generator)
    size = (draws[0] * longest).ceil().clamp(min=1)
    start = (draws[1] * (length - size + 1)).floor()
    place = torch.arange(length)
    return present & ~((place >= start) & (place < start + size))


def historical(present: Tensor, other: Tensor, horizon: int, generator: torch.Generator) -> Tensor:
    """The cells that are missing in another window are hidden."""
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
    """The known cells by a mask that is drawn.

    Args:
        shares: weights of the masks by name, which need not sum to 1.
        present: of the window.
        other: of another window.
        horizon: steps at the end that ``forecast`` hides.
        generator: to draw from.

    Raises:
        ValueError: as ``check``.
    """
    check(shares)
    place = float(torch.rand((), generator=generator)) * sum(shares.values())
    for name in (name for name, share in shares.items() if share > 0):
        chosen, place = name, place - shares[name]
        if place < 0:
            break
    return MASKS[chosen](present, other, horizon, generator)


def check(shares: Mapping[str, float]) -> None:
    """Check the weights of masks.

    Raises:
        ValueError: for an unknown mask, a negative weight, or no positive one.
    """
    unknown = sorted(set(shares) - set(MASKS))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a mask: choose from {', '.join(MASKS)}")
    if not any(shares.values()) or any(share < 0 for share in shares.values()):
        raise ValueError(f"the masks' shares must be positive, not {dict(shares)}")
