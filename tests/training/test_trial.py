"""A run as a trial: where its rungs are, and how many steps fit into a time."""

from types import SimpleNamespace

import pytest

from wavediff.training.budget import MAX_STEPS
from wavediff.training.config import Decay
from wavediff.training.optim import learning_rate_factor
from wavediff.training.trial import Trial

SHARES = [1 / 9, 1 / 3, 1]


def walk(trial: Trial, config: SimpleNamespace, durations, step: int = 0, seconds: float = 0.0):
    """Yield (step, seconds, last step, rung) after each step of the given duration."""
    last = trial.begin(step, seconds, config)
    for duration in durations:
        if step >= last:
            return
        step, seconds = step + 1, seconds + duration
        last = trial.last_step(step, seconds)
        yield step, seconds, last, trial.rung(step)


def forever(duration: float):
    while True:
        yield duration


def reached(walked) -> dict[int, int]:
    return {rung: step for step, _, _, rung in walked if rung is not None}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(90, {0: 10, 1: 30, 2: 90}), (10, {0: 2, 1: 4, 2: 10}), (3, {1: 1, 2: 3}), (1, {2: 1})],
)
def test_the_rungs_of_a_number_of_steps(steps, expected):
    trial = Trial(SHARES, lambda standing: True)
    assert reached(walk(trial, SimpleNamespace(max_steps=steps), forever(1.0))) == expected


def test_a_resumed_run_is_not_judged_twice_at_a_rung():
    trial = Trial(SHARES, lambda standing: True)
    config = SimpleNamespace(max_steps=90)
    assert reached(walk(trial, config, forever(1.0), step=29)) == {1: 30, 2: 90}
    assert reached(walk(trial, config, forever(1.0), step=30)) == {2: 90}
    assert reached(walk(trial, config, forever(1.0), step=90)) == {}


@pytest.mark.parametrize("pace", [0.01, 0.5, 7.0])
def test_a_time_is_spent_and_not_exceeded(pace):
    trial = Trial(SHARES, lambda standing: True, seconds=90)
    walked = list(walk(trial, SimpleNamespace(max_steps=5), forever(pace)))
    step, seconds, last, rung = walked[-1]
    assert step == last
    assert rung == 2
    assert 90 - pace - 1e-6 <= seconds <= 90 + 1e-6
    first, second, _ = (walked[s - 1][1] for s in sorted(reached(walked).values()))
    assert 10 <= first < 10 + pace
    assert 30 <= second < 30 + pace


def test_the_decay_ends_with_the_time_whatever_a_step_takes():
    """The share of finished steps, by which the rate decays, is that of the time."""
    trial = Trial(SHARES, lambda standing: True, seconds=100)
    slower = [3.0] + [0.1] * 300 + [0.4] * 1000  # a slow start, and company on the machine
    for step, seconds, last, _ in walk(trial, SimpleNamespace(max_steps=5), slower):
        assert step / last == pytest.approx(min(seconds / 100, 1), abs=0.02)
    assert learning_rate_factor(step - 1, last, 0, Decay.cosine, 0.02) < 0.021
    assert seconds == pytest.approx(100, abs=0.5)


def test_a_resumed_run_has_the_time_that_was_left():
    trial = Trial(SHARES, lambda standing: True, seconds=100)
    config = SimpleNamespace(max_steps=5)
    assert trial.begin(0, 0.0, config) == MAX_STEPS
    walked = list(walk(trial, config, forever(0.5), step=60, seconds=60.0))
    assert walked[-1][1] == pytest.approx(100, abs=0.5)
    assert len(walked) == pytest.approx(80, abs=1)
    assert [rung for *_, rung in walked if rung is not None] == [2]
    step, seconds, last, _ = walked[40]
    assert step / last == pytest.approx(seconds / 100, abs=0.02)
