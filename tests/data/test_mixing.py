import numpy as np
import pytest
import soundfile

from wavediff.data import mixing as mixing_module
from wavediff.data.augment import active_power, at_speed, cut, low_pass
from wavediff.data.folder import folder
from wavediff.data.mixing import Mixer
from wavediff.data.mixing_settings import PROBABILITIES, Mixing
from wavediff.data.noises import NOISES
from wavediff.data.source import scan
from wavediff.data.synthetic import synthetic, utterance
from wavediff.data.utterances import Utterances
from wavediff.errors import UserError

RATE = 16000
DRAWS = 40


@pytest.fixture(scope="module")
def speech():
    """Two seconds, silent for a third of them and quiet for a while."""
    audio = utterance(2.0, RATE, seed=3)[0].numpy().copy()
    audio[5000:9000] = 0
    audio[20000:28000] *= 1e-3
    audio[28000:] = 0
    return audio


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    source = synthetic(str(tmp_path_factory.mktemp("voices")), 6, 1.0, RATE, speakers=3)
    return Utterances(scan(source, 0.1, 30)[0], RATE, 0.95, cache=True)


@pytest.fixture
def noises(tmp_path):
    """Three recordings of noise: with an offset, short, and at another rate."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "noises"
    folder.mkdir()
    soundfile.write(folder / "offset.wav", 0.3 + 0.01 * rng.standard_normal(60000), RATE)
    soundfile.write(folder / "short.flac", 0.1 * rng.standard_normal(3000), RATE)
    soundfile.write(folder / "rate.wav", 0.1 * rng.standard_normal(90000), 44100)
    return folder


def rng(seed):
    return np.random.default_rng(seed)


def snr_of(speech, noise):
    """In dB, by the book: twenty milliseconds at a time."""
    powers = [float(np.mean(frame.astype(float) ** 2)) for frame in np.split(speech, 100)]
    loudest = 10 * np.log10(max(powers))
    active = [power for power in powers if 10 * np.log10(power + 1e-30) >= loudest - 40]
    return 10 * np.log10(np.mean(active) / np.mean(noise.astype(float) ** 2))


KINDS = [("recorded", None), ("babble", None), *(("procedural", name) for name in NOISES)]


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_the_ratio_is_the_one_asked_for(mixing, voices, noises, speech, kind, name):
    settings = mixing(
        kinds={kind: 1},
        procedural={name or "white": 1},
        noise=str(noises),
        **dict.fromkeys(("second", "colour", "room_noise", "band"), 0.5),
    )
    for number in range(DRAWS // 4):
        wanted = (-5.0, 3.0, 20.0)[number % 3]
        asked = Mixer(replaced(settings, snr_db=[wanted, wanted]), RATE, voices)
        clean, noisy = asked(speech, rng(number))
        assert snr_of(clean, noisy - clean) == pytest.approx(wanted, abs=0.1)


def replaced(settings, **changes):
    return Mixing.of({**vars(settings), **changes})


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.25])
def test_another_speed_is_another_pitch(speed):
    tone = np.sin(2 * np.pi * 400 * np.arange(2 * RATE) / RATE).astype(np.float32)
    out = at_speed(tone, speed, RATE, RATE)
    assert out.shape == (RATE,)
    assert out.dtype == np.float32
    expected = np.sin(2 * np.pi * 400 * speed * np.arange(RATE) / RATE)
    np.testing.assert_allclose(out[200:-200], expected[200:-200], atol=1e-3)
    short = at_speed(tone[:1000], speed, RATE, RATE)
    assert short.shape == (RATE,)
    assert not short[round(1000 / speed) + 1 :].any()


def test_speech_and_recorded_noise_at_another_speed(mixing, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "wavediff.data.mixing.at_speed",
        lambda audio, speed, length, rate: (
            calls.append((speed, length)) or np.resize(audio, length)
        ),
    )
    mixer = Mixer(mixing(speed=[0.9, 1.1], clean=1.0), RATE, [])
    clean, noisy = mixer(np.ones(5000, np.float32), rng(0), length=4000)
    assert clean.shape == noisy.shape == (4000,)
    assert 0.9 < calls[0][0] < 1.1
    assert calls[0][1] == 4000
    settings = mixing(speed=[0.9, 1.1], kinds={"procedural": 1}).for_validation()
    mixer = Mixer(settings, RATE, [])
    mixer(np.ones(5000, np.float32), rng(0))
    assert calls[1] == (1, 5000)


def test_speech_through_another_microphone(mixing):
    settings = mixing(response=1.0, response_db=6, clean=1.0)
    assert settings.for_validation().response == 0
    mixer, audio = Mixer(settings, RATE, []), rng(1).standard_normal(RATE, dtype=np.float32)
    gains = []
    for number in range(20):
        clean, noisy = mixer(audio, rng(number))
        np.testing.assert_array_equal(clean, noisy)
        gain = 20 * np.log10(np.abs(np.fft.rfft(clean) / np.fft.rfft(audio)))
        gains.append(gain - gain.mean())
        assert np.ptp(gain[10:-10]) < 12.1
        assert np.abs(np.diff(gain[100:-10])).max() < 0.5  # gentle
    assert np.std(gains, axis=0)[[500, 2000, 7000]].min() > 1


def test_the_ratio_counts_the_reverberation_as_speech(mixing, voices, speech):
    def both(snr):
        mixer = Mixer(mixing(room=1.0, second=0.5, snr_db=[snr, snr]), RATE, voices)
        return [mixer(speech, rng(number)) for number in range(10)]

    for (clean, noisy), (clean_alone, wet) in zip(both(2.0), both(250.0), strict=True):
        gain = np.vdot(clean, clean_alone) / np.vdot(clean, clean)
        assert snr_of(wet, gain * noisy - wet) == pytest.approx(2, abs=0.1)


def test_ratios_and_levels_are_uniform_over_their_ranges(mixing, voices, speech):
    mixer = Mixer(mixing(snr_db=[-5, 20], level_db=[-40, 0], kinds={"procedural": 1}), RATE, voices)
    pairs = [mixer(speech, rng(number)) for number in range(200)]
    ratios = [snr_of(clean, noisy - clean) for clean, noisy in pairs]
    levels = [20 * np.log10(np.abs(noisy).max()) for _, noisy in pairs]
    for values, low, high in ((ratios, -5, 20), (levels, -40, 0)):
        assert low - 0.1 < min(values)
        assert max(values) < high + 0.1
        counts = np.histogram(values, 4, (low, high))[0]
        assert np.abs(counts - 50).max() < 25  # four standard deviations of a fair share


def test_activity_is_what_is_within_40_db_of_the_loudest_frame():
    tone = np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE)
    assert active_power(tone, RATE) == pytest.approx(0.5, rel=1e-3)
    halves = np.concatenate([tone, 0.02 * tone, 0 * tone])  # -34 dB is active
    assert active_power(halves, RATE) == pytest.approx(0.25 * (1 + 0.02**2), rel=1e-3)
    assert active_power(np.concatenate([tone, 0.005 * tone]), RATE) == pytest.approx(0.5, rel=1e-3)
    assert active_power(np.zeros(1000), RATE) == 0
    assert active_power(np.full(7, 2.0), RATE) == pytest.approx(4)


def test_clean_speech_and_noisy_speech_get_the_same_gain(mixing, voices, speech):
    mixer = Mixer(mixing(clean=1.0), RATE, voices)
    for number in range(5):
        clean, noisy = mixer(speech, rng(number))
        assert np.array_equal(clean, noisy)
        np.testing.assert_allclose(clean / np.abs(clean).max(), speech / np.abs(speech).max(), 1e-4)
    louder = Mixer(mixing(level_db=[-10, -10]), RATE, voices)(speech, rng(0))
    softer = Mixer(mixing(level_db=[-30, -30]), RATE, voices)(speech, rng(0))
    for one, other in zip(louder, softer, strict=True):
        np.testing.assert_allclose(one, 10 * other, rtol=1e-4, atol=1e-7)


def test_a_narrow_band_is_the_target_s_too(mixing, voices, speech):
    mixer = Mixer(mixing(band=1.0, band_hz=[3400], room=0.5, kinds={"procedural": 1}), RATE, voices)
    untouched = Mixer(mixing(band=1.0, band_hz=[8000]), RATE, voices)
    frequency = np.fft.rfftfreq(len(speech), 1 / RATE)
    for number in range(10):
        for audio in mixer(speech, rng(number)):
            power = np.abs(np.fft.rfft(audio * np.hanning(len(audio)))) ** 2
            assert power[frequency > 3800].sum() < 1e-6 * power.sum()
        noisy = untouched(speech, rng(number))[1]
        power = np.abs(np.fft.rfft(noisy)) ** 2
        assert power[frequency > 3800].sum() > 1e-6 * power.sum()


def test_the_low_pass_keeps_time_and_what_is_below(speech):
    tones = [np.sin(2 * np.pi * f * np.arange(4000) / RATE).astype(np.float32) for f in (900, 5000)]
    filtered = low_pass(tones[0] + tones[1], 3400, RATE)
    assert np.abs(filtered - tones[0])[400:-400].max() < 1e-2
    assert low_pass(speech, 8000, RATE) is speech


def test_clipping_is_the_noisy_recording_s_alone(mixing, voices, speech):
    settings = mixing(clip=1.0, clip_db=[-6, -6], snr_db=[20, 20], level_db=[-6, -6])
    clean, noisy = Mixer(settings, RATE, voices)(speech, rng(0))
    limit = np.abs(noisy).max()
    assert limit == pytest.approx(10**-0.3, rel=1e-3)
    assert (np.abs(noisy) > 0.9999 * limit).sum() > 20
    assert np.abs(clean).max() > 1.5 * limit


@pytest.mark.parametrize("simulated", [0.0, 1.0])
def test_in_a_room_the_target_is_the_early_sound_in_its_place(
    mixing, voices, speech, tmp_path, simulated
):
    response = np.zeros(9000)
    response[700], response[900], response[6000] = 0.5, 0.2, 0.3
    both = np.stack([response, np.roll(response, 50)], axis=1)  # its first channel counts
    soundfile.write(tmp_path / "room.wav", both, RATE, subtype="FLOAT")
    settings = mixing(room=1.0, clean=1.0, simulated=simulated, rooms=str(tmp_path))
    mixer = Mixer(settings, RATE, voices)
    for number in range(5):
        clean, noisy = mixer(speech, rng(number))
        assert peak_lag(speech, clean) == 0
        assert np.abs(noisy - clean).max() > 1e-2 * np.abs(noisy).max()
        if not simulated:
            expected = speech.astype(float) * 0.5
            expected[200:] += 0.2 * speech[:-200]
            expected *= np.vdot(expected, clean) / np.vdot(expected, expected)
            assert np.abs(clean - expected).max() < 1e-4 * np.abs(clean).max()


def peak_lag(a, b):
    size = 2 * len(a)
    product = np.fft.irfft(np.conj(np.fft.rfft(a, size)) * np.fft.rfft(b, size), size)
    return (int(np.argmax(product)) + len(a)) % size - len(a)


def test_silence_is_no_trouble(mixing, voices, speech, tmp_path):
    nothing = np.zeros(8000, np.float32)
    clean, noisy = Mixer(mixing(), RATE, voices)(nothing, rng(0))
    assert not clean.any()
    assert noisy.std() > 0
    clean, noisy = Mixer(mixing(clean=1.0), RATE, voices)(nothing, rng(0))
    assert not clean.any()
    assert not noisy.any()
    clean, noisy = Mixer(mixing(silence=1.0), RATE, voices)(speech, rng(0))
    assert not clean.any()
    assert noisy.std() > 0
    soundfile.write(tmp_path / "silent.wav", np.zeros(40000), RATE)
    silent = mixing(noise=str(tmp_path), kinds={"recorded": 1})
    clean, noisy = Mixer(silent, RATE, voices)(speech, rng(0))
    assert np.array_equal(clean, noisy)


@pytest.mark.parametrize("length", [1, 2, 37, 5003])
def test_everything_at_once_is_finite_at_any_length(mixing, voices, noises, speech, length):
    settings = mixing(noise=str(noises), **dict.fromkeys(PROBABILITIES, 0.4))
    mixer = Mixer(settings, RATE, voices)
    for number in range(DRAWS):
        for audio in mixer(speech[100 : 100 + length], rng(number)):
            assert audio.dtype == np.float32
            assert audio.shape == (length,)
            assert np.isfinite(audio).all()


def test_nobody_is_in_the_babble_behind_his_own_speech(mixing, tmp_path, make_wav):
    for name, hertz in {"a": 440, "b": 2000, "c": 2000}.items():
        (tmp_path / name).mkdir()
        tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)
        soundfile.write(tmp_path / name / "1.wav", tone, RATE)
    clips = scan(folder(str(tmp_path), labels=True), 0.1, 30)[0]
    mixer = Mixer(mixing(kinds={"babble": 1}), RATE, Utterances(clips, RATE))
    frequency = np.fft.rfftfreq(RATE, 1 / RATE)
    low = {0: [], 1: []}
    for label, shares in low.items():
        for number in range(8):
            _, noisy = mixer(np.zeros(RATE, np.float32), rng(number), label)
            power = np.abs(np.fft.rfft(noisy * np.hanning(RATE))) ** 2
            shares.append(power[frequency < 700].sum() / power.sum())
    assert max(low[0]) < 1e-2
    assert max(low[1]) > 0.1


def test_voices_in_babble_keep_their_high_frequencies(mixing, tmp_path):
    soundfile.write(tmp_path / "white.wav", 0.1 * rng(0).standard_normal(4 * RATE), RATE)
    clips = scan(folder(str(tmp_path)), 0.1, 30)[0]
    mixer = Mixer(mixing(kinds={"babble": 1}), RATE, Utterances(clips, RATE))
    power = np.mean(
        [
            np.abs(np.fft.rfft(mixer(np.zeros(RATE, np.float32), rng(number))[1])) ** 2
            for number in range(8)
        ],
        axis=0,
    )
    assert power[5000:6500].mean() > 0.85 * power[500:2000].mean()  # Hz


def test_noise_has_no_offset_of_its_own(mixing, voices, noises, speech):
    for name in ("short.flac", "rate.wav"):
        (noises / name).unlink()
    mixer = Mixer(mixing(noise=str(noises), kinds={"recorded": 1}), RATE, voices)
    clean, noisy = mixer(speech, rng(0))
    noise = noisy - clean
    assert abs(noise.mean()) < 1e-3 * noise.std()


def test_folders_are_drawn_from_equally_often(mixing, voices, speech, tmp_path, monkeypatch):
    for name, hertz, count in (("many", 440, 9), ("one", 2000, 1)):
        (tmp_path / name).mkdir()
        tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)
        for number in range(count):
            soundfile.write(tmp_path / name / f"{number}.wav", tone, RATE)
    many, one = str(tmp_path / "many"), str(tmp_path / "one")

    def share_of_one(*folders):
        settings = mixing(noise=folders, kinds={"recorded": 1}, noise_speed=[1, 1])
        mixer = Mixer(settings, RATE, voices)
        noises = [noisy - clean for clean, noisy in (mixer(speech, rng(n)) for n in range(200))]
        spectra = np.abs(np.fft.rfft([noise[:RATE] for noise in noises]))
        return np.mean(spectra[:, 2000] > spectra[:, 440])

    assert share_of_one(many, one) == pytest.approx(1 / 2, abs=0.1)
    assert share_of_one(many, one, many) == pytest.approx(1 / 3, abs=0.1)

    drawn = []
    monkeypatch.setattr(mixing_module, "_recorded_room", lambda clip, _: drawn.append(clip.path))
    mixer = Mixer(mixing(rooms=[many, one], room=1.0, simulated=0.0), RATE, voices)
    for number in range(100):
        mixer(speech[:100], rng(number))
    assert np.mean([path.parent.name == "one" for path in drawn]) == pytest.approx(1 / 2, abs=0.15)


def test_short_noise_is_repeated_without_a_jump():
    smooth = np.cumsum(np.random.default_rng(0).standard_normal(1000)).astype(np.float32)
    smooth = np.convolve(smooth, np.hanning(50), "same")
    steepest = np.abs(np.diff(smooth)).max()
    starts = set()
    for number in range(30):
        looped = cut(smooth, 5000, 100, rng(number))
        assert looped.shape == (5000,)
        assert np.array_equal(looped[900:], looped[:-900])
        assert np.abs(np.diff(looped)).max() < 1.6 * steepest
        starts.add(float(looped[0]))
    assert len(starts) > 20
    assert cut(np.ones(1, np.float32), 10, 100, rng(0)).tolist() == [1] * 10
    for number in range(30):
        part = cut(np.arange(20), 18, 100, rng(number))
        assert part.tolist() == list(range(part[0], part[0] + 18))


def test_recordings_that_do_not_decode_give_way(mixing, voices, speech, tmp_path, capsys):
    for name in ("1.wav", "2.wav"):
        nan = np.full(40000, np.nan)
        soundfile.write(tmp_path / name, nan, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "3.wav", np.sin(np.arange(40000)), RATE)
    settings = mixing(noise=str(tmp_path), kinds={"recorded": 1})
    for cache in (False, True):
        mixer = Mixer(settings, RATE, voices, cache=cache)
        for number in range(6):
            clean, noisy = mixer(speech, rng(number))
            assert np.isfinite(noisy).all()
            assert (noisy - clean).std() > 0
    assert capsys.readouterr().err.count("1.wav") == 2  # once for each mixer

    rooms = mixing(rooms=str(tmp_path), room=1.0, simulated=0.0, clean=1.0)
    mixer = Mixer(rooms, RATE, voices)
    for number in range(6):
        assert all(np.isfinite(audio).all() for audio in mixer(speech, rng(number)))
    assert capsys.readouterr().err.count("1.wav") == 1
    (tmp_path / "3.wav").unlink()
    broken = Mixer(mixing(noise=str(tmp_path), kinds={"recorded": 1}), RATE, voices)
    with pytest.raises(UserError, match=r"none of .* can be decoded"):
        broken(speech, rng(0))


def test_folders_that_cannot_be_used_are_named(mixing, voices, tmp_path):
    with pytest.raises(UserError, match=r"data\.mix\.noise=.*nowhere does not exist"):
        Mixer(mixing(noise=str(tmp_path / "nowhere")), RATE, voices)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.wav").write_text("not a sound\n" * 50)
    with pytest.raises(UserError, match=r"no usable audio in .*text"):
        Mixer(mixing(rooms=str(tmp_path / "text")), RATE, voices)
    with pytest.raises(UserError, match=r"Set data\.mix\.noise to a folder"):
        Mixer(mixing(kinds={"recorded": 1}), RATE, voices)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"snr_bd": 3}, r"data\.mix\.snr_bd: did you mean data\.mix\.snr_db\?"),
        ({"kinds": {"bable": 1}}, r"kinds\.bable: did you mean data\.mix\.kinds\.babble"),
        ({"procedural": {"zzz": 1}}, r"procedural\.zzz: use one of white, pink"),
        ({"kinds": {"babble": 0}}, r"data\.mix\.kinds=.* is invalid"),
        ({"kinds": {"babble": -1, "recorded": 2}}, r"data\.mix\.kinds"),
        ({"kinds": 3}, r"data\.mix\.kinds"),
        ({"snr_db": [20, -5]}, r"data\.mix\.snr_db"),
        ({"level_db": -3}, r"data\.mix\.level_db"),
        ({"voices": [0, 3]}, r"data\.mix\.voices"),
        ({"voices": [1.5, 3]}, r"data\.mix\.voices"),
        ({"rt60": [0, 1]}, r"data\.mix\.rt60"),
        ({"room": 1.5}, r"data\.mix\.room"),
        ({"second": True}, r"data\.mix\.second"),
        ({"band_hz": []}, r"data\.mix\.band_hz"),
        ({"band_hz": [3400, -1]}, r"data\.mix\.band_hz"),
        ({"clip_db": [-3, 3]}, r"data\.mix\.clip_db"),
        ({"early": -1}, r"data\.mix\.early"),
        ({"clean": 0.7, "silence": 0.7}, r"data\.mix\.silence"),
    ],
)
def test_invalid_settings_are_refused(mixing, settings, words):
    with pytest.raises(UserError, match=words):
        mixing(**settings)


def test_settings_must_be_complete():
    with pytest.raises(UserError, match=r"data\.mix lacks noise, rooms,"):
        Mixing.of({"snr_db": [0, 1]})
