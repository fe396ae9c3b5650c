"""The training loop."""

import json
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.utils.data import Dataset

from wavediff.errors import UserError
from wavediff.evaluation.metrics import METRICS
from wavediff.training.batches import StepIndices, batches
from wavediff.training.checkpoint import RunCheckpoints
from wavediff.training.distributed import World
from wavediff.training.learner import Learner, Step
from wavediff.training.logging import Log, Meter
from wavediff.training.signals import StopRequest, stop_requests
from wavediff.training.trial import Standing, Trial
from wavediff.training.validation import Validation

MODEL, BEST_MODEL = "model.safetensors", "best.safetensors"

# (path, averaged weights, facts about them)
Save = Callable[[Path, Mapping[str, Tensor], Mapping[str, Any]], None]


@dataclass
class Counters:
    """The progress of a run. The field names are keys of its checkpoints."""

    step: int = 0  # finished steps, skipped ones included
    skipped: int = 0  # steps whose loss or gradient was not finite
    skipped_in_a_row: int = 0
    seconds: float = 0.0  # spent on steps
    best_measure: str | None = None  # the metric that ``best`` is a value of
    best: float | None = None
    best_step: int | None = None
    score: float | None = None  # of the last validation, by that metric

    def count(self, step: Step, seconds: float) -> None:
        self.step += 1
        self.skipped += step.skipped is not None
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if step.skipped else 0
        self.seconds += seconds

    def update_best(self, metric: str, score: float | None) -> bool:
        """Record this step if its ``score`` is the best so far; return whether it is.

        The comparison starts afresh when ``metric`` changes.
        """
        if self.best_measure != metric:
            self.best_measure, self.best, self.best_step = metric, None, None
        self.score = score
        if score is None:
            return False
        if self.best is not None:
            gain = score - self.best
            known = METRICS.get(metric)  # any other score is an error: lower is better
            if (gain if known is not None and known.higher_is_better else -gain) <= 0:
                return False
        self.best, self.best_step = score, self.step
        return True


@dataclass(frozen=True)
class Outcome:
    """How ``train`` ended: after ``step`` steps, by signal ``signum`` unless that is 0.

    ``score`` is the metric ``trainer.best`` at the last validation, None without any.
    """

    step: int
    signum: int = 0
    score: float | None = None


def train(
    learner: Learner,
    data: Dataset,
    *,
    run_dir: Path | None = None,
    run_config: Mapping[str, Any] | None = None,
    save: Save | None = None,
    validate: Callable[[], Validation] | None = None,
    state: Mapping[str, Any] | None = None,
    workers: int = 0,
    fixed: Mapping[str, Any] | None = None,
    trial: Trial | None = None,
) -> Outcome:
    """Train until ``max_steps``, a signal or ``max_minutes``, then write a checkpoint.

    Without a ``run_dir`` nothing is written and a signal interrupts at once.

    Args:
        learner: does the steps; its configuration applies here too.
        data: ``data[i]``, for any i >= 0, is sample i of the run, as
            ``{"audio": [1, time], "index": i, ...}``.
        run_dir: folder for checkpoints, TensorBoard files and exported weights.
        run_config: plain configuration, stored in the checkpoints.
        save: exports the averaged weights.
        validate: called while the task holds the averaged weights; None for no validation.
        state: the return value of ``checkpoint.resume``.
        workers: number of processes that load data.
        fixed: further values to store in the checkpoints, unchanged.
        trial: when the run is validated and ends as a trial of a search, instead of every
            ``validate_every`` steps; None for an ordinary run.

    Raises:
        UserError: after ``max_bad_steps`` skipped steps in a row, or when the disk is full.
    """
    config, world = learner.config, learner.world
    counters = Counters()
    if state is not None:
        learner.load_state_dict(state)
        counters = Counters(**state["counters"])
    saved_step = counters.step

    def write() -> None:
        nonlocal saved_step
        saved_step = counters.step
        if run_dir is not None and save is not None:
            state = {
                "step": counters.step,
                "counters": asdict(counters),
                "config": run_config,
                "fixed": learner.gathered(fixed or {}),
                **learner.state_dict(),
            }
            if world.main:
                RunCheckpoints(run_dir, config.keep_last).save(state, counters.best_step)
        export()

    def export() -> None:
        if run_dir is None or save is None:
            return
        weights = learner.exported()
        if world.main:
            facts: dict[str, Any] = {
                "step": counters.step,
                "seconds": round(counters.seconds),
            }
            if counters.best_step == counters.step:
                measured = {str(counters.best_measure): counters.best}
                save(run_dir / BEST_MODEL, weights, facts | measured)
            save(run_dir / MODEL, weights, facts)  # last: it tells that all is written

    if state is not None:
        export()  # a process that was killed after its checkpoint has not come to it
    indices = StepIndices(
        counters.step, config.batch_size, config.accumulate, world.rank, world.size
    )
    pin_memory = world.device.type == "cuda"
    meter = Meter(config.log_snr_bins, world)
    rate = learner.task.sample_rate  # Hz, of the audio in TensorBoard
    ended = 0
    with (
        nullcontext(StopRequest()) if run_dir is None else stop_requests() as request,
        closing(batches(data, indices, workers, pin_memory)) as feed,
        Log(run_dir, world, rate, counters.step, config.max_steps, config.progress) as log,
    ):
        clock = _Clock(config.max_minutes, config.checkpoint_minutes)
        total = config.max_steps
        if trial is not None:
            total = trial.begin(counters.step, counters.seconds, config)
        while counters.step < total and not ended:
            began = time.perf_counter()
            step = learner.learn(counters.step, feed)
            counters.count(step, time.perf_counter() - began)
            meter.add(step, time.perf_counter() - began)
            log.step(step)
            if trial is not None:
                total = trial.last_step(counters.step, counters.seconds)
            number, last = counters.step, counters.step >= total
            if counters.skipped_in_a_row >= config.max_bad_steps:
                advice = (
                    "Look for values in the data that are far from all others"
                    if run_dir is None
                    else "Lower optimizer.lr or check the data; the last checkpoint is of step "
                    f"{saved_step}"
                )
                raise UserError(
                    f"step {number}: {counters.skipped_in_a_row} steps in a row were skipped "
                    f"because {step.skipped}. {advice}."
                )
            if number % config.log_every == 0 or last:
                log.scalars(number, meter.read(config.batch_size))
                log.scalars(number, {"train/skipped_steps": counters.skipped})

            ended, over, due = _agree(world, request, clock)
            best = pruned = False
            rung = None if trial is None else trial.rung(number)
            every = config.validate_every if trial is None else 0
            if validate and (rung is not None or (every and (number % every == 0 or last))):
                with learner.averaged_weights():
                    result = validate()
                log.validation(number, result)
                best = counters.update_best(config.best, result.scores.get(config.best))
                if trial is not None and rung is not None:
                    size = sum(p.numel() for p in learner.parameters)
                    pruned = not trial.judge(
                        Standing(
                            rung, number, counters.seconds, size, counters.score,
                            dict(result.scores), dict(result.undefined),
                        )
                    )  # fmt: skip
            ends = last or ended or over or pruned
            if best or ends or due or number % config.checkpoint_every == 0:
                write()
                clock.saved()
            if pruned:
                log.say(f"step {number}: the trial is pruned")
                break
            if over:
                log.say(f"step {number}: trainer.max_minutes is reached")
                break
        if ended:
            name = signal.Signals(ended).name
            log.say(f"step {counters.step}: saved after {name}; the same command resumes from here")
    return Outcome(counters.step, ended, counters.score)


def is_exported(run_dir: Path, step: int) -> bool:
    """Whether the model of a run is that of a step: a process may be killed before writing it."""
    try:
        with safe_open(run_dir / MODEL, framework="pt") as file:
            return json.loads((file.metadata() or {})["extra"])["step"] == step
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return False


class _Clock:
    """When the run must end and when a checkpoint is due, in minutes; None for never."""

    def __init__(self, max_minutes: float | None, checkpoint_minutes: float | None) -> None:
        now = time.monotonic()
        self.end = None if max_minutes is None else now + 60 * max_minutes
        self.minutes = checkpoint_minutes
        self.last = now

    def saved(self) -> None:
        self.last = time.monotonic()

    def over(self) -> bool:
        return self.end is not None and time.monotonic() >= self.end

    def due(self) -> bool:
        return self.minutes is not None and time.monotonic() >= self.last + 60 * self.minutes


def _agree(world: World, request: StopRequest, clock: _Clock) -> tuple[int, bool, bool]:
    """The same (stop signal or 0, time is over, checkpoint is due) in every process.

    A signal to any process counts; the first process keeps the time.
    """
    over, due = world.main and clock.over(), world.main and clock.due()
    facts = [request.signum == signal.SIGINT, request.signum == signal.SIGTERM, over, due]
    interrupted, terminated, over, due = world.any(facts)
    signum = signal.SIGINT if interrupted else signal.SIGTERM if terminated else 0
    return signum, over, due
