"""A run as a trial of a search: when it is validated, when it ends, and whether it goes on."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from wavediff.training.budget import TimeBudget
from wavediff.training.config import TrainerConfig


@dataclass(frozen=True)
class Standing:
    """A run at one of its rungs."""

    rung: int  # index of the share of the budget that is spent
    step: int
    seconds: float  # spent on steps: start, validation, writing and lost steps do not count
    parameters: int  # of the network
    score: float | None  # the metric ``trainer.best``; None where it has no value
    scores: Mapping[str, float] = field(default_factory=dict)
    undefined: Mapping[str, str] = field(default_factory=dict)  # reasons by metric


class Trial:
    """The rungs of one run.

    A budget is ``trainer.max_steps`` steps, or seconds of steps. Of the latter, the number of steps
    that fit is estimated before each step, so that the learning rate decays over the budget
    whatever a step takes.

    Args:
        shares: of the budget, increasing to 1, after which the run is validated.
        judge: called with the run's standing at a rung; returns whether it goes on.
        seconds: the budget, where it is one of time.
    """

    def __init__(
        self,
        shares: Sequence[float],
        judge: Callable[[Standing], bool],
        seconds: float | None = None,
    ) -> None:
        self.shares, self.judge, self.seconds = shares, judge, seconds
        self._spent = 0.0

    def begin(self, step: int, seconds: float, config: TrainerConfig) -> int:
        """Start, or resume after ``step`` steps of ``seconds``. Returns the last step."""
        self._config, self._spent = config, seconds
        whole = config.max_steps if self.seconds is None else self.seconds
        self._rungs = [share * whole for share in self.shares]
        if self.seconds is None:
            self._rungs = [math.ceil(rung - 1e-9) for rung in self._rungs]
        self._passed = self._reached(step)
        self._budget = None
        if self.seconds is not None:
            self._budget = TimeBudget(self.seconds, lambda: self._spent, began=0.0)
        return self.last_step(step, seconds)

    def last_step(self, step: int, seconds: float) -> int:
        """Return the last step, as estimated after ``step``; the decay of the rate follows it."""
        self._spent = seconds
        if self._budget is not None:
            self._config.max_steps = max(self._budget.steps(step), 1)
        return self._config.max_steps

    def rung(self, step: int) -> int | None:
        """Return the index of the rung that the run has reached by ``step``, None between two."""
        reached = len(self.shares) if step >= self._config.max_steps else self._reached(step)
        if reached <= self._passed:
            return None
        self._passed = reached
        return reached - 1

    def _reached(self, step: int) -> int:
        spent = step if self.seconds is None else self._spent
        return sum(spent >= rung for rung in self._rungs[:-1])
