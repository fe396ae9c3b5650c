"""Labels of classes and speakers, by number or by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from wavediff.errors import UserError


class Labelled:
    """A task whose network may be conditioned on a class or speaker.

    Attributes:
        network: all trainable parameters.
        extra: further values in the checkpoint, among them ``label_names``.
        label_optional: whether the network was also trained without a class, as label -1.
    """

    network: Any  # as a task's
    denoiser: Any
    extra: Mapping[str, Any]
    label_optional = False

    @property
    def labels(self) -> int:
        """Number of classes or speakers of the network, 0 for none."""
        embedding = getattr(self.network, "label_embedding", None)
        return 0 if embedding is None else embedding.num_embeddings

    @property
    def label_names(self) -> list[str]:
        """Names of the classes or speakers, in the order of their numbers; may be empty."""
        return [str(name) for name in self.extra.get("label_names") or []]

    def labels_for(self, names: Sequence[str] | None) -> int:
        """Number of labels that the network needs for data with the labels ``names``.

        Raises:
            UserError: if the network takes no labels or has too few, or the data have none.
        """
        count = len(names or ())
        if self.labels and not count:
            raise UserError(
                f"network.labels={self.labels}, but the data have no labels: use data.labels=true "
                "or a manifest with a column label, or network.labels=0"
            )
        if 0 < self.labels < count:
            raise UserError(
                f"the data have {count} labels, but network.labels={self.labels}: use "
                f"network.labels={count}, or 0 to take it from the data"
            )
        kind = type(self.denoiser.network)
        if count and not self.labels and "labels" not in inspect.signature(kind).parameters:
            raise UserError(
                f"the data have {count} labels, but the network {kind.__name__} takes none: use "
                "another, for example network=diffwave_frames, or data.labels=false"
            )
        return self.labels or count

    def label_number(self, label: int | str | None) -> int | None:
        """Number of the class or speaker ``label``; None for a model without labels.

        Raises:
            UserError: for a label that does not exist, is missing, or is not supported.
        """
        if not self.labels:
            if label is not None:
                raise UserError(f"this model has one voice and no labels: leave {label!r} out")
            return None
        names = self.label_names
        choices = f"a number from 0 to {self.labels - 1}"
        if names:
            choices += f" or one of {', '.join(names)}"
        if label is None:
            if self.label_optional:
                return -1
            raise UserError(f"this model needs a label (a speaker or class): give {choices}")
        if str(label) in names and isinstance(label, str):
            return names.index(label)
        if not str(label).isdecimal() or int(label) >= self.labels:
            raise UserError(f"this model has no speaker or class {label!r}: give {choices}")
        return int(label)
