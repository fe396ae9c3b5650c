"""Corpora: shards, manifests, resuming, and the workers of a cluster that is simulated."""

import argparse
import json
import os
import threading
import time
from collections import Counter, deque
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fake_ray import FakeRay, Lost

from wavediff.cli import run
from wavediff.commands import corpus_files, mel, ray_workers
from wavediff.commands.corpus import Outcome, Shard, quietly, shard, shared
from wavediff.commands.manifest import Manifest
from wavediff.commands.ray_workers import Pool, Recipe, Waiting, _done
from wavediff.errors import UserError

NAMES = [f"{letter}.wav" for letter in "abcdefg"]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with ``corpus/``, of which one file is damaged."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus").mkdir()
    rng = np.random.default_rng(0)
    for name in NAMES:
        soundfile.write(f"corpus/{name}", 0.1 * rng.standard_normal(8000), 16_000)
    Path("corpus/d.wav").write_text("no sound")
    return tmp_path


def converted(*words: str) -> int:
    return run(mel.main, ["corpus", "-o", "out", *words])


def outputs() -> set[str]:
    return {path.name for path in Path("out").glob("*")}


def lines(path: str = "m.jsonl") -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


# shards


@pytest.mark.parametrize("count", [1, 2, 3, 16])
def test_every_file_is_in_one_shard_whatever_the_order_of_the_inputs(count, capsys):
    pairs = [(Path(f"in/{number}"), Path(f"out/{number}")) for number in (5, 3, 9, 1, 7, 2, 8)]
    parts = [shared(pairs, Shard(number + 1, count)) for number in range(count)]
    assert Counter(pair for part in parts for pair in part) == Counter(pairs)
    assert parts == [shared(pairs[::-1], Shard(number + 1, count)) for number in range(count)]
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert parts[0][0][0] == Path("in/1")
    assert capsys.readouterr().err.splitlines()[0] == f"shard 1/{count}: {sizes[0]} of 7 files"


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "1/0", "a/b", "1/2/3", "-1/3", "1.5/3", ""])
def test_what_is_no_shard(text):
    with pytest.raises(argparse.ArgumentTypeError, match="as in 3/16"):
        shard(text)


def test_shards_together_do_all_and_no_shard_does_the_work_of_another(here):
    assert converted("--shard", "1/2", "--manifest", "m.jsonl") == 0
    assert outputs() == {"a.npy", "c.npy", "e.npy", "g.npy"}
    assert converted("--shard", "2/2", "--manifest", "m.jsonl") == 2  # it has the damaged one
    assert outputs() == {name.replace(".wav", ".npy") for name in NAMES} - {"d.npy"}
    assert Counter(line["input"] for line in lines()) == Counter(f"corpus/{n}" for n in NAMES)
    assert converted("--shard", "9/9") == 0  # more shards than files


# manifests and resuming


def test_a_line_for_each_file(here, capsys):
    assert converted("--manifest", "new/m.jsonl") == 2
    found = {line["input"]: line for line in lines("new/m.jsonl")}
    assert set(found) == {f"corpus/{name}" for name in NAMES}
    good, bad = found["corpus/a.wav"], found["corpus/d.wav"]
    assert list(good) == ["input", "output", "seconds", "wall_seconds", "error"]
    assert (good["output"], good["error"]) == ("out/a.npy", None)
    assert good["seconds"] == pytest.approx(0.5, abs=0.05)
    assert good["wall_seconds"] >= 0
    assert bad["seconds"] is None
    assert bad["error"].startswith("corpus/d.wav is not audio")
    assert capsys.readouterr().err.count("failed: corpus/d.wav") == 1


def test_the_same_command_resumes_and_each_file_keeps_one_line(here):
    assert converted("--manifest", "m.jsonl") == 2
    before = lines()
    stamps = {path: path.stat().st_mtime_ns for path in Path("out").iterdir()}
    Path("out/b.npy").unlink()
    soundfile.write("corpus/d.wav", np.zeros(8000), 16_000)
    assert converted("--manifest", "m.jsonl") == 0
    after = lines()
    assert Counter(line["input"] for line in after) == Counter(f"corpus/{n}" for n in NAMES)
    assert after[:5] == [line for line in before if line["input"][7] not in "bd"]
    assert all(line["error"] is None for line in after)
    kept = [path for path in stamps if path.name != "b.npy"]
    assert len(kept) == 5
    assert all(path.stat().st_mtime_ns == stamps[path] for path in kept)


def test_what_was_finished_before_a_kill_gets_its_line(here):
    assert converted() == 2
    Path("m.jsonl").write_text(json.dumps(line("a")) + "\n" + json.dumps(line("b"))[:40])
    assert converted("--manifest", "m.jsonl") == 2
    found = {line["input"]: line for line in lines()}
    assert len(lines()) == len(found) == len(NAMES)
    assert found["corpus/a.wav"]["wall_seconds"] == 7
    assert found["corpus/b.wav"] == line("b") | {"seconds": 0.5, "wall_seconds": None}


def line(name: str) -> dict:
    return {
        "input": f"corpus/{name}.wav",
        "output": f"out/{name}.npy",
        "seconds": 0.5,
        "wall_seconds": 7,
        "error": None,
    }


def test_lines_of_others_stay(here):
    Path("m.jsonl").write_text(json.dumps(line("z")) + "\n")
    assert converted("--manifest", "m.jsonl") == 2
    assert lines()[0] == line("z")
    assert len(lines()) == 1 + len(NAMES)


@pytest.mark.parametrize("text", ["a,b\n", "a,b", "[]\n", '{"input": 1}\n', "{}\n", "\x00\x80"])
def test_another_file_is_not_taken_for_a_manifest(here, text, capsys):
    Path("m.jsonl").write_text(text)
    assert converted("--manifest", "m.jsonl") == 2
    assert "not a line of a manifest: give --manifest another name" in capsys.readouterr().err
    assert Path("m.jsonl").read_text() == text
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--manifest", "corpus"], "is a folder"),
        (["--manifest", "m.wav"], "give a name ending in .jsonl"),
        (["--workers", "2"], "--workers is for --ray"),
    ],
)
def test_options_that_do_not_go(here, words, sentence, capsys):
    assert converted(*words) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_writer_that_waits_while_the_file_is_replaced_adds_to_the_new_one(here):
    manifest, source = Manifest(Path("m.jsonl")), Path("corpus/a.wav")
    manifest.add(source, Path("out/0"), Outcome(1.0, 2.0))
    with manifest._locked():
        added = source, Path("out/1"), Outcome(1.0, 2.0)
        waiting = threading.Thread(target=manifest.add, args=added)
        waiting.start()
        time.sleep(0.1)
        Path("new").write_text(json.dumps(line("z")) + "\n")
        os.replace("new", "m.jsonl")
    waiting.join()
    assert [line["output"] for line in lines()] == ["out/z.npy", "out/1"]


# the workers of a cluster


def doubling(arguments):
    return lambda task, again: task * 2


def refusing(arguments):
    raise UserError("there is no such model")


def failing(arguments):
    raise Lost("killed")


@pytest.fixture
def done(monkeypatch):
    """done(ray, tasks, make): the answers in the order in which they came."""
    monkeypatch.setattr(ray_workers, "POLL", 0.0)

    def call(ray, tasks, make=doubling, **options):
        pool = Pool(ray, Recipe(make, argparse.Namespace(), **options))
        try:
            return list(_done(pool, deque(map(Waiting, tasks))))
        finally:
            pool.end_all()

    return call


def test_all_is_done_by_as_many_workers_as_there_is_room_for(done):
    ray = FakeRay(cpus=3)
    assert sorted(done(ray, range(1, 9))) == [(k, 2 * k) for k in range(1, 9)]
    assert (ray.most, ray.alive) == (3, set())
    one = FakeRay(cpus=3)
    done(one, range(1, 9), workers=1)
    assert one.most == 1
    few = FakeRay(cpus=8)
    done(few, [1, 2])
    assert few.most == 2


def test_what_a_lost_worker_did_is_done_again_and_once(done):
    ray = FakeRay(loses={2: 1, 5: 2})
    assert sorted(done(ray, range(1, 9))) == [(k, 2 * k) for k in range(1, 9)]
    assert Counter(ray.asked) == Counter(
        [(k, False) for k in range(1, 9)] + [(2, True), (5, True), (5, True)]
    )
    assert not ray.alive


def test_a_task_that_ends_every_worker_ends_three(done):
    ray = FakeRay(loses={2: 99})
    assert sorted(done(ray, [1, 2, 3]), key=str) == [(1, 2), (2, None), (3, 6)]
    assert Counter(task for task, _ in ray.asked) == {1: 1, 2: 3, 3: 1}


def test_a_task_of_several_parts_is_done_in_parts_after_a_loss(done):
    ray = FakeRay(loses={(1, 2, 3): 1, (2,): 99})
    found = done(ray, [(1, 2, 3), (4,)], split=lambda task: [(part,) for part in task])
    assert dict(found) == {(4,): (4, 4), (1,): (1, 1), (2,): None, (3,): (3, 3)}


@pytest.mark.parametrize(
    ("make", "sentence"),
    [(refusing, "there is no such model"), (failing, "no worker can start .*killed")],
)
def test_workers_that_cannot_start_end_the_run(done, make, sentence):
    ray = FakeRay()
    with pytest.raises(UserError, match=sentence):
        done(ray, [1, 2], make)
    assert not ray.alive


def test_nodes_have_the_same_version(done, monkeypatch):
    monkeypatch.setattr(ray_workers.Worker, "start", lambda self, *words: ("0.0.1", None))
    with pytest.raises(UserError, match=r"has wavediff 0\.0\.1, and here is"):
        done(FakeRay(), [1])


@pytest.fixture
def simulated(monkeypatch):
    """simulated(loses): a cluster for --ray, which loses a worker at these names of files."""

    def use(loses):
        ray = FakeRay(loses=loses, name=lambda task: task[0][0].name)
        monkeypatch.setattr(ray_workers, "POLL", 0.0)
        monkeypatch.setattr(corpus_files, "on_cluster", ray.on_cluster)

    return use


def test_a_folder_on_a_cluster_is_as_without(here, simulated, capsys):
    if find_spec("ray") is None:
        pytest.skip("without Ray")
    simulated({"b.wav": 1, "f.wav": 99})
    assert converted("--ray", "auto", "--manifest", "m.jsonl") == 2
    told = capsys.readouterr()
    done = {f"out/{name[0]}.npy" for name in NAMES if name[0] not in "df"}
    assert set(told.out.split()) == done
    assert "failed: corpus/d.wav is not audio" in told.err
    assert "failed: corpus/f.wav: 3 workers ended at it" in told.err
    assert str(here) not in told.err + Path("m.jsonl").read_text()
    assert Counter(line["input"] for line in lines()) == Counter(f"corpus/{n}" for n in NAMES)
    assert {line["output"] for line in lines() if line["error"] is None} == done
    os.rename("out", "before")
    assert converted() == 2
    for name in done:
        assert np.array_equal(np.load(name), np.load(name.replace("out", "before")))


def test_a_worker_that_was_lost_after_it_had_written_is_not_done_twice(here):
    do = corpus_files._worker(mel.worker, mel.parse(["corpus", "-o", "out"]))
    pair = here / "corpus" / "a.wav", here / "out" / "a.npy"
    assert do([pair], False)[0][pair[1]].wall is not None
    stamp = pair[1].stat().st_mtime_ns
    assert do([pair], True)[0] == {pair[1]: Outcome(0.5)}
    assert pair[1].stat().st_mtime_ns == stamp


def test_an_unforeseen_fault_of_one_file_does_not_stop_the_others():
    def work(pairs):
        if any(source == Path("b") for source, _ in pairs):
            raise ZeroDivisionError("by zero")
        return {target: Outcome(1.0) for _, target in pairs}

    found, _ = quietly(work, [(Path(name), Path(f"out/{name}")) for name in "abc"])
    assert [found[Path(f"out/{name}")].error for name in "ac"] == [None, None]
    assert found[Path("out/b")].error == "b: unexpected ZeroDivisionError: by zero"
