"""Classes and speakers, by number or by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wavediff.errors import UserError


class Labelled:
    """A task whose network may tell classes or speakers apart.

    Attributes:
        network: all that is learnt.
        extra: what its checkpoint remembers, names of labels among it.
        label_optional: whether the network knows "no class" too, label -1.
    """

    network: Any  # as a task's
    extra: Mapping[str, Any]
    label_optional = False

    @property
    def labels(self) -> int:
        """Number of classes or speakers that the network tells apart, 0 for none."""
        embedding = getattr(self.network, "label_embedding", None)
        return 0 if embedding is None else embedding.num_embeddings

    @property
    def label_names(self) -> list[str]:
        """Names of the classes or speakers, in the order of their numbers; may be empty."""
        return [str(name) for name in self.extra.get("label_names") or []]

    def label_number(self, label: int | str | None) -> int | None:
        """The number of a class or speaker given by number or name; None where there are none.

        Raises:
            UserError: for one that does not exist, one that is missing, or one too many.
        """
        if not self.labels:
            if label is not None:
                raise UserError(f"this model has one voice and takes no label, not {label!r}")
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
