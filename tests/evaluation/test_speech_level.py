import math

import numpy as np
import pytest

from wavediff.evaluation import speech_level as module
from wavediff.evaluation.metrics import UndefinedMetric
from wavediff.evaluation.speech_level import THRESHOLDS, speech_level

RATE = 8000


def tone(seconds, on=math.inf, period=1.0, rms=0.1, rate=RATE):
    """A tone of that RMS for the first ``on`` seconds of each period."""
    t = np.arange(int(seconds * rate)) / rate
    return rms * 2**0.5 * np.sin(2 * np.pi * 440 * t) * (t % period < on)


def by_the_text_of_the_standard(x, rate):
    """The activity counts, sample by sample (P.56, algorithm of method B)."""
    g, hangover = math.exp(-1 / (0.03 * rate)), math.ceil(0.2 * rate)
    p = q = 0.0
    counts = np.zeros(len(THRESHOLDS))
    hung = np.full(len(THRESHOLDS), hangover)
    for sample in x:
        p = g * p + (1 - g) * abs(sample)
        q = g * q + (1 - g) * p
        above = q >= THRESHOLDS
        hung[above] = 0
        held = ~above & (hung < hangover)
        hung[held] += 1
        counts += above | held
    return counts


@pytest.mark.parametrize("rate", [8000, 11025, 1001])
def test_activity_is_counted_as_in_the_standard(rate, monkeypatch):
    monkeypatch.setattr(module, "BLOCK_FRAMES", 13)  # several blocks
    bursts = np.arange(2 * rate) / rate % 0.9 < 0.3
    x = 0.1 * np.random.default_rng(0).standard_normal(2 * rate) * bursts
    counts = sum((held[:, None] >= THRESHOLDS).sum(0) for held in module._held_envelopes(x, rate))
    np.testing.assert_array_equal(counts, by_the_text_of_the_standard(x, rate))


@pytest.mark.parametrize("on", [2.0, 5.0, 10.0])
def test_the_level_is_that_of_the_active_part(on):
    found = speech_level(tone(40, on, period=20.0), RATE)
    # the hangover of 0.2 s and the decay of the envelope to 15.9 dB below count as active
    active = on + 0.2 + 0.1
    assert found.activity == pytest.approx(active / 20, rel=0.05)
    assert found.level == pytest.approx(-20 + 10 * np.log10(on / active), abs=0.15)
    assert found.pauses.mean() == pytest.approx(1 - active / 20, abs=0.02)


@pytest.mark.parametrize(("below", "activity"), [(12, 1.0), (20, 10.3 / 20)])
def test_noise_is_active_within_the_margin(below, activity):
    # the envelope of Gaussian noise lies 2 dB below its RMS, the threshold 15.9 dB below speech
    noise = 0.1 * 10 ** (-below / 20) * np.random.default_rng(0).standard_normal(40 * RATE)
    found = speech_level(tone(40, 10.0, period=20.0) + noise, RATE)
    assert found.activity == pytest.approx(activity, abs=0.02)


def test_a_continuous_tone_has_its_rms_level_and_is_always_active():
    found = speech_level(tone(20), RATE)
    assert found.level == pytest.approx(-20, abs=0.02)
    assert found.activity == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize("gain", [2.0**-9, 0.5, 4.0])
def test_the_level_follows_the_gain_and_no_offset(gain):
    x = tone(4, 0.6)
    level, loud = speech_level(x, RATE), speech_level(gain * x + 0.3, RATE)
    assert loud.level - level.level == pytest.approx(20 * np.log10(gain), abs=0.02)
    assert loud.activity == pytest.approx(level.activity, abs=1e-3)


@pytest.mark.parametrize("signal", [np.zeros(RATE), np.full(RATE, 0.3), np.ones(1)])
def test_silence_has_no_level(signal):
    with pytest.raises(UndefinedMetric, match="silent"):
        speech_level(signal, RATE)


def test_a_click_is_not_speech():
    with pytest.raises(UndefinedMetric, match=r"active by ITU-T P\.56"):
        speech_level(np.eye(1, 4 * RATE, 100)[0], RATE)
