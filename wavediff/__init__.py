"""wavediff: diffusion models for audio.

`from wavediff import Vocoder` is the Python interface; `wavediff --help` lists the commands.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wavediff.tasks.vocoder import Vocoder

__version__ = "0.1.0"
__all__ = ["Vocoder", "__version__"]


def __getattr__(name: str) -> Any:
    """Load `Vocoder` on first use (PEP 562), so that `import wavediff` does not wait for torch."""
    if name == "Vocoder":
        from wavediff.tasks.vocoder import Vocoder

        return Vocoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
