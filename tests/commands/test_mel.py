"""`wavediff mel` as a user types it."""

import os
import subprocess
import sys

import librosa
import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from wavediff.cli import run
from wavediff.commands.mel import main


@pytest.fixture
def sound():
    """sound(path, rate, seconds): a harmonic tone on the disk."""

    def make(path, rate=22_050, seconds=0.5, channels=1):
        time = np.arange(int(rate * seconds)) / rate
        samples = 0.2 * sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 20))
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.stack([samples] * channels, axis=1), rate)
        return path

    return make


def mel(*arguments):
    return run(main, [str(argument) for argument in arguments])


def test_one_file_to_npy(tmp_path, sound):
    source = sound(tmp_path / "a.wav")
    assert mel(source, "-o", tmp_path / "a.npy") == 0
    array = np.load(tmp_path / "a.npy")
    assert array.dtype == np.float32
    samples, _ = soundfile.read(source)
    bands = librosa.feature.melspectrogram(
        y=samples,
        sr=22_050,
        n_fft=1024,
        hop_length=256,
        n_mels=80,
        fmax=8000,
        power=1,
        pad_mode="reflect",
    )
    np.testing.assert_allclose(array, np.log(np.maximum(bands, 1e-5)), atol=2e-3)


def test_the_other_formats_hold_the_same(tmp_path, sound):
    source = sound(tmp_path / "a.flac")
    for name in ("a.npy", "a.pt", "a.safetensors"):
        assert mel(source, "-o", tmp_path / "new" / name, "--front-end", "lmnt") == 0
    array = np.load(tmp_path / "new" / "a.npy")
    tensor = torch.load(tmp_path / "new" / "a.pt", weights_only=True)
    stored = load_file(tmp_path / "new" / "a.safetensors")["mel"]
    np.testing.assert_array_equal(array, tensor.numpy())
    np.testing.assert_array_equal(array, stored.numpy())
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "a.npy",
        "a.pt",
        "a.safetensors",
    ]


def test_another_rate_and_two_channels(tmp_path, sound):
    """48 kHz stereo gives the mel of the same sound at 22,050 Hz."""
    mel(sound(tmp_path / "a.wav"), "-o", tmp_path / "a.npy")
    mel(sound(tmp_path / "b.wav", rate=48_000, channels=2), "-o", tmp_path / "b.npy")
    a, b = np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy")
    assert a.shape == b.shape
    loud = a > -3
    assert np.abs(a - b)[:, 4:-4][loud[:, 4:-4]].max() < 0.05


def test_set_changes_the_front_end(tmp_path, sound):
    source = sound(tmp_path / "a.wav")
    code = mel(source, "-o", tmp_path / "a.npy", "--set", "n_mels=100", "f_max=null", "floor=1e-7")
    assert code == 0
    array = np.load(tmp_path / "a.npy")
    assert array.shape[0] == 100
    assert array.min() < np.log(1e-5)


def test_a_folder_keeps_its_structure_and_goes_on_past_a_bad_file(tmp_path, sound, capsys):
    for name in ("a.wav", "sub/b.flac", "sub/deep/c.ogg"):
        sound(tmp_path / "in" / name)
    (tmp_path / "in" / "bad.wav").write_text("not a sound")
    soundfile.write(tmp_path / "in" / "empty.wav", np.zeros(0), 22_050)
    assert mel(tmp_path / "in", "-o", tmp_path / "out", "--format", "safetensors") == 2
    written = sorted(
        str(path.relative_to(tmp_path / "out"))
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    )
    assert written == ["a.safetensors", "sub/b.safetensors", "sub/deep/c.safetensors"]
    output = capsys.readouterr()
    assert output.out.splitlines() == [str(tmp_path / "out" / name) for name in written]
    assert output.err.count("failed: ") == 2
    assert "bad.wav" in output.err
    assert "empty.wav" in output.err


def test_a_mel_that_exists_is_kept_unless_told_otherwise(tmp_path, sound, capsys):
    source, out = sound(tmp_path / "a.wav"), tmp_path / "a.npy"
    out.write_text("mine")
    assert mel(source, "-o", out) == 0
    assert out.read_text() == "mine"
    assert "--overwrite" in capsys.readouterr().err
    assert mel(source, "-o", out, "--overwrite") == 0
    assert np.load(out).shape[0] == 80


def test_inputs_that_differ_in_their_suffix_only_keep_it(tmp_path, sound, capsys):
    names = ["a.wav", "a.flac", "a.flac.wav", "sub/a.ogg", "sub/b.wav", "sub/b.WAV", "c.wav"]
    for name in names:
        sound(tmp_path / "in" / name)
    expected = ["a.flac.npy", "a.flac.wav.npy", "a.wav.npy", "c.npy"]
    assert mel(tmp_path / "in", "-o", tmp_path / "out") == 0
    assert sorted(os.listdir(tmp_path / "out")) == [*expected, "sub"]
    assert sorted(os.listdir(tmp_path / "out/sub")) == ["a.npy", "b.WAV.npy", "b.wav.npy"]
    assert "inputs that differ in their suffix only keep it: " in capsys.readouterr().err
    (tmp_path / "out/a.wav.npy").unlink()  # as after an interruption
    assert mel(tmp_path / "in", "-o", tmp_path / "out") == 0
    assert sorted(os.listdir(tmp_path / "out")) == [*expected, "sub"]


def test_files_and_globs_into_a_folder(tmp_path, sound):
    sound(tmp_path / "x" / "a.wav")
    sound(tmp_path / "x" / "b.wav")
    sound(tmp_path / "y" / "c.wav")
    assert mel(tmp_path / "x" / "*.wav", tmp_path / "y" / "c.wav", "-o", tmp_path / "out") == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["a.npy", "b.npy", "c.npy"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bad.wav", "-o", "o.npy"], "bad.wav"),
        (["missing.wav", "-o", "o.npy"], "missing.wav does not exist"),
        (["a.wav", "-o", "o.csv"], ".npy"),
        (["a.wav", "b.wav", "-o", "o.npy"], "give a folder"),
        (["a.wav", "-o", "o.npy", "--set", "f_max=inf"], "f_max=inf is invalid: give a finite"),
        (["a.wav", "-o", "o.npy", "--set", "f_min=.nan"], "is invalid: give a finite number"),
        (["a.wav", "sub/a.wav", "-o", "o"], "both be written"),
        (["a.wav", "-o", "o.npy", "--front-end", "waveglow"], "tacotron"),
        (["a.wav", "-o", "o.npy", "--set", "n_mel=3"], "'n_mel'"),
        (["a.wav", "-o", "o.npy", "--set", "n_mels"], "KEY=VALUE"),
        (["a.wav", "-o", "o.npy", "--set", "n_mels=[3"], "plain values"),
        (["a.wav", "-o", "o.npy", "--set", "n_mels=${x}"], "plain values"),
        (["a.wav", "-o", "o.npy", "--set", "n_mels=3.5"], "positive integers"),
        (["short.wav", "-o", "o.npy", "--front-end", "hifigan"], "short.wav is too short"),
        (["a.wav", "-o", "bad.wav/o.npy"], "bad.wav"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    tmp_path, sound, capsys, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.wav", "sub/a.wav"):
        sound(tmp_path / name)
    sound(tmp_path / "short.wav", seconds=0.003)
    (tmp_path / "bad.wav").write_text("not a sound")
    before = sorted(tmp_path.rglob("*"))
    assert mel(*arguments) == 2
    output = capsys.readouterr()
    assert output.err.startswith("error: ")
    assert output.err.count("\n") == 1
    assert words in output.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path, sound, capsys):
    source = sound(tmp_path / "a.wav")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert mel(source, "-o", locked / "a.npy") == 2
    assert "permission" in capsys.readouterr().err


def test_as_a_module_with_help():
    command = [sys.executable, "-m", "wavediff.mel", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout
    assert "bigvgan, hifigan, lmnt, tacotron" in done.stdout


@pytest.mark.parametrize("exists", [False, True])
def test_what_a_killed_process_left_just_now_is_removed(tmp_path, sound, exists):
    for name in ("a.wav", "below/b.wav"):
        sound(tmp_path / "in" / name)
    left = [tmp_path / "out" / name for name in (".tmp-0123456789ab.npy", "below/.tmp-0.flac")]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    if exists:
        for name in ("a.npy", "below/b.npy"):
            (tmp_path / "out" / name).write_bytes(b"whole")
    assert mel(tmp_path / "in", "-o", tmp_path / "out") == 0
    assert not [path for path in left if path.exists()]
