import math

import numpy as np
import pytest
import scipy.signal
import torch

from wavediff.evaluation import perceptual
from wavediff.evaluation.perceptual import bark, disturbance

RATE = 16000


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def speech(seconds=3.0, rate=RATE, f0=120.0):
    """Syllables of a voice with two formants, [1, time]."""
    t = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    voice = sum(
        (math.exp(-(((k * f0 - 600) / 400) ** 2)) + 0.3 * math.exp(-(((k * f0 - 2200) / 600) ** 2)))
        * torch.sin(2 * math.pi * k * f0 * t + k * k)
        for k in range(1, 30)
    )
    syllables = torch.sin(2 * math.pi * 2 * t).clamp_min(0)
    return (0.1 * voice * syllables)[None].float()


def in_noise(snr_db, seed=1):
    clean = speech()
    noise = randn(*clean.shape, seed=seed)
    return clean + noise * clean.square().mean().sqrt() * 10 ** (-snr_db / 20)


@pytest.mark.parametrize(
    ("hertz", "rate"), [(100, 1), (300, 3), (510, 5), (920, 8), (2000, 13), (4400, 18), (7700, 21)]
)
def test_critical_bands_end_where_zwickers_do(hertz, rate):
    assert bark(torch.tensor(hertz)) == pytest.approx(rate, abs=0.2)


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
def test_a_tone_has_its_power_in_its_band_at_any_rate(rate):
    tone = torch.sin(2 * math.pi * 1000 * torch.arange(rate, dtype=torch.float64) / rate)
    power = perceptual._bark_power(tone[None], rate, 0)[0].mean(dim=1)
    # all of the tone is where the level is taken; the filter is that of P.862.2
    b, a = (2.740826, -5.4816519, 2.740826), (1, -1.9444777, 0.94597794)
    gain = abs(scipy.signal.freqz(b, a, [1000], fs=16000)[1][0])
    assert power.sum() == pytest.approx(gain**2 * perceptual.LEVEL, rel=0.01)
    band = int(torch.searchsorted(perceptual._edges()[0], 1000.0)) - 1
    assert power[band - 1 : band + 2].sum() > 0.99 * power.sum()


def test_pooling_has_closed_forms():
    pooled = perceptual._pooled
    torch.testing.assert_close(pooled(torch.full((2, 50), 3.0)), torch.full((2,), 3.0))
    one = torch.zeros(1, 20)
    one[0, 7] = 2.0
    torch.testing.assert_close(pooled(one), torch.tensor([2 * (1 / 20) ** (1 / 6)]))
    assert pooled(torch.full((1, 20), 1e3)) == pytest.approx(45)


def test_loudness_is_zero_at_the_threshold_and_follows_zwickers_power_law():
    threshold, exponent, _ = perceptual._bands()
    assert not perceptual._loudness(threshold[None]).any()
    loud = 1e9 * threshold[None]
    ratio = perceptual._loudness(10 * loud) / perceptual._loudness(loud)
    torch.testing.assert_close(ratio, 10 ** exponent[None], rtol=0.01, atol=0)
    assert exponent[-1].item() == pytest.approx(0.23)


def test_none_for_equal_audio_at_any_level_and_layout():
    clean, noisy = speech(), in_noise(5)
    assert disturbance(0.3 * clean, clean, RATE) < 1e-3
    expected = disturbance(noisy, clean, RATE)
    assert expected.shape == (1,)
    for estimate, reference in ((0.01 * noisy, clean), (noisy, 20 * clean)):
        torch.testing.assert_close(
            disturbance(estimate, reference, RATE), expected, rtol=1e-3, atol=0
        )
    both = disturbance(torch.stack([clean, noisy]), torch.stack([clean, clean]), RATE)
    torch.testing.assert_close(both[1:], expected)


def test_more_noise_disturbs_more():
    clean = speech()
    values = [disturbance(in_noise(snr), clean, RATE).item() for snr in (30, 20, 10, 0)]
    assert values == sorted(values)
    assert values[-1] > 2 * values[0]


def test_what_is_added_disturbs_more_than_what_is_missing():
    clean = speech()
    t = torch.arange(clean.shape[1]) / RATE
    beeps = clean + 0.01 * torch.sin(2 * math.pi * 3000 * t) * (t % 0.5 < 0.1)
    assert disturbance(beeps, clean, RATE) > 1.5 * disturbance(clean, beeps, RATE)


@pytest.mark.parametrize("gain", [0.3, 3.0])
def test_another_colour_disturbs_little(gain):
    clean = speech()
    spectrum = torch.fft.rfft(clean)
    above = torch.fft.rfftfreq(clean.shape[1], 1 / RATE) > 1500
    coloured = torch.fft.irfft(spectrum * torch.where(above, gain, 1), n=clean.shape[1])
    assert disturbance(coloured, clean, RATE) < 0.1 < 3 < disturbance(in_noise(20), clean, RATE)


@pytest.mark.parametrize("estimate", ["silent", "equal", "other"])
@pytest.mark.parametrize("reference", ["silent", "speech"])
def test_values_and_gradients_are_finite(estimate, reference):
    b = speech() if reference == "speech" else torch.zeros(1, 3 * RATE)
    a = {"silent": torch.zeros_like(b), "equal": b.clone(), "other": randn(*b.shape)}[estimate]
    a.requires_grad_()
    value = disturbance(a, b, RATE, min_rms=0.01)
    value.sum().backward()
    assert value.isfinite().all()
    assert a.grad.isfinite().all()


def test_what_is_weaker_than_the_least_rms_is_not_made_loud():
    hiss = 1e-6 * randn(1, 2 * RATE)
    assert disturbance(hiss, torch.zeros_like(hiss), RATE, min_rms=1e-2) < 0.1
    assert disturbance(hiss, torch.zeros_like(hiss), RATE, min_rms=1e-7) > 1


def test_the_gradient_is_that_of_the_value():
    clean = speech(0.5).double()
    noisy = (clean + 0.02 * randn(*clean.shape, seed=2)).requires_grad_()
    (slope,) = torch.autograd.grad(disturbance(noisy, clean, RATE).sum(), noisy)
    way = randn(*clean.shape, seed=3).double()
    with torch.no_grad():
        ahead, back = (disturbance(noisy + h * way, clean, RATE) for h in (1e-7, -1e-7))
    assert (slope * way).sum().item() == pytest.approx(((ahead - back) / 2e-7).item(), rel=1e-3)


@pytest.mark.parametrize("length", [1, 100, 511, 6000])
def test_short_audio(length):
    noise = randn(2, length)
    assert disturbance(noise, noise.flip(-1), 22050).isfinite().all()


def test_autocast_changes_nothing():
    with torch.autocast("cpu", torch.bfloat16):
        inside = disturbance(in_noise(5), speech(), RATE)
    torch.testing.assert_close(inside, disturbance(in_noise(5), speech(), RATE), rtol=0, atol=0)


def test_shapes_that_are_no_pair():
    with pytest.raises(ValueError, match="same shape"):
        disturbance(randn(1, 100), randn(1, 99), RATE)


def test_it_goes_with_the_pesq_package():
    pesq = pytest.importorskip("pesq")
    clean = speech()
    ours, theirs = [], []
    for snr in range(-5, 35, 5):
        noisy = in_noise(snr, seed=snr + 10)
        score = pesq.pesq(RATE, clean[0].numpy(), noisy[0].numpy(), "wb")
        theirs.append(4.5 - (3.8224 - math.log(4 / (score - 0.999) - 1)) / 1.3669)
        ours.append(disturbance(noisy, clean, RATE).item())
    assert np.corrcoef(ours, theirs)[0, 1] > 0.97
    assert np.mean(ours) == pytest.approx(np.mean(theirs), rel=0.15)
