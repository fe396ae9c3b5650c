"""Noisy data as a training run gets it: by the configuration."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hydra import compose, initialize_config_dir
from torch.utils.data import DataLoader

from wavediff.data.build import build_data
from wavediff.data.mixed import Mixed
from wavediff.errors import UserError

CONF = Path(__file__).parents[2] / "conf"
RATE = 16000


def config(name, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(overrides=[f"+data={name}", *overrides]).data


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """The configuration of the data that needs nothing, made small."""
    root = tmp_path_factory.mktemp("voices")
    return config("synthetic_noisy", f"data.root={root}", "data.seconds=0.8", "data.count=9")


def same(one, other):
    return all(torch.equal(one[key], other[key]) for key in ("audio", "noisy"))


def test_an_item_depends_on_seed_and_index_alone(made_up):
    train, validation = build_data(made_up, 4000, RATE, seed=3)
    items = [train[i] for i in range(20)]
    for item in items:
        assert set(item) == {"audio", "noisy", "index"}
        for key in ("audio", "noisy"):
            assert item[key].shape == (1, 4000)
            assert item[key].dtype == torch.float32
            assert item[key].isfinite().all()
    again, validated = build_data({**made_up, "cache": False}, 4000, RATE, seed=3)
    assert all(same(again[i], items[i]) for i in reversed(range(20)))
    loaded = list(DataLoader(again, batch_size=3, sampler=range(5, 20), num_workers=1))
    assert torch.equal(
        torch.cat([batch["noisy"] for batch in loaded]),
        torch.stack([item["noisy"] for item in items[5:]]),
    )
    assert all(same(validated[i], validation[i]) for i in range(len(validation)))

    other, _ = build_data(made_up, 4000, RATE, seed=4)
    assert not any(same(other[i], items[i]) for i in range(20))
    assert not any(same(items[i], items[i + 7]) for i in range(13))  # of another epoch


@pytest.mark.parametrize("lacking", ["clean", "silence"])
def test_validation_has_whole_utterances_with_speech_and_noise(made_up, lacking):
    settings = {**made_up, "mix": {**made_up.mix, "clean": 0, "silence": 0, lacking: 1}}
    train, validation = build_data(settings, 4000, RATE)
    assert len(train) == 7
    assert len(validation) == 1
    item = validation[0]
    assert set(item) == {"audio", "noisy", "name"}
    assert item["name"] == "utterance-0008"
    assert item["audio"].shape == item["noisy"].shape == (1, 12800)
    assert item["audio"].any()
    assert (item["noisy"] - item["audio"]).std() > 0.01 * item["noisy"].std()
    assert all(bool(train[i]["audio"].any()) == (lacking == "clean") for i in range(7))


def test_the_noise_is_another_in_every_item(made_up):
    settings = {**made_up, "mix": {**made_up.mix, "clean": 0, "silence": 1}}
    train, _ = build_data(settings, 4000, RATE)
    heard = [train[i]["noisy"] / train[i]["noisy"].std() for i in range(21)]  # three epochs
    assert not any(
        torch.allclose(heard[i], heard[j], atol=1e-3) for i in range(21) for j in range(i)
    )


def test_labels_stay(made_up):
    train, validation = build_data({**made_up, "speakers": 3}, 4000, RATE)
    assert train.label_names == ["voice-000", "voice-001", "voice-002"]
    assert {train[i]["label"] for i in range(8)} == {0, 1, 2}
    assert validation[0]["label"] == 2
    calls = []
    mixed = Mixed(
        train.speech, lambda speech, rng, label, length: calls.append(label) or (speech, speech)
    )
    assert [mixed[i]["label"] for i in range(8)] == calls


def test_libri_noise_reads_its_folders(tmp_path, make_wav):
    for i in range(41):
        make_wav(tmp_path / f"kathleen/arctic_{i:04d}.flac", 0.6, 22050)
        make_wav(tmp_path / f"libri/{i}-0000.flac", 3.0)
    make_wav(tmp_path / "noise/tap.flac", 5.0, value=0.5)
    soundfile.write(
        tmp_path / "noise/hiss.wav", np.random.default_rng(0).normal(0, 0.1, 9000), RATE
    )
    response = np.zeros(800)
    response[40], response[300] = 1, 0.5
    (tmp_path / "rooms").mkdir()
    soundfile.write(tmp_path / "rooms/1.wav", response, RATE)
    settings = config(
        "libri_noise",
        f"data.root=[{tmp_path}/kathleen,{tmp_path}/libri,{tmp_path}/libri]",
        f"data.mix.noise={tmp_path}/noise",
        f"data.mix.rooms={tmp_path}/rooms",
    )
    train, validation = build_data(settings, 8000, RATE)
    names = {clip.name for clip in train.speech.utterances.clips}
    held_out = (0, 20, 40, 10, 30)  # the test set of this voice, and validation
    kathleen = {f"kathleen-arctic_{i:04d}" for i in range(41) if i not in held_out}
    assert {name for name in names if name.startswith("kathleen")} == kathleen
    assert len(names) + len(validation) == 82 - 5  # five in all are for testing
    assert names.isdisjoint(clip.name for clip in validation.speech.clips)
    assert train.speech.utterances.memory is not None
    assert train.mixer.noises.memory is not None
    assert len(train) > 5 * len(kathleen)  # by length, not by number
    for i in range(12):
        assert train[i]["noisy"].isfinite().all()
    for i in range(2):
        assert validation[i]["noisy"].shape == validation[i]["audio"].shape


def test_voicebank_demand_gives_pairs_at_our_rate(tmp_path, make_wav):
    for kind, value in (("clean", 0.25), ("noisy", 0.5)):
        for i in range(5):
            name = f"{kind}_trainset_28spk_wav/p226_{i:03d}.wav"
            make_wav(tmp_path / name, 0.6, 48000, value * (1 + i / 10))
    settings = config("voicebank_demand", f"data.root={tmp_path}")
    train, validation = build_data(settings, 4000, RATE)
    assert [clip.name for clip in train.utterances.clips] == [f"p226_{i:03d}" for i in range(4)]
    for i in range(8):
        item = train[i]
        assert set(item) == {"audio", "noisy", "index"}
        assert torch.allclose(item["noisy"], 2 * item["audio"], atol=1e-3)
    item = validation[0]
    assert item["noisy"].shape == item["audio"].shape == (1, 9600)
    assert item["noisy"][0, 4000] == pytest.approx(0.7, abs=1e-3)


def test_there_is_one_way_to_become_noisy(tmp_path, make_wav):
    for kind in ("clean", "noisy"):
        for i in range(3):
            make_wav(tmp_path / kind / f"{i}.wav")
    overrides = [f"data.root={tmp_path}/clean", f"data.noisy={tmp_path}/noisy"]
    with pytest.raises(UserError, match=r"noisy recordings of its own.*Set data\.mix=null"):
        build_data(config("enhance_folder", *overrides, "data.mix.noise=null"), 1000, RATE)
    train, _ = build_data(config("folder", *overrides), 1000, RATE)
    assert torch.equal(train[0]["noisy"], train[0]["audio"])


def test_what_the_user_has_to_give_is_named(tmp_path, made_up):
    with pytest.raises(UserError, match=r"^data\.mix\.noise is not set: add data\.mix\.noise="):
        build_data(config("enhance_folder", f"data.root={tmp_path}"), 1000, RATE)
    with pytest.raises(UserError, match=r"did you mean data\.mix\.snr_db\?"):
        build_data({**made_up, "mix": {**made_up.mix, "snr": [0, 5]}}, 1000, RATE)
    for value in (3, [1]):
        with pytest.raises(UserError, match=r"data\.mix=.* is invalid"):
            build_data({**made_up, "mix": value}, 1000, RATE)
