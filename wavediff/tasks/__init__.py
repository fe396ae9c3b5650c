"""What a user holds: a task is a denoiser with its front-ends, loaded by name and then called."""

from wavediff.tasks.autoencoder import Autoencoder
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import load_task, save_task
from wavediff.tasks.enhancer import Enhancer
from wavediff.tasks.generator import Generator
from wavediff.tasks.vocoder import Vocoder

__all__ = [
    "Autoencoder",
    "Enhancer",
    "Generator",
    "Vocoder",
    "build_task",
    "load_task",
    "save_task",
]
