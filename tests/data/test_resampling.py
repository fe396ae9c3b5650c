"""Sample-rate conversion: pass band, stop band, lengths, and streams against whole signals."""

import numpy as np
import pytest
import torch

from wavediff.data.resampling import (
    STREAM_QUALITY,
    StreamResampler,
    resample,
    resampler_delay,
)

PAIRS = [
    *((44_100, 16_000), (48_000, 16_000), (16_000, 48_000), (22_050, 16_000), (48_000, 22_050)),
    *((16_000, 22_050), (44_100, 24_000), (44_099, 22_050), (8_000, 17_001)),
]


def tone(frequency, rate, samples=None):
    at = torch.arange(samples or rate, dtype=torch.float64) / rate
    return torch.sin(2 * torch.pi * frequency * at + 0.3)


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_tones_in_the_pass_band_stay_and_those_above_do_not_alias(old, new):
    inside, lower = slice(500, -500), min(old, new) / 2
    for share in (0.01, 0.3, 0.6, 0.8, 0.9):
        kept = resample(tone(share * lower, old), old, new)
        assert len(kept) == new
        # 0.01 dB; half of the band to 0.001 dB
        assert (kept - tone(share * lower, new))[inside].abs().max() < (1.2e-3, 1.2e-4)[share < 0.5]
    for share in (1.0, 1.02, 1.1, 1.5):
        if share * new < old:
            alias = resample(tone(share * new / 2, old), old, new)[inside].abs().max()
            assert alias < 1e-7
            alias = resample(tone(share * new / 2, old).float(), old, new)[inside].abs().max()
            assert alias < 3e-7


@pytest.mark.parametrize(("old", "new"), [(16_000, 48_000), (16_000, 44_100), (22_050, 48_000)])
def test_a_higher_rate_adds_no_images(old, new):
    for share in (0.2, 0.6, 0.9):
        out = resample(tone(share * old / 2, old), old, new)[new // 10 : -new // 10].numpy()
        window = np.kaiser(len(out), 24)
        spectrum = np.abs(np.fft.rfft(out * window)) * 2 / window.sum()
        above = np.fft.rfftfreq(len(out), 1 / new) > 1.02 * old / 2
        assert spectrum[above].max() < 1e-7


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_the_length_is_rounded_up_and_the_rows_do_not_mix(old, new):
    for length in (0, 1, 2, 3, 10, 999, 1000):
        audio = torch.randn(2, 3, length, generator=torch.Generator().manual_seed(length))
        out = resample(audio, old, new)
        assert out.shape == (2, 3, -(-length * new // old))
        assert out.is_contiguous()
        assert torch.equal(out[1, 2], resample(audio[1, 2], old, new))
    assert resample(torch.zeros(0, 10), old, new).shape == (0, -(-10 * new // old))


def test_type_and_shape_stay():
    for kind in (torch.float32, torch.float64, torch.bfloat16):
        out = resample(torch.ones(800, dtype=kind), 8000, 16_000)
        assert (out.dtype, out.shape) == (kind, (1600,))
        assert (out[200:-200] - 1).abs().max() < 1e-5
    audio = torch.ones(10)
    assert resample(audio, 16_000, 16_000) is audio


@pytest.mark.parametrize(("old", "new"), [(44_100, 16_000), (16_000, 8_000), (48_000, 22_050)])
def test_down_is_the_adjoint_of_up_within_the_band(old, new):
    """<D x, y> / new = <x, U y> / old: what the projections of restoration rest on."""
    rng = np.random.default_rng(0)
    x = resample(torch.from_numpy(rng.standard_normal(new // 2)), new // 2, old)
    y = resample(torch.from_numpy(rng.standard_normal(new // 2)), new // 2, new)
    down = float(resample(x, old, new) @ y) / new
    up = float(x @ resample(y, new, old)) / old
    assert down == pytest.approx(up, abs=1e-4 * float(x.norm() * y.norm()) / (old * new) ** 0.5)


@pytest.mark.parametrize(("old", "new"), PAIRS)
@pytest.mark.parametrize("size", [160, 4001])
def test_a_stream_gives_the_whole_signal(old, new, size):
    audio = np.random.default_rng(0).standard_normal((2, old // 2 + 7))
    total = -(-audio.shape[1] * new // old)
    stream = StreamResampler(old, new, 2)
    delay = resampler_delay(old, new)
    parts = []
    for start in range(0, audio.shape[1], size):
        assert start / old - stream.done / new <= delay + 0.003
        parts.append(stream.push(audio[:, start : start + size]))
    parts.append(stream.finish(total))
    whole = resample(torch.from_numpy(audio), old, new, STREAM_QUALITY)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-12)
