"""Packages that may be installed and still not load."""

from types import ModuleType

import torch

from wavediff.errors import UserError


def import_torchaudio() -> ModuleType:
    """torchaudio, or a UserError: version 2.11 is bound to the exact builds of torch it knows."""
    try:
        import torchaudio
    except Exception as error:  # a missing library is an OSError, a missing symbol anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(
            f"torchaudio cannot be loaded beside torch {torch.__version__} ({reason}): "
            'install a pair that fits, as by pip install "torch>=2.11,<2.15" '
            '"torchaudio>=2.11,<2.12" (a CPU-only torch does not go with it)'
        ) from error
    return torchaudio
