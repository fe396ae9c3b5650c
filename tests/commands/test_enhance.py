"""`wavediff enhance` as a user types it."""

import io
import os
import shlex
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from wavediff import cli
from wavediff.cli import run
from wavediff.commands import progress
from wavediff.commands.enhance import main
from wavediff.commands.progress import Bar
from wavediff.data.audio import AudioWriter
from wavediff.errors import UserError
from wavediff.files import conf_folder
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import save_task
from wavediff.tasks.enhancer import Enhancer

SUFFIXES = {"WAV": "wav", "WAVEX": "wav", "FLAC": "flac", "AIFF": "aiff", "MP3": "mp3"}


def tiny(task: str = "enhancer") -> Enhancer:
    """Real front-ends, a toy network of random weights; of two steps, so that noise matters."""

    def group(name, choice):
        with initialize_config_dir(str(conf_folder()), version_base=None):
            return OmegaConf.to_container(compose(overrides=[f"+{name}={choice}"])[name])

    network = {"width": 8, "layers": 2, "dilation_cycle": 2}
    sampler = group("sampler", "one_step")
    sampler["times"]["steps"] = 2
    sampler["eta"] = 1.0
    torch.manual_seed(0)
    enhancer = build_task(
        {
            "task": group("task", task),
            "mel": group("mel", "condition/enhance") | {"hop_length": 128},
            "representation": group("representation", "stft") | {"n_fft": 512, "hop_length": 128},
            "network": group("network", "diffwave") | network,
            "schedule": group("schedule", "bridge"),
            "prediction": "x0",
            "objective": group("objective", "denoising"),
            "sampler": sampler,
        }
    )
    torch.nn.init.normal_(enhancer.network.output_projection.weight, std=0.2)
    return enhancer.eval()


def save(task, folder: Path) -> Path:
    save_task(folder / "model.safetensors", task.config, task.network.state_dict(), {})
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return save(tiny(), tmp_path_factory.mktemp("model"))


class Late(Bar):
    """A progress bar that a slow machine does not show either."""

    def __init__(self, **options):
        super().__init__(**options | {"delay": 600})


@pytest.fixture(autouse=True)
def no_bar(monkeypatch):
    monkeypatch.setattr(progress, "Bar", Late)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def replaced(monkeypatch):
    """replaced(function): a model that does this to `noisy [batch, 1, time]`, whatever is asked."""

    def replace(function):
        monkeypatch.setattr(Enhancer, "enhance", lambda self, noisy, **options: function(noisy))

    return replace


def sound(rate: int, samples: int, channels: int = 1, peak: float = 0.5) -> np.ndarray:
    """[samples, channels] of voice-like harmonics in noise, each channel another level."""
    at = np.arange(samples)[:, None] / rate
    voice = sum(np.sin(2 * np.pi * 150 * k * at) / k for k in range(1, 12))
    noise = np.random.default_rng(0).standard_normal((samples, channels))
    audio = voice * np.linspace(1, 0.4, channels) + 0.2 * noise
    return peak * audio / max(np.abs(audio).max(initial=0), 1e-9)


def save_sound(
    path: Path, samples: int = 6000, rate: int = 16_000, channels: int = 1, **kind
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound(rate, samples, channels), rate, **kind)
    return path


def command(model, *arguments):
    return run(main, [str(word) for word in (*arguments, "--checkpoint", model)])


def found(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def alike(one: str | Path, other: str | Path) -> bool:
    """Whether two files have the same rate, channels, length, container and sample format."""
    infos = soundfile.info(str(one)), soundfile.info(str(other))
    names = ("samplerate", "channels", "frames", "format", "subtype")
    return all(getattr(infos[0], name) == getattr(infos[1], name) for name in names)


def test_a_file(model, here, capsys):
    save_sound(here / "a.wav", rate=44_100, channels=2, subtype="FLOAT")
    assert command(model, "a.wav", "-o", "new/b.wav") == 0
    assert capsys.readouterr().out == "new/b.wav\n"
    assert found(here) == ["a.wav", "new/b.wav"]
    assert alike("a.wav", "new/b.wav")
    noisy, _ = soundfile.read("a.wav", dtype="float32")
    expected = Enhancer.from_pretrained(model)(noisy.T, 44_100)
    clean, _ = soundfile.read("new/b.wav", dtype="float32")
    assert np.abs(clean - expected.T).max() < 1e-6
    assert np.abs(clean - noisy).max() > 0.1


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_any_number_of_channels(model, here, replaced, rate, channels):
    replaced(lambda noisy: noisy)
    save_sound(here / "a.wav", rate // 4 + 1, rate, channels, subtype="PCM_24")
    assert command(model, "a.wav", "-o", "b.wav") == 0
    assert alike("a.wav", "b.wav")
    difference = soundfile.read("a.wav")[0] - soundfile.read("b.wav")[0]
    assert np.abs(difference).max() <= 2**-22


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        ("WAV", "PCM_U8"),
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "PCM_32"),
        ("WAV", "FLOAT"),
        ("WAV", "DOUBLE"),
        ("WAV", "ULAW"),
        ("WAVEX", "PCM_24"),
        ("FLAC", "PCM_16"),
        ("FLAC", "PCM_24"),
        ("AIFF", "PCM_24"),
    ],
)
def test_the_sample_format_is_kept_and_dry_1_is_the_input(model, here, container, subtype):
    name = f"a.{SUFFIXES[container]}"
    save_sound(here / name, 4410, 44_100, 2, format=container, subtype=subtype)
    for options, same in ((["--dry", 1], True), ([], False)):
        assert command(model, name, "-o", "out", "--overwrite", *options) == 0
        assert alike(name, f"out/{name}")
        samples = [soundfile.read(path, dtype="float64")[0] for path in (name, f"out/{name}")]
        assert np.array_equal(*samples) == same


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg", "a.opus"])
def test_lossy_files_stay_what_they_are_or_become_wav(model, here, replaced, name):
    replaced(lambda noisy: noisy)
    kind = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    save_sound(here / name, 24_001, 48_000, 2, **kind)
    assert command(model, name, "-o", "out") == 0
    assert command(model, name, "-o", "b.wav") == 0
    assert alike(name, f"out/{name}")
    noisy, clean = soundfile.read(name)[0], soundfile.read(f"out/{name}")[0]
    assert ((clean - noisy)[480:-480] ** 2).mean() < 0.1 * (noisy[480:-480] ** 2).mean()
    info = soundfile.info("b.wav")
    assert (info.format, info.subtype, info.frames) == ("WAV", "PCM_16", len(noisy))
    assert np.abs(soundfile.read("b.wav")[0] - noisy.clip(-1, 1)).max() <= 2**-15


@pytest.mark.parametrize(
    ("subtype", "output", "expected"),
    [
        ("FLOAT", "b.flac", ("FLAC", "PCM_24")),
        ("PCM_16", "b.flac", ("FLAC", "PCM_16")),
        ("PCM_24", "b.mp3", ("MP3", "MPEG_LAYER_III")),
        ("PCM_16", "b.opus", ("OGG", "OPUS")),
        ("PCM_32", "b.w64", ("W64", "PCM_32")),
    ],
)
def test_another_container_where_out_says_so(model, here, subtype, output, expected):
    save_sound(here / "a.wav", 4800, 48_000, subtype=subtype)
    assert command(model, "a.wav", "-o", output) == 0
    info = soundfile.info(output)
    assert (info.format, info.subtype) == expected
    assert (info.samplerate, info.frames) == (48_000, 4800)


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("samples", [1, 2, 0.01, 3.0])
def test_any_length(model, here, samples, rate):
    samples = samples if isinstance(samples, int) else round(samples * rate)
    save_sound(here / "a.wav", samples, rate)
    assert command(model, "a.wav", "-o", "b.wav") == 0
    assert alike("a.wav", "b.wav")


def test_ten_minutes(model, here, replaced):
    replaced(lambda noisy: 0.5 * noisy)
    rate = 8_000
    audio = np.concatenate([np.tile(sound(rate, 8 * rate), (75, 1)), np.zeros((1, 1))])
    soundfile.write("a.wav", audio, rate)
    assert command(model, "a.wav", "-o", "b.wav") == 0
    assert alike("a.wav", "b.wav")
    with soundfile.SoundFile("a.wav") as noisy, soundfile.SoundFile("b.wav") as clean:
        for start in (0, 299 * rate, 590 * rate):  # no drift
            for file in (noisy, clean):
                file.seek(start)
            x, y = noisy.read(8 * rate), clean.read(8 * rate)
            assert (x @ y) > 0.9 * np.sqrt((x @ x) * (y @ y))


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_long_file_in_chunks_equals_the_whole(model, here, monkeypatch, rate):
    save_sound(here / "a.wav", 7 * rate, rate, 2, subtype="FLOAT")
    assert command(model, "a.wav", "-o", "whole.wav") == 0
    pieces = []
    original = Enhancer.enhance
    monkeypatch.setattr(
        Enhancer, "enhance", lambda *a, **k: pieces.append(k["offset"]) or original(*a, **k)
    )
    monkeypatch.setattr("wavediff.tasks.stream.CHUNK_SECONDS", 1.0)
    monkeypatch.setattr("wavediff.tasks.stream.CHUNK_CONTEXTS", 0)
    assert command(model, "a.wav", "-o", "chunks.wav") == 0
    assert len(pieces) == 7
    assert len(set(pieces)) > 3
    whole, chunks = soundfile.read("whole.wav")[0], soundfile.read("chunks.wav")[0]
    assert np.abs(whole - chunks).max() < 1e-4


def test_silence_stays_silence(model, here):
    soundfile.write("a.wav", np.zeros((20_000, 2)), 44_100)
    assert command(model, "a.wav", "-o", "b.wav") == 0
    assert alike("a.wav", "b.wav")
    assert not soundfile.read("b.wav")[0].any()


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_dc_offset(model, here, rate):
    audio = 0.3 * sound(rate, rate) + 0.5
    soundfile.write("a.wav", audio, rate)
    assert command(model, "a.wav", "-o", "b.wav") == 0
    clean = soundfile.read("b.wav")[0]
    assert len(clean) == rate
    assert np.abs(clean).max() <= 1


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_no_clipping_is_added_to_a_clipped_recording(model, here, replaced, capsys, rate):
    replaced(lambda noisy: 1.3 * noisy)
    clipped = (3 * sound(rate, rate, peak=1.0)).clip(-1, 1)
    soundfile.write("a.wav", clipped, rate)
    soundfile.write("f.wav", clipped, rate, subtype="FLOAT")
    assert command(model, "a.wav", "-o", "b.wav") == 0
    assert command(model, "f.wav", "-o", "g.wav") == 0
    assert "clipped" not in capsys.readouterr().err
    samples = soundfile.read("b.wav")[0]
    assert (np.abs(samples) > 0.9999).mean() <= (np.abs(clipped) > 0.9999).mean()
    assert np.abs(soundfile.read("g.wav")[0]).max() <= 1


def test_the_level_is_kept_whatever_it_is(model, here):
    audio = sound(16_000, 16_000)
    for name, gain in (("loud", 1.0), ("quiet", 1e-3)):
        soundfile.write(f"{name}.wav", gain * audio, 16_000, subtype="FLOAT")
        assert command(model, f"{name}.wav", "-o", f"{name}-clean.wav") == 0
    loud, quiet = (soundfile.read(f"{name}-clean.wav")[0] for name in ("loud", "quiet"))
    assert np.abs(loud - 1e3 * quiet).max() < 1e-4


def test_a_panned_voice_stays_where_it_is(model, here):
    voice = sound(44_100, 20_000)
    soundfile.write("a.wav", np.concatenate([voice, 0.25 * voice], axis=1), 44_100, subtype="FLOAT")
    assert command(model, "a.wav", "-o", "b.wav") == 0
    left, right = soundfile.read("b.wav")[0].T
    assert np.abs(right - 0.25 * left).max() < 1e-5


def test_a_file_that_was_cut_off_is_enhanced_as_far_as_it_goes(model, here, capsys):
    save_sound(here / "a.wav", 10_000)
    data = Path("a.wav").read_bytes()
    Path("cut.wav").write_bytes(data[: len(data) // 2])
    assert command(model, "cut.wav", "-o", "b.wav") == 0
    assert "cut.wav is truncated, 50% of" in capsys.readouterr().err
    assert soundfile.info("b.wav").frames == soundfile.info("cut.wav").frames == 4989
    header = data.index(b"data") + 4  # as a program writes that cannot know the length
    Path("piped.wav").write_bytes(data[:header] + b"\xff" * 4 + data[header + 4 :])
    assert command(model, "piped.wav", "-o", "c.wav") == 0
    assert "truncated" not in capsys.readouterr().err
    assert soundfile.info("c.wav").frames == 10_000


def test_a_folder_keeps_its_structure_and_goes_on_past_bad_files(model, here, capsys):
    good = ["a.wav", "sub/b.flac", "sub/deep/c.mp3"]
    for name in good:
        save_sound(here / "in" / name)
    (here / "in" / "text.wav").write_text("not a sound\n" * 100)
    (here / "in" / "notes.txt").write_text("no audio at all")
    soundfile.write(here / "in" / "nan.wav", np.full(9000, np.nan), 16_000, subtype="FLOAT")
    cut = save_sound(here / "in" / "sub" / "cut.flac", 60_000)
    cut.write_bytes(cut.read_bytes()[:40])
    assert command(model, "in", "-o", "out") == 2
    assert found(here / "out") == good
    output = capsys.readouterr()
    assert output.out.split() == [f"out/{name}" for name in good]
    assert "3 of 6 files" in output.err
    failed = [line for line in output.err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 3
    for name in ("in/text.wav", "in/nan.wav", "in/sub/cut.flac"):
        assert sum(name in line for line in failed) == 1


def test_inputs_whose_outputs_would_have_one_name(model, here, capsys):
    for name, kind in (("a.mp3", "MP3"), ("a.sph", "NIST"), ("b.sph", "NIST"), ("b.wav", "WAV")):
        save_sound(here / "in" / name, 2000, format=kind)
    assert command(model, "in", "-o", "out") == 0
    assert found(here / "out") == ["a.mp3", "a.wav", "b.sph.wav", "b.wav.wav"]
    assert command(model, "in", "-o", "flac", "--format", "flac") == 0
    assert found(here / "flac") == ["a.mp3.flac", "a.sph.flac", "b.sph.flac", "b.wav.flac"]
    said = capsys.readouterr().err
    assert "their suffix only keep it: out/b.sph.wav, out/b.wav.wav\n" in said


def test_files_and_globs_into_a_folder_as_another_format(model, here):
    for name in ("x/a.wav", "x/b.wav", "y/c.flac", "x/d.txt"):
        save_sound(here / name) if name[-1] != "t" else (here / name).write_text("no")
    assert command(model, "x/*", "y/c.flac", "-o", "out", "--format", "flac") == 0
    assert found(here / "out") == ["a.flac", "b.flac", "c.flac"]
    assert command(model, "**/*.wav", "-o", "all") == 0
    assert found(here / "all") == ["a.wav", "b.wav"]


def test_what_exists_is_kept_unless_asked(model, here, capsys):
    save_sound(here / "in" / "a.wav")
    save_sound(here / "in" / "b.wav")
    (here / "out").mkdir()
    (here / "out" / "a.wav").write_text("old")
    assert command(model, "in", "-o", "out") == 0
    assert (here / "out" / "a.wav").read_text() == "old"
    output = capsys.readouterr()
    assert output.out == "out/b.wav\n"
    assert "--overwrite" in output.err
    assert command(model, "in/a.wav", "-o", "out/a.wav") == 2
    assert "out/a.wav exists already" in capsys.readouterr().err
    assert (here / "out" / "a.wav").read_text() == "old"
    assert command(model, "in", "-o", "out", "--overwrite") == 0
    assert soundfile.info(here / "out" / "a.wav").frames == 6000


def test_an_output_folder_within_the_input_folder_is_no_input(model, here, capsys):
    save_sound(here / "in" / "a.wav")
    for _ in range(2):
        assert command(model, "in", "-o", "in/clean", "--overwrite") == 0
        assert found(here / "in") == ["a.wav", "clean/a.wav"]
    assert command(model, "in/clean", "-o", "in/clean") == 2
    assert "is an input" in capsys.readouterr().err


def test_the_input_is_never_overwritten_by_way_of_a_link(model, here, capsys):
    before = save_sound(here / "a.wav").read_bytes()
    (here / "soft.wav").symlink_to(here / "a.wav")
    (here / "folder").symlink_to(here)
    for output in ("a.wav", "soft.wav", "folder/a.wav"):
        assert command(model, "a.wav", "-o", output, "--overwrite") == 2
        assert "is an input" in capsys.readouterr().err
    assert command(model, "a.wav", "-o", ".", "--overwrite") == 2
    assert (here / "a.wav").read_bytes() == before


def test_the_seed_the_steps_the_sampler_and_dry_matter(model, here):
    save_sound(here / "a.wav")
    results = {}
    for name, options in {
        "plain": [],
        "again": ["--seed", 0, "--threads", torch.get_num_threads(), "--device", "cpu"],
        "seed": ["--seed", 1],
        "steps": ["--steps", 1],
        "sampler": ["--sampler", "heun"],
        "dry": ["--dry", 0.3],
    }.items():
        assert command(model, "a.wav", "-o", f"{name}.wav", *options) == 0
        results[name] = Path(f"{name}.wav").read_bytes()
    assert results["plain"] == results["again"]
    assert len(set(results.values())) == 5


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_from_stdin_to_stdout(model, here, monkeypatch, capfdbinary, name):
    data = save_sound(here / name, 9000, 32_000, 2).read_bytes()
    assert command(model, name, "-o", "b.wav") == 0
    capfdbinary.readouterr()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert command(model, "-", "-o", "-") == 0
    assert capfdbinary.readouterr().out == Path("b.wav").read_bytes()
    assert command(model, name, "-o", "-", "--format", "flac") == 0
    info = soundfile.info(io.BytesIO(capfdbinary.readouterr().out))
    assert (info.format, info.samplerate, info.channels) == ("FLAC", 32_000, 2)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert command(model, "-", "-o", "c.wav") == 0
    assert Path("c.wav").read_bytes() == Path("b.wav").read_bytes()


def test_in_a_shell(model, here):
    save_sound(here / "a.wav", 4000, 44_100)
    enhance = shlex.join([sys.executable, "-m", "wavediff.enhance", "--checkpoint", str(model)])
    script = f"cat a.wav | {enhance} - -o - > b.wav"
    done = subprocess.run(script, shell=True, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert alike("a.wav", "b.wav")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "error: stdin is empty"),
        (b"this is a text\n" * 100, "error: stdin is not audio"),
        (None, "error: nothing comes from stdin"),
    ],
)
def test_nothing_goes_to_stdout_for_a_bad_stdin(model, here, monkeypatch, capfd, data, words):
    stdin = io.TextIOWrapper(io.BytesIO(data or b""))
    if data is None:
        stdin = types.SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(sys, "stdin", stdin)
    assert command(model, "-", "-o", "-") == 2
    output = capfd.readouterr()
    assert output.out == ""
    assert output.err.startswith(words)
    assert output.err.count("\n") == 1


def test_stdout_must_not_be_a_terminal(model, here, monkeypatch, capsys):
    save_sound(here / "a.wav")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert command(model, "a.wav", "-o", "-") == 2
    assert "not for a terminal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["text.wav", "-o", "o.wav"], "text.wav is not audio"),
        (["bytes.wav", "-o", "o.wav"], "bytes.wav is empty"),
        (["frames.wav", "-o", "o.wav"], "frames.wav is empty"),
        (["nan.wav", "-o", "o.wav"], "nan.wav: sample 59999 is nan, and full scale is 1"),
        (["cut.flac", "-o", "o.wav"], "cut.flac is not audio that can be read"),
        (["missing.wav", "-o", "o.wav"], "missing.wav does not exist"),
        (["*.nothing", "-o", "o"], "*.nothing"),
        (["good.wav", "-o", "o.m4a"], "cannot write o.m4a"),
        (["good.wav", "-o", "o.xyz"], "cannot write o.xyz: give a name that ends in .wav"),
        (["good.wav", "-o", "o.wav", "--format", "flac"], "--format flac"),
        (["six.wav", "-o", "o.mp3"], "cannot write o.mp3 with 6 channels"),
        (["good.wav", "six.wav", "-o", "o.wav"], "give a folder"),
        (["good.wav", "six.wav", "-o", "-"], "cannot all go to stdout"),
        (["-", "-", "-o", "o"], "given once"),
        (["good.wav", "sub/good.wav", "-o", "o"], "both be written"),
        (["good.wav", "-o", "text.txt/o"], "text.txt: it is a file"),
        (["good.wav", "-o", "."], "is an input"),
        (["good.wav", "-o", "good.wav", "--overwrite"], "is an input"),
        (["good.wav", "-o", "o.wav", "--sampler", "hein"], "ancestral, "),
        (["good.wav", "-o", "o.wav", "--sampler", "diffwave"], "does not fit the model"),
        (["good.wav", "-o", "o.wav", "--checkpoint", "nowhere"], "no checkpoint 'nowhere'"),
        (["good.wav", "-o", "o.wav", "--checkpoint", "vocoder-en-22k"], "is not an enhancer"),
        (["good.wav", "-o", "o.wav", "--report", "good.wav"], "ends in .html"),
        (["good.wav", "-o", "o.wav", "--report", "page.html"], "page.html exists already"),
        (["good.wav", "-o", "o.wav", "--report", "text.txt/r.html"], "text.txt: it is a file"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(model, here, capsys, arguments, words):
    for name in ("good.wav", "sub/good.wav", "cut.flac"):
        save_sound(here / name, 60_000)
    save_sound(here / "six.wav", channels=6)
    for name in ("text.wav", "text.txt", "page.html"):
        (here / name).write_text("this is a text\n" * 100)
    (here / "bytes.wav").write_bytes(b"")
    (here / "cut.flac").write_bytes((here / "cut.flac").read_bytes()[:40])
    soundfile.write(here / "frames.wav", np.zeros(0), 16_000)
    nan = np.zeros(60_000)
    nan[-1] = np.nan
    soundfile.write(here / "nan.wav", nan, 16_000, subtype="FLOAT")
    before = {name: (here / name).read_bytes() for name in found(here)}
    if "--checkpoint" not in arguments:
        arguments = [*arguments, "--checkpoint", str(model)]
    assert run(main, arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert words in output.err
    assert {name: (here / name).read_bytes() for name in found(here)} == before


@pytest.mark.parametrize(
    "option", ["--steps=0", "--dry=1.5", "--dry=-1", "--format=m4a", "--device=tpu", "--threads=x"]
)
def test_options_that_cannot_be(option):
    with pytest.raises(SystemExit) as stop:
        main(["a.wav", "-o", "o.wav", option])
    assert stop.value.code == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there(model, here, capsys):
    save_sound(here / "a.wav")
    assert command(model, "a.wav", "-o", "b.wav", "--device", "cuda") == 2
    assert "--device cpu" in capsys.readouterr().err


def test_a_gpu_that_is_full(model, here, replaced, capsys):
    def full(noisy):
        raise torch.OutOfMemoryError

    replaced(full)
    save_sound(here / "a.wav")
    assert command(model, "a.wav", "-o", "b.wav") == 2
    assert "a.wav: the GPU has too little memory" in capsys.readouterr().err
    assert found(here) == ["a.wav"]


def test_a_model_whose_output_is_not_finite(model, here, replaced, capsys):
    replaced(lambda noisy: noisy / 0)
    save_sound(here / "a.wav")
    assert command(model, "a.wav", "-o", "b.wav") == 2
    assert "the model's output holds NaN" in capsys.readouterr().err
    assert found(here) == ["a.wav"]


def test_a_folder_that_may_not_be_written_to(model, here, capsys, monkeypatch):
    save_sound(here / "a.wav")
    (here / "locked").mkdir()
    monkeypatch.setattr(
        "wavediff.commands.outputs.os.access", lambda path, mode: Path(path).name != "locked"
    )
    assert command(model, "a.wav", "-o", "locked/new") == 2
    error = capsys.readouterr().err
    assert "locked: permission denied" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_leaves_no_half_written_file(model, here, monkeypatch, number, code):
    save_sound(here / "in" / "a.wav")
    save_sound(here / "in" / "b.wav")
    original = AudioWriter.write

    def interrupted(writer, audio):
        original(writer, audio)
        if writer.path.name == "b.wav":
            assert len(found(here / "out")) == 2  # one whole, one under its temporary name
            os.kill(os.getpid(), number)

    monkeypatch.setattr(AudioWriter, "write", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    try:
        result = command(model, "in", "-o", "out")
    except SystemExit as stop:
        result = stop.code
    assert result == code
    assert found(here / "out") == ["a.wav"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_progress_on_stderr(model, here, monkeypatch, capsys):
    class Shown(Bar):
        def __init__(self, **options):
            super().__init__(**options | {"delay": 0, "mininterval": 0})

    monkeypatch.setattr(progress, "Bar", Shown)
    save_sound(here / "in" / "a.wav", 8000)
    save_sound(here / "in" / "b.wav", 44_100, 44_100)
    assert command(model, "in", "-o", "out") == 0
    output = capsys.readouterr()
    assert "0.5/1.5 s of audio [" in output.err
    assert "1.5/1.5 s of audio [" in output.err
    assert output.out.split() == ["out/a.wav", "out/b.wav"]


@pytest.fixture
def reports(monkeypatch):
    """What was asked for of the page's writer, which has tests of its own."""
    asked = []

    def write_report(path, entries):
        assert all(entry.after.is_file() and entry.before.is_file() for entry in entries)
        asked.append((path, [(e.name, e.before.name, e.after.name) for e in entries]))

    def entry(name, before, after):
        return types.SimpleNamespace(name=name, before=before, after=after)

    module = types.SimpleNamespace(Entry=entry, write_report=write_report)
    monkeypatch.setitem(sys.modules, "wavediff.evaluation.report", module)
    return asked


def test_a_report_on_all_that_is_enhanced(model, here, reports):
    for name in ("a.wav", "sub/b.wav", "c.wav"):
        save_sound(here / "in" / name)
    (here / "in" / "text.wav").write_text("not a sound\n" * 100)
    save_sound(here / "out" / "a.wav")  # of a call before
    assert command(model, "in", "-o", "out", "--report", "r.html") == 2
    names = ["in/a.wav", "in/c.wav", "in/sub/b.wav"]
    expected = [(name, Path(name).name, Path(name).name) for name in names]
    assert reports == [(Path("r.html"), expected)]


def test_a_report_of_a_call_before_is_written_anew(model, here):
    save_sound(here / "a.wav")
    for name in ("b.wav", "c.wav"):
        assert command(model, "a.wav", "-o", name, "--report", "r.html") == 0
        assert "<title>Enhancement report</title>" in (here / "r.html").read_text()
    (here / "r.html").write_text("a page of mine")
    assert command(model, "a.wav", "-o", "d.wav", "--report", "r.html") == 2
    assert command(model, "a.wav", "-o", "d.wav", "--report", "r.html", "--overwrite") == 0


def test_a_report_on_what_is_piped(model, here, reports, monkeypatch, capfdbinary):
    data = save_sound(here / "a.wav").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert command(model, "-", "-o", "-", "--report", "r.html") == 0
    assert reports == [(Path("r.html"), [("stdin", "stdin", "stdout.wav")])]
    assert capfdbinary.readouterr().out[:4] == b"RIFF"


def test_a_report_that_fails_leaves_the_audio(model, here, reports, monkeypatch, capsys):
    def fail(path, entries):
        raise UserError(f"cannot write {path}: the disk is full")

    sys.modules["wavediff.evaluation.report"].write_report = fail
    save_sound(here / "a.wav")
    assert command(model, "a.wav", "-o", "b.wav", "--report", "r.html") == 2
    assert "r.html: the disk is full" in capsys.readouterr().err
    assert alike("a.wav", "b.wav")


def test_through_the_main_command(model, here, capsys):
    save_sound(here / "a.wav")
    assert cli.main(["enhance", "a.wav", "-o", "b.wav", "--checkpoint", str(model)]) == 0
    assert capsys.readouterr().out == "b.wav\n"
    with pytest.raises(SystemExit) as stop:
        cli.main(["enhance", "--help"])
    assert stop.value.code == 0
    assert "cat a.wav | wavediff enhance - -o - > b.wav" in capsys.readouterr().out


def test_an_offset_does_not_stop_the_denoising(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noise = 0.01 * np.random.default_rng(0).standard_normal(24_000)
    for name, offset in (("none", 0.0), ("some", 0.1), ("much", 0.3)):
        soundfile.write(f"{name}.wav", noise + offset, 16_000, subtype="FLOAT")
    soundfile.write("constant.wav", np.full(24_000, 0.25), 44_100)
    assert run(main, ["none.wav", "some.wav", "much.wav", "constant.wav", "-o", "out"]) == 0
    for name in ("none", "some", "much"):
        samples = soundfile.read(f"out/{name}.wav")[0]
        assert np.sqrt(np.mean(samples**2)) < 1e-4, name  # -80 dB, from -40
    assert not soundfile.read("out/constant.wav")[0].any()


@pytest.mark.parametrize(
    ("rate", "name", "words"),
    [
        (250_000, "b.ogg", "the codec VORBIS holds up to 200000 Hz"),
        (96_000, "b.mp3", "the codec MPEG_LAYER_III holds 8000, 11025"),
        (700_000, "b.flac", "the codec FLAC holds up to 655350 Hz"),
    ],
)
def test_a_rate_that_the_codec_does_not_hold(tmp_path, monkeypatch, capsys, rate, name, words):
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", np.zeros(1000), rate)
    assert run(main, ["a.wav", "-o", name]) == 2
    assert words in capsys.readouterr().err
    assert os.listdir() == ["a.wav"]
