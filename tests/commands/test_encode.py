"""`wavediff encode` and `wavediff decode`, as users type them."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from wavediff.cli import main
from wavediff.data.audio import write_audio
from wavediff.tasks.build import build_task
from wavediff.tasks.checkpoint import save_task

RATE = 4000


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    config = {
        "task": {"_target_": "wavediff.tasks.autoencoder.Autoencoder", "sample_rate": RATE},
        "network": {
            "_target_": "wavediff.networks.autoencoder.Autoencoder",
            "latent_channels": 4,
            "width": 4,
            "strides": [2, 4],
        },
    }
    torch.manual_seed(0)
    task = build_task(config)
    save_task(path, task.config, task.network.state_dict(), {})
    return path


@pytest.fixture
def speech(tmp_path):
    path = tmp_path / "in" / "deep" / "speech.wav"
    audio = 0.1 * torch.randn(1, 1001, generator=torch.Generator().manual_seed(0))
    write_audio(path, audio, RATE)
    return path


def test_there_and_back(model, speech, tmp_path, capsys):
    latent, again = tmp_path / "speech.npz", tmp_path / "again.wav"
    assert main(["encode", str(speech), "-o", str(latent), "--checkpoint", str(model)]) == 0
    with np.load(latent, allow_pickle=False) as file:
        assert file["latent"].shape == (4, 126)
        assert file["latent"].dtype == np.float32
        assert (int(file["length"]), int(file["sample_rate"])) == (1001, RATE)
        assert str(file["checkpoint"]) == str(model)
    assert main(["decode", str(latent), "-o", str(again)]) == 0
    assert capsys.readouterr().out.split() == [str(latent), str(again)]
    info = soundfile.info(again)
    assert (info.frames, info.samplerate, info.subtype) == (1001, RATE, "PCM_16")


def test_the_same_audio_gives_the_same_file(model, speech, tmp_path):
    for name in ("a", "b"):
        target = str(tmp_path / f"{name}.npz")
        assert main(["encode", str(speech), "-o", target, "--checkpoint", str(model)]) == 0
    one, two = (np.load(tmp_path / f"{name}.npz")["latent"] for name in "ab")
    assert np.array_equal(one, two)


def test_a_folder_goes_on_past_a_bad_file(model, speech, tmp_path, capsys):
    (speech.parent / "bad.wav").write_bytes(b"no audio")
    options = ["--checkpoint", str(model)]
    assert main(["encode", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *options]) == 2
    told = capsys.readouterr()
    assert "failed: " in told.err
    assert "bad.wav" in told.err
    latent = tmp_path / "out" / "deep" / "speech.npz"
    assert told.out.split() == [str(latent)]

    (latent.parent / "bad.npz").write_bytes(b"PK no archive")
    decode = ["decode", str(tmp_path / "out"), "-o", str(tmp_path / "audio"), *options]
    assert main([*decode, "--bits", "24"]) == 2
    assert "bad.npz is not a latent" in capsys.readouterr().err
    wav = tmp_path / "audio" / "deep" / "speech.wav"
    assert soundfile.info(wav).subtype == "PCM_24"
    before = wav.stat().st_mtime_ns
    assert main(decode) == 2
    assert wav.stat().st_mtime_ns == before
    assert "kept" in capsys.readouterr().err
    assert main([*decode, "--overwrite"]) == 2
    assert wav.stat().st_mtime_ns > before


def test_errors_are_one_sentence(model, speech, tmp_path, capsys):
    latent, wav = tmp_path / "a.npz", tmp_path / "a.wav"
    checkpoint = ["--checkpoint", str(model)]
    assert main(["encode", str(speech), "-o", str(latent), *checkpoint]) == 0
    for command, sentence in (
        (["encode", str(speech), "-o", str(latent), "--checkpoint", "absent"], "no checkpoint"),
        (["encode", str(tmp_path / "absent.wav"), "-o", str(latent), *checkpoint], "not exist"),
        (["encode", str(speech), "-o", str(tmp_path / "a.xyz"), *checkpoint], "cannot write"),
        (["encode", str(speech), str(latent), "-o", str(latent), *checkpoint], "folder"),
        (["decode", str(latent), "-o", str(latent)], "cannot write"),
        (["decode", str(latent), "-o", str(tmp_path / "a.flac"), "--bits", "32"], "flac"),
        (["encode", str(speech), "-o", str(wav), "--checkpoint", "vocoder-en-22k"], "cannot write"),
        (
            ["encode", str(speech), "-o", "b.npz", "--checkpoint", "vocoder-en-22k"],
            "is not an autoencoder",
        ),
    ):
        assert main(command) == 2, command
        told = capsys.readouterr().err
        assert sentence in told, (command, told)
        assert told.count("\n") == 1
    np.savez(
        latent, latent=np.zeros((3, 5), np.float32), length=40, sample_rate=RATE, checkpoint=""
    )
    assert main(["decode", str(latent), "-o", str(wav), *checkpoint]) == 2
    assert "a latent of this model is [4, frames]" in capsys.readouterr().err
    np.savez(latent, latent=np.zeros((4, 5), np.float32), length=40, sample_rate=8, checkpoint="x")
    assert main(["decode", str(latent), "-o", str(wav), *checkpoint]) == 2
    assert "for 8 Hz" in capsys.readouterr().err
    assert not wav.exists()


def changed(source: Path, target: Path, field: int, value: bytes) -> Path:
    """The archive with other bytes at ``field`` of its first central directory entry."""
    data = bytearray(source.read_bytes())
    start = data.find(b"PK\x01\x02") + field
    data[start : start + len(value)] = value
    target.write_bytes(bytes(data))
    return target


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (8, b"\x01\x00"),  # encrypted
        (8, b"\x20\x00"),  # patched
        (10, b"\x61\x00"),  # an unknown method
        (6, b"\xff\xff"),  # a version to come
        (42, b"\xff\xff\xff\x7f"),  # a place beyond the end
    ],
)
def test_an_archive_whose_entries_lie(model, speech, tmp_path, capsys, field, value):
    latent = tmp_path / "a.npz"
    assert main(["encode", str(speech), "-o", str(latent), "--checkpoint", str(model)]) == 0
    odd = changed(latent, tmp_path / "odd.npz", field, value)
    out = tmp_path / "odd.wav"
    code = main(["decode", str(odd), "-o", str(out), "--checkpoint", str(model)])
    error = capsys.readouterr().err
    assert code == 2, error
    assert "is not a latent, or is damaged" in error
    assert not out.exists()


@pytest.mark.parametrize(
    "latent",
    [
        np.zeros((4, 0), np.float32),
        np.full((4, 9), np.nan, np.float32),
        np.zeros(4, np.float32),
        np.zeros((4, 9), "U3"),
        np.zeros((4, 9), [("a", "f4")]),
        np.zeros((5, 9), np.float32),
    ],
    ids=["empty", "nan", "a vector", "text", "fields", "another number of channels"],
)
def test_arrays_that_are_no_latent(model, tmp_path, capsys, latent):
    odd, out = tmp_path / "odd.npz", tmp_path / "odd.wav"
    np.savez(odd, latent=latent, length=72, sample_rate=RATE, checkpoint="x")
    assert main(["decode", str(odd), "-o", str(out), "--checkpoint", str(model)]) == 2
    assert str(odd) in capsys.readouterr().err
    assert not out.exists()


def test_a_latent_that_declares_terabytes(model, tmp_path, capsys):
    header = io.BytesIO()
    shape = {"descr": "<f4", "fortran_order": False, "shape": (4, 10**12)}
    np.lib.format.write_array_header_1_0(header, shape)
    odd, out = tmp_path / "odd.npz", tmp_path / "odd.wav"
    np.savez(odd, length=72, sample_rate=RATE, checkpoint="x")
    with zipfile.ZipFile(odd, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("latent.npy", header.getvalue() + bytes(1000))
    assert main(["decode", str(odd), "-o", str(out), "--checkpoint", str(model)]) == 2
    assert str(odd) in capsys.readouterr().err
    assert not out.exists()
