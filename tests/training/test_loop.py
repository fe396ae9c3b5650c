import io
import os
import signal
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from wavediff.errors import UserError
from wavediff.training.checkpoint import RunCheckpoints
from wavediff.training.learner import Learner
from wavediff.training.validation import Sample, Validation


def same(one: Learner, other: Learner) -> bool:
    pairs = [
        (one.network.state_dict(), other.network.state_dict()),
        (one.exported(), other.exported()),
    ]
    return all(torch.equal(a[k], b[k]) for a, b in pairs for k in a)


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"audio": 0, "images": 0}).Reload()


def test_a_run_in_two_pieces_ends_with_the_weights_of_one_in_one_piece(run):
    whole, _ = run("whole", warmup_steps=4)
    run("pieces", warmup_steps=4, max_steps=2)
    run("pieces", warmup_steps=4, max_steps=3)
    pieces, outcome = run("pieces", warmup_steps=4)
    assert outcome.step == 6
    assert same(whole, pieces)
    begun_anew, _ = run("other", warmup_steps=4, max_steps=3)
    assert not same(whole, begun_anew)


def test_going_on_from_an_older_checkpoint_ends_the_same(run, tmp_path: Path):
    """As after kill -9: steps since the last checkpoint are lost and done again."""
    run("run", checkpoint_every=2, keep_last=10)
    folder = tmp_path / "run" / "checkpoints"
    first, _ = run("first")
    (folder / "step-000000006.pt").unlink()
    again, outcome = run("run", checkpoint_every=2, keep_last=10)
    assert outcome.step == 6
    assert same(first, again)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_step_end_and_saves(run, tmp_path: Path, fake_data, signum: int, capfd):
    def shoot(index: int, audio: torch.Tensor) -> torch.Tensor:
        if index == 9 and not (tmp_path / "shot").exists():  # in the third step
            (tmp_path / "shot").touch()
            os.kill(os.getpid(), signum)
        return audio

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    _, outcome = run("shot-run", data=fake_data(shoot))
    assert (outcome.step, outcome.signum) == (3, signum)
    assert RunCheckpoints(tmp_path / "shot-run", 1).load()["step"] == 3
    assert "saved after SIG" in capfd.readouterr().err
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    resumed, outcome = run("shot-run", data=fake_data(shoot))
    assert (outcome.step, outcome.signum) == (6, 0)
    assert same(resumed, run("whole")[0])


def test_the_time_allowed_ends_a_run_with_a_checkpoint(run, tmp_path: Path):
    _, outcome = run(max_minutes=1e-9, max_steps=1000)
    assert (outcome.step, outcome.signum) == (1, 0)
    assert RunCheckpoints(tmp_path / "run", 1).load()["step"] == 1


def test_checkpoints_by_the_clock(run, tmp_path: Path):
    run(checkpoint_minutes=1e-9, keep_last=10)
    assert len(RunCheckpoints(tmp_path / "run", 1).paths()) == 6


def test_one_bad_step_is_counted_and_too_many_in_a_row_end_the_run(run, tmp_path, fake_data):
    def once(index: int, audio: torch.Tensor) -> torch.Tensor:
        return audio * float("nan") if index == 5 else audio

    run("once", data=fake_data(once), max_bad_steps=2)
    assert RunCheckpoints(tmp_path / "once", 1).load()["counters"]["skipped"] == 1

    def always(index: int, audio: torch.Tensor) -> torch.Tensor:
        return audio * float("inf") if index >= 8 else audio

    with pytest.raises(UserError, match=r"step 5: 3 steps in a row .* the loss is not finite"):
        run("always", data=fake_data(always), max_bad_steps=3, checkpoint_every=2)
    assert RunCheckpoints(tmp_path / "always", 1).load()["step"] == 4


def test_tensorboard_holds_what_a_user_looks_for(run, tmp_path: Path):
    time = torch.arange(16000) / 16000
    sample = Sample("clip", 0.5 * torch.sin(2000 * time), 0.5 * torch.sin(3000 * time))
    scores = iter([{"mr_stft": 2.0}, {"mr_stft": 1.0}, {"mr_stft": 1.5}])

    def validate(learner: Learner) -> Validation:
        return Validation(next(scores), samples=[sample])

    learner, _ = run(validate=validate, validate_every=2, log_every=2, keep_last=1)
    log = events(tmp_path / "run")
    tags = log.Tags()
    assert {
        "loss/loss",
        "loss/squared",
        "train/learning_rate",
        "train/gradient_norm",
        "train/samples_per_second",
        "train/skipped_steps",
        "validation/mr_stft",
    } <= set(tags["scalars"])
    assert [event.step for event in log.Scalars("loss/loss")] == [2, 4, 6]
    twice = zip(log.Scalars("loss/loss"), log.Scalars("loss/squared"), strict=True)
    assert all(a.value == pytest.approx(2 * b.value, rel=1e-5) for a, b in twice)
    assert any(tag.startswith("loss_by_log_snr/") for tag in tags["scalars"])
    assert set(tags["audio"]) == {"clip/original", "clip/model"}
    assert len(log.Audio("clip/model")) == 3
    assert len(log.Audio("clip/original")) == 1
    assert len(log.Images("clip/original_above_model")) == 3

    # the best (step 4) and the newest (step 6)
    assert [s for s, _ in RunCheckpoints(tmp_path / "run", 1).paths()] == [4, 6]
    best, facts = torch.load(io.BytesIO((tmp_path / "run" / "best.safetensors").read_bytes()))
    assert facts["step"] == 4
    assert facts["mr_stft"] == 1.0
    newest, facts = torch.load(io.BytesIO((tmp_path / "run" / "model.safetensors").read_bytes()))
    assert facts["step"] == 6
    assert all(torch.equal(newest[k], v) for k, v in learner.exported().items())
    assert any(not torch.equal(best[k], newest[k]) for k in best)


def test_validation_sees_the_averaged_weights_and_leaves_no_trace(run):
    seen = []

    def validate(learner: Learner) -> Validation:
        assert not learner.network.training
        seen.append(learner.network[0].weight.clone())
        torch.rand(7)  # validation may draw as it likes
        return Validation({})

    plain, _ = run("plain")
    learner, _ = run("validated", validate=validate, validate_every=1)
    assert same(plain, learner)
    assert len(seen) == 6
    assert torch.equal(seen[-1], learner.exported()["0.weight"])
    assert not torch.equal(seen[-1], learner.network[0].weight)


def test_the_log_of_a_resumed_run_hides_what_was_done_twice(run, tmp_path: Path):
    run(checkpoint_every=2, keep_last=10, log_every=1)
    for step in (5, 6):
        (tmp_path / "run" / "checkpoints" / f"step-{step:09d}.pt").unlink(missing_ok=True)
    run(checkpoint_every=2, keep_last=10, log_every=1)
    steps = [event.step for event in events(tmp_path / "run").Scalars("loss/loss")]
    assert steps == [1, 2, 3, 4, 5, 6]
