"""`wavediff train` on shards: exact resume, several processes, HTTP and damage."""

import functools
import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from wavediff.cli import main

SMALL = [
    "recipe=tiny",
    "data=webdataset",
    "data.window=2",
    "data.min_seconds=0.1",
    "data.split=null",
    "task.crop_frames=4",
    "network.width=8",
    "network.layers=2",
    "trainer.batch_size=3",
    "trainer.validate_every=0",
    "trainer.threads=1",
    "trainer.progress=false",
    "data.workers=0",
]
CLIPS, SHARDS = 40, 10


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "in").mkdir()
    for i in range(CLIPS):
        noise = np.random.default_rng(i).uniform(-0.5, 0.5, 4000 + 50 * i)
        soundfile.write(folder / "in" / f"{i:03d}.wav", noise, 22050)
    words = ["pack", str(folder / "in"), "-o", str(folder / "shards"), "--clips", "4"]
    assert main(words) == 0
    return folder / "shards"


@pytest.fixture(autouse=True)
def _leave_torch_as_it_was(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def words(root, run_dir: Path, *more: str) -> list[str]:
    return [*SMALL, f"data.root={root}", f"run_dir={run_dir}", *more]


def weights(run_dir: Path) -> dict:
    path = sorted(run_dir.glob("checkpoints/*.pt"))[-1]
    return torch.load(path, weights_only=True)["network"]


def assert_same(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def kill_after(command: list[str], checkpoints: Path, step: int) -> None:
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 300
    while not (checkpoints / f"step-{step:09d}.pt").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_kill_9_in_the_middle_of_a_shard_behind_http(shards, tmp_path, capsys):
    """Killed and resumed on shards that are fetched, beside an unhurt run on the disk."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(shards))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/shards.json"
    long = ["trainer.max_steps=16", "trainer.checkpoint_every=1", "data.workers=1"]
    given = words(url, tmp_path / "killed", *long)
    kill_after(
        [sys.executable, "-m", "wavediff.train", *given], tmp_path / "killed" / "checkpoints", 4
    )
    assert not (tmp_path / "killed" / "checkpoints" / "step-000000016.pt").exists()
    shutil.rmtree(tmp_path / "caches")  # the order does not depend on what was fetched
    assert main(["train", *given]) == 0
    server.shutdown()
    server.server_close()
    assert "resuming from step" in capsys.readouterr().err
    whole = words(shards, tmp_path / "whole", "trainer.max_steps=16")
    assert main(["train", *whole]) == 0
    assert_same(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_train_on_the_examples_of_one(shards, tmp_path):
    given = ["trainer.max_steps=5", "data.workers=1"]
    assert main(["train", *words(shards, tmp_path / "one", *given)]) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    port = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    done = subprocess.run(
        [*command, *port, "-m", "wavediff.train", *words(shards, tmp_path / "two", *given)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_damaged_shards_and_clips_are_skipped_and_counted(shards, tmp_path, capsys):
    folder = tmp_path / "damaged"
    shutil.copytree(shards, folder)
    (folder / "shards.json").unlink()  # as shards of another tool: nothing is known of them
    for index in folder.glob("*.jsonl"):
        index.unlink()
    (folder / "shard-000003.tar").write_bytes(b"\x17" * 5000)
    with open(folder / "shard-000005.tar", "r+b") as file:
        file.truncate(30_000)
        file.seek(600)
        file.write(bytes(8000))
    given = words(folder, tmp_path / "run", "trainer.max_steps=13")
    assert main(["train", *given]) == 0
    told = capsys.readouterr().err
    assert told.count("data: skipped: ") == 1
    assert "2 shards damaged or unusable in epoch 1" in told
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.slow
def test_the_command_of_a_pipe_in_a_run_folder_is_not_run(shards, tmp_path, capsys):
    """A run remembers its configuration; no command that reads the run looks into it."""
    mark = tmp_path / "executed"
    root = f"'pipe:touch {mark}; cat {shards}/shard-000000.tar'"
    assert main(["train", *words(root, tmp_path / "run", "trainer.max_steps=1")]) == 0
    assert mark.exists()
    mark.unlink()
    shutil.rmtree(tmp_path / "caches")
    assert "pipe:" in (tmp_path / "run" / ".hydra" / "config.yaml").read_text()
    assert main(["info", str(tmp_path / "run")]) == 0
    audio = str(shards.parent / "in" / "000.wav")
    model = ["--checkpoint", str(tmp_path / "run")]
    assert main(["vocode", audio, "-o", str(tmp_path / "a.wav"), *model, "--steps", "1"]) == 0
    other = words(shards, tmp_path / "other", f"init_from={tmp_path / 'run'}")
    assert main(["train", *other, "trainer.max_steps=1"]) == 0
    assert main(["train", *words(shards, tmp_path / "run", "trainer.max_steps=2")]) == 2
    assert "data.root" in capsys.readouterr().err
    assert not mark.exists()
