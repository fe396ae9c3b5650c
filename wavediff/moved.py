"""Renamed targets, arguments and choices of earlier checkpoints and configurations.

Files are not rewritten: their names are updated when they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wavediff.errors import UserError, shorten

# Python paths: {target in version 0.1.0: current target}.
MOVED: dict[str, str] = {
    "wavediff.diffusion.anchored.BridgeVE": "wavediff.diffusion.anchored.Bridge",
    "wavediff.diffusion.consistency.ConsistencyDistillation": (
        "wavediff.diffusion.consistency_models.ConsistencyDistillation"
    ),
    "wavediff.diffusion.consistency.ConsistencyTraining": (
        "wavediff.diffusion.consistency_models.ConsistencyTraining"
    ),
    "wavediff.diffusion.consistency.ddim_step": "wavediff.diffusion.ddim.ddim_step",
    "wavediff.diffusion.consistency.heun_step": "wavediff.diffusion.heun.heun_step",
    "wavediff.diffusion.reverse.ancestral": "wavediff.diffusion.ddim.Ancestral",
    "wavediff.diffusion.reverse.ddim": "wavediff.diffusion.ddim.DDIM",
    "wavediff.diffusion.reverse.renoise": "wavediff.diffusion.ddim.Renoise",
    "wavediff.diffusion.reverse.heun": "wavediff.diffusion.heun.Heun",
    "wavediff.diffusion.reverse.dpmpp_2m": "wavediff.diffusion.exponential.DPMpp2M",
    "wavediff.diffusion.exponential.dpmpp_3s": "wavediff.diffusion.exponential.DPMpp3S",
    "wavediff.diffusion.exponential.unipc": "wavediff.diffusion.exponential.UniPC",
    "wavediff.diffusion.corrector.euler_maruyama": "wavediff.diffusion.corrector.EulerMaruyama",
    "wavediff.diffusion.corrector.predictor_corrector": (
        "wavediff.diffusion.corrector.PredictorCorrector"
    ),
    "wavediff.diffusion.langevin.annealed_langevin": "wavediff.diffusion.langevin.AnnealedLangevin",
    "wavediff.diffusion.adaptive.adaptive": "wavediff.diffusion.adaptive.Adaptive",
    "wavediff.data.datasets.csv": "wavediff.series.datasets.csv",
    "wavediff.data.datasets.ett": "wavediff.series.datasets.ett",
    "wavediff.data.datasets.m4_hourly": "wavediff.series.datasets.m4_hourly",
    "wavediff.data.datasets.pm25": "wavediff.series.datasets.pm25",
    "wavediff.data.datasets.rolling": "wavediff.series.datasets.rolling",
    "wavediff.data.physionet.physionet": "wavediff.series.physionet.physionet",
    "wavediff.tasks.series.SeriesModel": "wavediff.series.model.SeriesModel",
}

# Arguments by current target: {old: new}.
ARGUMENTS: dict[str, dict[str, str]] = {
    "wavediff.tasks.generator.Generator": {"local": "wiener"},
    "wavediff.tasks.vocoder.Vocoder": {"consistency": "mel_iterations"},
}


def _sampler(config: Mapping[str, Any]) -> dict[str, Any]:
    """From {function: {_target_: METHOD, options}, times} to {_target_: METHOD, options, times}."""
    parts = {name: dict(config[name]) for name in ("function", "times")}
    for part in parts.values():
        part.pop("_partial_", None)
    return parts["function"] | {"times": parts["times"]}


def _masks(config: Mapping[str, Any]) -> dict[str, Any]:
    """From the training mask ``nothing`` of a time series model to ``unconditional``."""
    masks = config.get("masks") or {}
    names = {"nothing": "unconditional"}
    renamed = {names.get(name, name): share for name, share in masks.items()}
    return {**config, "masks": renamed} if masks else dict(config)


# Groups with another notation, by the target in version 0.1.0.
NOTATIONS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "wavediff.tasks.sampler.Sampler": _sampler,
    "wavediff.tasks.series.SeriesModel": _masks,
    "wavediff.series.model.SeriesModel": _masks,
    **{
        f"wavediff.data.datasets.{name}": lambda config, name=name: {  # type: ignore[misc]
            **config,
            "_target_": "wavediff.series.datasets.statsmodels",
            "name": name,
        }
        for name in ("sunspots", "co2", "elnino")
    },
}

# Choices of groups on the command line, and their replacements.
CHOICES = {
    "data=etth1": "data=ett data.name=ETTh1",
    "data=etth2": "data=ett data.name=ETTh2",
    "data=ettm1": "data=ett data.name=ETTm1 data.context=384 data.horizon=96",
    "data=ettm2": "data=ett data.name=ETTm2 data.context=384 data.horizon=96",
    "data=electricity": "data=gluonts data.name=electricity",
    "data=exchange_rate": "data=gluonts data.name=exchange_rate",
    "data=solar": "data=gluonts data.name=solar",
    "data=traffic": "data=gluonts data.name=traffic",
    "data=sunspots": "data=statsmodels data.name=sunspots",
    "data=co2": "data=statsmodels data.name=co2",
    "data=elnino": "data=statsmodels data.name=elnino",
} | {
    f"recipe=comparison_{name}": f"the list {name} in recipes/comparison/methods.yaml"
    for name in ["consistency", "ddpm", "edm", "flow", "latent", "ncsn", "subvp", "vae", "ve", "vp"]
}


def current(config: Any) -> Any:
    """Update all names in ``config``; others are unchanged.

    Raises:
        UserError: for groups that are none, or are nested too deeply.
    """
    try:
        return _current(config)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"the configuration is damaged ({shorten(error)})") from error


def _current(config: Any) -> Any:
    if isinstance(config, list | tuple):
        return [_current(value) for value in config]
    if not isinstance(config, Mapping):
        return config
    target = config.get("_target_")
    if not isinstance(target, str):
        return {key: _current(value) for key, value in config.items()}
    if target in NOTATIONS:
        config = NOTATIONS[target](config)
        target = config["_target_"]
    target = MOVED.get(target, target)
    renamed = ARGUMENTS.get(target, {})
    rest = {renamed.get(key, key): _current(value) for key, value in config.items()}
    return rest | {"_target_": target}
