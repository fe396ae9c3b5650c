"""A small model fitted to given series within a time."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from wavediff.errors import UserError
from wavediff.files import conf_folder
from wavediff.series import calendar
from wavediff.series.model import SeriesModel, facts, sized
from wavediff.series.series_set import SeriesSet
from wavediff.series.settings import default_context
from wavediff.series.windows import Windows
from wavediff.tasks.build import build_task
from wavediff.training.budget import TimeBudget
from wavediff.training.config import trainer_config
from wavediff.training.distributed import World
from wavediff.training.learner import Learner
from wavediff.training.loop import Counters, train
from wavediff.training.optim import configured_optimizer

MAX_BLOCK = 96  # steps that are forecast at once, or two seasons
MAX_JOINT_VARIABLES = 16  # modelled jointly by default
INTERRUPTED = (
    "stopped after {} steps of training: the model that was being fitted is not kept, and the same "
    "command starts again; `wavediff train recipe=series data.path=FILE` makes one that resumes "
    "after a stop, for --checkpoint"
)


def recipe_config(recipe: str = "series", overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration that ``wavediff train recipe=... overrides`` composes, as plain values."""
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_folder())):
        config = compose("train", [f"recipe={recipe}", *overrides])
    # the other keys belong to a run and refer to Hydra itself
    chosen = {key: config[key] for key in (*SeriesModel.groups, "data", "optimizer", "trainer")}
    return {
        key: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for key, value in chosen.items()
    }


def fit(
    series: SeriesSet,
    *,
    horizon: int | None = None,
    context: int | None = None,
    multivariate: bool | None = None,
    stops: Sequence[int] | None = None,
    seconds: float = 120,
    steps: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = True,
    config: Mapping[str, Any] | None = None,
) -> SeriesModel:
    """Fit a model to ``series``; it has the averaged weights of the training.

    The number of steps follows from ``seconds`` (``TimeBudget``), so that the decay of the learning
    rate is complete when they are over, however the speed of the machine changes.

    Args:
        series: to learn from.
        horizon: steps of a forecast; one that is too long for a window is divided into equal
            blocks. None: a season.
        context: steps that a forecast sees; None: three blocks or two seasons.
        multivariate: whether a window has all variables of an item; None: if they are at most
            ``MAX_JOINT_VARIABLES``.
        stops: the step of each item where training ends; None: its last.
        seconds: time for the training alone.
        steps: of training instead, so that the same seed gives the same model.
        seed: of weights, windows and noise.
        device: to train on.
        progress: whether to show a bar on stderr.
        config: of a recipe for series (``recipe_config``), for what is not given here; that of the
            recipe ``series`` by default.

    Raises:
        UserError: where the series are shorter than the horizon, or training diverges.
        KeyboardInterrupt: at Ctrl-C; nothing is kept.
    """
    config = recipe_config() if config is None else config
    ends = [item.length for item in series.items] if stops is None else list(stops)
    settings = window_settings(series, max(ends), horizon, context, multivariate, config["data"])
    lags = config["data"]["lags"]
    data = Windows(series, **settings, lags=lags, stops=ends, seed=seed)
    kind = config["data"]["scaling"]
    groups = sized({key: config[key] for key in SeriesModel.groups}, data, kind)
    limits = {"device": str(device), "progress": progress, "max_minutes": None}
    if steps is not None:
        warmup = min(config["trainer"]["warmup_steps"], steps // 10)
        limits |= {"max_steps": steps, "warmup_steps": warmup}
    trainer = trainer_config(config["trainer"] | limits)
    about_data = facts(data, series, kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_task(groups)
        assert isinstance(model, SeriesModel)
        world = World(0, 1, torch.device(device))
        optimizer = partial(configured_optimizer, config["optimizer"])
        learner = Learner(model, trainer, world, optimizer, seed)
        counters, began = Counters(), time.monotonic()
        budget = TimeBudget(seconds) if steps is None else None
        try:
            train(learner, data, counters=counters, budget=budget)
        except (KeyboardInterrupt, SystemExit):
            if progress:
                print(INTERRUPTED.format(counters.step), file=sys.stderr)
            raise
    model.network.load_state_dict(learner.exported())
    model.extra = {
        "recipe": "series",
        "seed": seed,
        **about_data,
        "step": counters.step,
        "seconds": round(time.monotonic() - began),
    }
    return model.eval()


def window_settings(
    series: SeriesSet,
    longest: int,
    horizon: int | None,
    context: int | None,
    multivariate: bool | None,
    data: Mapping[str, Any],
) -> dict[str, Any]:
    """The arguments ``context``, ``horizon`` and ``multivariate`` of ``Windows``.

    Args:
        series: to learn from.
        longest: steps of the longest series.
        horizon: of ``fit``.
        context: of ``fit``.
        multivariate: of ``fit``.
        data: the configuration that has the defaults.

    Raises:
        UserError: for a horizon that is longer than all series.
    """
    season = calendar.season(series.freq)
    wanted = horizon or (season if 1 < season <= MAX_BLOCK else data["horizon"])
    if horizon is not None and horizon > longest:
        raise UserError(
            f"a horizon of {horizon} steps is longer than the data to learn from, {longest} "
            "steps: give a shorter horizon, or more data"
        )
    most = max(1, min(max(MAX_BLOCK, 2 * season), longest // 3))
    block = math.ceil(wanted / math.ceil(wanted / most)) if horizon else min(wanted, most)
    if multivariate is None:
        multivariate = data["multivariate"] and 1 < len(series.variables) <= MAX_JOINT_VARIABLES
    context = context or data["context"] or default_context(series.freq, block, longest)
    return {"context": context, "horizon": block, "multivariate": multivariate}
