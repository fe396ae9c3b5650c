"""Weights of loss terms."""

import math
from typing import Any

from wavediff.errors import UserError


def check_weights(**weights: Any) -> None:
    """Check that each weight is a finite number of 0 or more.

    Raises:
        UserError: for the first that is not, with its name.
    """
    for name, value in weights.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 <= value < math.inf:
            raise UserError(
                f"task.{name}={value}: give a number of 0 or more (0 disables this loss)"
            )
