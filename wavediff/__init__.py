"""wavediff: diffusion models for audio and time series.

`from wavediff import Enhancer, Vocoder, Generator, Autoencoder, Forecaster` is the Python
interface; `wavediff --help` lists the commands.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wavediff.series.forecaster import Forecaster
    from wavediff.tasks.autoencoder import Autoencoder
    from wavediff.tasks.enhancer import Enhancer
    from wavediff.tasks.generator import Generator
    from wavediff.tasks.vocoder import Vocoder

__version__ = "0.1.0"
__all__ = ["Autoencoder", "Enhancer", "Forecaster", "Generator", "Vocoder", "__version__"]

# python -m wavediff.train finds wavediff/commands/train.py
__path__.append(f"{__path__[0]}/commands")


def __getattr__(name: str) -> Any:
    """Load tasks on first use (PEP 562), so that `import wavediff` does not wait for torch."""
    if name in __all__:
        home = "series" if name == "Forecaster" else "tasks"
        return getattr(importlib.import_module(f"wavediff.{home}.{name.lower()}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
