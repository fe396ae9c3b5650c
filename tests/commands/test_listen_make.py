"""`wavediff listen make`: which trials there are, what is heard in them, and what is refused."""

import io
import os
import re
from base64 import b64decode
from collections import Counter

import numpy as np
import pytest
import soundfile
from listening_set import RATE, TONES, made, tone, words, write_set

from wavediff.cli import run
from wavediff.commands import listen
from wavediff.evaluation.listening.loudness import loudness
from wavediff.evaluation.listening.plan import decode_base64, identity

pytest.importorskip("pyloudnorm")


def sounds(folder):
    """The sounds in the page by their names, float64 [channels, time]."""
    text = (folder / "test" / "index.html").read_text()
    found = re.findall(r'id="sound-(\w+)">([^<]*)<', text)
    read = {name: soundfile.read(io.BytesIO(b64decode(data))) for name, data in found}
    assert {rate for _, rate in read.values()} == {made_rate(folder)}
    return {name: np.atleast_2d(audio.T) for name, (audio, _) in read.items()}


def made_rate(folder):
    text = (folder / "test" / "index.html").read_text()
    return decode_base64(re.search(r'id="plan">([^<]*)<', text)[1], "page").sample_rate


def shown(plan):
    """The conditions of each trial, with the item."""
    return [(trial.item, *(s.condition for s in trial.stimuli)) for trial in plan.trials]


def test_a_mushra_trial_has_the_reference_hidden_and_an_anchor(tmp_path, capsys):
    plan = made(write_set(tmp_path), "--anchors=low,mid")
    out, err = capsys.readouterr()
    assert out == f"{tmp_path}/test/index.html\n"
    assert "mushra: 3 trials, -23.0 LUFS" in err
    each = ("reference", "low anchor", "mid anchor", "ours", "theirs")
    assert sorted(shown(plan)) == [(f"r{i}", *each) for i in range(3)]
    heard = sounds(tmp_path)
    for trial in plan.trials:
        hidden = next(s for s in trial.stimuli if s.condition == "reference")
        assert hidden.sound == trial.reference  # to the bit
        assert len({s.sound for s in trial.stimuli}) == 5
    spectrum = {s.condition: np.abs(np.fft.rfft(heard[s.sound][0])) for s in plan.trials[0].stimuli}
    low, reference = spectrum["low anchor"], spectrum["reference"]
    assert low[4000:].max() < 0.01 * reference[4000:].max()  # bins of 1 Hz
    assert spectrum["theirs"].argmax() == 2000


def test_all_sounds_have_one_loudness(tmp_path):
    write_set(tmp_path)
    soundfile.write(tmp_path / "ours" / "r1.wav", 0.05 * tone(1000), RATE)
    plan = made(tmp_path, "--loudness=-27")
    assert plan.loudness == -27
    for audio in sounds(tmp_path).values():
        assert loudness(audio, RATE) == pytest.approx(-27, abs=0.1)
        assert np.abs(audio[:, [0, -1]]).max() < 1e-3  # faded


def test_a_sound_that_would_clip_makes_all_softer(tmp_path, capsys):
    write_set(tmp_path)
    clicks = 0.001 * np.random.default_rng(0).standard_normal(RATE)
    clicks[4000] = 0.9
    soundfile.write(tmp_path / "ours" / "r1.wav", clicks, RATE)
    plan = made(tmp_path)
    assert plan.loudness < -30
    assert "-23 LUFS would clip a sound: all are softer" in capsys.readouterr().err
    peaks = [np.abs(audio).max() for audio in sounds(tmp_path).values()]
    assert max(peaks) == pytest.approx(10 ** (-1 / 20), abs=0.01)


def test_levels_are_kept_where_that_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyloudnorm", None)  # is not needed
    plan = made(write_set(tmp_path, 1), "--loudness=keep", "--anchors=none")
    assert plan.loudness is None
    middle = sounds(tmp_path)[plan.trials[0].reference][0, 1000:-1000]
    assert middle == pytest.approx(tone(500)[1000:-1000], abs=1e-4)


def test_without_pyloudnorm_the_extra_is_named(tmp_path, monkeypatch, capsys):
    write_set(tmp_path, 1)
    monkeypatch.setitem(__import__("sys").modules, "pyloudnorm", None)
    assert run(listen.main, words(tmp_path)) == 2
    assert "pip install 'wavediff[listen]'" in capsys.readouterr().err
    assert not (tmp_path / "test").exists()


def test_choices_have_their_pairs_and_attention_trials(tmp_path):
    plan = made(write_set(tmp_path), "--method=ab", "--repeats=2")
    tests = [trial for trial in shown(plan) if "low anchor" not in trial]
    assert Counter(tests) == {(f"r{i}", "ours", "theirs"): 2 for i in range(3)}
    checks = [trial for trial in plan.trials if trial.check]
    assert [len(trial.stimuli) for trial in checks] == [2] * 4
    assert all(t.reference for t in plan.trials if not t.check)
    assert not any(t.reference for t in checks)  # it is one of the two
    plan = made(tmp_path, "--method=abx", "--checks=1", "--overwrite")
    tests = [trial[1:] for trial in shown(plan)]
    pairs = {("reference", "ours"): 3, ("reference", "theirs"): 3, ("reference", "low anchor"): 1}
    assert Counter(tests) == pairs


def test_mos_rates_one_sound_at_a_time_and_needs_no_reference(tmp_path):
    plan = made(write_set(tmp_path), "--method=mos", "--checks=2")
    expected = {"reference": 3, "ours": 3, "theirs": 3, "low anchor": 2}
    assert Counter(trial[1] for trial in shown(plan)) == expected
    plan = made(tmp_path, "--method=mos", "--overwrite", reference=False)
    assert Counter(trial[1] for trial in shown(plan)) == {"ours": 3, "theirs": 3}
    plan = made(tmp_path, "--method=ab", "--overwrite", reference=False)
    assert Counter(trial[1:] for trial in shown(plan)) == {("ours", "theirs"): 3}


def test_trials_are_a_choice_by_seed_and_the_training_is_a_spare_item(tmp_path):
    write_set(tmp_path, 8)
    chosen = {}
    for seed in ("1", "1", "2"):
        plan = made(tmp_path, "--trials=3", f"--seed={seed}", "--overwrite")
        items = [trial.item for trial in plan.trials]
        assert len(set(items)) == 3
        assert plan.training.item not in items
        assert chosen.setdefault(seed, items) == items
    assert chosen["1"] != chosen["2"]


def test_the_page_and_the_manifest_are_one_test_and_are_made_alike_again(tmp_path):
    plan = made(write_set(tmp_path), "--title=A <b>&$plan test")
    page = (tmp_path / "test" / "index.html").read_text()
    assert f'content="{identity(plan.encoded())}"' in page
    assert "<title>A &lt;b&gt;&amp;$plan test</title>" in page
    assert not re.search(r"https?://(?!www\.w3\.org)", page)  # nothing is loaded
    made(tmp_path, "--title=A <b>&$plan test", "--overwrite")
    assert (tmp_path / "test" / "index.html").read_text() == page


def test_files_that_differ_are_fitted_and_noted(tmp_path, capsys):
    write_set(tmp_path)
    soundfile.write(tmp_path / "ours" / "r0.wav", tone(1000, 0.7), RATE)
    soundfile.write(tmp_path / "theirs" / "r1.wav", tone(2000, 1.0, 44_100), 44_100)
    stereo = np.stack([tone(1000), tone(1000)], 1)
    soundfile.write(tmp_path / "ours" / "r2.wav", stereo, RATE)
    (tmp_path / "ours" / "extra.wav").write_bytes((tmp_path / "ours" / "r2.wav").read_bytes())
    soundfile.write(tmp_path / "clean" / "alone.wav", tone(500), RATE)
    plan = made(tmp_path)
    err = capsys.readouterr().err
    assert "r0: cut to 0.70 s, the shortest of reference 1.00 s, ours 0.70 s" in err
    assert "r1: theirs was resampled from 44100 Hz to 16000 Hz" in err
    assert "r2: channels are averaged to one (reference 1, ours 2, theirs 1)" in err
    assert "alone.wav is not in ours, theirs" in err
    assert "without a reference (1):" in err
    assert {trial.item for trial in plan.trials} == {"r0", "r1", "r2"}
    heard = sounds(tmp_path)
    for trial in plan.trials:
        assert len({heard[s.sound].shape for s in trial.stimuli}) == 1


def test_one_bad_file_does_not_stop_the_rest(tmp_path, capsys):
    write_set(tmp_path, 5)
    (tmp_path / "ours" / "r0.wav").write_text("no sound")
    soundfile.write(tmp_path / "theirs" / "r1.wav", 0 * tone(500), RATE)
    soundfile.write(tmp_path / "theirs" / "r2.wav", tone(500, 0.2), RATE)
    soundfile.write(tmp_path / "theirs" / "r3.wav", 1e-4 * tone(500), RATE)
    assert run(listen.main, words(tmp_path)) == 2
    out, err = capsys.readouterr()
    assert out.endswith("index.html\n")
    failed = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 4
    for part in ("r0.wav", "r1.wav is silent", "r2.wav is 0.20 s long", "theirs is too quiet"):
        assert part in err
    for i in range(5):
        (tmp_path / "ours" / f"r{i}.wav").write_text("no sound")
    assert run(listen.main, [*words(tmp_path), "--overwrite"]) == 2
    assert "none of the 5 items can be used" in capsys.readouterr().err


def test_stereo_and_high_rates_are_kept(tmp_path):
    for name in ("clean", "ours", "theirs"):
        (tmp_path / name).mkdir()
        left = tone(700, 1, 48_000)
        soundfile.write(tmp_path / name / "a.wav", np.stack([left, 0.5 * left], 1), 48_000)
    plan = made(tmp_path)
    assert plan.sample_rate == 48_000
    assert {audio.shape for audio in sounds(tmp_path).values()} == {(2, 48_000)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--system=ours=x"], "two systems have one name"),
        (["--system=reference=x"], "another condition"),
        (["--system=x"], "is not NAME=PATH"),
        (["--anchors=high"], "there is no anchor high"),
        (["--anchors=mid", "--method=ab"], "--anchors mid is for mushra"),
        (["--repeats=2"], "--repeats is for abx and ab"),
        (["--trials=0"], "must be 1 or more"),
        (["--loudness=loud"], "is not a number"),
        (["--title="], "give 1 to 300 characters"),
        (["--method=mushr"], "invalid choice"),
    ],
)
def test_bad_options(options, message, tmp_path, capsys):
    write_set(tmp_path, 1)
    with pytest.raises(SystemExit, match="2"):
        run(listen.main, words(tmp_path, *options))
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda p: (p / "ours").rename(p / "moved"), [], "ours does not exist"),
        (lambda p: (p / "ours" / "r0.wav").rename(p / "ours" / "z.wav"), [], "name"),
        (lambda p: None, [f"--system=s{n}=theirs" for n in range(9)], "BS.1534-3 allows 12"),
        (lambda p: None, ["--anchors=none", "-o", "clean/r0.wav"], "cannot write"),
    ],
)
def test_bad_inputs_are_one_sentence(change, options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    change(write_set(tmp_path, 1))
    assert run(listen.main, words(tmp_path, *options)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "error: " in err.splitlines()[-1]
    assert not (tmp_path / "test").exists()


def test_names_of_files_may_be_any_bytes(tmp_path):
    write_set(tmp_path, 1)
    odd = os.fsdecode(b"a\xff\n<b>")
    for name in TONES:
        (tmp_path / name / "r0.wav").rename(tmp_path / name / f"{odd}.wav")
    plan = made(tmp_path)
    assert plan.trials[0].item == "a\ufffd\ufffd<b>"


def test_a_test_is_not_replaced_unasked(tmp_path, capsys):
    made(write_set(tmp_path, 1))
    assert run(listen.main, words(tmp_path)) == 2
    assert "exists already: give --overwrite" in capsys.readouterr().err


def test_two_files_are_a_test_as_well(tmp_path):
    write_set(tmp_path, 1)
    given = ["make", "--method=abx", "--reference", f"{tmp_path}/clean/r0.wav", "--repeats=8"]
    given += ["--system", f"mp3={tmp_path}/ours/r0.wav", "-o", f"{tmp_path}/test", "--checks=0"]
    assert run(listen.main, given) == 0


@pytest.mark.parametrize("given", [["mak"], ["zzz"], [], ["--nonsense"]])
def test_an_action_is_needed(given, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(listen.main, given)
    assert "make" in capsys.readouterr().err
