import csv
import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavediff.cli import run
from wavediff.data.synthetic import utterance

SCRIPT = Path(__file__).parents[2] / "tools" / "make_enhancement_set.py"
spec = importlib.util.spec_from_file_location("make_enhancement_set", SCRIPT)
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)

RATE = 16000


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Four speakers with three files each, two noises of which one is shorter than the speech."""
    root = tmp_path_factory.mktemp("folders")
    (root / "noise").mkdir()
    for voice, speaker in enumerate(("11", "22", "33", "44")):
        (root / "clean" / speaker).mkdir(parents=True)
        for i in range(3):
            audio = utterance(0.8 + 0.2 * i, RATE, (i, voice), pitch=1 + 0.3 * voice)
            soundfile.write(root / f"clean/{speaker}/{speaker}-{i}.flac", audio.numpy().T, RATE)
    rng = np.random.default_rng(0)
    soundfile.write(root / "noise/short.wav", 0.1 * rng.standard_normal(RATE // 4), RATE)
    soundfile.write(root / "noise/long.wav", 0.1 * rng.standard_normal(3 * RATE), RATE)
    return root


def make(root, output, *options):
    argv = ["--clean", f"{root}/clean", "--noise", f"{root}/noise", "-o", str(output), *options]
    return run(tool.main, argv)


def measured_snr(clean, noisy):
    """By other means than the tool's: frames of 20 ms within 30 dB of the loudest."""
    frames = clean[: len(clean) // 320 * 320].reshape(-1, 320)
    noise = (noisy - clean)[: frames.size].reshape(-1, 320)
    power = (frames**2).sum(1)
    keep = 10 * np.log10(power / power.max() + 1e-12) > -30
    return 10 * np.log10(power[keep].sum() / (noise[keep] ** 2).sum())


def test_the_set_is_what_its_manifest_says(folders, tmp_path):
    assert make(folders, tmp_path / "set", "--snrs", "-5", "0", "15") == 0
    rows = list(csv.DictReader((tmp_path / "set/manifest.csv").read_text().splitlines()))
    assert Counter((row["snr_db"], row["noise"]) for row in rows) == {
        (snr, noise): n
        for snr in ("-5", "0", "15")
        for noise, n in (("recorded", 3), ("babble", 1))
    }
    assert rows[0]["name"] == "11/11-0"
    for row in rows:
        clean, rate = soundfile.read(tmp_path / f"set/clean/{row['name']}.wav")
        noisy, noisy_rate = soundfile.read(tmp_path / f"set/noisy/{row['name']}.wav")
        assert rate == noisy_rate == RATE
        assert measured_snr(clean, noisy) == pytest.approx(float(row["snr_db"]), abs=0.1)
        assert np.abs(noisy).max() <= 0.991
        source, _ = soundfile.read(folders / f"clean/{row['name']}.flac")
        gain = clean @ source / (source @ source)
        assert gain <= 1.001
        np.testing.assert_allclose(clean, gain * source, atol=2e-4)
        sources = row["sources"].split()
        if row["noise"] == "recorded":
            assert sources in (["short.wav"], ["long.wav"])
        else:
            speakers = {source.split("/")[0] for source in sources}
            assert len(speakers) == len(sources) == 3
            assert row["name"].split("/")[0] not in speakers
    assert {row["sources"] for row in rows if row["noise"] == "recorded"} == {
        "short.wav",
        "long.wav",
    }


def test_the_seed_decides(folders, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert make(folders, tmp_path / name, "--files=4", f"--seed={seed}") == 0
    content = {
        name: [p.read_bytes() for p in sorted((tmp_path / name).rglob("*.*"))] for name in "abc"
    }
    assert len(content["a"]) == 9
    assert content["a"] == content["b"] != content["c"]


def test_loud_speech_is_scaled_not_clipped():
    t = np.arange(RATE) / RATE
    speech, noise = np.sin(2 * np.pi * 200 * t), np.random.default_rng(0).standard_normal(RATE)
    clean, noisy = tool.mix(speech, noise, 0.0, RATE)
    assert np.abs(noisy).max() == pytest.approx(0.99)
    assert tool.snr_db(clean, noisy - clean, RATE) == pytest.approx(0, abs=1e-9)


def test_a_pause_is_not_active():
    speech = np.concatenate([np.ones(RATE), 1e-3 * np.ones(RATE)])  # a pause at -60 dB
    assert tool.active(speech, RATE)[:RATE].all()
    assert not tool.active(speech, RATE)[RATE:].any()


def test_a_short_noise_is_repeated_without_a_click():
    short = np.sin(2 * np.pi * 3.37 * np.arange(1000) / 1000)  # its ends do not meet
    long = tool.looped(short, 10_000, 1000, np.random.default_rng(0))
    assert len(long) == 10_000
    assert np.abs(np.diff(long)).max() < 0.06
    assert np.abs(np.diff(np.tile(short, 2))).max() > 0.5


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: [f.unlink() for f in (p / "clean").glob("[34]*.wav")], "three or more speakers"),
        (lambda p: soundfile.write(p / "noise/a.wav", np.zeros(RATE), RATE), "a.wav is silent"),
        (lambda p: (p / "clean").rename(p / "gone"), "not a folder"),
        (lambda p: (p / "set").mkdir() or (p / "set/file").touch(), "not empty"),
    ],
)
def test_bad_folders_are_one_sentence(spoil, message, tmp_path, capsys):
    for i in range(1, 5):
        (tmp_path / "clean").mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"clean/{i}-a.wav", 0.1 * np.ones(RATE), RATE)
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise/a.wav", 0.1 * np.ones(RATE), RATE)
    spoil(tmp_path)
    assert make(tmp_path, tmp_path / "set") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "set/manifest.csv").exists()


def pairs(folder):
    names = sorted(path.relative_to(folder / "noisy") for path in folder.rglob("noisy/**/*.wav"))
    return [
        [soundfile.read(folder / kind / name)[0] for kind in ("clean", "noisy")] for name in names
    ]


def test_the_level_of_the_noisy_recordings_may_be_given(folders, tmp_path):
    assert make(folders, tmp_path / "as-is") == 0
    assert make(folders, tmp_path / "quiet", "--peak-db", "-30") == 0
    for (clean, noisy), (quiet_clean, quiet) in zip(
        pairs(tmp_path / "as-is"), pairs(tmp_path / "quiet"), strict=True
    ):
        assert np.abs(quiet).max() == pytest.approx(10 ** (-30 / 20), rel=2e-3)
        gain = np.dot(quiet, noisy) / np.dot(noisy, noisy)
        np.testing.assert_allclose(quiet_clean, gain * clean, atol=2 / 32768)


def test_speech_in_rooms_has_what_arrives_early_for_its_reference(folders, tmp_path):
    assert make(folders, tmp_path / "dry", "--snrs", "60") == 0
    assert make(folders, tmp_path / "room", "--snrs", "60", "--rt60", "0.5", "0.6") == 0
    late = []
    for (dry, _), (clean, noisy) in zip(
        pairs(tmp_path / "dry"), pairs(tmp_path / "room"), strict=True
    ):
        assert not np.allclose(dry, clean, atol=0.01)
        late.append(10 * np.log10(np.sum((noisy - clean) ** 2) / np.sum(clean**2)))
    assert -20 < np.median(late) < 0  # with next to no noise, the room's tail is the difference


def test_a_recordings_own_rumble_may_be_taken_out_of_the_reference(folders, tmp_path):
    """A tone of 10 Hz under the speech goes, what is above 200 Hz stays."""
    (tmp_path / "noise").symlink_to(folders / "noise")
    (tmp_path / "clean").mkdir()
    for path in folders.glob("clean/*/*-0.flac"):
        audio, _ = soundfile.read(path)
        rumble = 0.2 * np.sin(2 * np.pi * 10 * np.arange(len(audio)) / RATE)
        soundfile.write(tmp_path / f"clean/{path.name}", 0.5 * audio + rumble, RATE)
    for name, words in (("as-is", []), ("passed", ["--high-pass", "50"])):
        assert make(tmp_path, tmp_path / name, *words) == 0
    for (before, _), (after, noisy) in zip(
        pairs(tmp_path / "as-is"), pairs(tmp_path / "passed"), strict=True
    ):
        before, after, rest = (np.abs(np.fft.rfft(x)) for x in (before, after, noisy - after))
        hertz = np.fft.rfftfreq(2 * len(before) - 2, 1 / RATE)
        low, high = hertz < 25, hertz > 200
        gain = after[high].sum() / before[high].sum()
        np.testing.assert_allclose(after[high], gain * before[high], atol=0.02 * after.max())
        assert after[low].max() < 0.01 * gain * before[low].max()
        assert rest[low].max() > after[low].max()  # the noise keeps what it has there


@pytest.mark.parametrize(
    "words", [("--rt60", "0.8", "0.3"), ("--peak-db", "3"), ("--high-pass", "8000")]
)
def test_impossible_settings_are_refused(words, folders, tmp_path, capsys):
    assert make(folders, tmp_path / "set", *words) == 2
    assert words[0] in capsys.readouterr().err
    assert not (tmp_path / "set").exists()
