"""Corpora in tar shards: their index, their order, and what is damaged in them."""

import io
import json
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

from wavediff.data.audio import read_audio
from wavediff.data.build import build_data
from wavediff.data.corpus import PLACES, Corpus, CorpusOrder, ShardClips
from wavediff.data.loader import Loader
from wavediff.data.members import Member
from wavediff.data.order import ShuffledShards
from wavediff.data.shard_index import Entry, ShardIndex, is_index, make_index, read_index
from wavediff.data.shards import Shard
from wavediff.data.webdataset import webdataset
from wavediff.errors import UserError

RATE = 16000
CONF = Path(__file__).parents[2] / "conf"
LOADER = OmegaConf.to_container(OmegaConf.load(CONF / "data" / "loader.yaml"))


def sound(value: float, samples: int = 1600, suffix: str = "flac") -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.full(samples, value), RATE, format=suffix.upper())
    return out.getvalue()


def tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def level(number: int) -> float:
    return (number + 1) / 128


def number_of(item) -> int:
    return round(item["audio"][0, 0].item() * 128) - 1


@pytest.fixture
def corpus(tmp_path):
    """corpus(sizes): a folder of shards of so many clips, each at a level of its own."""

    def make(*sizes: int) -> Path:
        number = 0
        for shard, size in enumerate(sizes):
            members = {}
            for _ in range(size):
                members[f"{number:03d}.flac"] = sound(level(number))
                members[f"{number:03d}.json"] = json.dumps({"speaker": f"s{number % 3}"}).encode()
                number += 1
            tar(tmp_path / "shards" / f"{shard:03d}.tar", members)
        return tmp_path / "shards"

    return make


def config(root, tmp_path, **more):
    settings = LOADER | {"split": None, "normalize": None, "gain_db": None, "min_seconds": 0.01}
    target = {"_target_": "wavediff.data.webdataset.webdataset", "root": str(root), "window": 2}
    return settings | target | {"cache_dir": str(tmp_path / "cache")} | more


def crops_of(root, tmp_path, seed=0, **more):
    return build_data(config(root, tmp_path, **more), 1600, RATE, seed)[0]


# the order


SIZES = [3, 5, 0, 4, 1, 7]


def order_of(sizes, window=2, seed=0, counted=None):
    counted = [] if counted is None else counted

    def numbers(shard):
        counted.append(shard)
        return shard * PLACES + np.arange(sizes[shard])

    return ShuffledShards(numbers, len(sizes), window, seed)


def drawn(order, indices):
    return [divmod(next(order.candidates(i)), PLACES) for i in indices]


def test_every_epoch_has_every_clip_of_the_shards_once_in_its_own_order():
    order, count = order_of(SIZES), sum(SIZES)
    everything = {(shard, place) for shard, size in enumerate(SIZES) for place in range(size)}
    epochs = [drawn(order, range(count * e, count * (e + 1))) for e in range(6)]
    assert all(len(epoch) == count and set(epoch) == everything for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 6
    assert len(order) == count
    assert drawn(order_of(SIZES, seed=1), range(count)) != epochs[0]
    alone = drawn(order_of([6], window=1), range(12))  # the clips of a window
    assert alone[:6] != alone[6:]
    single = [shard for shard, _ in drawn(order_of([1] * 8, window=1), range(16))]  # the shards
    assert single[:8] != single[8:]


def test_any_sample_can_be_reached_without_the_samples_before_it():
    count = sum(SIZES)
    sequence = drawn(order_of(SIZES), range(3 * count))
    for index in (0, 7, count - 1, count, 2 * count + 11):
        assert drawn(order_of(SIZES), [index]) == [sequence[index]]  # as after a stop
    backwards = order_of(SIZES)
    assert drawn(backwards, reversed(range(3 * count))) == sequence[::-1]


def test_only_the_shards_of_one_window_are_needed_at_a_time():
    counted: list[int] = []
    order = order_of([4] * 10, window=3, counted=counted)
    first = drawn(order, range(12))
    assert len({shard for shard, _ in first}) == len(set(counted)) == 3
    assert len(set(first)) == 12
    runs = [shard for shard, _ in first]
    assert runs != sorted(runs, key=runs.index)  # their clips are mixed
    with pytest.raises(TypeError):
        len(order)
    drawn(order, range(12, 24))
    assert len(set(counted)) == 6


def test_shards_without_any_clip_are_an_error():
    with pytest.raises(UserError, match="no shard has a clip"):
        next(order_of([0, 0]).candidates(0))


# reading


@pytest.mark.parametrize("suffix", ["flac", "wav", "ogg"])
def test_a_member_is_read_as_the_same_file_on_the_disk(tmp_path, suffix):
    noise = np.random.default_rng(0).uniform(-1, 1, 5000)
    soundfile.write(tmp_path / f"a.{suffix}", noise, RATE)
    content = (tmp_path / f"a.{suffix}").read_bytes()
    path = tar(tmp_path / "x.tar", {"other.txt": b"abc", f"folder/a.{suffix}": content})
    (shard,) = webdataset(str(path), cache_dir=str(tmp_path / "cache")).shards
    (entry,) = shard.index().entries
    assert (entry.key, entry.suffix, entry.frames) == ("folder/a", f".{suffix}", 5000)
    member = Member(shard, f"a.{suffix}", entry.offset, entry.size)
    for part in ({}, {"start": 1000, "frames": 500}):
        assert torch.equal(
            read_audio(member, **part)[0], read_audio(tmp_path / f"a.{suffix}", **part)[0]
        )


def test_crops_of_shards_are_every_clip_once_with_labels(corpus, tmp_path):
    crops = crops_of(corpus(4, 3, 5), tmp_path, labels=True)
    assert crops.label_names == ["s0", "s1", "s2"]
    items = [crops[i] for i in range(12)]
    assert sorted(map(number_of, items)) == list(range(12))
    assert all(item["label"] == number_of(item) % 3 for item in items)
    again = crops_of(corpus(4, 3, 5), tmp_path)
    assert [number_of(again[i]) for i in (11, 3, 7)] == [number_of(items[i]) for i in (11, 3, 7)]


def test_noisy_recordings_and_what_is_held_out(tmp_path):
    members = {}
    for i in range(8):
        members |= {f"{i}.flac": sound(level(i)), f"{i}.noisy.flac": sound(-level(i))}
    members |= {"8.flac": sound(level(8))}  # without
    split = {"every": 4, "test": 0, "validation": 2}
    given = config(tar(tmp_path / "a.tar", members), tmp_path, noisy=True, split=split)
    crops, held_out = build_data(given, 1600, RATE)
    assert {number_of(crops[i]) for i in range(20)} == {1, 3, 5, 7}
    assert [item["name"] for item in held_out] == ["2", "6"]
    assert torch.equal(crops[0]["noisy"], -crops[0]["audio"])


def test_noise_is_mixed_into_shards(corpus, tmp_path):
    mix = OmegaConf.load(CONF / "data" / "mixing.yaml").mix
    mix = OmegaConf.to_container(mix) | {"noise": None, "kinds": {"babble": 1}}
    given = config(corpus(4, 4, 4), tmp_path, mix=mix, split={"every": 4, "test": 0})
    crops, held_out = build_data(given, 1600, RATE)
    item = crops[3]
    assert item["audio"].shape == item["noisy"].shape == (1, 1600)
    assert torch.equal(build_data(given, 1600, RATE)[0][3]["noisy"], item["noisy"])
    assert len(held_out) == 0


def test_long_members_become_clips_and_balance_counts_seconds(tmp_path):
    path = tar(tmp_path / "a.tar", {"long.wav": sound(0.5, 4 * 1600, "wav"), "b.wav": sound(0.1)})
    crops = crops_of(path, tmp_path, max_seconds=0.25)
    assert crops.order.count_all() == len(crops) == 3
    assert [crops.utterances.clips[i].name for i in range(3)] == ["long-0000", "long-0001", "b"]
    weighted = crops_of(path, tmp_path, balance="seconds")
    values = [round(weighted[i]["audio"][0, 0].item(), 1) for i in range(5)]
    assert sorted(values) == [0.1, 0.5, 0.5, 0.5, 0.5]


# what is damaged


def test_a_damaged_header_loses_its_member_and_a_cut_archive_the_last(tmp_path):
    path = tar(tmp_path / "a.tar", {f"{i}.flac": sound(level(i)) for i in range(6)})
    (shard,) = webdataset(str(path), cache_dir=str(tmp_path / "cache")).shards
    entries = make_index(shard).entries
    content = bytearray(path.read_bytes())
    content[entries[2].offset - 512] ^= 255  # the header of the third
    path.write_bytes(content[: entries[5].offset + 10])
    (shard,) = webdataset(str(path), cache_dir=str(tmp_path / "cache")).shards
    index = shard.index()
    assert [entry.key for entry in index.entries] == ["0", "1", "3", "4"]
    assert "truncated" in index.damage or "damaged" in index.damage
    assert index.entries[2] == entries[3]


def test_damaged_clips_and_shards_are_replaced_counted_and_told_once_an_epoch(
    corpus, tmp_path, capsys
):
    folder = corpus(4, 4, 4)
    (shard, *_) = webdataset(str(folder), cache_dir=str(tmp_path / "cache")).shards
    entry = shard.index().entries[1]
    content = bytearray((folder / "000.tar").read_bytes())
    content[entry.offset + 60 : entry.offset + entry.size] = bytes(entry.size - 60)
    (folder / "000.tar").write_bytes(content)  # its header is good
    (folder / "001.tar").write_bytes(b"no archive at all" * 100)
    crops = crops_of(folder, tmp_path)
    epochs = [[number_of(crops[i]) for i in range(8 * e, 8 * e + 8)] for e in range(3)]
    assert all(set(epoch) == {0, 2, 3, 8, 9, 10, 11} for epoch in epochs)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 3
    assert "001.tar is damaged" in told[0]
    assert told[0].endswith("others are counted")
    assert told[1].endswith("1 clip and 1 shard damaged or unusable in epoch 1")
    assert told[2].endswith("1 clip and 1 shard damaged or unusable in epoch 2")


def test_nothing_usable_is_an_error(corpus, tmp_path):
    with pytest.raises(UserError, match="none of 1 shards has a clip to train on"):
        crops_of(tar(tmp_path / "a.tar", {"a.txt": b"text"}), tmp_path)
    with pytest.raises(UserError, match=r"would keep a corpus in memory"):
        crops_of(corpus(2), tmp_path, cache=True)
    with pytest.raises(UserError, match="has no labels"):
        crops_of(tar(tmp_path / "b.tar", {"a.flac": sound(0.1)}), tmp_path, labels=True)


# indices


def test_an_index_beside_a_shard_is_used_while_it_fits(corpus, tmp_path, monkeypatch):
    folder = corpus(3)
    (shard,) = webdataset(str(folder), cache_dir=str(tmp_path / "cache")).shards
    index = shard.index()
    assert shard.index_path.parent == tmp_path / "cache"
    assert read_index(shard.index_path) == index
    beside = folder / "000.jsonl"
    beside.write_bytes(shard.index_path.read_bytes())
    assert is_index(beside, (folder / "000.tar").stat().st_size)
    (again,) = webdataset(str(folder)).shards
    assert again.index_path == beside
    monkeypatch.setattr("wavediff.data.shards.make_index", None)
    assert again.index() == index
    tar(folder / "000.tar", {"a.flac": sound(0.1, 9000)})
    monkeypatch.undo()
    (other,) = webdataset(str(folder)).shards
    assert [entry.key for entry in other.index().entries] == ["a"]  # it is made again
    beside.write_text('{"some": "other file"}\n')
    assert webdataset(str(folder)).shards[0].index_path != beside


def test_a_damaged_index_is_made_again(corpus, tmp_path):
    (shard,) = webdataset(str(corpus(3)), cache_dir=str(tmp_path / "cache")).shards
    index = shard.index()
    lines = shard.index_path.read_text().splitlines()
    for bad in (lines[:-1], [*lines[:-1], "{}"], [*lines[:-1], '{"key": 3']):
        shard.index_path.write_text("\n".join(bad))
        assert shard.index() == index


# memory


def test_memory_is_flat_over_a_thousand_shards(monkeypatch):
    """5,000 clips, of which those of a few shards are in memory."""
    entries = tuple(Entry(f"{i}", ".flac", 512 * i, 512, 16000, 16000) for i in range(5))
    monkeypatch.setattr(Shard, "index", lambda self: ShardIndex(entries))
    shards = [Shard(f"{k}", Path(f"{k}.tar"), Path(f"{k}.jsonl")) for k in range(1000)]
    clips = ShardClips(Corpus("x", shards), Loader(**LOADER))
    order = CorpusOrder(clips, 0, 1.0)
    tracemalloc.start()
    try:
        peaks = []
        for part in range(4):
            tracemalloc.reset_peak()
            for index in range(1000 * part, 1000 * (part + 1), 10):
                assert clips[next(order.candidates(index))].frames == 16000
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert order.known > 700
    assert max(peaks) < 1.2 * peaks[0] + 100_000
    assert max(peaks) < 1_000_000
