import numpy as np
import pytest
import soundfile
import torch

from wavediff.data import utterances as module
from wavediff.data.audio import BadAudio
from wavediff.data.folder import folder
from wavediff.data.source import scan
from wavediff.data.utterances import Utterances


def clips_of(path, max_seconds=30):
    return [clip for clip in scan(folder(path), 0.1, max_seconds)[0] if clip]


@pytest.mark.parametrize("cache", [False, True])
def test_every_utterance_is_whole_at_the_rate_and_peak_asked_for(tmp_path, make_wav, cache):
    for i, (rate, level) in enumerate([(16000, 0.3), (22050, 0.9), (44100, 0.02)]):
        time = np.arange(rate) / rate
        soundfile.write(tmp_path / f"{i}.wav", level * np.sin(2 * np.pi * 441 * time), rate)
    items = list(Utterances(clips_of(tmp_path), 22050, normalize=0.95, cache=cache))
    assert [item["name"] for item in items] == ["0", "1", "2"]
    for item in items:
        assert item["audio"].shape == (1, 22050)
        assert item["audio"].dtype == torch.float32
        assert item["audio"].abs().max() == pytest.approx(0.95, rel=1e-6)
        assert "label" not in item
    as_recorded = Utterances(clips_of(tmp_path), 22050, normalize=None, cache=cache)
    assert as_recorded[2]["audio"].abs().max() == pytest.approx(0.02, rel=0.02)


def test_normalising_leaves_silence_silent_and_hiss_low(tmp_path):
    soundfile.write(tmp_path / "0.wav", np.zeros(8000), 16000)
    soundfile.write(tmp_path / "1.wav", np.full(8000, 2.0**-15), 16000)
    silence, hiss = Utterances(clips_of(tmp_path), 16000, normalize=0.95)
    assert silence["audio"].abs().max() == 0
    assert hiss["audio"].abs().max() == pytest.approx(100 * 2**-15)


@pytest.mark.parametrize("rate", [16000, 22050])
def test_the_cache_changes_nothing(tmp_path, make_wav, rate):
    for i in range(3):
        make_wav(tmp_path / f"{i}.flac", seconds=0.7 + 0.3 * i)
    clips = clips_of(tmp_path, max_seconds=0.5)
    with_cache, without = Utterances(clips, rate, 0.9, True), Utterances(clips, rate, 0.9)
    assert with_cache.memory is not None
    assert len(with_cache) == len(clips) > 3
    for a, b in zip(with_cache, without, strict=True):
        assert torch.equal(a["audio"], b["audio"])


@pytest.mark.parametrize("cache", [False, True])
def test_a_clip_that_does_not_decode_is_refused_when_asked_for(tmp_path, make_wav, cache, capsys):
    make_wav(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    data = Utterances(clips_of(tmp_path), 16000, cache=cache)
    assert ("1 not finite when decoded" in capsys.readouterr().err) == cache
    assert data[0]["audio"].shape == (1, 16000)
    with pytest.raises(BadAudio, match=r"b\.wav"):
        data[1]


def test_a_cache_that_does_not_fit_is_left_out(tmp_path, make_wav, monkeypatch, capsys):
    make_wav(tmp_path / "a.wav")
    monkeypatch.setattr(module, "_free_memory", lambda: 2.0 * 4 * 16000 - 1)
    data = Utterances(clips_of(tmp_path), 16000, cache=True)
    assert data.memory is None
    assert "not cached" in capsys.readouterr().err
    assert data[0]["audio"].shape == (1, 16000)
    monkeypatch.setattr(module, "_free_memory", lambda: 2.0 * 4 * 16000)
    assert Utterances(clips_of(tmp_path), 16000, cache=True).memory is not None
