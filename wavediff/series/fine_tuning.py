"""Fine-tuning of the pre-trained forecaster on given series, kept only where it helps."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, from_numpy, tensor
from torch.utils.data import default_collate
from tqdm import tqdm

from wavediff.errors import UserError
from wavediff.series.metrics import decile_losses
from wavediff.series.period import Periods
from wavediff.series.settings import recipe_config
from wavediff.series.zero_shot import ZeroShotForecaster
from wavediff.series.zero_shot_paths import paths
from wavediff.training.budget import TimeBudget
from wavediff.training.config import trainer_config
from wavediff.training.distributed import World
from wavediff.training.learner import Learner
from wavediff.training.optim import configured_optimizer

CONTEXT = 1024  # steps of a training window before its horizon
BATCH, LEARNING_RATE, WARMUP = 64, 3e-4, 20
HELD_BACK = 96  # series of which the last window is held back, at most
SAMPLES = 40  # of a held-back window
CHECKS = 5  # of the held-back windows, evenly spread; training ends after two without a gain
SHARES = (0.5, 1.0)  # of the way from the pre-trained weights to the tuned ones
GAIN = 0.99  # ratio of losses on the held-back windows below which the tuned weights are kept
INTERRUPTED = "stopped after {} steps of fine-tuning: the fine-tuned model is not kept"


@dataclass(frozen=True)
class FineTuned:
    """The model to use, and a sentence about how it was chosen."""

    model: ZeroShotForecaster
    sentence: str


class RowWindows:
    """An endless dataset of windows of given series, as ``SyntheticWindows`` has them.

    Args:
        rows: series ``[T]``, NaN where missing.
        stops: the step of each where training ends.
        periods: of all of them.
        horizon: steps of a window to forecast.
        seed: of the choice of windows.

    Raises:
        UserError: where no series has a window.
    """

    def __init__(
        self,
        rows: Sequence[np.ndarray],
        stops: Sequence[int],
        periods: Periods,
        horizon: int,
        seed: int,
    ) -> None:
        self.rows, self.periods, self.horizon, self.seed = rows, tensor(periods), horizon, seed
        self.first = [int(np.argmax(np.append(~np.isnan(row), True))) + 8 for row in rows]
        room = [
            max(0, stop - horizon - first + 1)
            for stop, first in zip(stops, self.first, strict=True)
        ]
        if not any(room):
            raise UserError(
                f"no series has {horizon + 8} values to learn from besides the last {horizon}, "
                "which are held back: leave fine-tuning out, or give a shorter horizon"
            )
        self.ends = np.cumsum(room)
        longest = max(r + f for r, f in zip(room, self.first, strict=True))
        self.length = min(CONTEXT, longest)

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, index])
        place = int(rng.integers(self.ends[-1]))
        number = int(np.searchsorted(self.ends, place, side="right"))
        before = int(self.ends[number - 1]) if number else 0
        origin = self.first[number] + place - before
        past = self.rows[number][max(0, origin - self.length) : origin]
        values = np.full(self.length + self.horizon, np.nan)
        values[self.length - len(past) : self.length] = past
        values[self.length :] = self.rows[number][origin : origin + self.horizon]
        return {
            "values": from_numpy(values),
            "periods": self.periods,
            "horizon": tensor(self.horizon),
            "index": index,
        }


def fine_tune(
    model: ZeroShotForecaster,
    rows: Sequence[np.ndarray],
    periods: Periods,
    horizon: int,
    *,
    seconds: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> FineTuned:
    """Fine-tune ``model`` on series, and keep the result only where it forecasts better.

    The last window of each series is held back. The weights that are best there are compared with
    the pre-trained ones; so are those half way between the two (Wortsman et al. 2022, "Robust
    fine-tuning of zero-shot models").

    Args:
        model: the pre-trained model, left as it is.
        rows: series ``[T]``, NaN where missing.
        periods: of all of them.
        horizon: steps of the forecasts to come.
        seconds: time for the training, its checks included.
        steps: of training instead, so that the same seed gives the same model.
        seed: of windows and noise.
        progress: whether to show a bar on stderr.

    Raises:
        UserError: where the series are too short, or training diverges.
        KeyboardInterrupt: at Ctrl-C; nothing is kept.
    """
    ahead = min(horizon, model.block)
    ahead += -ahead % model.network.patch
    ends = [len(row) for row in rows]
    held = [
        k
        for k, row in enumerate(rows)
        if np.isfinite(row[: -horizon or None]).sum() >= 8 + ahead
        and np.isfinite(row[-horizon:]).any()
    ]
    held = held[:: -(-len(held) // HELD_BACK) or 1]
    stops = [end - horizon for end in ends]
    data = RowWindows(rows, stops, periods, ahead, seed)
    judge = partial(_losses, rows, held, periods, horizon, seed)
    before = judge(model)
    config = recipe_config("forecaster")
    limits = {
        "max_steps": steps or 1, "batch_size": BATCH, "warmup_steps": WARMUP, "decay": "cosine",
        "ema_decay": 0.98, "progress": False,
    }  # fmt: skip
    trainer = trainer_config(config["trainer"] | limits)
    tuned = copy.deepcopy(model)
    original = {name: value.clone() for name, value in model.network.state_dict().items()}
    world = World(0, 1, model.device)
    make_optimizer = partial(configured_optimizer, config["optimizer"] | {"lr": LEARNING_RATE})
    learner = Learner(tuned, trainer, world, make_optimizer, seed)
    feed = _batches(data)
    budget = TimeBudget(seconds) if steps is None and seconds is not None else None
    best: tuple[float, Mapping[str, Tensor]] = (1.0, original)
    done, checks, idle, bad = 0, 0, 0, 0
    total = trainer.max_steps
    judged = copy.deepcopy(model)
    with tqdm(total=100, desc="fine-tuning", unit="%", disable=not progress, leave=False) as bar:
        try:
            while True:
                if budget is not None:
                    total = trainer.max_steps = budget.steps(done)
                trainer.warmup_steps = min(WARMUP, total // 10)
                share = _share(budget, done, total)
                bar.update(int(100 * share) - bar.n)
                if done and (done >= total or share >= (checks + 1) / CHECKS):
                    checks += 1
                    found = _best_mixture(judged, original, learner.exported(), judge, before)
                    idle = 0 if found[0] < best[0] else idle + 1
                    best = min(best, found, key=lambda pair: pair[0])
                if done >= total or idle >= 2:
                    break
                step = learner.learn(done, feed)
                done += 1
                bad = bad + 1 if step.skipped else 0
                if bad >= trainer.max_bad_steps:
                    raise UserError(
                        f"fine-tuning: {bad} steps in a row were skipped because {step.skipped}. "
                        "Look for values in the data that are far from all others."
                    )
        except (KeyboardInterrupt, SystemExit):
            if progress:
                print(INTERRUPTED.format(done), file=sys.stderr)
            raise
    gain, weights = best
    if gain >= GAIN:
        return FineTuned(
            model,
            f"fine-tuning for {done} steps gained nothing on the {len(held)} windows held back: "
            "the pre-trained model is used as it is",
        )
    judged.network.load_state_dict(weights)
    judged.extra = dict(model.extra) | {"fine_tuned_steps": done, "seed": seed}
    return FineTuned(
        judged,
        f"fine-tuned for {done} steps: {100 * (1 - gain):.0f} % better on the {len(held)} windows "
        "held back",
    )


def _share(budget: TimeBudget | None, done: int, total: int) -> float:
    return done / total if budget is None else budget.elapsed / budget.seconds


def _batches(data: RowWindows) -> Iterator[dict[str, Tensor]]:
    step = 0
    while True:
        yield default_collate([data[step * BATCH + k] for k in range(BATCH)])
        step += 1


def _losses(
    rows: Sequence[np.ndarray],
    held: Sequence[int],
    periods: Periods,
    horizon: int,
    seed: int,
    model: ZeroShotForecaster,
) -> np.ndarray:
    """The quantile loss of the held-back window of each series in ``held``."""
    pasts = [rows[k][:-horizon] for k in held]
    targets = np.stack([rows[k][-horizon:] for k in held])
    return decile_losses(paths(model, pasts, periods, horizon, SAMPLES, seed=seed), targets)


def _best_mixture(
    model: ZeroShotForecaster,
    original: Mapping[str, Tensor],
    tuned: Mapping[str, Tensor],
    judge: Any,
    before: np.ndarray,
) -> tuple[float, Mapping[str, Tensor]]:
    """(ratio of losses, weights) of the best mixture of both weights on the held-back windows."""
    found = []
    for share in SHARES:
        weights = {name: torch.lerp(original[name], tuned[name], share) for name in original}
        model.network.load_state_dict(weights)
        after = judge(model)
        # sums, as the weighted quantile loss, and ratios of each series, which large ones rule not
        scored = (before > 0) & (after > 0)
        ratios = np.log(after[scored] / before[scored])
        found.append((float(np.exp(ratios.mean())) if len(ratios) else 1.0, weights))
    return min(found, key=lambda pair: pair[0])
