"""What models refuse when they are called from Python."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import torch
from torch import nn

from wavediff.errors import UserError, shorten


def check_call(network: nn.Module, seed: Any, sample_rate: Any = 1) -> None:
    """See that a model can compute, and that numbers are numbers.

    Args:
        network: of the model.
        seed: of the noise.
        sample_rate: in Hz, of the sound that is given.

    Raises:
        UserError: for weights that are not float32, a seed that is no whole number, or a sample
            rate that is no number.
    """
    kinds = {weight.dtype for weight in network.parameters() if weight.is_floating_point()}
    if kinds - {torch.float32}:
        found = str(min(kinds - {torch.float32}, key=str)).removeprefix("torch.")
        raise UserError(
            f"the model's weights are {found}: call .float(), or leave the conversion out; what "
            "gains from half precision on a GPU is computed in it by itself"
        )
    if not isinstance(seed, Integral) or isinstance(seed, bool):
        raise UserError(f"seed={shorten(repr(seed))} is no seed: give a whole number")
    if not isinstance(sample_rate, Real) or isinstance(sample_rate, bool):
        raise UserError(
            f"sample_rate={shorten(repr(sample_rate))} is no sample rate: give it in Hz, such as "
            "48000"
        )
