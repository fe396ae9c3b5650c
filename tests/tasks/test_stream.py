"""Enhancement of endless signals: alignment, blocks, cuts, the high band, level and silence."""

import tracemalloc
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wavediff.errors import UserError
from wavediff.tasks import stream
from wavediff.tasks.limiter import limiter_gain
from wavediff.tasks.stream import EnhancerStream

RATES = [8_000, 11_025, 16_000, 17_001, 22_050, 44_100, 48_000, 96_000]


class Standin:
    """Has an enhancer's interface; `function(noisy [batch, 1, time], offset)`, of finite reach."""

    sample_rate = 16_000
    hop_length = 128
    device = torch.device("cpu")

    def __init__(self, function=lambda noisy, offset: noisy, reach=0):
        self.function, self._reach = function, reach

    def reach(self, sampler=None):
        return self._reach, self._reach

    def enhance(self, noisy, *, sampler=None, seed=0, offset=0):
        assert offset % self.hop_length == 0
        assert noisy.dtype == torch.float32
        return self.function(noisy, offset)


def enhance_signal(enhancer, audio, rate):
    return stream.enhance_signal(partial(EnhancerStream, enhancer, rate), audio)


def filtering(taps=801, reach=400):
    """Convolution with noise: what an output sample depends on is known."""
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(1, 1, taps, generator=generator) / taps**0.5
    return Standin(lambda noisy, offset: F.conv1d(noisy, kernel, padding=taps // 2), reach)


def scaled(factor):
    return Standin(lambda noisy, offset: factor * noisy)


def noise(rate, seconds=1.0, channels=1, level=0.1, seed=0):
    shape = (channels, round(rate * seconds) + 7)
    return level * np.random.default_rng(seed).standard_normal(shape)


def tones(rate, seconds=1.0, level=0.1, top=3300.0):
    at = np.arange(round(rate * seconds)) / rate
    frequencies = np.geomspace(200, top, 7)
    return level * sum(np.sin(2 * np.pi * f * at + f) for f in frequencies)[None]


def streamed(enhancer, audio, rate, sizes=(4096,), **options):
    """The whole output; blocks of `sizes` in turn."""
    stream = EnhancerStream(enhancer, rate, len(audio), **options)
    parts, start, k = [], 0, 0
    while start < audio.shape[1]:
        parts.append(stream.push(audio[:, start : start + sizes[k % len(sizes)]]))
        start, k = start + sizes[k % len(sizes)], k + 1
    return np.concatenate([*parts, stream.finish()], axis=1)


@pytest.mark.parametrize("rate", RATES)
def test_a_model_that_changes_nothing_gives_the_input_with_its_high_band(rate):
    audio = noise(rate, channels=2)
    out = streamed(Standin(), audio, rate, chunk_seconds=0.3)
    assert out.shape == audio.shape
    assert np.abs(out - audio).max() < 1e-7


@pytest.mark.parametrize("rate", [*RATES, 44_099])
def test_there_and_back_again_is_aligned_to_the_sample(rate):
    # half of it comes through the model's rate, a quarter of the difference is kept
    audio = tones(rate, seconds=6.0)
    out = streamed(scaled(0.5), audio, rate)
    inner = slice(rate // 10, -rate // 10)
    assert np.abs(out - 0.5 * audio)[:, inner].max() < 1e-5
    assert np.abs(out - 0.5 * audio).max() < 0.05  # the ends, where the tones begin at once


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_the_sizes_of_the_blocks_do_not_matter(rate):
    audio = noise(rate, channels=2)
    whole = streamed(filtering(), audio, rate, (audio.shape[1],), chunk_seconds=0.2)
    for sizes in ((1, 0, 5000, 77), (160,), (9999,)):
        out = streamed(filtering(), audio, rate, sizes, chunk_seconds=0.2)
        assert out.shape == whole.shape == audio.shape
        assert np.abs(out - whole).max() < 1e-9


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_the_model_is_given_the_same_pieces_whatever_the_blocks(rate):
    nowhere_local = Standin(lambda noisy, offset: noisy * noisy.std(), reach=100)
    audio = noise(rate)
    whole = streamed(nowhere_local, audio, rate, (audio.shape[1],), chunk_seconds=0.2)
    out = streamed(nowhere_local, audio, rate, (700, 10_000), chunk_seconds=0.2)
    assert np.abs(out - whole).max() < 1e-9


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_limits_and_silences_have_no_cuts_either(rate):
    audio = 2 * noise(rate, channels=2)
    for start in np.arange(0.05, 1, 0.1):
        audio[1, round(start * rate) : round((start + 0.04) * rate)] = 0
    whole = streamed(scaled(5), audio, rate, chunk_seconds=1e6)
    assert np.abs(whole).max() > 0.99
    for sizes in ((300,), (5000, 20)):
        out = streamed(scaled(5), audio, rate, sizes, chunk_seconds=0.03)
        assert np.abs(out - whole).max() < 1e-6


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_cuts_are_not_seen(rate):
    audio = noise(rate)
    whole = streamed(filtering(), audio, rate, chunk_seconds=1e6)
    assert np.abs(whole - audio).max() > 0.1
    for seconds in (0.01, 0.1, 0.37):
        cut = streamed(filtering(), audio, rate, chunk_seconds=seconds)
        assert np.abs(cut - whole).max() < 1e-6
    seams = streamed(filtering(reach=100), audio, rate, chunk_seconds=0.1)
    assert np.abs(seams - whole).max() > 1e-2  # a reach that is too short would be noticed


@pytest.mark.parametrize("rate", [8_000, 16_000, 17_001, 44_100, 96_000])
def test_the_latency_is_as_stated(rate):
    audio = noise(rate, seconds=1.5)
    for seconds in (0.05, 0.25):
        stream = EnhancerStream(filtering(), rate, chunk_seconds=seconds)
        assert stream.latency < seconds + 0.42
        received = worst = 0
        for start in range(0, audio.shape[1], rate // 100):
            received += stream.push(audio[:, start : start + rate // 100]).shape[1]
            worst = max(worst, min(start + rate // 100, audio.shape[1]) - received)
        assert worst <= stream.latency * rate + rate // 100
        assert worst >= 0.5 * stream.latency * rate
        assert received + stream.finish().shape[1] == audio.shape[1]


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("length", [0, 1, 2, 80, 441])
def test_short_signals(rate, length):
    audio = noise(rate)[:, :length]
    assert streamed(filtering(), audio, rate).shape == (1, length)
    assert np.abs(streamed(Standin(), audio, rate) - audio).max(initial=0) < 1e-7


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_dry_mixes_the_input_back(rate):
    audio = 3 * noise(rate, channels=2)
    wet = streamed(scaled(0.1), audio, rate)
    assert np.array_equal(streamed(filtering(), audio, rate, dry=1.0), audio)
    mixed = streamed(scaled(0.1), audio, rate, dry=0.25)
    assert np.abs(mixed - (0.75 * wet + 0.25 * audio)).max() < 1e-9


def high_band(audio, rate):
    """RMS above 9 kHz of [1, time]."""
    spectrum = np.fft.rfft(audio[0] * np.hanning(audio.shape[1]))
    return np.sqrt((np.abs(spectrum[np.fft.rfftfreq(audio.shape[1], 1 / rate) > 9000]) ** 2).sum())


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_the_high_band_follows_the_octave_below_it(rate):
    def late(noisy, offset):  # from the second second on nothing is left but 1 %
        at = torch.arange(offset, offset + noisy.shape[-1])
        return torch.where(at < 16_000, noisy, 0.01 * noisy)

    audio = noise(rate, seconds=2)
    out = streamed(Standin(late), audio, rate, chunk_seconds=0.3)
    kept, gone = slice(0, round(0.9 * rate)), slice(round(1.1 * rate), None)
    assert np.abs(out - audio)[:, kept].max() < 1e-6
    assert high_band(out[:, gone], rate) < 1e-3 * high_band(audio[:, gone], rate)
    near = slice(round(0.96 * rate), round(1.04 * rate))  # on the way from one to the other
    assert 0.3 < high_band(out[:, near], rate) / high_band(audio[:, near], rate) < 0.9


def test_the_high_band_is_not_made_louder_and_keeps_its_level_by_wiener():
    audio = noise(48_000, level=0.01)
    for factor in (2.0, 0.7):
        out = streamed(scaled(factor), audio, 48_000)
        inner = slice(2000, -2000)
        ratio = high_band(out[:, inner], 48_000) / high_band(audio[:, inner], 48_000)
        assert ratio == pytest.approx(min(1, factor**2), rel=1e-3)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_full_scale_holds_by_a_short_gain_common_to_all_channels(rate):
    audio = np.concatenate([tones(rate), 0.25 * tones(rate)])
    audio *= 0.5 / np.abs(audio).max()
    at = rate // 2
    audio[:, at - rate // 20 : at + rate // 20] *= 1.6
    out = streamed(scaled(1.5), audio, rate, chunk_seconds=0.2)
    wanted = streamed(scaled(1.5), 0.1 * audio, rate, chunk_seconds=0.2) / 0.1
    assert np.abs(wanted).max() > 1.1
    assert np.abs(out).max() <= 1
    away = np.abs(np.arange(out.shape[1]) - at) > rate // 20 + 0.011 * rate
    assert np.abs(out - wanted)[:, away].max() < 1e-6
    loud = np.abs(wanted[1]) > 1e-3
    gain = out[0, loud] / wanted[0, loud], out[1, loud] / wanted[1, loud]
    assert np.abs(gain[0] - gain[1])[np.abs(wanted[0, loud]) > 1e-2].max() < 1e-3
    assert min(gain[0][np.abs(wanted[0, loud]) > 0.5]) > 0.7


def test_what_the_input_has_above_full_scale_stays():
    audio = 30 * tones(44_100)
    assert np.abs(audio).max() > 5
    assert np.abs(streamed(Standin(), audio, 44_100) - audio).max() < 1e-5
    assert np.abs(streamed(scaled(1.2), audio, 44_100)).max() <= np.abs(audio).max()


def test_the_limiters_gain_is_smooth_and_never_above_what_is_allowed():
    allowed = np.ones(400)
    allowed[200], allowed[230:233] = 0.5, 0.3
    gain = limiter_gain(allowed, 20)
    assert (gain <= allowed + 1e-12).all()
    assert np.abs(np.diff(gain)).max() < 0.7 / 15
    assert (gain[:155] == 1).all()
    assert (gain[275:] == 1).all()
    assert gain.min() == pytest.approx(0.3)


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
def test_silence_stays_silence(rate):
    def refuse(noisy, offset):
        raise AssertionError("there is nothing to enhance")

    silence = np.zeros((2, rate))
    assert not streamed(Standin(refuse), silence, rate).any()
    audio = noise(rate, channels=2)
    audio[1] = 0
    audio[0, rate // 4 : rate // 2] = 0
    humming = Standin(lambda noisy, offset: noisy + 0.01)
    out = streamed(humming, audio, rate, (1000, 50), chunk_seconds=0.2)
    margin = round(0.021 * rate)
    assert not out[1].any()
    assert not out[0, rate // 4 + margin : rate // 2 - margin].any()
    sounding = np.r_[0 : rate // 4, rate // 2 : len(audio[0])]
    if rate == 16_000:  # no resampling about the edges of the gap
        assert np.abs(out[0] - audio[0] - 0.01)[sounding].max() < 1e-6


def test_the_image_stays():
    voice = tones(44_100)
    panned = np.concatenate([voice, 0.3 * voice])
    left, right = streamed(filtering(), panned, 44_100)
    assert np.abs(right - 0.3 * left).max() < 1e-6


def test_memory_does_not_grow_with_the_length():
    def peak(seconds):
        stream = EnhancerStream(scaled(0.5), 48_000, 2, chunk_seconds=0.5)
        block = noise(48_000, seconds=0.2, channels=2)
        tracemalloc.start()
        for _ in range(round(seconds / 0.2)):
            stream.push(block)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(12) < 1.1 * peak(3)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("block", [1e-4, 0.01, 0.3])
def test_nothing_is_computed_before_a_chunk_is_complete(rate, block):
    calls = []

    def counting(noisy, offset):
        calls.append(offset)
        return noisy

    audio = noise(rate)
    stream = EnhancerStream(Standin(counting), rate, chunk_seconds=0.2)
    resampled = []
    if rate != 16_000:
        push = stream._down.push
        stream._down.push = lambda samples: resampled.append(1) or push(samples)
    size = max(1, round(block * rate))
    for start in range(0, audio.shape[1], size):
        stream.push(audio[:, start : start + size])
    assert 3 <= len(calls) <= 5  # chunks of a second, whatever the blocks
    assert len(resampled) <= 3 * len(calls)


DRIFTS = {
    "offset": lambda at: np.full_like(at, 0.3),
    "small offset": lambda at: np.full_like(at, 0.01),
    "slow sine": lambda at: 0.2 * np.sin(2 * np.pi * 0.7 * at),
    "sine at 10 Hz": lambda at: 0.1 * np.sin(2 * np.pi * 10 * at),
    "ramp": lambda at: 0.5 * at / at[-1] - 0.1,
}


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("name", sorted(DRIFTS))
def test_offset_and_drift_are_taken_out(rate, name):
    audio = noise(rate, seconds=4, level=0.01)
    drifting = audio + DRIFTS[name](np.arange(audio.shape[1]) / rate)
    both = np.concatenate([drifting, audio])
    model = Standin(reach=20_000)  # looks ahead by more than a second, as the bundled one
    out = streamed(model, both, rate, (441,), chunk_seconds=0.2)
    # white noise has a part of about -22 dB there itself
    assert np.sqrt(np.mean((out[0] - audio[0]) ** 2)) < 0.15 * 0.01
    assert np.abs(out[1] - audio[0]).max() < 1e-7
    for options in ({"chunk_seconds": 0.05}, {"chunk_seconds": 1e6}):
        again = streamed(model, both, rate, (9999,), **options)
        assert np.abs(again - out).max() < 1e-6
    assert np.abs(enhance_signal(model, both, rate) - out).max() < 1e-6


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_an_offset_alone_takes_nothing_from_20_hz_on(rate):
    at = np.arange(2 * rate) / rate
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 3 * at)  # of syllables
    high = sum(np.sin(2 * np.pi * f * at + f) for f in (42, 78, 93, 210, 410, 630, 900))
    audio = 0.02 * (swell * high + 0.8 * np.sin(2 * np.pi * 30 * at))[None]
    for offset in (0.5, -0.02):
        both = np.concatenate([audio + offset, audio])
        model = Standin(reach=20_000)  # looks ahead by more than a second, as the bundled one
        for options in ({}, {"chunk_seconds": 0.2}, {"chunk_seconds": 1e6}):
            out = streamed(model, both, rate, (441,), **options)
            assert np.abs(out[1] - audio[0]).max() < 1e-7
            error = out[0] - audio[0]
            assert np.mean(error**2) < 1e-4 * np.mean(audio**2)
            for frequency in (30, 42, 78, 93):
                wave = np.exp(2j * np.pi * frequency * at)
                assert abs(np.mean(error * wave)) < 0.01 * abs(np.mean(audio[0] * wave))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_constant_is_silence(rate):
    assert np.abs(streamed(Standin(), np.full((1, rate), 0.25), rate)).max() < 1e-9


def test_tones_and_hum_from_50_hz_stay():
    rate = 16_000
    at = np.arange(3 * rate) / rate
    for frequency in (50, 60, 100):
        tone = 0.3 * np.sin(2 * np.pi * frequency * at)[None]
        assert np.abs(streamed(Standin(), tone, rate) - tone).max() < 1e-7
        out = streamed(Standin(reach=20_000), tone + 0.5, rate)  # where an offset is taken out
        assert np.abs(out - tone)[:, 2000:-2000].max() < 0.004


@pytest.mark.parametrize("rate", [16_000, 22_050])
def test_a_signal_at_once_of_its_own_kind(rate):
    audio = noise(rate).astype(np.float32)
    both = np.concatenate([audio, audio[:, ::-1]])
    expected = streamed(filtering(), both, rate)
    mono = enhance_signal(filtering(), both[0], rate)
    assert (mono.dtype, mono.shape) == (np.float32, both[0].shape)
    assert np.abs(mono - expected[0]).max() < 1e-6
    for kind in (torch.float32, torch.float64):
        out = enhance_signal(filtering(), torch.from_numpy(both).to(kind), rate)
        assert (out.dtype, out.shape) == (kind, both.shape)
        assert np.abs(out.numpy() - expected).max() < 1e-6
    assert enhance_signal(filtering(), both[:, :0], rate).shape == (2, 0)
    assert enhance_signal(filtering(), torch.zeros(1), rate).tolist() == [0.0]


def test_progress_is_reported_up_to_the_end():
    seen = []
    streamed(Standin(), noise(48_000), 48_000, chunk_seconds=0.2, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0], abs=0.005)
    assert seen[-1] == pytest.approx(1.0, abs=0.005)


def spoilt(value):
    audio = noise(8_000)
    audio[0, 777] = value
    return audio


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: EnhancerStream(Standin(), 0), "0 Hz is out of range"),
        (lambda: EnhancerStream(Standin(), 44_100.5), "44100.5 Hz"),
        (lambda: EnhancerStream(Standin(), 16_000, 0), "at least 1 channel"),
        (lambda: EnhancerStream(Standin(), 16_000, dry=1.5), "dry=1.5"),
        (lambda: EnhancerStream(Standin(), 16_000, chunk_seconds=0), "more than 0 seconds"),
        (lambda: EnhancerStream(Standin(), 16_000, 2).push(np.zeros((1, 9))), r"\[2, time\]"),
        (lambda: enhance_signal(Standin(), np.zeros(9, np.int16), 16_000), "int16"),
        (lambda: enhance_signal(Standin(), np.full(9, np.nan), 16_000), "NaN"),
        (lambda: streamed(Standin(), spoilt(1e20), 8_000, (99,)), r"sample 777 of .* is 1e\+20"),
        (lambda: enhance_signal(Standin(), spoilt(np.nan), 8_000), "sample 777 of .* is nan"),
        (lambda: enhance_signal(Standin(), -spoilt(np.inf), 8_000), "sample 777 of .* is -inf"),
        (lambda: enhance_signal(Standin(), np.zeros((9000, 2)), 16_000), "transpose"),
        (lambda: enhance_signal(Standin(), [0.0] * 9, 16_000), "not a list"),
        (lambda: enhance_signal(Standin(), np.zeros((1, 1, 9)), 16_000), r"\[channels, time\]"),
        (lambda: enhance_signal(scaled(float("nan")), np.ones(9), 16_000), "checkpoint is broken"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(UserError, match=words):
        call()


def test_a_finished_stream_takes_no_more():
    stream = EnhancerStream(Standin(), 16_000)
    stream.finish()
    for more in (lambda: stream.push(np.zeros((1, 9))), stream.finish):
        with pytest.raises(UserError, match="finished"):
            more()
