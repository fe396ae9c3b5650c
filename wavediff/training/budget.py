"""A stop rule: the number of training steps that fit into a time."""

import time
from collections.abc import Callable

MAX_STEPS = 1_000_000


class TimeBudget:
    """The number of steps that fit into ``seconds``, estimated before each step.

    An estimate assumes that the remaining steps take as long as the finished ones, so that the
    fraction of finished steps equals the fraction of elapsed time. A learning rate schedule over
    the number of steps therefore completes in time, even if the speed of the machine varies.

    Args:
        seconds: the time.
        clock: returns the current time in seconds.
        began: the time of the first step, where steps were finished before; None for now.
    """

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        began: float | None = None,
    ) -> None:
        self.seconds, self.clock = seconds, clock
        self.last = clock()
        self.began = self.last if began is None else began
        self.step_seconds = 0.0  # moving average

    @property
    def elapsed(self) -> float:
        """Seconds since the first step began, at most ``seconds``."""
        return min(self.clock() - self.began, self.seconds)

    def steps(self, done: int) -> int:
        """Estimate the total number of steps after ``done``; ``done`` if no more step fits."""
        now = self.clock()
        if not done:
            self.began = self.last = now
            return MAX_STEPS
        took, self.last = now - self.last, now
        # the first step is slow
        self.step_seconds = took if done <= 2 else 0.8 * self.step_seconds + 0.2 * took
        elapsed = now - self.began
        if elapsed + self.step_seconds > self.seconds:
            return done
        return min(max(done + 1, round(done * self.seconds / max(elapsed, 1e-9))), MAX_STEPS)
