"""The conditions of a denoiser in one typed object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

DESCRIPTIONS = {
    "local": "a local condition (such as a mel spectrogram)",
    "label": "a label (a class or speaker number)",
    "anchor": "an anchor (the known signal y)",
}


@dataclass(frozen=True)
class Condition:
    """The conditions of one batch: what a denoiser depends on besides x_t and t.

    Attributes:
        local: local condition aligned in time with the signal, such as a mel spectrogram,
            ``[batch, channels, frames]``.
        label: class or speaker of each item, int64 ``[batch]``.
        anchor: the known signal y at the noisy end of the path, like x_0.
        prepared: features that the network computed from the above, see ``Denoiser.prepare``.
    """

    local: Tensor | None = None
    label: Tensor | None = None
    anchor: Tensor | None = None
    prepared: Any = None

    def needed(self, name: str) -> Tensor:
        """The condition called ``name``, for a network that requires it.

        Args:
            name: ``local``, ``label`` or ``anchor``.

        Raises:
            ValueError: if it is missing.
        """
        tensor = getattr(self, name)
        if tensor is None:
            raise ValueError(f"this network needs {DESCRIPTIONS[name]}")
        return tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> Condition:
        """Apply ``function`` to every tensor and drop the prepared features."""
        changed = {
            name: function(value)
            for name in DESCRIPTIONS
            if (value := getattr(self, name)) is not None
        }
        return replace(self, prepared=None, **changed)
