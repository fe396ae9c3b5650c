"""A small model within a time: how many steps it has, what a stop says, what the seed decides."""

import os
import signal

import numpy as np
import pytest

from wavediff.cli import run
from wavediff.commands import forecast
from wavediff.errors import UserError
from wavediff.series.forecaster import Forecaster
from wavediff.training.budget import MAX_STEPS, TimeBudget
from wavediff.training.learner import Learner, Step

QUICK = {"context": 8, "device": "cpu", "progress": False}


class Machine:
    """A clock, and steps that take as long as the machine lets them."""

    def __init__(self, seconds, each):
        self.now, self.each = 100.0, each
        self.budget = TimeBudget(seconds, clock=lambda: self.now)

    def train(self):
        """(share of the time that was over before each step, share of the steps)."""
        done, shares = 0, []
        while (total := self.budget.steps(done)) > done:
            shares.append(((self.now - 100) / self.budget.seconds, done / total))
            self.now += self.each(self.now - 100)
            done += 1
        return done, shares


@pytest.mark.parametrize(
    ("each", "steps"),
    [
        (lambda t: 0.1, 300),
        (lambda t: 2.0 if t < 3 else 0.1, 262),  # busy at the beginning: 2 steps, then 260
        (lambda t: 0.1 if t < 15 else 1.0, 165),  # and later on
        (lambda t: 0.7 if t == 0 else 0.05, 587),  # the first step is slower than all others
    ],
)
def test_the_time_is_used_whatever_the_speed_and_the_rate_comes_down(each, steps):
    machine = Machine(30, each)
    done, shares = machine.train()
    assert done == pytest.approx(steps, rel=0.02)
    assert 0.93 * 30 < machine.now - 100 <= 30.5
    over, made = np.array(shares[2:]).T
    np.testing.assert_allclose(made, over, atol=0.02)
    assert made[-1] > 0.93


def test_a_step_longer_than_the_time_is_made_nevertheless():
    assert Machine(1, lambda t: 60).train()[0] == 1
    assert TimeBudget(30).steps(0) == MAX_STEPS


def steps_of(monkeypatch, told):
    """The learning rate of every step, as Learner.learn takes it, without its work."""

    def learn(self, number, feed):
        config = self.config
        told.append((number, config.max_steps, config.warmup_steps))
        next(feed)
        return Step(1.0, 1.0, 1.0, [])

    monkeypatch.setattr(Learner, "learn", learn)


def test_given_steps_are_made_and_decide_the_result(monkeypatch):
    values = 10 + np.sin(np.arange(60) / 3)[:, None]
    one, other = (Forecaster(4, fit_steps=3, **QUICK).fit(values).sample(4) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    third = Forecaster(4, fit_steps=3, seed=1, **QUICK).fit(values).model
    assert third.extra["step"] == 3
    assert third.extra["seed"] == 1
    assert not third.training
    told = []
    steps_of(monkeypatch, told)
    Forecaster(4, fit_steps=30, **QUICK).fit(values)
    assert told == [(number, 30, 3) for number in range(30)]


def test_seconds_decide_the_number_of_steps(monkeypatch):
    told = []
    steps_of(monkeypatch, told)
    model = Forecaster(4, seconds=1, **QUICK).fit(np.arange(60.0)).model
    number, steps, warmup = told[-1]
    assert model.extra["step"] == len(told) == number + 1
    assert told[0][1:] == (MAX_STEPS, 100)
    assert 0.9 < number / steps <= 1
    assert warmup == min(100, steps // 10)


def test_a_model_that_cannot_be_fitted_is_told(monkeypatch):
    bad = Step(np.nan, 1.0, 1.0, [], "the loss is not finite")
    monkeypatch.setattr(Learner, "learn", lambda *rest: bad)
    with pytest.raises(UserError, match="20 steps in a row were skipped because the loss"):
        Forecaster(4, fit_steps=50, **QUICK).fit(np.arange(60.0))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_says_that_the_model_is_not_kept(
    number, code, tmp_path, monkeypatch, capsys, request
):
    def learn(self, step, feed):
        if step == 2:
            os.kill(os.getpid(), number)
        return Step(1.0, 1.0, 1.0, [])

    monkeypatch.setattr(Learner, "learn", learn)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    table = tmp_path / "t.csv"
    table.write_text("time,a\n" + "".join(f"2024-01-{d:02},{d % 7}\n" for d in range(1, 31)))
    out = tmp_path / "out.csv"
    words = [str(table), "--horizon", "3", "--fit-steps", "9", "--device", "cpu", "-o", str(out)]
    try:
        found = run(forecast.main, words)
    except SystemExit as stop:
        found = stop.code
    assert found == code
    told = capsys.readouterr().err
    assert "stopped after 2 steps of training: the model that was being fitted is not kept" in told
    assert "saved" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
