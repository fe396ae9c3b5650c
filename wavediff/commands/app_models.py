"""The models of the page, each loaded when it is first used."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from wavediff.commands.arguments import device

if TYPE_CHECKING:
    import torch

    from wavediff.tasks.restoration import Posterior

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Setting:
    """What holds for all jobs.

    Attributes:
        enhancer, vocoder, generator, forecaster: models by name or path; None is no generator.
        seconds: of the longest recording.
        device: auto, cpu or cuda.
        threads: of the CPU; None is one per core.
    """

    enhancer: str
    vocoder: str
    generator: str | None
    forecaster: str
    seconds: float
    device: str = "auto"
    threads: int | None = None


def check_models(names: Sequence[str], setting: Setting, progress: Progress) -> str | None:
    """Load models that were chosen, so that one that cannot be used is told at the start.

    Args:
        names: attributes of ``Setting``.

    Returns:
        The name of the bundled generator, if there is one.
    """
    from wavediff.tasks.names import bundled_names
    from wavediff.tasks.restoration.posterior import PRIOR

    if "enhancer" in names:
        enhancer(setting)
    if "vocoder" in names:
        vocoder(setting)
    if "generator" in names:
        posterior(setting)
    if "forecaster" in names:
        import wavediff

        wavediff.Forecaster.from_pretrained(setting.forecaster, progress=False)
    return PRIOR if PRIOR in bundled_names() else None


def enhancer(setting: Setting) -> Any:
    """The enhancer."""
    return loaded("Enhancer", setting.enhancer, chosen_device(setting))


def vocoder(setting: Setting) -> Any:
    """The vocoder."""
    return loaded("Vocoder", setting.vocoder, chosen_device(setting))


def posterior(setting: Setting) -> Posterior:
    """What recordings are restored by."""
    return loaded_posterior(setting.generator, chosen_device(setting))


def chosen_device(setting: Setting) -> torch.device:
    """The device, with the number of threads set."""
    return device(argparse.Namespace(device=setting.device, threads=setting.threads))


@cache
def loaded(kind: str, name: str, place: torch.device) -> Any:
    """A model of ``wavediff`` on a device."""
    import wavediff

    return getattr(wavediff, kind).from_pretrained(name).to(place)


@cache
def loaded_posterior(name: str | None, place: torch.device) -> Posterior:
    """The posterior of a generator on a device."""
    from wavediff.tasks.restoration import posterior_of

    return posterior_of(name, place)
