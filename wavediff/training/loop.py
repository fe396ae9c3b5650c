"""The training loop."""

import signal
import time
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from wavediff.errors import UserError
from wavediff.evaluation.measures import MEASURES
from wavediff.training.batches import StepIndices, batches
from wavediff.training.budget import TimeBudget
from wavediff.training.checkpoint import RunCheckpoints
from wavediff.training.distributed import World
from wavediff.training.learner import Learner, Step
from wavediff.training.logging import Log, Meter
from wavediff.training.signals import Wish, stop_wishes
from wavediff.training.validation import Validation

MODEL, BEST_MODEL = "model.safetensors", "best.safetensors"

# (path, averaged weights, facts for people)
Save = Callable[[Path, Mapping[str, Tensor], Mapping[str, Any]], None]


@dataclass
class Counters:
    """Where a run stands, besides its weights."""

    step: int = 0  # finished steps, those skipped included
    skipped: int = 0  # steps whose loss or gradient was not finite
    skipped_in_a_row: int = 0
    seconds: float = 0.0  # spent on steps
    best_measure: str | None = None
    best: float | None = None
    best_step: int | None = None

    def count(self, step: Step, seconds: float) -> None:
        self.step += 1
        self.skipped += step.skipped is not None
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if step.skipped else 0
        self.seconds += seconds

    def is_best(self, measure: str, score: float | None) -> bool:
        """Note the score of this step; whether it is the best so far by this measure."""
        if self.best_measure != measure:
            self.best_measure, self.best, self.best_step = measure, None, None
        if score is None:
            return False
        if self.best is not None:
            gain = score - self.best
            known = MEASURES.get(measure)  # what else there is are errors: lower is better
            if (gain if known is not None and known.higher_is_better else -gain) <= 0:
                return False
        self.best, self.best_step = score, self.step
        return True


@dataclass(frozen=True)
class Outcome:
    """How `train` ended: after `step` steps, by the signal `signum` if it is not 0."""

    step: int
    signum: int = 0


def train(
    learner: Learner,
    data: Dataset,
    *,
    run_dir: Path | None = None,
    run_config: Mapping[str, Any] | None = None,
    save: Save | None = None,
    budget: TimeBudget | None = None,
    counters: Counters | None = None,
    validate: Callable[[], Validation] | None = None,
    state: Mapping[str, Any] | None = None,
    workers: int = 0,
    fixed: Mapping[str, Any] | None = None,
) -> Outcome:
    """Train until `max_steps`, a signal, or the end of `max_minutes`; all end with a checkpoint.

    Without a `run_dir` nothing is written, and a signal interrupts at once.

    Args:
        learner: does the steps; its configuration counts here too.
        data: `data[i]`, any i >= 0, is sample i of the run: {"audio": [1, time], "index": i, ...}.
        run_dir: for checkpoints, TensorBoard and the exported weights.
        run_config: plain configuration, kept in the checkpoints.
        save: exports the averaged weights.
        budget: decides the number of steps instead of `max_steps`, whose value it updates; the
            warm-up is at most a tenth of them.
        counters: updated after each step, for whoever is to know how far an interrupted run came.
        validate: called while the task has the averaged weights; None for never.
        state: what `checkpoint.resume` returned.
        workers: processes that load data.
        fixed: what else to keep in the checkpoints, as it is.

    Raises:
        UserError: when `max_bad_steps` steps in a row had to be skipped, or the disk is full.
    """
    config, world = learner.config, learner.world
    counters = Counters() if counters is None else counters
    if state is not None:
        learner.load_state_dict(state)
        counters = Counters(**state["counters"])
    checkpoints = None if run_dir is None else RunCheckpoints(run_dir, config.keep_last)
    saved_step = counters.step
    warmup_steps = config.warmup_steps

    def steps() -> int:
        if budget is not None:
            config.max_steps = budget.steps(counters.step)
            config.warmup_steps = min(warmup_steps, config.max_steps // 10)
        return config.max_steps

    def write() -> None:
        nonlocal saved_step
        saved_step = counters.step
        if checkpoints is not None and world.main:
            facts = {"step": counters.step, "seconds": round(counters.seconds)}
            checkpoints.save(
                {
                    "step": counters.step,
                    "counters": asdict(counters),
                    "config": run_config,
                    "fixed": fixed or {},
                    **learner.state_dict(),
                },
                counters.best_step,
            )
            save(run_dir / MODEL, learner.exported(), facts)
            if counters.best_step == counters.step:
                facts |= {counters.best_measure: counters.best}
                save(run_dir / BEST_MODEL, learner.exported(), facts)

    indices = StepIndices(
        counters.step, config.batch_size, config.accumulate, world.rank, world.size
    )
    pin_memory = world.device.type == "cuda"
    meter = Meter(config.log_snr_bins, world)
    rate = getattr(learner.task, "sample_rate", 0)  # of what is heard in TensorBoard
    ended = 0
    with (
        stop_wishes() if checkpoints is not None else nullcontext(Wish()) as wish,
        closing(batches(data, indices, workers, pin_memory)) as feed,
        Log(run_dir, world, rate, counters.step, config.max_steps, config.progress, budget) as log,
    ):
        clock = _Clock(config.max_minutes, config.checkpoint_minutes)
        total = steps()
        while counters.step < total and not ended:
            began = time.perf_counter()
            step = learner.learn(counters.step, feed)
            counters.count(step, time.perf_counter() - began)
            meter.add(step, time.perf_counter() - began)
            log.step(step)
            total = steps()
            number, last = counters.step, counters.step == total
            if counters.skipped_in_a_row >= config.max_bad_steps:
                advice = (
                    "look for values in the data that are far from all others"
                    if checkpoints is None
                    else "lower optimizer.lr or look at the data (the last checkpoint is that of "
                    f"step {saved_step})"
                )
                raise UserError(
                    f"stopped at step {number}: {counters.skipped_in_a_row} steps in a row were "
                    f"skipped because {step.skipped}; {advice}"
                )
            if number % config.log_every == 0 or last:
                log.scalars(number, meter.read(config.batch_size))
                log.scalars(number, {"train/skipped_steps": counters.skipped})

            ended, over, due = _agree(world, wish, clock)
            best = False
            if validate and config.validate_every and (number % config.validate_every == 0 or last):
                with learner.averaged_weights():
                    result = validate()
                log.validation(number, result)
                best = counters.is_best(config.best, result.scores.get(config.best))
            if best or last or ended or over or due or number % config.checkpoint_every == 0:
                write()
                clock.saved()
            if over:
                log.say(f"step {number}: trainer.max_minutes are over")
                break
        if ended:
            name = signal.Signals(ended).name
            log.say(f"step {counters.step}: saved after {name}; the same command goes on from here")
    return Outcome(counters.step, ended)


class _Clock:
    """When the run must end, and when a checkpoint is due, by minutes (None for never)."""

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


def _agree(world: World, wish: Wish, clock: _Clock) -> tuple[int, bool, bool]:
    """(signal to end by, time is over, checkpoint is due), the same in every process.

    A signal to any process counts; the clock is that of the first.
    """
    over, due = world.main and clock.over(), world.main and clock.due()
    facts = [wish.signum == signal.SIGINT, wish.signum == signal.SIGTERM, over, due]
    interrupted, terminated, over, due = world.any(facts)
    signum = signal.SIGINT if interrupted else signal.SIGTERM if terminated else 0
    return signum, over, due
