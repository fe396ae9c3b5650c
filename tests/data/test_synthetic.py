import numpy as np
import pytest
import torch

from wavediff.data.audio import read_audio
from wavediff.data.synthetic import synthetic, utterance


def test_the_same_arguments_give_the_same_sound():
    first = utterance(0.5, 16000, seed=1)
    assert first.shape == (1, 8000)
    assert first.abs().max() == pytest.approx(0.5)
    assert torch.equal(first, utterance(0.5, 16000, seed=1))
    assert not torch.equal(first, utterance(0.5, 16000, seed=2))


def test_it_is_voiced_at_the_pitch_asked_for():
    for pitch in (1.0, 2.0):
        audio = utterance(2.0, 16000, seed=4, pitch=pitch)[0].double().numpy()
        spectrum = np.abs(np.fft.rfft(audio, 1 << 17)) ** 2
        correlation = np.fft.irfft(spectrum)  # peaks at the period
        lags = np.arange(int(16000 / (pitch * 160)), int(16000 / (pitch * 75)))
        best = lags[correlation[lags].argmax()]
        assert correlation[best] > 0.3 * correlation[0]
        assert 80 * pitch < 16000 / best < 150 * pitch


def test_files_are_written_once_and_carry_the_voices_as_labels(tmp_path):
    source = synthetic(str(tmp_path), count=4, seconds=0.3, sample_rate=8000, speakers=3)
    assert source.label_names == ["voice-000", "voice-001", "voice-002"]
    assert source.labels == [0, 1, 2, 0]
    audio, rate = read_audio(source.files[3])
    assert (audio.shape, rate) == ((1, 2400), 8000)
    times = [file.stat().st_mtime_ns for file in source.files]
    assert synthetic(str(tmp_path), count=4, seconds=0.3, sample_rate=8000, speakers=3) == source
    assert [file.stat().st_mtime_ns for file in source.files] == times
    other = synthetic(str(tmp_path), count=1, seconds=0.3, sample_rate=8000, seed=1)
    assert other.labels is None
    assert other.files[0] not in source.files
