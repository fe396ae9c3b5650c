"""wavediff: diffusion models for audio.

`from wavediff import Enhancer, Vocoder` is the Python interface; `wavediff --help` lists the
commands.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wavediff.tasks import Enhancer, Vocoder

__version__ = "0.1.0"
__all__ = ["Enhancer", "Vocoder", "__version__"]


def __getattr__(name: str) -> Any:
    """Load tasks on first use (PEP 562), so that `import wavediff` does not wait for torch."""
    if name in ("Enhancer", "Vocoder"):
        from wavediff import tasks

        return getattr(tasks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
