"""Weights of the parts of a loss."""

import math
from typing import Any

from wavediff.errors import UserError


def check_weights(**weights: Any) -> None:
    """See that each is a finite number from 0 up, before training finds out.

    Raises:
        UserError: for the first that is not, by its name.
    """
    for name, value in weights.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < math.inf:
            raise UserError(
                f"task.{name}={value}: give a number from 0 up (0 leaves that loss out)"
            )
