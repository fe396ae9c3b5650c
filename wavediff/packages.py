"""Packages that may fail to import although they are installed."""

from types import ModuleType

import torch

from wavediff.errors import UserError, shorten


def import_torchaudio() -> ModuleType:
    """Import torchaudio, whose binaries fit certain builds of torch only.

    Raises:
        UserError: if it is missing or does not load beside the installed torch.
    """
    try:
        import torchaudio
    except Exception as error:  # a missing library is an OSError, a missing symbol any error
        reason = shorten(str(error).strip() or type(error).__name__).rstrip(".")
        raise UserError(
            f"torchaudio cannot be loaded beside torch {torch.__version__} ({reason}): "
            'install a matching pair, for example by pip install "torch>=2.11,<2.15" '
            '"torchaudio>=2.11,<2.12" (a CPU-only torch does not match it)'
        ) from error
    return torchaudio
