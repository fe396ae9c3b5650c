import multiprocessing
from pathlib import Path

import pytest
import torch

from wavediff.errors import UserError
from wavediff.training import checkpoint
from wavediff.training.checkpoint import RunCheckpoints, differences, locked, resume
from wavediff.training.distributed import World

ALONE = World(0, 1, torch.device("cpu"))
CONFIG = {"network": {"width": 8}, "trainer": {"max_steps": 10, "batch_size": 4}, "run_dir": "a"}


def steps(checkpoints: RunCheckpoints) -> list[int]:
    return [step for step, _ in checkpoints.paths()]


def test_the_newest_and_the_best_are_kept(tmp_path: Path):
    checkpoints = RunCheckpoints(tmp_path, keep_last=2)
    for step in range(10, 70, 10):
        checkpoints.save({"step": step}, best_step=20)
    assert steps(checkpoints) == [20, 50, 60]
    assert checkpoints.load()["step"] == 60


def test_a_checkpoint_that_could_not_be_written_leaves_no_trace(tmp_path: Path, monkeypatch):
    checkpoints = RunCheckpoints(tmp_path, keep_last=1)
    checkpoints.save({"step": 1})

    def half(state: dict, path: Path) -> None:
        Path(path).write_bytes(b"PK half a file")
        raise RuntimeError("power cut")

    monkeypatch.setattr(checkpoint.torch, "save", half)
    with pytest.raises(RuntimeError, match="power cut"):
        checkpoints.save({"step": 2})
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-000000001.pt"]
    assert checkpoints.load()["step"] == 1


def test_a_flipped_bit_in_a_tensor_gives_way_to_the_one_before(tmp_path: Path, capsys):
    checkpoints = RunCheckpoints(tmp_path, keep_last=2)
    for step in (1, 2):
        checkpoints.save({"step": step, "weights": torch.full((1000,), 0.5)})
    path = checkpoints.paths()[-1][1]
    content = bytearray(path.read_bytes())
    at = content.find(torch.full((100,), 0.5).numpy().tobytes()) + 40
    content[at] ^= 1
    path.write_bytes(content)
    assert checkpoints.load()["step"] == 1
    assert "step-000000002.pt is damaged" in capsys.readouterr().err


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, capsys):
    checkpoints = RunCheckpoints(tmp_path, keep_last=3)
    for step in (1, 2):
        checkpoints.save({"step": step, "weights": torch.zeros(1000)})
    newest = checkpoints.paths()[-1][1]
    newest.write_bytes(newest.read_bytes()[:500])
    assert checkpoints.load()["step"] == 1
    assert "step-000000002.pt is damaged" in capsys.readouterr().err
    for _, path in checkpoints.paths():
        path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="none of the checkpoints can be read"):
        checkpoints.load()


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path):
    class Hostile:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "owned",)

    checkpoints = RunCheckpoints(tmp_path, keep_last=3)
    checkpoints.folder.mkdir()
    torch.save({"format": checkpoint.FORMAT, "x": Hostile()}, checkpoints.folder / "step-1.pt")
    with pytest.raises(UserError):
        checkpoints.load()
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "change",
    [{"run_dir": "b"}, {"trainer": {"max_steps": 99, "batch_size": 4}}],
)
def test_what_does_not_define_a_run_may_change(change: dict):
    assert differences(CONFIG, CONFIG | change) == []


def test_what_defines_a_run_is_named_when_it_differs():
    other = {"network": {"width": 9, "layers": 2}, "trainer": {"max_steps": 9, "batch_size": 8}}
    assert differences(CONFIG, other) == [
        "network.layers (absent -> 2)",
        "network.width (8 -> 9)",
        "trainer.batch_size (4 -> 8)",
    ]


def test_a_group_that_came_up_since_and_is_empty_is_no_difference():
    assert differences(CONFIG, CONFIG | {"adversarial": {}}) == []
    assert differences(CONFIG | {"adversarial": {}}, CONFIG) == []
    assert differences(CONFIG, CONFIG | {"teacher": None}) == []
    chosen = CONFIG | {"adversarial": {"weight": 1.0}}
    assert differences(CONFIG, chosen) == ["adversarial.weight (absent -> 1.0)"]


def test_another_notation_is_no_difference():
    old = {"_target_": "wavediff.diffusion.preconditioning.edm", "_partial_": True, "data_std": 1.0}
    assert differences(CONFIG | {"prediction": old}, CONFIG | {"prediction": "edm"}) == []
    other = CONFIG | {"prediction": {"name": "edm", "data_std": 0.5}}
    assert differences(CONFIG | {"prediction": old}, other) == ["prediction.data_std (1.0 -> 0.5)"]


def test_a_sampler_may_change_unless_training_samples_by_it():
    one, two = ({"sampler": {"times": {"steps": steps}}} for steps in (1, 2))
    assert differences(CONFIG | one, CONFIG | two) == []
    sampled = CONFIG | {"adversarial": {"weight": 1.0}}
    assert differences(sampled | one, sampled | two) == ["sampler.times.steps (1 -> 2)"]


def test_another_configuration_is_refused_unless_it_is_asked_for(tmp_path: Path):
    checkpoints = RunCheckpoints(tmp_path, 1)
    assert resume(checkpoints, CONFIG, False, False, ALONE) is None
    checkpoints.save({"step": 5, "config": CONFIG})
    (tmp_path / "model.safetensors").touch()
    other = CONFIG | {"network": {"width": 9}}
    with pytest.raises(UserError, match=r"network\.width \(8 -> 9\).*trainer\.restart=true"):
        resume(checkpoints, other, False, False, ALONE)
    assert resume(checkpoints, CONFIG, False, False, ALONE)["step"] == 5
    assert resume(checkpoints, other, False, True, ALONE)["step"] == 5
    assert resume(checkpoints, other, True, False, ALONE) is None
    kept = tmp_path / "before-restart-1"
    assert (kept / "checkpoints" / "step-000000005.pt").exists()
    assert (kept / "model.safetensors").exists()
    assert steps(checkpoints) == []


def test_names_that_moved_are_no_change(tmp_path: Path):
    checkpoints = RunCheckpoints(tmp_path, 1)
    old = {"task": {"_target_": "wavediff.tasks.series.SeriesModel", "horizon": 24}}
    new = {"task": {"_target_": "wavediff.series.model.SeriesModel", "horizon": 24}}
    checkpoints.save({"step": 5, "config": old})
    for config in (old, new):
        assert resume(checkpoints, config, False, False, ALONE)["step"] == 5


def test_two_runs_in_one_folder_are_refused(tmp_path: Path):
    fork = multiprocessing.get_context("fork")
    ready, done = fork.Event(), fork.Event()

    def hold() -> None:
        with locked(tmp_path):
            ready.set()
            done.wait(30)

    other = fork.Process(target=hold)
    other.start()
    try:
        assert ready.wait(30)
        with pytest.raises(UserError, match="another process is training"), locked(tmp_path):
            pass
    finally:
        other.kill()  # as hard as can be: the lock must not outlive its holder
        other.join()
    with locked(tmp_path):
        pass


def test_after_a_restart_by_torchrun_the_lock_is_waited_for(tmp_path: Path, monkeypatch):
    calls = []

    def held_for_a_moment(*args: object) -> None:
        calls.append(args)
        if len(calls) % 3:
            raise BlockingIOError

    monkeypatch.setattr("fcntl.lockf", held_for_a_moment)
    with pytest.raises(UserError, match="another process is training"), locked(tmp_path):
        pass
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with locked(tmp_path):
        assert len(calls) == 3


def test_a_restart_by_torchrun_does_not_begin_the_run_again(tmp_path: Path, monkeypatch):
    checkpoints = RunCheckpoints(tmp_path, 1)
    checkpoints.save({"step": 5, "config": {}})
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert resume(checkpoints, {}, True, False, ALONE)["step"] == 5
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert resume(checkpoints, {}, True, False, ALONE) is None


def test_processes_that_find_different_checkpoints_are_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(World, "gather", lambda self, value: [value, None])
    checkpoints = RunCheckpoints(tmp_path, 1)
    checkpoints.save({"step": 5, "config": {}})
    with pytest.raises(UserError, match=r"\(of step 5, none\). Use a run_dir on a file system"):
        resume(checkpoints, {}, False, False, ALONE)
