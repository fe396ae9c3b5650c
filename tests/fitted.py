"""A small model of the recipe ``series``, trained on given data in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from wavediff.series.model import SeriesModel, facts, sized
from wavediff.series.reading import read_series
from wavediff.series.series_set import SeriesSet
from wavediff.series.settings import recipe_config
from wavediff.series.windows import Windows
from wavediff.tasks.build import build_task
from wavediff.training.config import trainer_config
from wavediff.training.distributed import World
from wavediff.training.learner import Learner
from wavediff.training.loop import train
from wavediff.training.optim import configured_optimizer


def fit(
    data: Any,
    horizon: int,
    *,
    context: int = 8,
    steps: int = 2,
    multivariate: bool | None = None,
    seed: int = 0,
    config: Mapping[str, Any] | None = None,
    columns: Mapping[str, Any] | None = None,
    stops: Sequence[int] | None = None,
) -> SeriesModel:
    """Train for some steps; as a run of the recipe, but for the sizes of the windows."""
    config = recipe_config("series") if config is None else config
    series = data if isinstance(data, SeriesSet) else read_series(data, **columns or {})
    joint = 1 < len(series.variables) <= 16 if multivariate is None else multivariate
    windows = Windows(
        series,
        context,
        horizon,
        multivariate=joint,
        lags=config["data"]["lags"],
        stops=list(stops or [item.length for item in series.items]),
        seed=seed,
    )
    kind = config["data"]["scaling"]
    groups = sized({key: config[key] for key in SeriesModel.groups}, windows, kind)
    limits = {"device": "cpu", "progress": False, "max_steps": steps}
    limits["warmup_steps"] = min(config["trainer"]["warmup_steps"], steps // 10)
    trainer = trainer_config(config["trainer"] | limits)
    about_data = facts(windows, series, kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_task(groups)
        world = World(0, 1, torch.device("cpu"))
        learner = Learner(
            model, trainer, world, partial(configured_optimizer, config["optimizer"]), seed
        )
        train(learner, windows)
    model.network.load_state_dict(learner.exported())
    model.extra = {
        "recipe": "series", "seed": seed, **about_data, "step": steps, "seconds": 1,
    }  # fmt: skip
    return model.eval()
