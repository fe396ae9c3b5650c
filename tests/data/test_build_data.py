"""conf/data/*.yaml and build_data, as a training run uses them."""

import inspect
import shutil
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_method
from omegaconf import OmegaConf

from wavediff.data.build import build_data
from wavediff.data.loader import LOADER, split
from wavediff.errors import UserError
from wavediff.series.settings import SERIES

CONF = Path(__file__).parents[2] / "conf"
SETTINGS = ("loader", "mixing", "series")  # what datasets have in common
DRAWN = ("synthetic_series",)  # while training: read from nowhere
DATASETS = sorted({path.stem for path in (CONF / "data").glob("*.yaml")} - {*SETTINGS, *DRAWN})
OF_SERIES = [
    name for name in DATASETS if "series" in OmegaConf.load(CONF / f"data/{name}.yaml").defaults
]


def config(name, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(overrides=[f"+data={name}", *overrides]).data


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_has_the_settings_of_its_kind_and_its_own_only(name):
    keys = OmegaConf.to_container(config(name))
    parameters = inspect.signature(get_method(keys.pop("_target_"))).parameters
    shared = SERIES if name in OF_SERIES else LOADER
    assert set(keys) == set(shared) | set(parameters)
    assert "root" in keys or name in OF_SERIES


def test_kathleen_is_split_by_file_normalised_and_cached(tmp_path, make_wav):
    for i in range(41):
        make_wav(tmp_path / f"arctic_{i:04d}.flac", seconds=0.6, rate=22050, value=(i + 1) / 100)
    (tmp_path / "arctic_0007.flac").write_bytes(b"broken")  # and the others keep their places
    (tmp_path / "metadata.csv").write_text("arctic_0000|words\n")
    train, validation = build_data(
        config("kathleen", f"data.root={tmp_path}"), length=4096, sample_rate=22050, seed=1
    )
    assert [item["name"] for item in validation] == ["arctic_0010", "arctic_0030"]
    names = {clip.name for clip in train.utterances.clips}
    held_out = (0, 20, 40, 10, 30, 7)
    assert names == {f"arctic_{i:04d}" for i in range(41) if i not in held_out}
    assert train.utterances.memory is not None
    assert validation[0]["audio"].shape == (1, 13230)
    assert validation[0]["audio"].max() == pytest.approx(0.95)
    levels = torch.stack([train[i]["audio"].max() for i in range(35)])
    assert 0.95 / 2 < levels.min() < levels.max() < 0.95


def test_ljspeech_is_read_in_its_real_layout_and_left_at_its_level(tmp_path, make_wav):
    for i in range(1, 23):
        make_wav(tmp_path / f"LJSpeech-1.1/wavs/LJ001-{i:04d}.wav", seconds=0.6, value=i / 50)
    (tmp_path / "LJSpeech-1.1/metadata.csv").write_text("LJ001-0001|a|a\n")
    for root in (tmp_path, tmp_path / "LJSpeech-1.1"):
        settings = config("ljspeech", f"data.root={root}")
        train, validation = build_data(settings, length=1000, sample_rate=16000)
        assert [item["name"] for item in validation] == ["LJ001-0011"]
        levels = {round(50 * train[i]["audio"][0, 0].item()) for i in range(len(train))}
        assert levels == set(range(1, 23)) - {1, 21, 11}


def test_speakers_come_as_labels_with_their_names(tmp_path):
    overrides = [f"data.root={tmp_path}", "data.speakers=2", "data.seconds=0.5", "data.count=6"]
    train, validation = build_data(config("synthetic", *overrides), 1000, 16000)
    assert train.label_names == ["voice-000", "voice-001"]
    assert {train[i]["label"] for i in range(len(train))} == {0, 1}
    assert validation[0]["label"] == 1
    batch = next(iter(torch.utils.data.DataLoader(train, batch_size=4, sampler=range(4))))
    assert batch["label"].dtype == torch.int64
    assert batch["audio"].shape == (4, 1, 1000)


def test_a_handful_of_files_still_has_one_for_validation(tmp_path, make_wav):
    for i in range(4):
        make_wav(tmp_path / f"{i}.wav")
    settings = config("folder", f"data.root={tmp_path}")
    train, validation = build_data(settings, 1000, 16000)
    assert [clip.name for clip in train.utterances.clips] == ["1", "2"]
    assert [item["name"] for item in validation] == ["3"]

    everything = config("folder", f"data.root={tmp_path}", "data.split=null")
    train, validation = build_data(everything, 1000, 16000)
    assert (len(train), len(validation)) == (4, 0)

    shutil.rmtree(tmp_path)
    make_wav(tmp_path / "only.wav")
    with pytest.raises(UserError, match=r"none of the 1 clips.*data\.split=null"):
        build_data(settings, 1000, 16000)
    assert len(build_data(everything, 1000, 16000)[0]) == 1


def test_settings_that_make_no_sense_are_refused(tmp_path, make_wav):
    make_wav(tmp_path / "0.wav")
    with pytest.raises(UserError, match=r"data\.root is not set"):
        build_data(config("folder"), 1000, 16000)
    for override, words in {
        "data.gain_db=[0,-6]": "gain_db",
        "data.gain_db=3": "gain_db",
        "data.normalize=0": "normalize",
        "data.normalize=true": "normalize",
        "data.split.every=0": "split",
        "+data.split.tset=0": "split",
        "data.min_seconds=40": "min_seconds",
        "data.max_seconds=0": "max_seconds",
        "data.cache=yess": "cache",
        "data.workers=-1": "workers",
    }.items():
        with pytest.raises(UserError, match=rf"data\.{words}"):
            build_data(config("folder", f"data.root={tmp_path}", override), 1000, 16000)


def test_split_counts_what_is_missing():
    parts = split(["a", None, "c", "d", "e"], every=3, test=0, validation=1)
    assert parts == {"test": ["a", "d"], "validation": ["e"], "train": ["c"]}
    again = split(["a", "b", "c", "a", "b", "c"], every=3, test=0, validation=1)
    assert again == {"train": ["c", "c"], "test": ["a"], "validation": ["b"]}
    assert split(["a", "b"], every=None)["train"] == ["a", "b"]
    assert split(["a", "b"], every=1, test=None, validation=None)["train"] == ["a", "b"]
