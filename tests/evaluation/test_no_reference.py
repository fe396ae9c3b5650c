import numpy as np
import pytest
from scipy import signal

from wavediff.evaluation.metrics import UndefinedMetric
from wavediff.evaluation.no_reference import NO_REFERENCE

RATE = 16000


def value(name, audio, rate=RATE):
    return NO_REFERENCE[name](np.atleast_2d(np.asarray(audio, float)), rate)


def noise(seconds=3.0, rms=0.1, rate=RATE, seed=0):
    return rms * np.random.default_rng(seed).standard_normal(int(seconds * rate))


def bursts(x, rate=RATE):
    """The first half of each second."""
    return x * (np.arange(len(x)) / rate % 1 < 0.5)


def quantised(x):
    return np.round(x * 32767) / 32768


@pytest.mark.parametrize("rate", [8000, 44100])
@pytest.mark.parametrize("floor", [1e-2, 1e-4])
def test_the_noise_floor_is_the_level_in_the_pauses(rate, floor):
    x = bursts(noise(4, 0.2, rate), rate) + noise(4, floor, rate, seed=1)
    assert value("noise_floor", x + 0.1, rate) == pytest.approx(20 * np.log10(floor), abs=0.3)


def test_the_noise_floor_of_continuous_noise_and_of_silence():
    assert value("noise_floor", noise(4, 0.01)) == pytest.approx(-40, abs=0.8)
    assert value("noise_floor", np.zeros(RATE)) == -100
    assert value("noise_floor", bursts(noise()) + 0.2) == -100


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("cutoff", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("rounded", [False, True])
def test_the_bandwidth_of_low_passed_noise(rate, cutoff, rounded):
    x = signal.sosfilt(signal.ellip(12, 0.1, 90, cutoff, output="sos"), noise(2, rate=rate))
    x = quantised(x) if rounded else x
    # a window's main lobe and the filter's transition lie above the edge
    edge = cutoff * rate / 2
    assert edge <= value("bandwidth", x, rate) <= 1.1 * edge + 130


@pytest.mark.parametrize("seconds", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("rate", [1000, 16000, 48000])
def test_white_noise_fills_the_band(rate, seconds):
    assert value("bandwidth", noise(seconds, rate=rate), rate) == rate / 2


def test_the_bandwidth_of_bursts_above_a_noise_floor():
    low = signal.sosfilt(signal.ellip(12, 0.1, 90, 0.25, output="sos"), bursts(noise(4, 0.3)))
    assert value("bandwidth", low + noise(4, 1e-3, seed=1)) == pytest.approx(2000, abs=150)


@pytest.mark.parametrize("hertz", [20, 50, 1000])
@pytest.mark.parametrize("gain", [1.0, 0.3])  # clipped before it was turned down
def test_clipped_samples_and_runs_are_counted(hertz, gain):
    x = 2 * np.sin(2 * np.pi * hertz * np.arange(48000) / 48000)
    clip = quantised(gain * np.clip(x, -1, 1))
    share = np.mean(np.abs(x) >= 1 - 1e-9)
    assert value("clipped", clip, 48000) == pytest.approx(100 * share, abs=0.05)
    assert value("clipped_runs", clip, 48000) == 2 * hertz
    assert value("clipped", quantised(0.45 * x), 48000) == 0  # a slow peak is flat in 16 bits
    # one clipped channel of two
    assert value("clipped_runs", [clip, 0.4 * x], 48000) == 2 * hertz


def test_one_sided_clipping_and_what_is_not_clipping():
    x = noise()
    assert value("clipped_runs", np.clip(x, -np.inf, 0.05)) > 100
    for audio in (x, np.full(RATE, 0.5), np.zeros(RATE), np.round(0.001 * x * 32767) / 32768):
        assert value("clipped", audio) == value("clipped_runs", audio) == 0


def test_the_offset_in_per_cent():
    assert value("dc_offset", np.full(100, -0.25)) == pytest.approx(25)
    assert value("dc_offset", [np.full(100, 0.1), np.full(100, -0.3)]) == pytest.approx(20)


def test_channels_that_would_cancel_and_one_that_is_silent():
    x = bursts(noise())
    for name in ("speech_level", "wada_snr", "bandwidth"):
        assert value(name, [x, -x, 0 * x]) == pytest.approx(value(name, x))


DEFINED = ["clipped", "clipped_runs", "dc_offset"]  # for a recording of any length


@pytest.mark.parametrize("length", [1, 2, 100])
@pytest.mark.parametrize("name", NO_REFERENCE)
def test_short_recordings_are_defined_or_said(name, length):
    audio = np.full(length, 0.1)
    if name in DEFINED:
        assert value(name, audio) == pytest.approx(10 if name == "dc_offset" else 0)
    else:
        with pytest.raises(UndefinedMetric, match=f"only {length} sample"):
            value(name, audio)


@pytest.mark.parametrize("name", NO_REFERENCE)
def test_silence_is_defined_or_said(name):
    silence = np.zeros((2, RATE))
    if name in {*DEFINED, "activity", "noise_floor"}:
        assert value(name, silence) == (-100 if name == "noise_floor" else 0)
    else:
        with pytest.raises(UndefinedMetric, match="silent"):
            value(name, silence)
