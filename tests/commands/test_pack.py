"""`wavediff pack`, as a user types it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavediff.cli import main
from wavediff.commands import pack as command
from wavediff.data.audio import read_audio
from wavediff.data.members import Member
from wavediff.data.shard_index import make_index, read_index
from wavediff.data.webdataset import webdataset

RATE = 16000


def sounds(folder: Path, count: int, seconds: float = 0.1) -> Path:
    for i in range(count):
        path = folder / f"s{i % 2}" / f"utterance.{i:03d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).uniform(-1, 1, round(seconds * RATE) + i)
        soundfile.write(path, noise, RATE)
    return folder


def pack(*words) -> int:
    return main(["pack", *map(str, words)])


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_recordings_become_shards_sample_for_sample(tmp_path, capsys):
    source = sounds(tmp_path / "in", 7)
    (source / "s0" / "utterance.000.txt").write_text("what is said")
    soundfile.write(source / "s1" / "float.wav", np.full(800, 0.1), RATE, "FLOAT")
    assert pack(source, "-o", tmp_path / "out", "--labels", "--clips", 3) == 0
    told = capsys.readouterr()
    assert told.out.split() == [f"{tmp_path}/out/shard-00000{k}.tar" for k in range(3)]
    assert "3 shards, 8 clips" in told.err
    manifest = json.loads((tmp_path / "out" / "shards.json").read_text())
    assert manifest["complete"]
    assert [row["clips"] for row in manifest["shards"]] == [3, 3, 2]
    assert manifest["seconds"] == pytest.approx((7 * 1600 + 21 + 800) / RATE, abs=1e-3)
    clips = {}
    for shard in webdataset(str(tmp_path / "out")).shards:
        with shard.open() as file:
            content = file.read()
        for entry in read_index(shard.index_path).entries:
            assert entry.label == entry.key[:2]
            clips[entry.key] = entry.suffix, content[entry.offset : entry.offset + entry.size]
        if b"what is said" in content:
            assert b"s0/utterance_000.txt" in content
    assert set(clips) == {*(f"s{i % 2}/utterance_{i:03d}" for i in range(7)), "s1/float"}
    for key, (suffix, content) in clips.items():
        (tmp_path / f"x{suffix}").write_bytes(content)
        assert suffix == (".wav" if key == "s1/float" else ".flac")
        original = source / f"{key.replace('_', '.')}.wav"
        assert read_audio(tmp_path / f"x{suffix}")[0].equal(read_audio(original)[0])
    assert pack("--check", tmp_path / "out") == 0
    assert "3 of 3 shards, 8 clips" in capsys.readouterr().out


def test_noisy_recordings_and_names_of_all_kinds(tmp_path):
    names = ["a.wav", "a.flac", "x" * 120 + ".wav", os.fsdecode(b"\xff\xfe.wav"), "b c/d.e/f.wav"]
    for k, name in enumerate(names):
        for folder, sign in (("clean", 1), ("noisy", -1)):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(os.fsencode(path), np.full(900 + k, sign * (k + 1) / 64), RATE)
    out = tmp_path / "out"
    assert pack(tmp_path / "clean", "--noisy", tmp_path / "noisy", "-o", out) == 0
    (shard,) = webdataset(str(out), noisy=True).shards
    (out / "shard-000000.jsonl").rename(tmp_path / "packed.jsonl")
    found = make_index(shard)  # by reading the archive
    assert found == read_index(tmp_path / "packed.jsonl")
    assert {entry.frames for entry in found.entries} == {900, 901, 902, 903, 904}
    assert len({entry.key for entry in found.entries}) == 5
    for entry in found.entries:
        clean = read_audio(Member(shard, "c", entry.offset, entry.size))[0]
        noisy = read_audio(Member(shard, "n", *entry.noisy[1:]))[0]
        assert clean.equal(-noisy)
        assert clean[0, 0] == (entry.frames - 899) / 64


def test_a_bad_file_is_left_out_and_listed_at_the_end_also_when_asked_again(tmp_path, capsys):
    source = sounds(tmp_path / "in", 3)
    (source / "s0" / "bad.wav").write_text("no sound")
    for _ in range(2):
        assert pack(source, "-o", tmp_path / "out") == 2
        told = capsys.readouterr().err.splitlines()
        assert told[-1].startswith(f"failed: {source}/s0/bad.wav is not audio")
    assert pack(source / "s0" / "bad.wav", "-o", tmp_path / "none") == 2
    (tmp_path / "bad").mkdir()
    (source / "s0" / "bad.wav").rename(tmp_path / "bad" / "bad.wav")
    assert pack(tmp_path / "bad", "-o", tmp_path / "none") == 2
    assert "no file could be packed; the first" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_pack_that_is_interrupted_ends_with_the_same_bytes(tmp_path, capsys, monkeypatch):
    source = sounds(tmp_path / "in", 9)
    (source / "s1" / "bad.wav").write_text("no sound")
    assert pack(source, "-o", tmp_path / "whole", "--clips", 2) == 2
    pack_shards = command.pack_shards

    def stopped(*words):
        for number, row in enumerate(pack_shards(*words)):
            if number == 1:
                raise KeyboardInterrupt
            yield row

    for _ in range(2):
        monkeypatch.setattr(command, "pack_shards", stopped)
        assert pack(source, "-o", tmp_path / "parts", "--clips", 2) == 130
    monkeypatch.undo()
    capsys.readouterr()
    assert pack(tmp_path / "parts", "--check") == 2
    assert "is not complete" in capsys.readouterr().err
    assert pack(source, "-o", tmp_path / "parts", "--clips", 2) == 2
    assert "resuming after 4 shards" in capsys.readouterr().err
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_other_inputs_in_the_same_folder_are_refused(tmp_path, capsys):
    source = sounds(tmp_path / "in", 3)
    assert pack(source, "-o", tmp_path / "out") == 0
    assert pack(source, "-o", tmp_path / "out", "--clips", 1) == 2
    assert "has shards of other inputs or options" in capsys.readouterr().err
    assert pack(source, "-o", tmp_path / "out", "--clips", 1, "--overwrite") == 0
    assert len(list((tmp_path / "out").glob("*.tar"))) == 3
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.tar").touch()
    assert pack(source, "-o", tmp_path / "other") == 2
    assert "has other tar files" in capsys.readouterr().err


def test_check_finds_every_kind_of_damage(tmp_path, capsys):
    source = sounds(tmp_path / "in", 5)
    assert pack(source, "-o", tmp_path / "out", "--clips", 1) == 0
    out = tmp_path / "out"
    for number, name in enumerate(("shard-000000.tar", "shard-000003.jsonl")):
        content = bytearray((out / name).read_bytes())
        content[600 * (1 - number) + 20] ^= 1
        (out / name).write_bytes(content)
    (out / "shard-000001.tar").unlink()
    with open(out / "shard-000002.tar", "r+b") as file:
        file.truncate(1000)
    capsys.readouterr()
    assert pack("--check", out) == 2
    told = capsys.readouterr()
    assert "1 of 5 shards" in told.out
    for words in (
        "shard-000000.tar does not match its checksum",
        "shard-000001.tar is missing",
        "shard-000002.tar has 1000 of ",
        "shard-000003.tar has an index, shard-000003.jsonl, that does not match",
    ):
        assert f"failed: {out}/{words}" in told.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["in"], "give -o DIR"),
        (["-o", "out"], "give the folder of the audio files"),
        (["none", "-o", "out"], "none does not exist"),
        (["in", "-o", "file"], "file is a file"),
        (["--check", "in"], "in has no shards.json"),
        (["--check", "in", "out"], "--check takes one folder"),
        (["in", "-o", "out", "--size", "lots"], "'lots' is not a size"),
        (["in", "-o", "out", "--size", "1K"], "'1K' is out of range"),
        (["in", "-o", "out", "--noisy", "none"], "none does not exist"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    sounds(Path("in"), 1)
    Path("file").touch()
    if "--size" in words:
        with pytest.raises(SystemExit, match="2"):
            pack(*words)
    else:
        assert pack(*words) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.slow
def test_kill_9_while_packing_then_the_same_command(tmp_path):
    source = sounds(tmp_path / "in", 60, 0.5)
    assert pack(source, "-o", tmp_path / "whole", "--clips", 4) == 0
    out = tmp_path / "killed"
    words = [sys.executable, "-m", "wavediff", "pack", str(source), "-o", str(out), "--clips", "4"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not list(out.glob("shard*.tar")) and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert len(list(out.glob("shard*.tar"))) < 15
    assert pack(source, "-o", out, "--clips", "4") == 0
    assert files(out) == files(tmp_path / "whole")
