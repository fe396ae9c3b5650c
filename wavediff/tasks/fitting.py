"""A small model of given series, trained within seconds."""

from __future__ import annotations

import math
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor, nn

from wavediff.data import calendar
from wavediff.data.series import SeriesSet
from wavediff.data.series_settings import default_context
from wavediff.data.windows import Windows
from wavediff.errors import UserError
from wavediff.files import conf_folder
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import save_task
from wavediff.tasks.series import SeriesModel, facts, network_sizes
from wavediff.training.batches import StepIndices, batches
from wavediff.training.config import TrainerConfig, trainer_config
from wavediff.training.distributed import World
from wavediff.training.learner import Learner
from wavediff.training.loop import MODEL, train

LONGEST_BLOCK = 96  # steps that a forecast fills at once, or two seasons
TOGETHER = 16  # variables that are modelled together unless told otherwise
WARM_UP = 100  # steps, or a tenth of all


def recipe_config(recipe: str = "series", overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration that ``wavediff train recipe=... overrides`` composes, as plain values."""
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_folder())):
        config = compose("train", [f"recipe={recipe}", *overrides])
    return {  # what belongs to a run alone refers to Hydra itself
        key: OmegaConf.to_container(config[key], resolve=True)
        for key in (*SeriesModel.groups, "data", "optimizer", "trainer")
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
    """A model of ``series``, with the averaged weights of its training.

    The speed of a few steps is measured first, on weights that are thrown away; then the number of
    steps is set so that the learning rate has come down when ``seconds`` are over.

    Args:
        horizon: steps that forecasts are wanted for; longer ones than a window should hold are
            forecast in equal blocks. None: a season.
        context: steps that a forecast sees; None: three blocks or two seasons.
        multivariate: the variables of an item in one window; None: up to 16 of them.
        stops: where training ends in each item; None: everywhere at its end.
        steps: so many instead of what fits into ``seconds``: the same seed then gives the same
            model.
        config: of a recipe for series (``recipe_config``), whose data's settings count where they
            are not given here; the one for any table by default.

    Raises:
        UserError: where the series are too short for the horizon.
        KeyboardInterrupt: at Ctrl-C.
    """
    began = time.monotonic()
    config = recipe_config() if config is None else config
    ends = [item.length for item in series.items] if stops is None else list(stops)
    settings = window_settings(series, max(ends), horizon, context, multivariate, config["data"])
    lags = config["data"]["lags"]
    data = Windows(series, **settings, lags=lags, stops=ends, seed=seed)
    kind = config["data"]["scaling"]
    sizes = {
        "variables": data.variables,
        "features": data.local_channels,
        "lags": data.lags,
        "context": data.context,
        "horizon": data.horizon,
        "scaling": kind,
    }
    groups = {key: config[key] for key in SeriesModel.groups}
    groups["task"] = groups["task"] | sizes
    groups["network"] = groups["network"] | network_sizes(**sizes)
    world = World(0, 1, torch.device(device))
    quiet = {"validate_every": 0, "checkpoint_every": sys.maxsize, "checkpoint_minutes": None}
    quiet |= {"max_steps": 1, "device": str(device), "progress": progress, "keep_last": 1}
    quiet |= {"batch_size": config["trainer"]["batch_size"]}
    settings = trainer_config(config["trainer"] | quiet)
    make_optimizer = partial(_optimizer, config["optimizer"])
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:

        def learner() -> Learner:
            torch.manual_seed(seed)
            return Learner(build_task(groups), settings, world, make_optimizer, seed)

        left = seconds
        if steps is None:
            settings.max_steps = 1_000_000
            each = _seconds_per_step(learner(), data, settings, seconds / 20)
            left = seconds - (time.monotonic() - began)
            steps = max(1, int(0.95 * left / each))
            settings.max_minutes = (1.3 * max(left, 1) + each) / 60  # a machine may get slower
        settings.max_steps = steps
        settings.warmup_steps = min(WARM_UP, steps // 10)
        student = learner()
        remembered = facts(data, series, kind)
        outcome = train(
            student,
            data,
            run_dir=Path(folder),
            run_config={},
            save=partial(_save, student.task, {"recipe": "series", "seed": seed} | remembered),
        )
        if outcome.signum == signal.SIGINT:
            raise KeyboardInterrupt
        if outcome.signum:
            raise SystemExit(128 + outcome.signum)
        return SeriesModel.from_pretrained(Path(folder) / MODEL).to(world.device)


def window_settings(
    series: SeriesSet,
    longest: int,
    horizon: int | None,
    context: int | None,
    multivariate: bool | None,
    data: Mapping[str, Any],
) -> dict[str, Any]:
    """Context, horizon and multivariate of the windows of series, ``longest`` steps at most.

    Raises:
        UserError: for a horizon that is longer than all series.
    """
    season = calendar.season(series.freq)
    wanted = horizon or (season if 1 < season <= LONGEST_BLOCK else data["horizon"])
    if horizon is not None and horizon > longest:
        raise UserError(
            f"a horizon of {horizon} steps is longer than what there is to learn from, {longest} "
            "steps: ask for fewer, or give more data"
        )
    most = max(1, min(max(LONGEST_BLOCK, 2 * season), longest // 3))
    block = math.ceil(wanted / math.ceil(wanted / most)) if horizon else min(wanted, most)
    if multivariate is None:
        multivariate = data["multivariate"] and 1 < len(series.variables) <= TOGETHER
    context = context or data["context"] or default_context(series.freq, block, longest)
    return {"context": context, "horizon": block, "multivariate": multivariate}


def _seconds_per_step(
    learner: Learner, data: Windows, config: TrainerConfig, budget: float
) -> float:
    indices = StepIndices(0, config.batch_size, 1, 0, 1)
    with closing(batches(data, indices, 0, False)) as feed:
        learner.learn(0, feed)  # the first one is slower than others
        began = time.monotonic()
        for number in range(1, 31):
            learner.learn(number, feed)
            if number >= 3 and time.monotonic() - began > budget:
                break
    return (time.monotonic() - began) / number


def _optimizer(
    config: Mapping[str, Any], parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    options = dict(config)
    name = options.pop("_target_").removeprefix("torch.optim.")
    return getattr(torch.optim, name)(parameters, **options)


def _save(
    task: SeriesModel,
    extra: Mapping[str, Any],
    path: Path,
    weights: Mapping[str, Tensor],
    counts: Mapping[str, Any],
) -> None:
    save_task(path, task.config, weights, {**extra, **counts})
