"""Odd audio files, through the command: nothing is lost silently, and folders go on."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from wavediff import cli
from wavediff.data.audio import read_audio

RATE = 16_000


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tone(samples: int = 4000) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * 440 / RATE * np.arange(samples))


def enhance(*words: str) -> int:
    return cli.main(["enhance", *words])


def rifx(name: str) -> None:
    samples = (tone() * 32767).astype(">i2").tobytes()
    form = struct.pack(">HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)
    body = b"WAVEfmt " + struct.pack(">I", 16) + form
    body += b"data" + struct.pack(">I", len(samples)) + samples
    Path(name).write_bytes(b"RIFX" + struct.pack(">I", len(body)) + body)


def test_files_without_tags_lose_none(here, capsys):
    Path("in").mkdir()
    rifx("in/a.wav")
    soundfile.write("in/b.wav", tone(), RATE, format="RF64")
    Path("in/c.wav").write_bytes(b"BW64" + Path("in/b.wav").read_bytes()[4:])
    soundfile.write("in/d.mp3", tone(), RATE, format="FLAC")
    soundfile.write("in/e.flac", tone(), RATE, format="WAV")
    assert enhance("in", "-o", "out") == 0
    assert "tags" not in capsys.readouterr().err
    assert len(list(Path("out").iterdir())) == 5


@pytest.mark.parametrize("suffix", [".w64", ".au", ".caf", ".flac"])
def test_a_tagged_wav_to_containers_without_tags(here, suffix):
    with soundfile.SoundFile("a.wav", "w", RATE, 1) as file:
        file.title = "A title"
        file.write(tone())
    assert enhance("a.wav", "-o", f"b{suffix}") == 0
    assert soundfile.info(f"b{suffix}").frames == 4000


def test_what_is_only_read_becomes_pcm_and_is_named_once(here, capsys):
    Path("in").mkdir()
    soundfile.write("in/a.wav", tone(), RATE, "IMA_ADPCM")
    soundfile.write("in/b.wav", tone(), RATE, "IMA_ADPCM")
    soundfile.write("in/c.wav", tone(), RATE, "GSM610")
    soundfile.write("in/d.wav", tone(), RATE, "ULAW")
    soundfile.write("in/e.caf", tone(), RATE, "ALAC_24")
    assert enhance("in", "-o", "out") == 0
    said = capsys.readouterr().err
    assert said.count("is read only") == 3
    for words in ("in/a.wav: IMA ADPCM is read only, it becomes PCM 16", "GSM610", "ALAC 24"):
        assert words in said
    kinds = [soundfile.info(f"out/{name}").subtype for name in ("c.wav", "d.wav", "e.caf")]
    assert kinds == ["PCM_16", "ULAW", "PCM_24"]


@pytest.mark.parametrize("codec", ["MS_ADPCM", "G721_32"])
def test_padding_of_the_last_block_is_no_sound(here, codec):
    soundfile.write("a.wav", tone(4001), RATE, codec)
    assert soundfile.info("a.wav").frames > 4001
    assert enhance("a.wav", "-o", "b.wav", "--dry", "1") == 0
    samples, _ = soundfile.read("b.wav")
    assert len(samples) == 4001
    assert np.corrcoef(samples, tone(4001))[0, 1] > 0.98


@pytest.mark.parametrize("name", ["a.ogg", "a.flac", "a.opus"])
def test_a_second_stream_in_a_file_is_not_lost_silently(here, capsys, name):
    kind = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    soundfile.write(name, tone(8000), RATE, **kind)
    data = Path(name).read_bytes()
    assert cli.main(["mel", name, "-o", "a.npy"]) == 0
    assert "streams" not in capsys.readouterr().err
    soundfile.write(name, tone(9000), RATE, **kind)
    Path(name).write_bytes(data + Path(name).read_bytes())
    assert cli.main(["mel", name, "-o", "b.npy"]) == 0
    said = capsys.readouterr().err
    assert f"{name} holds several streams one after the other, of which the first is used" in said


def test_mp3_files_that_are_joined_are_read_to_the_end(here, capsys):
    parts = []
    for length, rate in ((30_000, RATE), (20_000, RATE), (9000, 24_000)):
        soundfile.write("part.mp3", tone(length), rate)
        parts.append(Path("part.mp3").read_bytes())
    cover = b"ID3\x04\0\0" + bytes((0, 8, 0, 0)) + bytes(8 << 14)  # with a large cover
    Path("a.mp3").write_bytes(cover + parts[0] + b"TAG" + bytes(125) + cover + parts[1])
    assert enhance("a.mp3", "-o", "b.wav", "--dry", "1") == 0
    assert "streams" not in capsys.readouterr().err
    samples, _ = soundfile.read("b.wav")
    assert len(samples) == 50_000
    for first, length in ((0, 30_000), (30_000, 20_000)):
        assert np.corrcoef(samples[first : first + length], tone(length))[0, 1] > 0.98
    late, _ = read_audio("a.mp3", start=35_000, frames=2000)
    Path("part.mp3").write_bytes(parts[1])
    assert torch.equal(late, read_audio("part.mp3", start=5000, frames=2000)[0])
    Path("a.mp3").write_bytes(parts[0] + parts[2])
    assert cli.main(["mel", "a.mp3", "-o", "c.npy"]) == 0
    assert "and another is of another format" in capsys.readouterr().err


def test_whole_numbers_as_floating_point_are_doubted(here, capsys):
    soundfile.write("a.wav", 32768 * tone(), RATE, "FLOAT")
    soundfile.write("b.wav", 4 * tone(), RATE, "FLOAT")
    assert cli.main(["mel", "a.wav", "b.wav", "-o", "out"]) == 0
    said = capsys.readouterr().err
    assert "a.wav reaches 9830 times full scale: are its samples whole numbers" in said
    assert "b.wav" not in said


def test_names_and_links_of_all_kinds_in_a_folder(here, capsys):
    Path("in/sub").mkdir(parents=True)
    for name in ("-a.wav", "b\nc.wav", " d .wav", f"{251 * 'n'}.wav", "E.WAV"):
        soundfile.write(f"in/{name}", tone(), RATE, format="WAV")
    Path("in/._E.WAV").write_bytes(b"\0\5\x16\7" + bytes(100))
    os.symlink("loop.wav", "in/loop.wav")
    os.symlink("gone.wav", "in/dangling.wav")
    os.symlink("..", "in/sub/up")
    assert enhance("in", "-o", "out") == 2
    assert len(list(Path("out").iterdir())) == 5
    said = capsys.readouterr().err
    assert said.count("failed: ") == 2
    assert "in/loop.wav does not exist" in said
    assert "unexpected" not in said
    assert cli.main(["mel", "in", "-o", "mels", "--format", "safetensors"]) == 2
    assert len(list(Path("mels").iterdir())) == 4
    assert "the name is too long: choose a shorter one" in capsys.readouterr().err
