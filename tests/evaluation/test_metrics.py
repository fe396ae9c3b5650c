import contextlib
import math
import sys

import numpy as np
import pytest
import torch

from wavediff.errors import UserError
from wavediff.evaluation.composite import composite
from wavediff.evaluation.metrics import METRICS, UndefinedMetric, cepstral_distortion

RATE = 16000


def speech(seconds: float, f0: float = 120.0, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Harmonic syllables, three a second, with gaps, and a little noise."""
    t = np.arange(int(seconds * rate)) / rate
    harmonics = sum(np.sin(2 * np.pi * f0 * k * t) / k for k in range(1, 30))
    syllables = np.clip(np.sin(2 * np.pi * 3 * t) + 0.5, 0, 1)
    noise = np.random.default_rng(seed).standard_normal(len(t))
    return 0.1 * syllables * (harmonics + 0.1 * noise)


@pytest.fixture(scope="module")
def reference():
    return speech(1.5)


def test_si_sdr_closed_form():
    rng = np.random.default_rng(0)
    s, e = rng.standard_normal((2, 4000))
    s, e = s - s.mean(), e - e.mean()
    e -= (e @ s) / (s @ s) * s  # orthogonal to s and to constants
    expected = 10 * math.log10((s @ s) / (0.01 * e @ e))
    for estimate in (s + 0.1 * e, -3 * (s + 0.1 * e), s + 0.1 * e + 5):  # blind to gain and offset
        assert METRICS["si_sdr"](estimate, s, RATE) == pytest.approx(expected, abs=1e-9)


def test_cepstral_distortion_closed_forms():
    k = np.arange(80) + 0.5
    reference = np.random.default_rng(0).standard_normal((80, 5))
    factor = 10 * math.sqrt(2) / math.log(10)
    for m, amplitude, expected in ((1, 0.3, 0.3), (24, -0.2, 0.2), (25, 0.5, 0), (0, 0.5, 0)):
        ripple = amplitude * np.cos(np.pi * m * k / 80)[:, None]
        result = cepstral_distortion(reference + ripple, reference)
        np.testing.assert_allclose(result, factor * expected, atol=1e-12)


def test_cepstral_distortion_is_in_decibels():
    # a smooth difference without an offset: its root mean square over the bands in dB
    k = np.arange(80) + 0.5
    difference = sum(np.cos(np.pi * m * k / 80) / m for m in range(1, 25))[:, None]
    decibels = 20 * np.log10(np.exp(difference))
    expected = np.sqrt(np.mean(decibels**2))
    assert cepstral_distortion(difference, 0 * difference)[0] == pytest.approx(expected)


def test_mcd_ignores_the_level():
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    assert METRICS["mcd"](0.5 * noise, noise, RATE) == pytest.approx(0, abs=1e-4)
    assert METRICS["mcd"](np.diff(noise, append=0), noise, RATE) > 3


@pytest.mark.parametrize("rate", [16000, 22050])
def test_f0_rmse_of_a_raised_voice(rate):
    # pyin's grid has steps of 10 cents
    reference = speech(1.0, 120, rate)
    for cents in (300, -200):
        raised = speech(1.0, 120 * 2 ** (cents / 1200), rate)
        assert METRICS["f0_rmse"](raised, reference, rate) == pytest.approx(abs(cents), abs=15)


def test_pesq_and_stoi_order_degradations(reference):
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    noise = np.random.default_rng(1).standard_normal(len(reference))
    for name, best in (("pesq_wb", 4.644), ("stoi", 1), ("estoi", 1)):
        values = [METRICS[name](reference + g * noise, reference, RATE) for g in (0, 0.01, 0.1)]
        assert values[0] == pytest.approx(best, abs=1e-3)
        assert values[0] > values[1] > values[2]


def test_pesq_is_the_packages_at_16_khz_and_resamples_other_rates():
    pesq = pytest.importorskip("pesq")
    reference = speech(1.0, rate=48000)
    estimate = reference + 0.01 * np.random.default_rng(1).standard_normal(len(reference))
    at_16 = [x[::3] for x in (estimate, reference)]
    exact = pesq.pesq(16000, at_16[1].astype("f4"), at_16[0].astype("f4"), "wb")
    assert METRICS["pesq_wb"](*at_16, 16000) == pytest.approx(exact, abs=1e-3)
    # not the same: dropping two of three samples folds what is above 8 kHz down
    assert METRICS["pesq_wb"](estimate, reference, 48000) == pytest.approx(exact, abs=0.3)
    with pytest.raises(UndefinedMetric, match="16 kHz"):
        METRICS["pesq_wb"](*at_16, 8000)


def test_pesq_of_long_audio_is_the_mean_of_its_pieces(monkeypatch):
    # 84 utterances: given them in one piece the pesq package overruns its memory
    pesq = pytest.importorskip("pesq")
    lengths = []
    true_pesq = pesq.pesq

    def recorded(rate, reference, estimate, mode):
        assert len(reference) <= 20 * rate
        lengths.append(len(reference))
        return true_pesq(rate, reference, estimate, mode)

    monkeypatch.setattr(pesq, "pesq", recorded)
    rng = np.random.default_rng(0)
    n = 42 * RATE
    reference = 0.1 * rng.standard_normal(n) * (np.arange(n) % 8000 < 4000)
    reference[-n // 3 :] = 0  # a piece without speech does not count
    estimate = reference + 0.01 * rng.standard_normal(n)
    whole = METRICS["pesq_wb"](estimate, reference, RATE)
    assert lengths == [14 * RATE] * 2
    pieces = zip(np.split(estimate, 3)[:2], np.split(reference, 3)[:2], strict=True)
    assert whole == pytest.approx(np.mean([METRICS["pesq_wb"](*p, RATE) for p in pieces]))


def test_composite_measures_are_taken_at_the_scale_of_16_bit_integers(reference):
    pytest.importorskip("pesq")
    noise = np.random.default_rng(1).standard_normal(len(reference))
    for gain in (0.003, 0.03):  # another pair is not mistaken for the last one
        estimate = (reference + gain * noise).astype("f4")
        pesq = METRICS["pesq_wb"](estimate, reference, RATE)
        exact = composite(*(32768.0 * x for x in (estimate, reference)), RATE, pesq)
        ratings = [METRICS[name](estimate, reference, RATE) for name in ("csig", "cbak", "covl")]
        assert ratings == pytest.approx(list(exact), abs=1e-4)
        assert all(1 < rating < 5 for rating in ratings)


@pytest.mark.parametrize("name", METRICS)
def test_a_silent_reference_is_unmeasurable(name, reference):
    if METRICS[name].package:
        pytest.importorskip(METRICS[name].package)
    with pytest.raises(UndefinedMetric, match="reference is silent"):
        METRICS[name](reference, np.zeros_like(reference), RATE)
    with pytest.raises(UndefinedMetric, match="NaN"):
        METRICS[name](np.full_like(reference, np.nan), reference, RATE)


@pytest.mark.parametrize("name", ["pesq_wb", "covl", "si_sdr", "f0_rmse"])
def test_a_silent_estimate_is_unmeasurable(name, reference):
    if METRICS[name].package:
        pytest.importorskip(METRICS[name].package)
    with pytest.raises(UndefinedMetric, match="estimate is silent"):
        METRICS[name](np.zeros_like(reference), reference, RATE)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("length", [1, 10, 300, 3000])
def test_short_audio_gives_a_value_or_a_reason(name, length, reference):
    if METRICS[name].package:
        pytest.importorskip(METRICS[name].package)
    piece = reference[4000 : 4000 + length]
    with contextlib.suppress(UndefinedMetric):
        assert math.isfinite(METRICS[name](0.9 * piece + 1e-3, piece, RATE))


def test_reasons(reference):
    with pytest.raises(UndefinedMetric, match="equals the reference"):
        METRICS["si_sdr"](2 * reference, reference, RATE)
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(reference))
    with pytest.raises(UndefinedMetric, match="voiced in both"):
        METRICS["f0_rmse"](noise, reference, RATE)
    for package, name, reason in (
        ("pesq", "pesq_wb", "quarter of a second"),
        ("pystoi", "stoi", "0.4 s"),
    ):
        pytest.importorskip(package)
        with pytest.raises(UndefinedMetric, match=reason):
            METRICS[name](reference[4000:7000], reference[4000:7000], RATE)


def test_tensors_and_layouts(reference):
    tensor = torch.from_numpy(reference).float()
    other = tensor + 0.01
    values = {
        METRICS["mr_stft"](e, r, RATE)
        for e, r in ((other, tensor), (other[None, None], tensor[None]), (other.numpy(), tensor))
    }
    assert len(values) == 1
    with pytest.raises(ValueError, match="same length"):
        METRICS["si_sdr"](other[1:], tensor, RATE)
    with pytest.raises(ValueError, match="must be"):
        METRICS["si_sdr"](other.expand(2, -1), tensor.expand(2, -1), RATE)


@pytest.mark.parametrize("name", ["pesq_wb", "csig", "cbak", "covl", "stoi", "estoi"])
def test_a_missing_package_is_one_sentence(name, reference, monkeypatch):
    monkeypatch.setitem(sys.modules, METRICS[name].package, None)
    with pytest.raises(UserError, match=r"pip install 'wavediff\[evaluate\]'"):
        METRICS[name](reference, reference, RATE)
