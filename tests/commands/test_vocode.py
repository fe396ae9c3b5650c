"""`wavediff vocode` as a user types it."""

import io
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from wavediff import cli
from wavediff.cli import run
from wavediff.commands.vocode import main
from wavediff.data import audio
from wavediff.data.audio import AudioWriter
from wavediff.data.synthetic import utterance
from wavediff.errors import UserError
from wavediff.files import conf_folder
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import save_task
from wavediff.tasks.vocoder import Vocoder

HOP, RATE = 256, 22_050


def tiny(labels: int = 0, gain: float = 0.05) -> Vocoder:
    """A real front-end, a toy network of random weights."""

    def group(name, choice):
        return OmegaConf.to_container(OmegaConf.load(conf_folder() / name / f"{choice}.yaml"))

    whitened = "wavediff.representations.whitened.WhitenedSTFT"
    network = {"width": 8, "layers": 2, "dilation_cycle": 2, "labels": labels}
    torch.manual_seed(0)
    vocoder = build_task(
        {
            "task": {"_target_": "wavediff.tasks.vocoder.Vocoder"},
            "mel": group("mel", "tacotron"),
            "representation": {"_target_": whitened, "n_fft": 1024, "hop_length": 256},
            "network": group("network", "diffwave") | network,
            "schedule": group("schedule", "rectified_flow"),
            "prediction": "x0",
            "objective": group("objective", "denoising"),
            "sampler": group("sampler", "ddim"),
        }
    )
    torch.nn.init.normal_(vocoder.network.output_projection.weight, std=gain)
    return vocoder.eval()


def save(vocoder: Vocoder, folder: Path, **extra) -> Path:
    path = folder / "model.safetensors"
    save_task(path, vocoder.config, vocoder.network.state_dict(), extra)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return save(tiny(), tmp_path_factory.mktemp("model"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_mel(frames: int = 30, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((80, frames))
    return (noise - 4).clip(-11, 1).astype(np.float32)


def save_mel(path: Path, frames: int = 30, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, make_mel(frames, seed))
    return path


def save_sound(path: Path, seconds: float = 0.4, rate: int = RATE, channels: int = 1) -> Path:
    at = np.arange(int(rate * seconds)) / rate
    samples = 0.2 * sum(np.sin(2 * np.pi * 150 * k * at) / k for k in range(1, 20))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.stack([samples] * channels, axis=1), rate)
    return path


def command(model, *arguments):
    return run(main, [str(word) for word in (*arguments, "--checkpoint", model)])


def found(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_mel_to_a_file(model, here, capsys):
    save_mel(here / "a.npy")
    assert command(model, "a.npy", "-o", "new/a.wav") == 0
    samples, rate = soundfile.read("new/a.wav", dtype="float32")
    assert (rate, len(samples)) == (RATE, 30 * HOP)
    assert soundfile.info("new/a.wav").subtype == "PCM_16"
    expected = Vocoder.from_pretrained(model)(make_mel())
    assert np.abs(samples - expected).max() <= 2**-16
    assert capsys.readouterr().out == "new/a.wav\n"
    assert found(here / "new") == ["a.wav"]


def test_every_kind_of_mel_file_gives_the_same(model, here):
    mel = torch.from_numpy(make_mel())
    save_mel(here / "mels" / "a.npy")
    np.save(here / "mels" / "batch.npy", make_mel()[None].astype(np.float64))
    torch.save(mel, here / "mels" / "b.pt")
    torch.save({"mel": mel, "name": "c"}, here / "mels" / "c.pt")
    save_file({"mel": mel, "other": torch.zeros(1)}, here / "mels" / "d.safetensors")
    save_file({"any": mel}, here / "mels" / "e.safetensors")
    assert command(model, "mels", "-o", "out", "--batch-size", 4) == 0
    names = ["a.wav", "b.wav", "batch.wav", "c.wav", "d.wav", "e.wav"]
    assert found(here / "out") == names
    first, *others = [soundfile.read(here / "out" / name)[0] for name in names]
    for other in others:
        assert np.abs(first - other).max() <= 2**-15


def test_a_mel_of_an_npz_or_pth(model, here, capsys):
    np.savez("a.npz", make_mel())
    np.savez("b.npz", mel=make_mel(), other=np.zeros(3))
    np.savez("two.npz", a=make_mel(), b=make_mel())
    np.savez("latent.npz", latent=make_mel(), length=np.int64(3))
    torch.save(torch.from_numpy(make_mel()), "c.pth")
    np.save("d.npy", make_mel())
    assert command(model, "?.np[yz]", "c.pth", "-o", "out") == 0
    assert len({Path(f"out/{name}.wav").read_bytes() for name in "abcd"}) == 1
    capsys.readouterr()
    assert command(model, "two.npz", "-o", "e.wav") == 2
    assert 'one array, or a dictionary with an array called "mel"' in capsys.readouterr().err
    assert command(model, "latent.npz", "-o", "e.wav") == 2
    assert "latent.npz is a latent, not a mel: `wavediff decode`" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a.csv", "a.TXT", "a.pkl", "a.mat", "a.h5"])
def test_arrays_in_other_files_are_told_how_to_be_written(model, here, capsys, name):
    np.savetxt(name, make_mel(), delimiter=",")
    assert command(model, name, "-o", "o.wav") == 2
    said = capsys.readouterr().err
    assert f"{name}: a mel is read from .npy, .pt, .safetensors, .npz, .pth" in said
    assert 'numpy.save("mel.npy", array)' in said


@pytest.mark.parametrize("suffix", [".npy", ".pt", ".safetensors"])
def test_a_mel_from_stdin_to_stdout(model, here, monkeypatch, capfdbinary, suffix):
    mel = torch.from_numpy(make_mel())
    np.save("a.npy", mel.numpy())
    torch.save(mel, "a.pt")
    save_file({"mel": mel}, "a.safetensors")
    assert command(model, "a.npy", "-o", "a.wav") == 0
    capfdbinary.readouterr()
    data = io.TextIOWrapper(io.BytesIO(Path(f"a{suffix}").read_bytes()))
    monkeypatch.setattr(sys, "stdin", data)
    assert command(model, "-", "-o", "-") == 0
    assert capfdbinary.readouterr().out == Path("a.wav").read_bytes()


def test_copy_synthesis_is_as_long_as_the_audio_at_the_models_rate(model, here):
    save_sound(here / "a.wav", seconds=0.4003, rate=48_000, channels=2)
    assert command(model, "a.wav", "-o", "b.flac") == 0
    info = soundfile.info("b.flac")
    length = -(-int(0.4003 * 48_000) * RATE // 48_000)
    assert (info.samplerate, info.channels, info.frames) == (RATE, 1, length)


@pytest.mark.parametrize(
    ("options", "name", "subtype"),
    [
        ([], "a.wav", "PCM_16"),
        (["--bits", "24"], "a.wav", "PCM_24"),
        (["--bits", "32"], "a.wav", "FLOAT"),
        (["--format", "flac"], "a.flac", "PCM_16"),
        (["--format", "flac", "--bits", "24"], "a.flac", "PCM_24"),
    ],
)
def test_formats(model, here, options, name, subtype):
    save_mel(here / "a.npy")
    assert command(model, "a.npy", "-o", "out", *options) == 0
    assert found(here / "out") == [name]
    assert soundfile.info(here / "out" / name).subtype == subtype


def test_the_seed_the_steps_and_the_sampler_matter(model, here):
    save_mel(here / "a.npy")
    results = {}
    for name, options in {
        "plain": [],
        "again": ["--seed", 0, "--threads", torch.get_num_threads(), "--device", "cpu"],
        "seed": ["--seed", 1],
        "steps": ["--steps", 2],
        "heun": ["--sampler", "heun"],
    }.items():
        assert command(model, "a.npy", "-o", f"{name}.wav", *options) == 0
        results[name] = Path(f"{name}.wav").read_bytes()
    assert results["plain"] == results["again"]
    assert len(set(results.values())) == 4


def test_consistency_brings_the_audio_nearer_to_the_mel(model, here):
    save_sound(here / "a.wav")
    vocoder = Vocoder.from_pretrained(model)

    def mel(path):
        return vocoder.mel(torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None])

    distance = {}
    for iterations in (0, 8):
        output = f"{iterations}.wav"
        assert command(model, "a.wav", "-o", output, "--mel-iterations", iterations) == 0
        distance[iterations] = float((mel(output) - mel("a.wav"))[..., 4:-4].abs().mean())
    assert distance[8] < 0.5 * distance[0]
    with pytest.raises(SystemExit):
        command(model, "a.wav", "-o", "b.wav", "--mel-iterations", "-1")


def test_a_batch_does_not_change_the_results(model, here, capsys):
    for k in range(5):
        save_mel(here / "mels" / f"{k}.npy", frames=30 if k < 4 else 20, seed=k)
    assert command(model, "mels", "-o", "one", "--batch-size", 1, "--bits", 32) == 0
    assert command(model, "mels", "-o", "three", "--batch-size", 3, "--bits", 32) == 0
    out = capsys.readouterr().out.split()
    assert out == [f"{folder}/{k}.wav" for folder in ("one", "three") for k in range(5)]
    for k in range(5):
        one, three = (soundfile.read(f"{folder}/{k}.wav")[0] for folder in ("one", "three"))
        assert np.abs(one - three).max() <= 1e-5


def test_long_input_in_pieces_equals_the_whole(model, here, monkeypatch):
    save_mel(here / "a.npy", frames=400)
    assert command(model, "a.npy", "-o", "whole.wav", "--bits", 32) == 0
    monkeypatch.setattr("wavediff.tasks.piece_vocoder.STATE_NUMBERS", 1)
    monkeypatch.setattr("wavediff.tasks.piece_vocoder.HALOS", 1)
    written = []
    original = audio.audio_writer
    monkeypatch.setattr(
        audio, "audio_writer", lambda *a, **k: written.append(a) or original(*a, **k)
    )
    assert command(model, "a.npy", "-o", "pieces.wav", "--bits", 32) == 0
    assert len(written) == 1
    whole, parts = soundfile.read("whole.wav")[0], soundfile.read("pieces.wav")[0]
    assert np.abs(whole - parts).max() <= 1e-5


def test_a_folder_keeps_its_structure_and_goes_on_past_bad_files(model, here, capsys):
    for name in ("a.npy", "sub/b.npy", "sub/deep/c.npy"):
        save_mel(here / "in" / name)
    for k in range(4):
        save_sound(here / "in" / "sounds" / f"{k}.wav", seconds=0.2)
    (here / "in" / "text.wav").write_text("not a sound\n" * 100)
    np.save(here / "in" / "nan.npy", np.where(np.eye(80, 30), np.nan, make_mel()))
    save_mel(here / "in" / "sub" / "cut.npy")
    (here / "in" / "sub" / "cut.npy").write_bytes((here / "in/a.npy").read_bytes()[:500])
    assert command(model, "in", "-o", "out", "--batch-size", 8) == 2
    good = ["a.wav", *(f"sounds/{k}.wav" for k in range(4)), "sub/b.wav", "sub/deep/c.wav"]
    assert found(here / "out") == good
    output = capsys.readouterr()
    assert sorted(output.out.split()) == [f"out/{name}" for name in good]
    assert "7 of 10 files" in output.err
    failed = [line for line in output.err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 3
    for name in ("in/text.wav", "in/nan.npy", "in/sub/cut.npy"):
        assert sum(name in line for line in failed) == 1


def test_a_mel_beside_its_audio(model, here):
    save_mel(here / "in/a.npy")
    save_sound(here / "in/a.wav", 0.1)
    assert command(model, "in", "-o", "out") == 0
    assert found(here / "out") == ["a.npy.wav", "a.wav.wav"]


def test_files_and_globs_into_a_folder(model, here):
    for name in ("x/a.npy", "x/b.npy", "y/c.npy", "x/no.txt"):
        save_mel(here / name) if name.endswith("npy") else (here / name).write_text("no")
    assert command(model, "x/*", "y/c.npy", "-o", "out") == 0
    assert found(here / "out") == ["a.wav", "b.wav", "c.wav"]


def test_what_exists_is_kept_unless_asked(model, here, capsys):
    save_mel(here / "mels" / "a.npy")
    save_mel(here / "mels" / "b.npy")
    (here / "out").mkdir()
    (here / "out" / "a.wav").write_text("old")
    assert command(model, "mels", "-o", "out") == 0
    assert (here / "out" / "a.wav").read_text() == "old"
    output = capsys.readouterr()
    assert output.out == "out/b.wav\n"
    assert "--overwrite" in output.err
    assert command(model, "mels/a.npy", "-o", "out/a.wav") == 0
    assert (here / "out" / "a.wav").read_text() == "old"
    assert command(model, "mels", "-o", "out", "--overwrite") == 0
    assert soundfile.info(here / "out" / "a.wav").frames == 30 * HOP


def test_speakers_by_number_and_name(here, capsys):
    folder = save(tiny(labels=2), here / "model", label_names=["anna", "carl"])
    save_mel(here / "a.npy")
    assert command(folder, "a.npy", "-o", "a.wav", "--speaker", "carl") == 0
    assert command(folder, "a.npy", "-o", "b.wav", "--label", 1) == 0
    assert command(folder, "a.npy", "-o", "c.wav", "--label", 0) == 0
    assert Path("a.wav").read_bytes() == Path("b.wav").read_bytes() != Path("c.wav").read_bytes()
    capsys.readouterr()
    for wrong in (["--speaker", "bob"], []):
        assert command(folder, "a.npy", "-o", "d.wav", *wrong) == 2
        assert "anna, carl" in capsys.readouterr().err


def test_too_loud_is_clipped_and_told_not_wrapped(here, capsys):
    folder = save(tiny(gain=30.0), here / "model")
    save_sound(here / "sound.wav")
    assert command(folder, "sound.wav", "-o", "a.wav") == 0
    assert command(folder, "sound.wav", "-o", "b.wav", "--bits", "32") == 0
    clipped, exact = soundfile.read("a.wav")[0], soundfile.read("b.wav")[0]
    assert np.abs(exact).max() > 1
    assert np.abs(clipped - exact.clip(-1, 1)).max() <= 2**-15
    err = capsys.readouterr().err
    assert "a.wav: " in err
    assert "clipped" in err
    assert "b.wav" not in err


@pytest.mark.parametrize("bits", ["16", "32"])
def test_an_output_that_would_be_clipped_doubts_the_mel(here, capsys, bits):
    folder = save(tiny(gain=30.0), here / "model")
    save_mel(here / "mels" / "a.npy")
    assert command(folder, "mels/a.npy", "-o", "a.wav", "--bits", bits) == 2
    err = capsys.readouterr().err
    assert "of the output would be clipped" in err
    assert "hardly a mel" in err
    assert not (here / "a.wav").exists()


@pytest.mark.parametrize("bits", ["16", "32"])
def test_a_loud_mel_is_vocoded_where_its_scale_is_asserted(here, capsys, bits):
    folder = save(tiny(gain=30.0), here / "model")
    save_mel(here / "a.npy")
    assert command(folder, "a.npy", "-o", "a.wav") == 2
    assert "--mel-scale ln if it is one" in capsys.readouterr().err
    assert command(folder, "a.npy", "-o", "a.wav", "--mel-scale", "ln", "--bits", bits) == 0
    assert "% of the output is beyond full scale" in capsys.readouterr().err
    assert np.abs(soundfile.read("a.wav")[0]).max() >= 0.999
    np.save("b.npy", np.load("a.npy") / np.log(10))
    assert command(folder, "b.npy", "-o", "b.wav", "--mel-scale", "log10") == 2
    assert "would be clipped" in capsys.readouterr().err
    assert not (here / "b.wav").exists()


def test_a_mel_beyond_full_scale_is_taken_where_its_scale_is_asserted(model, here, capsys):
    vocoder = Vocoder.from_pretrained(model)
    time = np.arange(22_050) / 22_050
    square = torch.from_numpy(1.8 * np.sign(np.sin(2 * np.pi * 200 * time))).float()
    mel = vocoder.mel(square[None])[0]
    with pytest.raises(UserError, match="--mel-scale ln takes it as it is"):
        vocoder(mel)
    assert vocoder(mel, mel_scale="ln").isfinite().all()
    np.save("loud.npy", mel.numpy())
    assert command(model, "loud.npy", "-o", "a.wav", "--mel-scale", "ln") == 0


def test_a_mel_of_another_scale_is_refused_and_converted(model, here, capsys):
    save_sound(here / "sound.wav", seconds=1.0)
    samples = torch.from_numpy(soundfile.read("sound.wav", dtype="float32")[0])
    natural = Vocoder.from_pretrained(model).mel(samples[None])[0].numpy()
    natural = natural.clip(-80 * np.log(10) / 20)  # the lowest that the other scale has
    decibels = natural * 20 / np.log(10) - 20
    np.save("natural.npy", natural)
    np.save("sym4.npy", ((decibels + 100) / 100 * 8 - 4).clip(-4, 4))
    assert command(model, "sym4.npy", "-o", "a.wav") == 2
    err = capsys.readouterr().err
    assert "--mel-scale sym4 if it is [-4, 4] of a Tacotron fork" in err
    assert "multiply" not in err
    assert not (here / "a.wav").exists()
    assert command(model, "sym4.npy", "-o", "a.wav", "--mel-scale", "sym4") == 0
    assert command(model, "natural.npy", "-o", "b.wav") == 0
    a, b = soundfile.read("a.wav")[0], soundfile.read("b.wav")[0]
    assert np.abs(a - b).max() < 1e-3
    assert command(model, "natural.npy", "-o", "c.wav", "--mel-scale", "pos4") == 2
    assert "as [0, 4] of a Tacotron fork (--mel-scale pos4)" in capsys.readouterr().err


def test_a_model_whose_output_is_not_finite(here, capsys):
    broken = tiny()
    broken.network.output_projection.bias.data[3] = float("nan")
    folder = save(broken, here / "model")
    save_mel(here / "a.npy")
    save_mel(here / "b.npy")
    assert command(folder, "a.npy", "-o", "a.wav") == 2
    assert "a.npy: the model's output holds NaN" in capsys.readouterr().err
    assert command(folder, "a.npy", "b.npy", "-o", "out", "--batch-size", 2) == 2
    assert capsys.readouterr().err.count("failed: ") == 2
    assert not Path("a.wav").exists()
    assert found(here / "out") == []


class Hostile:
    def __reduce__(self):
        return (os.system, ("touch mark",))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["text.wav", "-o", "o.wav"], "text.wav is not audio"),
        (["bytes.wav", "-o", "o.wav"], "bytes.wav is empty"),
        (["frames.wav", "-o", "o.wav"], "frames.wav is empty"),
        (["missing.npy", "-o", "o.wav"], "missing.npy does not exist"),
        (["a.npy", "-o", "o.xyz"], "cannot write o.xyz"),
        (["*.nothing", "-o", "o"], "*.nothing"),
        (["nan.npy", "-o", "o.wav"], "nan.npy has 30 NaN"),
        (["bands.npy", "-o", "o.wav"], "bands.npy has 100 bands"),
        (["turned.npy", "-o", "o.wav"], "transpose"),
        (["rank.npy", "-o", "o.wav"], "rank.npy has the shape [30]"),
        (["scalar.npy", "-o", "o.wav"], "scalar.npy has the shape []"),
        (["none.npy", "-o", "o.wav"], "none.npy has the shape [80, 0]"),
        (["two.npy", "-o", "o.wav"], "two.npy holds 2 mels"),
        (["lmnt.npy", "-o", "o.wav"], "lmnt"),
        (["db.npy", "-o", "o.wav"], "decibels"),
        (["objects.npy", "-o", "o.wav"], "objects.npy cannot be read"),
        (["text.npy", "-o", "o.wav"], "text.npy cannot be read"),
        (["hostile.pt", "-o", "o.wav"], "hostile.pt cannot be read"),
        (["text.pt", "-o", "o.wav"], "text.pt cannot be read"),
        (["number.pt", "-o", "o.wav"], "number.pt is not a mel"),
        (["text.safetensors", "-o", "o.wav"], "not a safetensors file"),
        (["several.safetensors", "-o", "o.wav"], "several.safetensors is not a mel"),
        (["a.npy", "-o", "o.mp3"], ".wav or .flac"),
        (["a.npy", "-o", "o.wav", "--format", "flac"], "--format flac"),
        (["a.npy", "-o", "o.flac", "--bits", "32"], "--bits 24"),
        (["a.npy", "b.npy", "-o", "o.wav"], "give a folder"),
        (["a.npy", "sub/a.npy", "-o", "o"], "both be written"),
        (["a.npy", "-o", "text.pt/o"], "text.pt: it is a file"),
        (["good.wav", "-o", "."], "is an input"),
        (["good.wav", "-o", "good.wav", "--overwrite"], "is an input"),
        (
            ["a.npy", "-o", "o.wav", "--sampler", "hein"],
            "adaptive, ancestral, annealed_langevin, bridge",
        ),
        (["a.npy", "-o", "o.wav", "--sampler", "diffwave"], "does not fit the model"),
        (["a.npy", "-o", "o.wav", "--speaker", "anna"], "one voice"),
        (["a.npy", "-o", "o.wav", "--checkpoint", "hostile.pt"], "not a wavediff checkpoint"),
        (["a.npy", "-o", "o.wav", "--checkpoint", "nowhere"], "no checkpoint 'nowhere'"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(model, here, capsys, arguments, words):
    mel = make_mel()
    for name in ("a.npy", "b.npy", "sub/a.npy"):
        save_mel(here / name)
    save_sound(here / "good.wav")
    for name in ("text.wav", "text.npy", "text.pt", "text.safetensors"):
        (here / name).write_text("this is a text\n" * 100)
    (here / "bytes.wav").write_bytes(b"")
    soundfile.write(here / "frames.wav", np.zeros(0), RATE)
    np.save(here / "nan.npy", np.where(np.eye(80, 30), np.nan, mel))
    np.save(here / "bands.npy", np.concatenate([mel, mel[:20]]))
    np.save(here / "turned.npy", mel.T)
    np.save(here / "rank.npy", mel[0])
    np.save(here / "scalar.npy", mel[0, 0])
    np.save(here / "none.npy", mel[:, :0])
    np.save(here / "two.npy", np.stack([mel, mel]))
    np.save(here / "lmnt.npy", (mel + 11) / 13)
    np.save(here / "db.npy", mel * 8)
    np.save(here / "objects.npy", np.array([Hostile()], dtype=object), allow_pickle=True)
    torch.save(Hostile(), here / "hostile.pt")
    torch.save(3, here / "number.pt")
    save_file({k: torch.tensor(mel) for k in "ab"}, here / "several.safetensors")
    before = found(here)
    if "--checkpoint" not in arguments:
        arguments = [*arguments, "--checkpoint", str(model)]
    assert run(main, arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert words in output.err
    assert found(here) == before


@pytest.mark.parametrize(
    "option", ["--steps=0", "--bits=8", "--format=mp3", "--device=tpu", "--threads=x"]
)
def test_options_that_cannot_be(option):
    with pytest.raises(SystemExit) as stop:
        main(["a.npy", "-o", "o.wav", option])
    assert stop.value.code == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there(model, here, capsys):
    save_mel(here / "a.npy")
    assert command(model, "a.npy", "-o", "a.wav", "--device", "cuda") == 2
    assert "--device cpu" in capsys.readouterr().err
    assert command(model, "a.npy", "-o", "a.wav", "--cuda-graphs") == 2
    assert "--cuda-graphs is for torch on a GPU: leave it out" in capsys.readouterr().err


def test_a_folder_that_may_not_be_written_to(model, here, capsys, monkeypatch):
    save_mel(here / "a.npy")
    save_mel(here / "b.npy")
    (here / "locked").mkdir()
    monkeypatch.setattr(
        "wavediff.commands.outputs.os.access", lambda path, mode: Path(path).name != "locked"
    )
    assert command(model, "a.npy", "b.npy", "-o", "locked/new") == 2
    error = capsys.readouterr().err
    assert "locked: permission denied" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_interruption_leaves_no_half_written_file(model, here, monkeypatch, number, code):
    save_mel(here / "mels" / "a.npy")
    save_mel(here / "mels" / "b.npy", frames=40)
    original = AudioWriter.write

    def interrupted(writer, audio):
        original(writer, audio)
        if writer.path.name == "b.wav":
            assert len(found(here / "out")) == 2  # one whole, one under its temporary name
            os.kill(os.getpid(), number)

    monkeypatch.setattr(AudioWriter, "write", interrupted)
    before = signal.getsignal(signal.SIGTERM)
    try:
        result = command(model, "mels", "-o", "out")
    except SystemExit as stop:
        result = stop.code
    assert result == code
    assert found(here / "out") == ["a.wav"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_through_the_main_command(model, here, capsys):
    save_mel(here / "a.npy")
    assert cli.main(["vocode", "a.npy", "-o", "a.wav", "--checkpoint", str(model)]) == 0
    assert capsys.readouterr().out == "a.wav\n"
    with pytest.raises(SystemExit) as stop:
        cli.main(["vocode", "--help"])
    assert stop.value.code == 0
    assert "examples:" in capsys.readouterr().out


def _npy_of_terabytes(path: Path) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (80, 10**10)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(1000))


TENSORS = {
    "a view that repeats its values": lambda mel: mel[:1, :1].expand(80, 10**9),
    "sparse": lambda mel: mel.to_sparse(),
    "quantised": lambda mel: torch.quantize_per_tensor(mel, 0.1, 0, torch.qint8),
    "nested": lambda mel: torch.nested.nested_tensor([mel, mel[:, :5]]),
    "without values (meta)": lambda mel: mel.to("meta"),
}


@pytest.mark.parametrize("kind", TENSORS)
@pytest.mark.filterwarnings("ignore")
def test_a_tensor_that_does_not_hold_its_values(model, here, capsys, kind):
    torch.save({"mel": TENSORS[kind](torch.full((80, 9), -6.0))}, here / "odd.pt")
    assert run(main, ["odd.pt", "-o", "odd.wav", "--checkpoint", str(model)]) == 2
    assert f"holds a tensor that is {kind}: save a dense" in capsys.readouterr().err
    assert not (here / "odd.wav").exists()


def test_an_array_file_that_declares_terabytes(model, here, capsys):
    _npy_of_terabytes(here / "odd.npy")
    assert run(main, ["odd.npy", "-o", "odd.wav", "--checkpoint", str(model)]) == 2
    assert "cannot be read as a mel" in capsys.readouterr().err


@pytest.mark.parametrize("pitch", [1.0, 1.7])
def test_speech_has_no_line_at_the_upper_edge_of_the_mel(here, pitch):
    """At 8 kHz, where the bundled model's training recordings have one."""
    noise = 1e-4 * np.random.default_rng(1).standard_normal(2 * RATE)
    speech = utterance(2.0, RATE, 1, pitch)[0].numpy() + noise
    soundfile.write("a.wav", speech, RATE, subtype="FLOAT")
    assert run(main, ["a.wav", "-o", "b.wav"]) == 0
    samples = torch.from_numpy(soundfile.read("b.wav", dtype="float32")[0])
    window = torch.hann_window(1024)
    frames = torch.stft(samples, 1024, 256, window=window, return_complex=True)
    energy = frames.abs().square().mean(1)
    around = torch.cat([energy[360:367], energy[377:384]]).mean()
    assert energy[370:374].max() < 1.5 * around
