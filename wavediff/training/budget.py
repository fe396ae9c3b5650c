"""A stop rule: as many steps of training as fit into a time."""

import time
from collections.abc import Callable

MAX_STEPS = 1_000_000


class TimeBudget:
    """The number of steps that fit into ``seconds``, estimated anew before each step.

    Each estimate assumes that all steps to come take as long as those done: the share of the steps
    that are done is the share of the time that is over. A schedule of the learning rate that
    depends on the number of steps is thus complete when the time is over, however the speed of the
    machine changes.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.clock = seconds, clock
        self.began = self.last = clock()
        self.step_seconds = 0.0  # moving average

    @property
    def elapsed(self) -> float:
        """Seconds since the first step began, at most ``seconds``."""
        return min(self.clock() - self.began, self.seconds)

    def steps(self, done: int) -> int:
        """Steps in all, after ``done``; ``done`` itself where there is no time for another."""
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
