"""A small model of given series, trained within seconds."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn
from tqdm import tqdm

from wavediff.errors import UserError
from wavediff.files import conf_folder
from wavediff.series import calendar
from wavediff.series.model import SeriesModel, facts, network_sizes
from wavediff.series.series_set import SeriesSet
from wavediff.series.settings import default_context
from wavediff.series.windows import Windows
from wavediff.tasks.build import build_task
from wavediff.training.batches import StepIndices, batches
from wavediff.training.config import trainer_config
from wavediff.training.distributed import World
from wavediff.training.learner import Learner, Step

LONGEST_BLOCK = 96  # steps that a forecast fills at once, or two seasons
TOGETHER = 16  # variables that are modelled together unless told otherwise
WARM_UP = 100  # steps, or a tenth of all
MOST = 1_000_000  # steps


def recipe_config(recipe: str = "series", overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration that ``wavediff train recipe=... overrides`` composes, as plain values."""
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_folder())):
        config = compose("train", [f"recipe={recipe}", *overrides])
    # what belongs to a run alone refers to Hydra itself
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
    """A model of ``series``, with the averaged weights of its training.

    The number of steps follows from ``seconds`` while they pass (``Plan``), so that the learning
    rate has come down when they are over, however the speed of the machine changes.

    Args:
        horizon: steps that forecasts are wanted for; longer ones than a window should hold are
            forecast in equal blocks. None: a season.
        context: steps that a forecast sees; None: three blocks or two seasons.
        multivariate: the variables of an item in one window; None: up to 16 of them.
        stops: where training ends in each item; None: everywhere at its end.
        seconds: of training; reading the data and the like come before them.
        steps: so many instead of what fits into ``seconds``: the same seed then gives the same
            model.
        config: of a recipe for series (``recipe_config``), whose data's settings count where they
            are not given here; the one for any table by default.

    Raises:
        UserError: where the series are too short for the horizon, or cannot be learnt.
        KeyboardInterrupt: at Ctrl-C; nothing is kept.
    """
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
    groups["network"] = groups["network"] | network_sizes(groups["network"], **sizes)
    trainer = trainer_config(config["trainer"] | {"device": str(device)})
    remembered = facts(data, series, kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_task(groups)
        world = World(0, 1, torch.device(device))
        learner = Learner(model, trainer, world, partial(_optimizer, config["optimizer"]), seed)
        began = time.monotonic()
        done = _train(learner, data, Plan(seconds, steps), progress)
    model.network.load_state_dict(learner.exported())
    model.extra = {"recipe": "series", "seed": seed, **remembered, "step": done}
    model.extra["seconds"] = round(time.monotonic() - began)
    return model.eval()


class Plan:
    """How many steps a training has: those given, or what fits into ``seconds``.

    By seconds the number is estimated anew before each step, as if all that are to come took as
    long as those done: the share of the steps that are done is the share of the time that is over.
    """

    def __init__(
        self,
        seconds: float,
        steps: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds, self.steps, self.clock = seconds, steps, clock
        self.began = self.last = clock()
        self.each = 0.0  # seconds of a step, as of late

    def total(self, done: int) -> int:
        """Steps in all, after ``done``; ``done`` itself where there is no time for another."""
        if self.steps is not None:
            return self.steps
        if not done:
            self.began = self.last = self.clock()
            return MOST
        now = self.clock()
        took, self.last = now - self.last, now
        self.each = took if done <= 2 else 0.8 * self.each + 0.2 * took  # the first one is slow
        elapsed = now - self.began
        if elapsed + self.each > self.seconds:
            return done
        return min(max(done + 1, round(done * self.seconds / max(elapsed, 1e-9))), MOST)


def _train(learner: Learner, data: Windows, plan: Plan, progress: bool) -> int:
    """The steps of a plan. Returns how many there were."""
    config, done, bad = learner.config, 0, 0
    indices = StepIndices(0, config.batch_size, 1, 0, 1)
    with closing(batches(data, indices, 0, False)) as feed, _Bar(plan, progress) as bar:
        try:
            while (total := plan.total(done)) > done:
                config.max_steps, config.warmup_steps = total, min(WARM_UP, total // 10)
                step = learner.learn(done, feed)
                done += 1
                bar.step(done, step)
                bad = bad + 1 if step.skipped else 0
                if bad >= config.max_bad_steps:
                    raise UserError(
                        f"the model cannot be fitted: {bad} steps in a row were skipped because "
                        f"{step.skipped}; look for values in the data that are far from all others"
                    )
        except (KeyboardInterrupt, SystemExit):
            bar.say(
                f"stopped after {done} steps of training: the model that was being fitted is not "
                "kept, and the same command begins anew; `wavediff train recipe=series "
                "data.path=FILE` makes one that goes on after a stop, for --checkpoint"
            )
            raise
    return done


class _Bar:
    """Steps, or seconds, of a plan on stderr."""

    def __init__(self, plan: Plan, shown: bool) -> None:
        self.plan, self.loss = plan, None
        timed = plan.steps is None
        self.bar = tqdm(
            total=plan.seconds if timed else plan.steps,
            desc="training",
            unit="step",
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s{postfix}"
            if timed
            else None,
            file=sys.stderr,
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 10,  # a log file gets a line now and then
            disable=not shown,
        )

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def step(self, done: int, step: Step) -> None:
        """Step number ``done`` was made."""
        if step.skipped:
            self.say(f"a step was skipped: {step.skipped}")
        else:
            self.loss = step.loss if self.loss is None else 0.98 * self.loss + 0.02 * step.loss
        told = {} if self.loss is None else {"loss": f"{self.loss:.4f}"}
        if self.plan.steps is None:
            told = {"steps": done, **told}
        self.bar.set_postfix(told, refresh=False)
        if self.plan.steps is None:
            self.bar.update(
                min(self.plan.clock() - self.plan.began, self.plan.seconds) - self.bar.n
            )
        else:
            self.bar.update()

    def say(self, sentence: str) -> None:
        """A line on stderr that leaves the bar whole."""
        if not self.bar.disable:
            tqdm.write(sentence, file=sys.stderr)


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


def _optimizer(
    config: Mapping[str, Any], parameters: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    options = dict(config)
    name = options.pop("_target_").removeprefix("torch.optim.")
    return getattr(torch.optim, name)(parameters, **options)
