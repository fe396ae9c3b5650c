"""`torchrun ... -m wavediff.train`: several processes train as one does, and survive their deaths.

Nodes are agents of torchrun on this machine, which find each other by a port.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from wavediff.cli import run
from wavediff.commands.train import main

STEPS = 24
SECONDS = 300  # for what takes 20 on a quiet machine
SMALL = [
    "recipe=tiny",
    "data.count=4",
    "data.seconds=0.6",
    "data.split={every: 4, test: null, validation: 3}",
    "task.crop_frames=4",
    "network.width=8",
    "network.layers=2",
    "trainer.batch_size=4",
    "+optimizer.eps=1e-5",  # or Adam makes a step of rounding errors where a gradient is near zero
    f"trainer.max_steps={STEPS}",
    "trainer.validate_every=0",
    "trainer.log_every=1",
    "trainer.threads=1",
    "trainer.progress=false",
]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend=c10d"]


@pytest.fixture(autouse=True)
def _leave_torch_as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


def words(place: Path, run_dir: str, *overrides: str) -> list[str]:
    places = [f"data.root={place / 'data'}", f"run_dir='{place / run_dir}'"]
    return [*SMALL, *places, *overrides]


def torchrun(options: Sequence[str], training: Sequence[str]) -> subprocess.Popen:
    return subprocess.Popen(
        [*TORCHRUN, *options, "-m", "wavediff.train", *training],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> None:
    told = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 0, told


def newest(folder: Path) -> dict:
    return torch.load(sorted(folder.glob("checkpoints/*.pt"))[-1], weights_only=True)


def tensors(state: object) -> list[torch.Tensor]:
    if isinstance(state, dict):
        return [tensor for value in state.values() for tensor in tensors(value)]
    return [state] if torch.is_tensor(state) else []


def difference(folder: Path, other: Path, step: int = STEPS) -> float:
    """The largest, between weights, averages and optimizers of two runs after ``step`` steps."""
    one, two = newest(folder), newest(other)
    assert one["step"] == two["step"] == step
    keys = ("network", "ema", "optimizer", "fixed")
    pairs = zip(*(tensors({key: s[key] for key in keys}) for s in (one, two)), strict=True)
    return max((a.double() - b.double()).abs().max().item() for a, b in pairs)


def losses(folder: Path) -> list[tuple[int, float]]:
    """(step, loss) of TensorBoard; of a step that was done twice, the last."""
    events = EventAccumulator(str(folder)).Reload()
    return sorted({scalar.step: scalar.value for scalar in events.Scalars("loss/loss")}.items())


@pytest.fixture
def group() -> Iterator[None]:
    """A group of one process, over which a network is sharded like over many."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.mark.slow
def test_a_sharded_model_is_validated_exported_and_resumed_whole(tmp_path: Path, group):
    """An autoencoder and the diffusion in its latent, which lie in the task twice."""

    def training(run_dir: str, *overrides: str) -> list[str]:
        places = [f"data.root={tmp_path / 'data'}", f"run_dir={tmp_path / run_dir}"]
        kept = [word for word in SMALL[1:] if not word.startswith(("task", "network"))]
        small = ["trainer.batch_size=1", "task.crop_seconds=0.1", "sampler.times.steps=2"]
        judged = ["trainer.validate_every=2", "trainer.validate_seconds=0.1"]
        return ["recipe=tiny_lsgm", *kept, *places, *small, *judged, *overrides]

    assert run(main, training("plain", "trainer.max_steps=3")) == 0
    assert run(main, training("sharded", "trainer.max_steps=2", "trainer.shard=true")) == 0
    dist.destroy_process_group()
    assert run(main, training("sharded", "trainer.max_steps=3")) == 0
    assert difference(tmp_path / "plain", tmp_path / "sharded", step=3) == 0
    one, other = (load_file(tmp_path / n / "model.safetensors") for n in ("plain", "sharded"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def one(place: Path) -> Path:
    """The run of one process."""
    assert run(main, words(place, "one")) == 0
    return place / "one"


@pytest.fixture(scope="module")
def two(place: Path, one: Path) -> Path:
    """Runs of two processes in one sweep: whole and sharded, to the middle and to the end.

    The sharded one to the end resumes the run of one process in its middle.
    """
    half = STEPS // 2
    begun = f"two/trainer.max_steps={STEPS},trainer.shard=True"
    assert run(main, words(place, begun, f"trainer.max_steps={half}")) == 0
    lengths = f"trainer.max_steps={half},{STEPS}"
    training = words(place, "two", "--multirun", lengths, "trainer.shard=false,true")
    finish(torchrun(["--nproc-per-node=2", "--rdzv-endpoint=localhost:0"], training))
    return place / "two"


@pytest.mark.slow
def test_two_processes_train_as_one(one: Path, two: Path):
    found = two / f"trainer.max_steps={STEPS},trainer.shard=False"
    assert 0 < difference(one, found) < 1e-6
    for (step, loss), (other_step, other) in zip(losses(one), losses(found), strict=True):
        assert (step, loss) == (other_step, pytest.approx(other, rel=1e-6))


@pytest.mark.slow
def test_four_processes_train_as_one(place: Path, one: Path):
    training = words(place, "four", "trainer.shard=true")
    finish(torchrun(["--nproc-per-node=4", "--rdzv-endpoint=localhost:0"], training))
    assert difference(one, place / "four") < 1e-6
    assert [loss for _, loss in losses(place / "four")] == pytest.approx(
        [loss for _, loss in losses(one)], rel=1e-6
    )


@pytest.mark.slow
def test_a_run_goes_from_one_process_to_a_sharded_one_and_back(place: Path, one: Path, two: Path):
    assert difference(one, two / f"trainer.max_steps={STEPS},trainer.shard=True") < 1e-6
    back = f"two/trainer.max_steps={STEPS // 2},trainer.shard=True"
    assert newest(place / back)["step"] == STEPS // 2
    assert run(main, words(place, back)) == 0
    assert difference(one, place / back) < 1e-6


class Node:
    """An agent of torchrun with one worker."""

    def __init__(self, nodes: str, port: int, host: bool, training: Sequence[str]) -> None:
        quick = "last_call_timeout=2,keep_alive_interval=1,keep_alive_max_attempt=3"
        quick += f",is_host={host}"
        options = [
            f"--nnodes={nodes}", "--nproc-per-node=1", "--max-restarts=2", "--rdzv-id=test",
            f"--rdzv-endpoint=127.0.0.1:{port}", "--local-addr=127.0.0.1",
            f"--rdzv-conf={quick}", "--monitor-interval=0.1",
        ]  # fmt: skip
        self.agent = torchrun(options, training)

    def kill(self, agent_too: bool) -> None:
        children = Path(f"/proc/{self.agent.pid}/task/{self.agent.pid}/children").read_text()
        if agent_too:  # first, or it starts the worker again; which waits, or the run ends
            for child in children.split():
                os.kill(int(child), signal.SIGSTOP)
            self.agent.kill()
        for child in children.split():
            os.kill(int(child), signal.SIGKILL)


@pytest.fixture
def nodes() -> Iterator[list[Node]]:
    found: list[Node] = []
    yield found
    for node in found:
        if node.agent.poll() is None:
            node.kill(agent_too=True)
            node.agent.communicate()


def wait_for_step(step: int, folder: Path, nodes: Sequence[Node]) -> None:
    name, end = f"step-{step:09d}.pt", time.monotonic() + SECONDS
    while not any(path.name >= name for path in folder.glob("checkpoints/step*.pt")):
        assert all(node.agent.poll() is None for node in nodes), nodes[0].agent.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.005)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers in /proc")
@pytest.mark.parametrize("lost", ["worker", "node"])
def test_kill_9_of_a_worker_or_of_a_node(place: Path, one: Path, nodes, request, lost: str):
    """The workers are started again, on the nodes that are left; nobody repeats the command."""
    port = free_port()
    # a restart of the training would begin a new run, were it not for the one that is going on
    training = words(place, lost, "trainer.checkpoint_every=1", "trainer.restart=true")
    for host in (True, False):
        nodes.append(Node("1:2" if lost == "node" else "2", port, host, training))
    wait_for_step(3, place / lost, nodes)
    nodes[1].kill(agent_too=lost == "node")
    told = nodes[0].agent.communicate(timeout=SECONDS)[1]
    assert nodes[0].agent.returncode == 0, told
    assert "on cpu x 2" in told
    assert "train: resuming from step" in told
    assert told.count("Connection refused") == 0  # the addresses of workers that are dead
    assert not list((place / lost).glob("before-restart-*"))
    assert difference(one, place / lost) < 1e-6
    if lost == "worker":
        finish(nodes[1].agent)
        never_hurt = (
            request.getfixturevalue("two") / f"trainer.max_steps={STEPS},trainer.shard=False"
        )
        assert difference(never_hurt, place / lost) == 0
