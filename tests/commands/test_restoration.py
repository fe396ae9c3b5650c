"""`wavediff inpaint`, `extend`, `declip` and `generate` as a user types them."""

import csv
import io
import sys

import numpy as np
import pytest
import soundfile
import torch
from toy_generator import RATE, save

from wavediff.cli import run
from wavediff.commands import declip, extend, generate, inpaint
from wavediff.data.folder import folder
from wavediff.networks import precision
from wavediff.tasks.checkpoint import load_task, save_task
from wavediff.tasks.restoration import Posterior, bandwidth_extension, posterior, windows
from wavediff.tasks.restoration.bandwidth_extension import overlapping_pieces
from wavediff.tasks.restoration.declipping import interpolate_error
from wavediff.tasks.restoration.inpainting import match_edges


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("prior"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(windows, "CONTEXT", 0.1)
    return tmp_path


def voice(samples, rate=RATE, channels=1, peak=0.5):
    at = np.arange(samples)[:, None] / rate
    tone = sum(np.sin(2 * np.pi * 150 * k * at + k * k) / k for k in range(1, 12))
    noise = np.random.default_rng(0).standard_normal((samples, channels))
    sound = tone * np.linspace(1, 0.4, channels) + 0.05 * noise
    return peak * sound / np.abs(sound).max()


def write(name, samples=4000, rate=RATE, channels=1, subtype=None, **options):
    soundfile.write(name, voice(samples, rate, channels, **options), rate, subtype=subtype)


def command(module, model, *words):
    return run(module.main, [*map(str, words), "--checkpoint", str(model)])


def read(name):
    samples, rate = soundfile.read(name, dtype="int32", always_2d=True)
    return samples.astype(np.int64), rate


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"),
    [(RATE, 1, "PCM_16"), (RATE, 2, "PCM_24"), (12_000, 1, "PCM_32"), (6000, 2, "PCM_16")],
)
def test_outside_of_the_gap_every_bit_stays(here, model, rate, channels, subtype):
    write("a.wav", rate, rate, channels, subtype)
    assert command(inpaint, model, "a.wav", "--gap", "0.4:0.45", "-o", "b.wav") == 0
    (before, _), (after, found) = read("a.wav"), read("b.wav")
    assert found == rate
    assert after.shape == before.shape
    assert soundfile.info("b.wav").subtype == subtype
    gap = slice(int(0.4 * rate), int(0.45 * rate))
    outside = np.ones(len(before), dtype=bool)
    outside[gap] = False
    assert (after[outside] == before[outside]).all()
    assert (after[gap] != before[gap]).any(0).all()
    assert 0 < np.abs(after[gap]).max() < 4 * np.abs(before).max()


def test_what_was_in_the_gap_does_not_matter_and_the_level_does_not_either(here, model):
    write("a.wav", subtype="DOUBLE")
    sound = voice(4000)
    other = sound.copy()
    other[1600:2000] = 0.9
    soundfile.write("other.wav", other, RATE, subtype="DOUBLE")
    soundfile.write("quiet.wav", 0.01 * sound, RATE, subtype="DOUBLE")
    for name in ("a", "other", "quiet"):
        words = (f"{name}.wav", "--gap", "0.2:0.25", "-o", f"{name}2.wav")
        assert command(inpaint, model, *words) == 0
    filled, same, quiet = (soundfile.read(f"{n}2.wav")[0] for n in ("a", "other", "quiet"))
    assert np.array_equal(filled[1600:2000], same[1600:2000])
    assert np.abs(100 * quiet - filled).max() < 1e-3


def test_a_filling_joins_its_edges_without_a_jump():
    found, part = torch.zeros(100), torch.linspace(1, 2, 100)
    known = torch.ones(100, dtype=torch.bool)
    known[40:60] = False
    joined = match_edges(found, part, known, 8)
    whole = torch.where(known, part, joined)
    assert whole.diff().abs().max() < 0.3  # without joining it is 1.4
    assert (joined[48:52] == 0).all()


def test_only_windows_around_gaps_are_computed(here, model, monkeypatch):
    monkeypatch.setattr(windows, "WINDOW", 0.5)
    seen = []
    mean = Posterior.mean

    def counted(self, project, observation, *rest):
        seen.append(observation.audio.shape[-1])
        return mean(self, project, observation, *rest)

    monkeypatch.setattr(Posterior, "mean", counted)
    write("a.wav", 40_000)
    gaps = ("--gap", "1:1.02", "--gap", "1.1:1.12", "--gap", "4:4.01")
    assert command(inpaint, model, "a.wav", *gaps, "-o", "b.wav") == 0
    assert seen == [round(0.32 * RATE), round(0.21 * RATE)]


def test_silence_around_a_gap_stays_silence(here, model):
    soundfile.write("a.wav", np.zeros(4000), RATE)
    assert command(inpaint, model, "a.wav", "--gap", "0.2:0.25", "-o", "b.wav") == 0
    assert (read("b.wav")[0] == 0).all()


@pytest.mark.parametrize(("rate", "options"), [(RATE, ()), (12_000, ("--threshold", "0.25"))])
def test_declipping_keeps_what_was_not_clipped_and_lifts_the_rest(here, model, rate, options):
    sound = np.clip(voice(4000, rate, 2), -0.25, 0.25)
    soundfile.write("a.wav", sound, rate, subtype="FLOAT")
    assert command(declip, model, "a.wav", "-o", "b.wav", *options) == 0
    before, after = (soundfile.read(n)[0] for n in ("a.wav", "b.wav"))
    clipped = np.abs(before) >= 0.25 * 0.998
    assert (after[~clipped] == before[~clipped]).all()
    assert (np.abs(after[clipped]) >= np.abs(before[clipped])).all()
    assert (np.sign(after[clipped]) == np.sign(before[clipped])).all()
    assert (np.abs(after[clipped]) > 0.26).any()


@pytest.mark.slow
def test_extending_keeps_the_low_band_and_adds_a_high_one(here, model, monkeypatch):
    monkeypatch.setattr(bandwidth_extension, "PIECE", 0.4)
    monkeypatch.setattr(bandwidth_extension, "OVERLAP", 0.1)
    write("a.wav", 5001, 4000, 2)
    assert command(extend, model, "a.wav", "-o", "b.wav") == 0
    before, (after, rate) = soundfile.read("a.wav")[0], soundfile.read("b.wav")
    assert (rate, after.shape) == (RATE, (10_002, 2))
    spectrum = np.abs(np.fft.rfft(after[:10_000] * np.hanning(10_000)[:, None], axis=0))
    plain = np.abs(np.fft.rfft(before[:5000] * np.hanning(5000)[:, None], axis=0))
    low, high = slice(0, int(0.42 * 5000)), slice(int(0.55 * 5000), int(0.9 * 5000))
    assert np.abs(spectrum[low] - 2 * plain[low]).max() < 0.01 * spectrum.max()
    assert (spectrum[high] ** 2).mean() > 1e-9 * (spectrum[low] ** 2).mean()


def test_pieces_overlap_and_cover_everything():
    whole = torch.arange(1000.0)[None]
    parts = list(overlapping_pieces(whole.split(130, dim=-1), 300, 50))
    assert [last for _, last in parts] == [False] * (len(parts) - 1) + [True]
    joined = torch.cat([p if last else p[:, :-50] for p, last in parts], dim=-1)
    assert torch.equal(joined, whole)


@pytest.mark.parametrize(
    ("module", "words", "message"),
    [
        (inpaint, ("a.wav", "--gap", "0.2:9", "-o", "b.wav"), "not within the recording"),
        (inpaint, ("a.wav", "--gap", "0:0.5", "-o", "b.wav"), "nothing is left"),
        (inpaint, ("a.wav", "--gap", "0.2:0.3", "-o", "a.wav"), "is the input"),
        (inpaint, ("a.wav", "--gap", "0.2:0.3", "-o", "c.wav"), "--overwrite"),
        (inpaint, ("no.wav", "--gap", "0.2:0.3", "-o", "b.wav"), "does not exist"),
        (inpaint, ("a.wav", "--gap", "0.2:0.3", "-o", "b.xyz"), ".xyz"),
        (inpaint, ("a.wav", "--gap", "0.2:0.3", "-o", "b.wav", "--sampler", "no"), "heun"),
        (declip, ("a.wav", "-o", "b.wav"), "--threshold"),
        (declip, ("a.wav", "-o", "b.wav", "--threshold", "0.9"), "reaches"),
        (extend, ("a.wav", "-o", "b.wav"), "--cutoff"),
        (extend, ("a.wav", "-o", "b.wav", "--rate", "16000"), "--rate 8000"),
        (extend, ("a.wav", "-o", "b.wav", "--cutoff", "5000"), "half the rate"),
        (generate, ("-o", "new", "--class", "3"), "no label"),
        (generate, ("-o", "new", "--guidance", "2"), "needs a class"),
        (generate, ("-o", "new", "--sampler", "no"), "heun"),
        (generate, ("-o", "a.wav"), "give a folder"),
        (generate, ("-o", "new", "--augment", "none"), "is not a folder"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_leaves_nothing(
    here, model, capsys, module, words, message
):
    write("a.wav")
    write("c.wav")
    assert command(module, model, *words) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert message in errors[0]
    assert sorted(path.name for path in here.iterdir()) == ["a.wav", "c.wav"]


def test_without_a_bundled_prior_a_checkpoint_is_needed(here, monkeypatch, capsys):
    monkeypatch.setattr(posterior, "bundled_names", list)
    write("a.wav")
    assert run(inpaint.main, ["a.wav", "--gap", "0.2:0.3", "-o", "b.wav"]) == 2
    assert "--checkpoint" in capsys.readouterr().err


def test_a_representation_that_is_not_linear_is_refused(here, capsys):
    write("a.wav")
    bent = save(here / "bent", "stft")
    assert command(inpaint, bent, "a.wav", "--gap", "0.2:0.3", "-o", "b.wav") == 2
    assert "not linear" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "options"), [(declip, ()), (inpaint, ("--gap", "0.1:0.12")), (extend, ())]
)
def test_from_stdin_to_stdout(here, model, monkeypatch, capfdbinary, task, options):
    if task is extend:
        options = ("--cutoff", 2000)
    soundfile.write("a.wav", voice(2400, peak=1.5).clip(-0.9, 0.9), RATE)
    options = (*options, "--steps", 2)
    assert command(task, model, "a.wav", "-o", "b.wav", *options) == 0
    capfdbinary.readouterr()
    stdin = io.TextIOWrapper(io.BytesIO((here / "a.wav").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert command(task, model, "-", "-o", "-", *options) == 0
    assert capfdbinary.readouterr().out == (here / "b.wav").read_bytes()


def test_sounds_are_generated_each_by_its_number(here, model):
    assert command(generate, model, "--n", 3, "--seconds", 0.2, "-o", "all") == 0
    assert command(generate, model, "--n", 3, "--seconds", 0.2, "-o", "one", "--batch-size", 1) == 0
    names = sorted(path.name for path in (here / "all").iterdir())
    assert names == ["00000.wav", "00001.wav", "00002.wav"]
    for name in names:
        sound, other = read(f"all/{name}")[0], read(f"one/{name}")[0]
        assert sound.shape == (1600, 1)
        assert np.abs(sound / 2**31 - other / 2**31).max() < 1e-4
    assert command(generate, model, "--n", 1, "-o", "all") == 2
    assert command(generate, model, "--n", 1, "-o", "all", "--overwrite") == 0


@pytest.mark.parametrize("able", [True, False])
def test_bfloat16_is_close_or_told_to_be_missing(here, model, able, monkeypatch, capsys):
    monkeypatch.setattr(precision, "computes_in_bfloat16", lambda device: able)
    words = ("--n", 1, "--seconds", 0.2)
    assert command(generate, model, *words, "-o", "full") == 0
    assert command(generate, model, *words, "-o", "half", "--precision", "bfloat16") == 0
    full, half = (read(f"{name}/00000.wav")[0] / 2**31 for name in ("full", "half"))
    assert np.abs(full - half).max() < 0.1 * np.abs(full).max()
    assert ("this CPU has no bfloat16 arithmetic" in capsys.readouterr().err) == (not able)


def test_a_dataset_is_extended_class_by_class(here, tmp_path_factory, capsys):
    for name in ("low/1.wav", "low/2.wav", "high/1.wav"):
        (here / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        write(here / "data" / name, 1600)
    (here / "data/high/bad.wav").write_text("not audio")
    classes = save(tmp_path_factory.mktemp("classes"), labels=2)
    words = ("--augment", "data", "-o", "more", "--steps", 1)
    assert command(generate, classes, *words) == 0
    assert "left out: data/high/bad.wav is not audio" in capsys.readouterr().err
    with open("more/manifest.csv", newline="") as file:
        rows = [(row["path"], row["label"]) for row in csv.DictReader(file)]
    assert sorted(rows) == [
        ("high/00000.wav", "high"),
        ("low/00000.wav", "low"),
        ("low/00001.wav", "low"),
    ]
    assert soundfile.info("more/low/00001.wav").frames == 1600
    source = folder("more/manifest.csv")
    assert sorted(source.label_names[label] for label in source.labels) == ["high", "low", "low"]


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "..", "a/b", "..\\\\escaped"])
def test_a_class_of_any_name_stays_below_the_output(here, tmp_path_factory, name):
    classes = save(tmp_path_factory.mktemp("classes"), labels=2)
    task = load_task(classes)
    names = {"label_names": [name, "low"]}
    save_task(classes / "model.safetensors", task.config, task.network.state_dict(), names)
    assert command(generate, classes, "--label", 0, "--n", 1, "-o", "sub/out", "--steps", 1) == 0
    (made,) = here.rglob("*.wav")
    assert len(made.relative_to(here / "sub/out").parts) == 2


def test_a_folder_that_is_no_class_is_told(here, tmp_path_factory, capsys):
    (here / "data" / "flute").mkdir(parents=True)
    write(here / "data" / "flute" / "1.wav")
    classes = save(tmp_path_factory.mktemp("classes"), labels=2)
    assert command(generate, classes, "--augment", "data", "-o", "more") == 2
    assert "flute" in capsys.readouterr().err
    assert not (here / "more").exists()


def test_an_error_is_interpolated_between_its_ends():
    place = torch.arange(12.0)
    known = torch.tensor([0, 1, 1, 0, 0, 0, 1, 0, 0, 1, 1, 0]).bool()
    given = torch.where(known, 3 + place.square(), torch.nan)
    off = 0.5 * place - 1  # what an estimate misses, a line
    found = interpolate_error(torch.where(known, given - off, 7 - off), given, known)
    expected = torch.where(known, given, 7.0)
    expected[0] = 7 - off[0] + off[1]  # beyond the ends the error stays what it was
    expected[11] = 7 - off[11] + off[10]
    torch.testing.assert_close(found, expected)
