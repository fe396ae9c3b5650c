"""What a checkpoint says of the series that it was trained on, checked when it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas

from wavediff.errors import UserError, shorten
from wavediff.series import frequency


def check_record(record: Mapping[str, Any], variables: int) -> None:
    """See that the facts of ``wavediff.series.model`` are all there and can be used, or none is.

    Args:
        record: the further values of a checkpoint.
        variables: of the model.

    Raises:
        UserError: for the first that is missing or cannot be used.
    """
    missing = [name for name in _ACCEPTED if name not in record]
    if missing and len(missing) < len(_ACCEPTED):
        raise UserError(
            f"the record of the training data is damaged ({missing[0]} is missing): copy the "
            "checkpoint again"
        )
    for name, accepts in _ACCEPTED.items():
        if name in record and not _holds(accepts, record[name]):
            raise UserError(
                f"the record of the training data is damaged ({name}: {shorten(record[name])}): "
                "copy the checkpoint again"
            )
    if not missing and (type(record["start"]) is int) != (record["frequency"] is None):
        raise UserError(
            "the record of the training data is damaged (its start does not fit its frequency): "
            "copy the checkpoint again"
        )
    if record.get("variables") is not None and len(record["variables"]) != variables:
        raise UserError(
            f"the record of the training data names {len(record['variables'])} variables, and the "
            f"model has {variables}: copy the checkpoint again"
        )
    scales = record.get("scales")
    if scales and np.shape(scales)[1] != variables:
        raise UserError(
            f"the record of the training data has scales of {np.shape(scales)[1]} variables, and "
            f"the model has {variables}: copy the checkpoint again"
        )


def _holds(accepts: Callable[[Any], bool], value: Any) -> bool:
    try:
        return accepts(value)
    except (TypeError, ValueError, OverflowError, RecursionError, UserError):
        return False


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _names(value: Any) -> bool:
    return _texts(value) and len(set(value)) == len(value) > 0


def _start(value: Any) -> bool:
    if isinstance(value, str):
        return not pandas.isna(pandas.Timestamp(value))
    return type(value) is int


def _scales(value: Any) -> bool:
    array = np.asarray(value, dtype=np.float64)
    return not len(value) or (
        array.ndim == 3 and array.shape[2] == 2 and bool(np.isfinite(array).all())
    )


_ACCEPTED: dict[str, Callable[[Any], bool]] = {
    "frequency": lambda value: value is None or bool(frequency.normalize(value)),
    "variables": lambda value: value is None or _names(value),
    "local": _texts,
    "start": _start,
    "steps": lambda value: type(value) is int and 0 < value < 2**40,
    "scales": _scales,
}
