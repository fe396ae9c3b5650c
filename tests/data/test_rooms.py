import numpy as np
import pytest

from wavediff.data.rooms import Room, recorded, simulated

RATE = 16000


def noise(length=8000, seed=0):
    return np.random.default_rng(seed).standard_normal(length).astype(np.float32)


def delay(a, b):
    """Samples by which ``b`` comes after ``a``."""
    size = 2 * len(a)
    product = np.fft.irfft(np.conj(np.fft.rfft(a, size)) * np.fft.rfft(b, size), size)
    return (int(np.argmax(np.abs(product))) + len(a)) % size - len(a)


def test_a_room_convolves_and_keeps_the_early_part_apart():
    response = np.array([0.1, 1, 0, 0.5, -0.3, 0.2], np.float32)
    dry, room = noise(500), Room(response, 1)
    wet, early = room.apply(dry, samples=2)
    scale = np.sqrt(np.sum(response[:4] ** 2))
    np.testing.assert_allclose(wet, np.convolve(dry, response)[1:501] / scale, atol=1e-5)
    np.testing.assert_allclose(early, np.convolve(dry, response[:4])[1:501] / scale, atol=1e-5)
    assert early.std() == pytest.approx(dry.std(), rel=0.1)


def test_noise_in_a_room_has_no_beginning():
    dry, room = noise(500), Room(np.array([1, 0.5, 0.25], np.float32), 0)
    there = room.around(dry)
    before = np.concatenate([dry[-2:], dry])
    np.testing.assert_allclose(there, np.convolve(before, room.response)[2:502], atol=1e-5)
    long = Room(noise(900), 0)  # longer than the noise
    assert np.isfinite(long.around(dry)).all()


def test_the_time_of_flight_of_a_recorded_room_is_taken_off():
    response = np.zeros(9000, np.float32)
    response[2000:2010] = 0.01  # before the direct sound, which is upside down, and quiet
    response[2020] = -0.02
    response[2021:] = 0.002 * noise(6979) * np.exp(-np.arange(6979) / 800)
    room = recorded(response, RATE)
    assert room.direct == 32
    assert room.response[32] == 1
    dry = noise()
    wet, early = room.apply(dry, 800)
    assert delay(dry, wet) == delay(dry, early) == 0
    assert delay(dry, np.roll(dry, 3)) == 3
    assert (wet * dry).sum() > 0
    assert recorded(np.zeros(100, np.float32), RATE) is None
    assert recorded(np.ones(1, np.float32), RATE).direct == 0


@pytest.mark.parametrize("rt60", [0.1, 0.3, 0.8])
def test_a_simulated_room_decays_as_asked_and_delays_nothing(rt60):
    levels, ratios = [], []
    for seed in range(20):
        room = simulated(RATE, rt60, np.random.default_rng(seed))
        assert room.direct == 0
        assert room.response[0] == np.abs(room.response).max() == 1
        assert room.response.dtype == np.float32
        dry = noise(seed=seed)
        wet, early = room.apply(dry, 800)
        assert delay(dry, wet) == delay(dry, early) == 0
        energy = np.cumsum(room.response[::-1].astype(float) ** 2)[::-1]  # Schroeder (1965)
        first, second = int(0.45 * rt60 * RATE), int(0.7 * rt60 * RATE)
        levels.append(10 * np.log10(energy[second] / energy[first]))
        ratios.append(-10 * np.log10(energy[1]))
    assert np.mean(levels) == pytest.approx(-60 * 0.25, abs=2.5)
    assert -3.5 < min(ratios) < 3
    assert 9 < max(ratios) < 16


def test_simulated_rooms_follow_from_the_generator_s_state():
    one, two, other = (simulated(RATE, 0.3, np.random.default_rng(s)).response for s in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    tiny = simulated(8000, 1e-5, np.random.default_rng(0))
    assert np.isfinite(tiny.response).all()
