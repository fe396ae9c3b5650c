"""Fine-tuning: within its time, reproducible, and kept only where it helps."""

import os
import signal

import numpy as np
import pytest

from wavediff.cli import run
from wavediff.commands import forecast
from wavediff.errors import UserError
from wavediff.series import fine_tuning
from wavediff.series.fine_tuning import RowWindows, fine_tune
from wavediff.series.forecaster import Forecaster
from wavediff.series.period import Periods
from wavediff.training.budget import MAX_STEPS, TimeBudget
from wavediff.training.learner import Learner, Step


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


def rows(count: int = 6, length: int = 60) -> list[np.ndarray]:
    """A shape that no family of the training has."""
    t = np.arange(length)
    generator = np.random.default_rng(0)
    return [
        100 + 40 * (t % 13 == 5) - 30 * (t % 13 == 9) + generator.normal(size=length)
        for _ in range(count)
    ]


def test_windows_end_before_what_is_held_back():
    data = RowWindows([np.arange(40.0), np.full(40, np.nan)], [30, 30], Periods(4, 1), 8, 0)
    seen = np.stack([data[k]["values"].numpy() for k in range(200)])
    assert np.nanmax(seen) == 29
    assert np.isfinite(seen[:, -8:]).all()
    assert np.nanmin(seen) == 0
    with pytest.raises(UserError, match="no series has 16 values to learn from"):
        RowWindows([np.arange(20.0)], [12], Periods(1, 1), 8, 0)


@pytest.fixture(scope="module")
def model():
    return Forecaster(progress=False, device="cpu").model


def test_the_seed_decides_and_the_given_model_stays(model):
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    options = {"steps": 2, "progress": False}
    one, other = (fine_tune(model, rows(), Periods(1, 1), 8, seed=3, **options) for _ in range(2))
    assert one.sentence == other.sentence
    for name, value in model.network.state_dict().items():
        assert (value == before[name]).all()
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert (a == b).all()


@pytest.mark.slow
def test_a_shape_of_its_own_is_learnt(model):
    found = fine_tune(model, rows(24, 200), Periods(1, 1), 13, steps=150, progress=False)
    assert "% better on the 24 windows held back" in found.sentence
    assert found.model is not model


def test_what_gains_nothing_is_not_kept(model, monkeypatch):
    monkeypatch.setattr(fine_tuning, "LEARNING_RATE", 1e-9)
    found = fine_tune(model, rows(), Periods(1, 1), 8, steps=1, progress=False)
    assert found.model is model
    assert "gained nothing on the 6 windows held back" in found.sentence


def test_training_that_cannot_go_on_is_told(model, monkeypatch):
    bad = Step(np.nan, 1.0, 1.0, [], "the loss is not finite")
    monkeypatch.setattr(Learner, "learn", lambda *rest: bad)
    with pytest.raises(UserError, match="20 steps in a row were skipped because the loss"):
        fine_tune(model, rows(), Periods(1, 1), 8, steps=50, progress=False)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_says_that_the_model_is_not_kept(
    number, code, tmp_path, monkeypatch, capsys, request
):
    def learn(self, step, feed):
        if step == 2:
            os.kill(os.getpid(), number)
        return Step(1.0, 1.0, 1.0, [])

    monkeypatch.setattr(Learner, "learn", learn)
    monkeypatch.setattr(fine_tuning, "CHECKS", 1)
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
    assert "stopped after 2 steps of fine-tuning: the fine-tuned model is not kept" in told
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
