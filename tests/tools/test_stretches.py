import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from wavediff.cli import run
from wavediff.training.checkpoint import RunCheckpoints

TOOL = Path(__file__).parents[2] / "tools" / "stretches.py"
spec = importlib.util.spec_from_file_location("stretches", TOOL)
stretches = importlib.util.module_from_spec(spec)
spec.loader.exec_module(stretches)

TINY = [
    "recipe=tiny", "data.count=4", "data.seconds=0.6", "task.crop_frames=4", "network.width=8",
    "data.split={every: 4, test: null, validation: 3}", "network.layers=2", "trainer.batch_size=2",
    "trainer.validate_every=0", "trainer.threads=1", "trainer.progress=false",
]  # fmt: skip


def call(*words: object) -> int:
    return run(stretches.main, [str(word) for word in words])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of files that do not compress, one of them empty."""
    rng = np.random.default_rng(0)
    for name, size in {"a.bin": 70_001, "deep/b.bin": 20_000, "deep/empty.bin": 0}.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(size))
    return tmp_path / "data"


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_parts_are_small_and_give_the_files_back(data, tmp_path, capsys):
    parts = tmp_path / "parts"
    assert call("pack", data, data / "a.bin", "-o", parts, "--part-mb", "0.05") == 0
    sizes = [path.stat().st_size for path in sorted(parts.glob("part-*"))]
    assert len(sizes) > 3
    assert set(sizes[:-1]) == {50_000}
    assert f"{len(sizes)} parts" in capsys.readouterr().out
    assert call("unpack", parts, "-o", tmp_path / "out") == 0
    assert contents(tmp_path / "out" / "data") == contents(data)
    assert (tmp_path / "out" / "a.bin").read_bytes() == (data / "a.bin").read_bytes()


def test_what_is_unpacked_is_not_unpacked_again(data, tmp_path):
    parts, out = tmp_path / "parts", tmp_path / "out"
    assert call("pack", data, "-o", parts) == 0
    assert call("unpack", parts, "-o", out) == 0
    (out / "data" / "a.bin").write_bytes(b"mine")
    assert call("unpack", parts, "-o", out) == 0
    assert (out / "data" / "a.bin").read_bytes() == b"mine"
    (data / "a.bin").write_bytes(b"theirs")
    assert call("pack", data, "-o", parts) == 0  # in the place of the old ones
    assert call("unpack", parts, "-o", out) == 0
    assert (out / "data" / "a.bin").read_bytes() == b"theirs"
    assert len(list(parts.iterdir())) == 2


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda parts: (parts / "part-0001").unlink(), "part-0001 is missing: copy all parts"),
        (lambda parts: (parts / "part-0001").write_bytes(b"x" * 50_000), "damaged or of another"),
        (lambda parts: (parts / "parts.json").unlink(), "parts.json is missing or damaged"),
        (lambda parts: (parts / "parts.json").write_text("[1]"), "parts.json is missing or damag"),
        (
            lambda parts: (parts / "parts.json").write_text(
                json.dumps({"../a": {"bytes": 1, "sha256": "0"}})
            ),
            "is missing: copy all parts",
        ),
    ],
)
def test_a_harmed_archive_is_refused(data, tmp_path, capsys, harm, sentence):
    parts = tmp_path / "parts"
    call("pack", data, "-o", parts, "--part-mb", "0.05")
    harm(parts)
    assert call("unpack", parts, "-o", tmp_path / "out") == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_failure_leaves_the_old_archive_whole(data, tmp_path, capsys, monkeypatch):
    parts = tmp_path / "parts"
    call("pack", data, "-o", parts, "--part-mb", "0.05")
    before = contents(parts)
    real = stretches.atomic_path
    written = []

    def fails_at_the_second(path):
        written.append(path)
        if len(written) == 2:
            raise stretches.UserError("the disk is full")
        return real(path)

    monkeypatch.setattr(stretches, "atomic_path", fails_at_the_second)
    assert call("pack", data, "-o", parts, "--part-mb", "0.05") == 2
    assert contents(parts) == before
    assert call("pack", tmp_path / "nothing", "-o", parts) == 2
    assert "there is no" in capsys.readouterr().err


def test_the_run_travels_in_the_state(tmp_path, monkeypatch, capsys):
    """With a stand-in for the training, which goes on from the checkpoint that it finds."""
    asked = []

    def train(words: list[str]) -> int:
        asked.append(words[3:])
        folder = Path(next(word for word in words if word.startswith("run_dir="))[8:])
        step = max([step for step, _ in RunCheckpoints(folder, 1).paths()], default=0) + 5
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        (folder / "checkpoints" / f"step-{step:09d}.pt").write_bytes(bytes([step]) * 1000)
        (folder / "model.safetensors").write_bytes(bytes([step]))
        return 0

    monkeypatch.setattr(stretches, "_train", train)
    state = tmp_path / "state"
    for number in range(3):
        place = tmp_path / f"machine-{number}" / "mine"
        place.mkdir(parents=True)
        (place / ".lock").touch()  # of a start that failed
        assert call("train", place, "--state", state, "recipe=tiny", "--minutes", "3") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("mine: step 15")
    assert (asked[0][0], asked[0][1]) == (
        "recipe=tiny",
        f"run_dir={place.parents[1]}/machine-0/mine",
    )
    minutes = float(asked[0][2].removeprefix("trainer.max_minutes="))
    assert 2 < minutes <= 2.5
    assert call("unpack", state, "-o", tmp_path / "home") == 0
    kept = contents(tmp_path / "home" / "mine")
    assert kept == {
        "checkpoints/step-000000015.pt": bytes([15]) * 1000,  # the newest alone
        "model.safetensors": bytes([15]),
    }


@pytest.mark.slow
def test_a_run_in_stretches_on_bare_machines_ends_as_an_unbroken_one(tmp_path):
    words = [*TINY, f"data.root={tmp_path / 'audio'}"]
    state = tmp_path / "state"
    for number, steps in enumerate((3, 6)):
        place = tmp_path / f"machine-{number}" / "mine"
        more = [f"trainer.max_steps={steps}", "trainer.decay=none"]
        assert call("train", place, "--state", state, "--part-mb", "0.05", *words, *more) == 0
        step, newest = RunCheckpoints(place, 1).paths()[-1]
        assert step == steps
    plain = tmp_path / "plain"
    command = [sys.executable, "-m", "wavediff.train", *words, f"run_dir={plain}"]
    subprocess.run([*command, "trainer.max_steps=6", "trainer.decay=none"], check=True)
    ours = torch.load(newest, weights_only=True)
    theirs = torch.load(RunCheckpoints(plain, 1).paths()[-1][1], weights_only=True)
    for key in ("network", "ema"):
        assert all(torch.equal(ours[key][name], theirs[key][name]) for name in theirs[key])
    assert call("unpack", state, "-o", tmp_path / "home") == 0
    assert (tmp_path / "home" / "mine" / "model.safetensors").is_file()
    assert len(list((tmp_path / "home" / "mine" / "checkpoints").iterdir())) == 1


@pytest.mark.slow
def test_a_stretch_ends_in_time_and_data_is_unpacked_first(data, tmp_path, capfd):
    parts, folder = tmp_path / "parts", tmp_path / "run"
    call("pack", data, "-o", parts)
    began = time.monotonic()
    code = call(
        "train", folder, "--minutes", "0.3", "--reserve", "0.2", "--data", parts, "--place",
        tmp_path / "there", "--state", tmp_path / "state", *TINY, f"data.root={tmp_path / 'audio'}",
        "trainer.max_steps=1000000",
    )  # fmt: skip
    assert code == 0
    assert time.monotonic() - began < 120  # it would take hours otherwise
    assert contents(tmp_path / "there" / "data") == contents(data)
    said = capfd.readouterr()
    assert "trainer.max_minutes are over" in said.err
    assert "run: step" in said.out


@pytest.mark.slow
def test_a_wish_to_stop_reaches_the_training_and_the_state_is_kept(tmp_path):
    words = [*TINY, f"data.root={tmp_path / 'audio'}", "trainer.max_steps=1000000"]
    command = [sys.executable, str(TOOL), "train", str(tmp_path / "run"), "--state"]
    child = subprocess.Popen([*command, str(tmp_path / "state"), *words])
    while not list((tmp_path / "run").glob("events*")):
        assert child.poll() is None
        time.sleep(0.1)
    child.send_signal(signal.SIGTERM)
    assert child.wait() == 128 + signal.SIGTERM
    assert call("unpack", tmp_path / "state", "-o", tmp_path / "home") == 0
    assert RunCheckpoints(tmp_path / "home" / "run", 1).paths()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run_dir=elsewhere"], "run_dir is given by RUN and --minutes"),
        (["--minutes", "0.1"], "leave no time for training"),
    ],
)
def test_what_cannot_be_is_said_before_training(tmp_path, capsys, words, sentence):
    folder = tmp_path / "run"
    assert call("train", folder, "--state", tmp_path / "state", "recipe=tiny", *words) == 2
    assert sentence in capsys.readouterr().err
    assert not folder.exists()


def test_a_state_of_another_run_is_refused(data, tmp_path, capsys):
    call("pack", data, "-o", tmp_path / "state")
    assert call("train", tmp_path / "run", "--state", tmp_path / "state", "recipe=tiny") == 2
    assert "it has no run" in capsys.readouterr().err


def test_an_unknown_option_is_named(capsys):
    with pytest.raises(SystemExit) as ended:
        stretches.main(["train", "run", "--state", "state", "--minuets", "3"])
    assert ended.value.code == 2
    assert "--minuets" in capsys.readouterr().err
