"""Tensors that hold their values one by one, and those that do not."""

import numpy as np
import torch
from torch import Tensor

from wavediff.errors import UserError

MOST_REPEATED = 1 << 26  # values of a view of fewer, which a batch of one sound may be


def require_dense(
    array: Tensor | np.ndarray, source: str, most: int = MOST_REPEATED, verb: str = "give"
) -> None:
    """Refuse tensors whose values are not there.

    Args:
        array: any.
        source: its name in messages, with a verb: "the mel is".
        most: values that a view of fewer values may have: it may ask for any size.
        verb: what to do with another one.

    Raises:
        UserError: for sparse, quantised, nested and empty tensors, and for views that repeat more
            than ``most`` values.
    """
    kind = None
    if isinstance(array, np.ndarray):
        if array.size > most and any(
            n > 1 and not step for n, step in zip(array.shape, array.strides, strict=True)
        ):
            kind = "a view that repeats its values"
    else:
        kind = (
            "nested" if array.is_nested
            else "quantised" if array.is_quantized
            else "without values (meta)" if array.is_meta
            else "sparse" if array.layout != torch.strided
            else None
        )  # fmt: skip
        if kind is None and array.numel() > most:
            held = array.untyped_storage().nbytes()
            if array.numel() * array.element_size() > held:
                kind = "a view that repeats its values"
    if kind is not None:
        raise UserError(f"{source} {kind}: {verb} a dense, contiguous one.")
