"""A corpus on a cluster of two nodes on this machine, of which one is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

ray = pytest.importorskip("ray")

PATIENCE = 240  # seconds, on a slow machine
FILES = 8
SECONDS, RATE = 20, 16_000


@pytest.fixture(scope="module")
def cluster():
    """A cluster of Ray's with two nodes, each with room for one worker."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
    quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}
    found = Cluster(True, False, node | {"_system_config": quick})
    found.add_node(**node)
    yield found
    found.shutdown()


@pytest.fixture
def corpus(tmp_path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(FILES):
        noise = 0.1 * rng.standard_normal(SECONDS * RATE)
        soundfile.write(folder / f"{number:02}.wav", noise, RATE)
    return folder


def children(pid: int) -> dict[int, str]:
    """The command lines of the child processes by their numbers."""
    found = {}
    for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            found[int(number)] = Path(f"/proc/{number}/cmdline").read_text()
        except OSError:  # it has ended meanwhile
            continue
    return found


def kill_while_it_works(node) -> None:
    """SIGKILL to all of a node's processes, as where a machine goes off, during a file."""
    raylet = node.all_processes["raylet"][0].process.pid
    limit = time.monotonic() + PATIENCE
    while not any("Worker.work" in line for line in children(raylet).values()):
        assert time.monotonic() < limit, "the second node got no work"
        time.sleep(0.02)
    for pid in (*children(raylet), raylet):
        os.kill(pid, signal.SIGKILL)


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_a_node_is_killed_in_the_middle_and_nothing_is_lost_or_done_twice(
    cluster, corpus, tmp_path
):
    words = ["enhance", "corpus", "-o", "out", "--ray", cluster.address, "--manifest", "m.jsonl"]
    command = [sys.executable, "-m", "wavediff", *words]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        (second,) = cluster.worker_nodes
        kill_while_it_works(second)
        told, talk = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, talk
    names = [f"{number:02}.wav" for number in range(FILES)]
    assert Counter(told.split()) == Counter(f"out/{name}" for name in names)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    lines = lines_of(tmp_path / "m.jsonl")
    assert Counter(line["input"] for line in lines) == Counter(f"corpus/{name}" for name in names)
    assert [line["error"] for line in lines] == [None] * FILES
    assert {line["seconds"] for line in lines} == {SECONDS}
    for name in names:
        assert soundfile.info(tmp_path / "out" / name).frames == SECONDS * RATE

    # once more, with one file to do and one that is damaged
    (corpus / "03.wav").write_text("no sound")
    (tmp_path / "out" / "03.wav").unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    (tmp_path / "out" / "05.wav").unlink()
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert again.returncode == 2
    assert again.stdout.split() == ["out/05.wav"]
    assert "failed: corpus/03.wav is not audio that can be read" in again.stderr
    kept = {path for path in before if path.name != "05.wav"}
    assert all(path.stat().st_mtime_ns == before[path] for path in kept)
    lines = lines_of(tmp_path / "m.jsonl")
    assert Counter(line["input"] for line in lines) == Counter(f"corpus/{name}" for name in names)
    assert [line["input"] for line in lines if line["error"]] == ["corpus/03.wav"]
