import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from wavediff.data.crops import Crops
from wavediff.data.folder import folder
from wavediff.data.source import scan
from wavediff.data.utterances import Utterances
from wavediff.errors import UserError

RATE = 16000


def crops_of(path, length, seed=0, gain_db=None, normalize=None, cache=True, min_seconds=0.01):
    clips = [clip for clip in scan(folder(path), min_seconds, 30)[0] if clip]
    return Crops(Utterances(clips, RATE, normalize, cache), length, seed, gain_db)


@pytest.fixture
def constants(tmp_path, make_wav):
    """Seven files, each at a level of its own: a crop tells which file it is from."""
    for i in range(7):
        make_wav(tmp_path / f"{i}.wav", seconds=0.1, value=(i + 1) / 8)
    return tmp_path


def number(item):
    return round(item["audio"][0, 0].item() * 8) - 1


def test_every_epoch_has_every_clip_once_in_an_order_of_its_own(constants):
    crops = crops_of(constants, 100)
    assert len(crops) == 7
    epochs = [[number(crops[7 * epoch + i]) for i in range(7)] for epoch in range(20)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 20
    assert crops[10**12]["index"] == 10**12  # there is no last one


def test_an_item_depends_on_seed_and_index_alone(tmp_path):
    for i in range(5):
        noise = np.random.default_rng(i).uniform(-1, 1, 3000 + 500 * i)
        soundfile.write(tmp_path / f"{i}.wav", noise, RATE)
    crops = crops_of(tmp_path, 1000, seed=3, gain_db=(-12, 0), normalize=0.95)
    items = [crops[i] for i in range(23)]
    again = crops_of(tmp_path, 1000, seed=3, gain_db=(-12, 0), normalize=0.95, cache=False)
    for i in reversed(range(23)):  # resumed: another order, another process, no cache
        assert torch.equal(again[i]["audio"], items[i]["audio"])
    loader = DataLoader(again, batch_size=4, sampler=range(11, 23), num_workers=2)
    batches = list(loader)
    assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(11, 23))
    audio = torch.cat([batch["audio"] for batch in batches])
    assert torch.equal(audio, torch.stack([item["audio"] for item in items[11:]]))

    other = crops_of(tmp_path, 1000, seed=4, gain_db=(-12, 0), normalize=0.95)
    assert not any(torch.equal(other[i]["audio"], items[i]["audio"]) for i in range(23))
    assert not torch.equal(items[0]["audio"], items[1]["audio"])


def test_crops_begin_at_every_possible_place(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.arange(1000) / 1000, RATE, subtype="FLOAT")
    crops = crops_of(tmp_path, 997)
    starts = [round(1000 * crops[i]["audio"][0, 0].item()) for i in range(400)]
    assert set(starts) == {0, 1, 2, 3}
    assert all(70 < starts.count(start) < 130 for start in range(4))
    ramp = torch.arange(997) / 1000
    for i, start in enumerate(starts[:10]):
        assert (crops[i]["audio"][0] - ramp - start / 1000).abs().max() < 1e-6


def test_short_clips_are_padded_at_the_end(tmp_path, make_wav):
    make_wav(tmp_path / "a.wav", seconds=0.1, value=0.25)
    audio = crops_of(tmp_path, 2000)[0]["audio"]
    assert audio.shape == (1, 2000)
    assert (audio[0, :1600] == 0.25).all()
    assert (audio[0, 1600:] == 0).all()


def test_the_gain_is_uniform_in_decibels_below_the_normalised_peak(tmp_path, make_wav):
    make_wav(tmp_path / "a.wav", seconds=0.1, value=0.1)
    crops = crops_of(tmp_path, 100, gain_db=(-12, -2), normalize=0.5)
    level = torch.tensor([crops[i]["audio"][0, 0] for i in range(500)])
    decibels = 20 * torch.log10(level / 0.5)
    assert -12 <= decibels.min() < -11.8
    assert -2.2 < decibels.max() <= -2
    counts = torch.histc(decibels, 5, -12, -2)
    assert (counts - 100).abs().max() < 35  # four standard deviations of a fair share
    assert crops_of(tmp_path, 100, normalize=0.5)[0]["audio"][0, 0] == pytest.approx(0.5)


@pytest.mark.parametrize("cache", [False, True])
def test_a_clip_that_does_not_decode_gives_way_to_the_next(constants, capsys, cache):
    soundfile.write(constants / "3.wav", np.full(1600, np.nan), RATE, subtype="FLOAT")
    crops = crops_of(constants, 100, cache=cache)
    epochs = [[number(crops[7 * epoch + i]) for i in range(7)] for epoch in range(10)]
    for epoch in epochs:
        assert set(epoch) == {0, 1, 2, 4, 5, 6}
        first, second = (i for i in range(7) if epoch.count(epoch[i]) == 2)
        assert second - first == 1 or (first, second) == (0, 6)  # it stands in for its neighbour
    assert len({tuple(epoch) for epoch in epochs}) == 10
    assert capsys.readouterr().err.count("3.wav") == 1


def test_bad_clips_do_not_make_the_cache_matter(constants):
    soundfile.write(constants / "3.wav", np.full(1600, np.nan), RATE, subtype="FLOAT")
    with_cache, without = crops_of(constants, 100), crops_of(constants, 100, cache=False)
    assert [number(with_cache[i]) for i in range(30)] == [number(without[i]) for i in range(30)]


def test_long_clips_can_count_for_more(tmp_path, make_wav):
    for i, seconds in enumerate((0.1, 0.5, 1.05)):
        make_wav(tmp_path / f"{i}.wav", seconds=seconds, value=(i + 1) / 8)
    clips = scan(folder(tmp_path), 0.01, 30)[0]
    crops = Crops(Utterances(clips, RATE), 1600, balance="seconds")
    assert len(crops) == 1 + 5 + 11
    for epoch in range(3):
        drawn = [number(crops[17 * epoch + i]) for i in range(17)]
        assert [drawn.count(i) for i in range(3)] == [1, 5, 11]


@pytest.mark.parametrize("cache", [False, True])
def test_a_pair_is_cut_at_one_place_and_has_one_gain(tmp_path, cache):
    for i in range(4):
        signal = np.random.default_rng(i).uniform(-0.5, 0.5, 3000 + 700 * i)
        for name, audio in (("clean", signal), ("noisy", -1.5 * signal)):
            (tmp_path / name).mkdir(exist_ok=True)
            soundfile.write(tmp_path / name / f"{i}.wav", audio, RATE, subtype="FLOAT")
    source = folder(str(tmp_path / "clean"), noisy=str(tmp_path / "noisy"))
    utterances = Utterances(scan(source, 0.01, 30)[0], RATE, 0.9, cache)
    crops = Crops(utterances, 4000, seed=1, gain_db=(-20, 0))
    levels = set()
    for i in range(12):
        item = crops[i]
        assert item["audio"].shape == item["noisy"].shape == (1, 4000)
        assert torch.allclose(item["noisy"], -1.5 * item["audio"], atol=1e-6)
        levels.add(item["noisy"].abs().max().item())
    assert max(levels) <= 0.9
    assert len(levels) == 12
    whole = utterances[3]
    assert whole["audio"].shape == (1, 5100)
    assert whole["noisy"].abs().max() == pytest.approx(0.9)  # the louder of the two
    assert torch.allclose(whole["noisy"], -1.5 * whole["audio"], atol=1e-6)


def test_no_clip_at_all_is_an_error(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(1600, np.nan), RATE, subtype="FLOAT")
    with pytest.raises(UserError, match="none of the training files"):
        crops_of(tmp_path, 100)[0]
    with pytest.raises(UserError, match="nothing to train on"):
        Crops(Utterances([], RATE), 100)
