"""What a denoiser is told besides x_t and t, in one typed object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

NEEDED = {
    "local": "a local condition (such as a mel spectrogram)",
    "label": "a label (a class or speaker number)",
    "anchor": "an anchor (the known signal y)",
}


@dataclass(frozen=True)
class Condition:
    """Conditions of one batch.

    Attributes:
        local: ``[batch, channels, frames]``, aligned in time with the signal (a mel spectrogram).
        label: ``[batch]`` int64, one class or speaker per item.
        anchor: ``[batch, channels, time]``, the known signal ``y`` that the path leads to.
        prepared: what a network computed from the above once, see ``Denoiser.prepare``.
    """

    local: Tensor | None = None
    label: Tensor | None = None
    anchor: Tensor | None = None
    prepared: Any = None

    def needed(self, name: str) -> Tensor:
        """The tensor of that name, for a network that was built for it.

        Raises:
            ValueError: where there is none.
        """
        tensor = getattr(self, name)
        if tensor is None:
            raise ValueError(f"this network needs {NEEDED[name]}")
        return tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Condition:
        """Apply ``function`` to every tensor; what was prepared from them is dropped."""
        changed = {
            name: function(value)
            for name in ("local", "label", "anchor")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, prepared=None, **changed)
