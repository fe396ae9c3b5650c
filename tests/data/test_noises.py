import numpy as np
import pytest
from scipy.signal import stft, welch

from wavediff.data.noises import NOISES

RATE = 16000


def draw(name, length=RATE, rate=RATE, seed=0):
    return NOISES[name](length, rate, np.random.default_rng(seed))


def share(noise, low, high):
    """Of the power, between two frequencies in Hz."""
    power = np.abs(np.fft.rfft(noise)) ** 2
    frequency = np.fft.rfftfreq(len(noise), 1 / RATE)
    return power[(frequency >= low) & (frequency < high)].sum() / power.sum()


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize(
    ("length", "rate"), [(1, 16000), (37, 8000), (5003, 48000), (16000, 16000)]
)
def test_every_noise_has_the_length_asked_for_and_is_never_silent(name, length, rate):
    for seed in range(5):
        noise = draw(name, length, rate, seed)
        assert noise.dtype == np.float32
        assert noise.shape == (length,)
        assert np.isfinite(noise).all()
        if length > 1000:
            assert noise.std() > 0


@pytest.mark.parametrize("name", NOISES)
def test_every_noise_follows_from_the_generator_s_state(name):
    assert np.array_equal(draw(name), draw(name))
    assert not np.array_equal(draw(name), draw(name, seed=1))


@pytest.mark.parametrize(("name", "slope"), [("white", 0), ("pink", -3.01), ("brown", -6.02)])
def test_power_laws_in_decibels_per_octave(name, slope):
    frequency, power = welch(draw(name, 1 << 18), RATE, nperseg=4096)
    part = (frequency > 60) & (frequency < 7000)
    fit = np.polyfit(np.log2(frequency[part]), 10 * np.log10(power[part]), 1)
    assert fit[0] == pytest.approx(slope, abs=0.15)


def test_hum_is_lines_at_the_multiples_of_the_mains_frequency():
    found = set()
    for seed in range(6):
        noise = draw("hum", 4 * RATE, seed=seed)
        power = np.abs(np.fft.rfft(noise * np.hanning(len(noise)))) ** 2
        frequency = np.fft.rfftfreq(len(noise), 1 / RATE)
        bases = [mains * factor for mains in (50, 60) for factor in np.linspace(0.998, 1.002, 21)]
        on_lines = [
            power[np.abs((frequency + base / 2) % base - base / 2) < 0.8].sum() for base in bases
        ]
        best = int(np.argmax(on_lines))
        assert on_lines[best] > 0.99 * power.sum()
        found.add(round(bases[best] / 10))
        lines = [power[np.abs(frequency - k * bases[best]) < 0.8].sum() for k in (1, 2, 3)]
        assert min(lines) > 1e-4 * max(lines)  # with harmonics
    assert found == {5, 6}


def test_clicks_are_short_and_rare():
    for seed in range(5):
        noise = np.abs(draw("clicks", 4 * RATE, seed=seed))
        assert (noise > 0.05 * noise.max()).mean() < 0.15
        assert noise.max() > 8 * np.sqrt(np.mean(noise**2))


def test_wind_comes_in_gusts_of_low_frequencies():
    for seed in range(5):
        noise = draw("wind", 10 * RATE, seed=seed)
        assert share(noise, 0, 1000) > 0.9
        level = np.sqrt(np.mean(noise.reshape(20, -1) ** 2, axis=1))
        assert level.max() > 2 * level.min()


def test_a_fan_has_tones_over_rushing_air():
    tonal = []
    for seed in range(8):
        noise = draw("fan", 8 * RATE, seed=seed)
        assert share(noise, 0, 3000) > 0.6
        frequency, power = welch(noise, RATE, nperseg=8192)
        low = (frequency > 30) & (frequency < 1000)
        tonal.append(power[low].max() / np.median(power[low]))
    assert np.median(tonal) > 10


def test_a_texture_has_bands_that_swell_together_or_by_themselves():
    swings, likeness = [], []
    for seed in range(30):
        noise = draw("texture", 8 * RATE, seed=seed)
        spectrum = np.abs(stft(noise, RATE, nperseg=1024)[2]) ** 2
        levels = 10 * np.log10([spectrum[a:b].mean(0) for a, b in ((8, 32), (32, 128), (128, 500))])
        swings.append(levels.std(1).max())
        likeness.append(np.corrcoef(levels)[0, 2])
    assert min(swings) < 2  # nearly even, as white noise in these bands
    assert max(swings) > 4
    assert max(likeness) > 0.8
    assert min(likeness) < 0.3


def test_knocks_ring_at_the_same_tones_again():
    peaks = []
    for seed in range(10):
        noise = draw("knocks", 8 * RATE, seed=seed)
        level = np.sqrt(np.mean(noise.reshape(-1, 160) ** 2, axis=1))  # of 10 ms
        peaks.append(level.max() / np.median(level))
    assert np.median(peaks) > 3
    halves = np.split(draw("knocks", 16 * RATE, seed=4), 2)
    one, other = (welch(half, RATE, nperseg=4096)[1] for half in halves)
    assert np.corrcoef(np.log(one), np.log(other))[0, 1] > 0.9


def test_a_motor_is_a_harmonic_tone_whose_pitch_drifts():
    harmonic, drifting = [], []
    for seed in range(12):
        noise = draw("motor", 4 * RATE, seed=seed)
        frames = noise[: 31 * 2048].reshape(31, 2048)
        power = np.abs(np.fft.rfft(frames * np.hanning(2048), 8192)) ** 2
        likeness = np.fft.irfft(power)[:, 16:1024]  # autocorrelation up to 1 kHz
        harmonic.append((likeness.max(1) / np.fft.irfft(power)[:, 0]).mean())
        drifting.append(len(set(power.argmax(1))))
    assert np.median(harmonic) > 0.5
    assert max(drifting) > 10
