"""What audio is read, by every command: all containers, damaged files, wrong headers."""

import re
import stat
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from wavediff import cli
from wavediff.cli import run
from wavediff.commands import enhance, mel, train
from wavediff.data.audio import audio_info, audio_reader, read_audio

RATE = 16_000
SNDFILE = {
    "a.aifc": {"format": "AIFF", "subtype": "FLOAT"},
    "b.caf": {"format": "CAF"},
    "c.au": {"format": "AU"},
    "d.snd": {"format": "AU", "subtype": "ULAW"},
    "e.w64": {"format": "W64"},
    "f.rf64": {"format": "RF64"},
    "g.oga": {"format": "OGG"},
    "h.voc": {"format": "VOC", "subtype": "PCM_16"},
    "i.sph": {"format": "NIST"},
    "j.WAVE": {"format": "WAV"},
    "k.8svx": {"format": "SVX", "subtype": "PCM_16"},
    "l.mp2": {"format": "MP3"},
}
MEDIA = {
    "a.m4a": ("aac", 48_000),
    "b.mp4": ("aac", 44_100),
    "c.mov": ("alac", 44_100),
    "d.webm": ("libopus", 48_000),
    "e.wma": ("wmav2", 44_100),
    "f.mka": ("flac", 44_100),
    "g.aac": ("aac", 44_100),
    "h.avi": ("pcm_s16le", 44_100),
    "i.wav": ("libmp3lame", 44_100),  # MP3 within wav
}
FFMPEG = """#!{python}
import sys
import soundfile
import torch
name = sys.argv[sys.argv.index("-i") + 1]
samples, rate = soundfile.read(name + ".wav", always_2d=True)
if "au" not in sys.argv:
    print("Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'a':", file=sys.stderr)
    print("  Duration: 00:00:01.00, start: 0.000000, bitrate: 64 kb/s", file=sys.stderr)
    print("  Stream #0:0: Audio: aac (LC), 16000 Hz, stereo, fltp, 64 kb/s", file=sys.stderr)
    sys.exit(1)
head = b".snd" + b"".join(n.to_bytes(4, "big") for n in (28, 2**32 - 1, 6, rate, 2)) + bytes(4)
sys.stdout.buffer.write(head + samples.astype(">f4").tobytes())
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_pyav(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setenv("PATH", "")


def tone(samples=RATE, rate=RATE, channels=1):
    at = np.arange(samples)[:, None] / rate
    noise = np.random.default_rng(0).standard_normal((samples, channels))
    return 0.3 * np.sin(2 * np.pi * 440 * at) + 0.03 * noise


def encode(path: Path, codec: str, rate: int, samples: np.ndarray, **options: str) -> None:
    """Write ``[time, channels]`` with PyAV."""
    av = pytest.importorskip("av")
    form = "asf" if path.suffix == ".wma" else None
    with av.open(str(path), "w", format=form, options=options) as container:
        layout = {1: "mono", 2: "stereo"}[samples.shape[1]]
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 96_000
        stream.codec_context.open()
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T, dtype=np.float32), format="fltp", layout=layout
        )
        frame.sample_rate, frame.pts = rate, 0
        resampler = av.AudioResampler(
            format=stream.codec_context.format.name,
            layout=layout,
            rate=rate,
            frame_size=stream.codec_context.frame_size or 1024,
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))


def found(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_folder_of_all_that_libsndfile_reads(here, capsys):
    (here / "in/sub").mkdir(parents=True)
    for name, kind in SNDFILE.items():
        soundfile.write(here / "in/sub" / name, tone(3000), RATE, **kind)
    assert run(mel.main, ["in", "-o", "out"]) == 0
    assert found(here / "out") == sorted(f"sub/{name[0]}.npy" for name in SNDFILE)
    assert run(enhance.main, ["in", "-o", "clean"]) == 0
    kept = {name for name in SNDFILE if name[0] not in "hikl"}
    assert found(here / "clean") == sorted({f"sub/{n}" for n in kept} | {
        f"sub/{letter}.wav" for letter in "hikl"})  # fmt: skip
    assert ".8svx, .mp2, .sph, .voc: 4 files become .wav" in capsys.readouterr().err
    for name in kept:
        old, new = soundfile.info(here / "in/sub" / name), soundfile.info(here / "clean/sub" / name)
        assert (old.format, old.subtype, old.frames) == (new.format, new.subtype, new.frames)


def test_a_folder_of_what_pyav_reads(here, capsys):
    (here / "in").mkdir()
    for name, (codec, rate) in MEDIA.items():
        encode(here / "in" / name, codec, rate, tone(rate, rate, 2))
    assert run(mel.main, ["in", "-o", "out"]) == 0
    assert found(here / "out") == [f"{name[0]}.npy" for name in MEDIA]
    soundfile.write("x.wav", tone(44_100, 44_100, 2), 44_100)
    assert run(mel.main, ["x.wav", "-o", "x.npy"]) == 0
    expected = np.load("x.npy")
    for name in MEDIA:  # the tone is where it was, whatever the codec does to the noise
        given = np.load(f"out/{name[0]}.npy")
        assert abs(given.shape[1] - expected.shape[1]) <= 10
        assert (given[:, 10:70].mean(1).argmax()) == expected[:, 10:70].mean(1).argmax()
    for name, exact in (("a.m4a", 48_000), ("c.mov", 44_100), ("f.mka", 44_100)):
        assert read_audio(f"in/{name}", mono=False)[0].shape == (2, exact)
    np.testing.assert_allclose(read_audio("in/f.mka")[0], read_audio("x.wav")[0], atol=2**-14)
    part = read_audio("in/a.m4a", start=1000, frames=500)[0]
    assert np.array_equal(part, read_audio("in/a.m4a")[0][:, 1000:1500])
    assert "truncated" not in capsys.readouterr().err


def test_an_m4a_becomes_wav_or_what_format_says(here, capsys):
    (here / "in").mkdir()
    encode(here / "in/a.m4a", "aac", 44_100, tone(22_050, 44_100, 2))
    encode(here / "in/b.m4a", "alac", 44_100, tone(22_050, 44_100))
    soundfile.write("in/c.flac", tone(8000), RATE)
    assert run(enhance.main, ["in", "-o", "out"]) == 0
    assert ".m4a: 2 files become .wav" in capsys.readouterr().err
    assert found(here / "out") == ["a.wav", "b.wav", "c.flac"]
    info = soundfile.info("out/a.wav")
    assert (info.samplerate, info.channels, info.frames) == (44_100, 2, 22_050)
    assert run(enhance.main, ["in/a.m4a", "-o", "flac", "--format", "flac"]) == 0
    assert found(here / "flac") == ["a.flac"]
    assert run(enhance.main, ["in/a.m4a", "-o", "b.m4a"]) == 2
    assert "cannot write b.m4a: give a name that ends in .wav" in capsys.readouterr().err


def test_a_recording_of_a_browser_has_no_length_in_its_header(here):
    encode(here / "a.webm", "libopus", 48_000, tone(48_000, 48_000), live="1")
    assert audio_info("a.webm") == (48_000, 48_000)
    assert read_audio("a.webm")[0].shape == (1, 48_000)


def test_ffmpeg_on_the_path_does_as_well(here, no_pyav, monkeypatch):
    (here / "bin").mkdir()
    script = here / "bin" / "ffmpeg"
    script.write_text(FFMPEG.format(python=sys.executable))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(here / "bin"))
    (here / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    soundfile.write("a.m4a.wav", tone(RATE, RATE, 2), RATE, subtype="FLOAT")
    assert run(mel.main, ["a.m4a", "-o", "a.npy"]) == 0
    assert run(mel.main, ["a.m4a.wav", "-o", "b.npy"]) == 0
    assert np.array_equal(np.load("a.npy"), np.load("b.npy"))
    with audio_reader("a.m4a") as reader:
        assert (reader.frames, reader.channels, reader.sample_rate) == (RATE, 2, RATE)
        assert sum(block.shape[1] for block in reader.blocks(1000)) == RATE


def test_without_a_decoder_it_is_said_what_to_install(here, no_pyav, capsys):
    (here / "in").mkdir()
    (here / "in/a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    soundfile.write("in/b.wav", tone(), RATE)
    assert run(mel.main, ["in/a.m4a", "-o", "a.npy"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: in/a.m4a needs a decoder")
    assert 'pip install "wavediff[media]", or ffmpeg' in error
    assert run(mel.main, ["in", "-o", "out"]) == 2
    assert found(here / "out") == ["b.npy"]
    assert "failed: in/a.m4a needs a decoder" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"\0\0\0\x20ftypM4A " + bytes(1000), bytes(50), b"text" * 99])
def test_media_that_cannot_be_decoded_is_one_sentence(here, capsys, content):
    pytest.importorskip("av")
    (here / "a.m4a").write_bytes(content)
    assert run(mel.main, ["a.m4a", "-o", "a.npy"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: a.m4a is not audio that can be read")
    assert error.count("\n") == 1


def test_other_media_in_a_folder_are_counted_and_named(here, capsys):
    (here / "in").mkdir()
    soundfile.write("in/a.wav", tone(), RATE)
    for name in ("b.mid", "c.RAW", "d.raw", "notes.txt", ".e.mid", "f.json"):
        (here / "in" / name).write_bytes(bytes(100))
    soundfile.write("in/g", tone(), RATE, format="FLAC")
    assert run(mel.main, ["in", "-o", "out"]) == 0
    said = capsys.readouterr().err
    assert "4 files of a kind that is not read (2 .raw, 1 .mid, 1 no suffix)" in said
    assert "in/b.mid, in/c.RAW, in/d.raw, ..." in said
    assert run(mel.main, ["in/*.*", "-o", "all"]) == 0
    assert "3 files of a kind" in capsys.readouterr().err
    assert cli.main(["evaluate", "--reference", "in", "--estimate", "in", "--metrics", "lsd"]) == 0
    assert "4 files of a kind" in capsys.readouterr().err


def test_media_that_are_not_read_are_counted_and_named(here, capsys):
    kinds = [
        ".wv1", ".wve", ".htk", ".sln", ".ts", ".mpa", ".3gpp", ".qcp", ".latm", ".mlp", ".caff",
        ".xwma", ".ofr",
    ]  # fmt: skip
    (here / "in").mkdir()
    soundfile.write("in/a.wav", tone(), RATE)
    for kind in kinds:
        (here / f"in/b{kind}").touch()
    assert run(mel.main, ["in", "-o", "out"]) == 0
    assert f"left out: {len(kinds)} files of a kind that is not read" in capsys.readouterr().err


def test_training_data_are_the_same_kinds(here, capsys):
    (here / "in").mkdir()
    for name in ("b.caf", "c.au", "a.aifc"):
        soundfile.write(f"in/{name}", tone(), RATE, **SNDFILE[name])
    encode(here / "in/d.m4a", "aac", 44_100, tone(44_100, 44_100))
    (here / "in/e.mid").touch()
    words = [
        "recipe=tiny", "data=folder", "data.root=in", "data.split=null", "run_dir=run",
        "task.crop_frames=4", "network.width=8", "network.layers=2", "trainer.batch_size=2",
        "trainer.max_steps=1", "trainer.validate_every=0", "trainer.progress=false",
    ]  # fmt: skip
    assert run(train.main, words) == 0
    said = capsys.readouterr().err
    assert "skipped" not in said, said
    assert "1 file of a kind that is not read (1 .mid): in/e.mid" in said


def cut(name: str, share: float) -> None:
    data = Path(name).read_bytes()
    Path(name).write_bytes(data[: round(share * len(data))])


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("a.wav", {}, "50% of what"),
        ("a.aiff", {}, "50% of what"),
        ("a.caf", {}, "5[0-9]% of what"),
        ("a.au", {}, "50% of what"),
        ("a.w64", {}, "50% of what"),
        ("a.rf64", {"format": "RF64"}, "50% of what"),
        ("a.sph", {"format": "NIST"}, "5[0-9]% of what"),
        ("a.flac", {}, "[45][0-9]% of what"),
        ("a.mp3", {}, "[45][0-9]% of what"),
        ("a.ogg", {}, "last page is missing"),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}, "last page is missing"),
    ],
)
def test_what_is_there_of_a_truncated_file_is_used(here, capsys, name, kind, words):
    samples = tone(3 * RATE)
    soundfile.write(name, samples, RATE, **kind)
    cut(name, 0.5)
    assert run(mel.main, [name, "-o", "b.npy"]) == 0
    said = capsys.readouterr().err
    place = r"damaged at 1\.[2-5] s or ends there" if name == "a.flac" else "truncated"
    assert len(re.findall(f"{name} is {place}, ", said)) == 1
    assert re.search(words, said)
    assert said.endswith("what is there is used\n")
    audio = read_audio(name)[0][0].numpy()
    assert 0.2 * len(samples) < len(audio) < 0.6 * len(samples)
    at = slice(2000, len(audio) - 2000)
    assert np.corrcoef(audio[at], samples[at, 0])[0, 1] > 0.9
    if name in ("a.flac", "a.ogg"):
        assert run(enhance.main, [name, "-o", "c.wav"]) == 0
        assert soundfile.info("c.wav").frames == len(audio)
        assert re.search(f"{name} is {place}, ", capsys.readouterr().err)


@pytest.mark.parametrize("name", ["a.flac", "a.mp3", "a.m4a"])
def test_what_follows_damage_is_used(here, capsys, name):
    samples = tone(6 * RATE)
    if name == "a.m4a":
        encode(here / name, "aac", RATE, samples)
    else:
        soundfile.write(name, samples, RATE)
    data = bytearray(Path(name).read_bytes())
    middle = len(data) // 2
    size = 3000 if name == "a.mp3" else 40
    data[middle : middle + size] = (b"\0" if name == "a.mp3" else b"\xff") * size
    Path(name).write_bytes(data)
    assert run(enhance.main, [name, "-o", "b.wav"]) == 0
    said = capsys.readouterr().err
    assert re.search(rf"{name} is damaged at [23]\.\d s.*: what is there is used\n", said)
    assert "ends there" not in said
    audio = read_audio(name)[0][0].numpy()
    assert len(audio) > 0.75 * len(samples)
    if name != "a.mp3":  # which does not say how much is lost
        assert abs(len(audio) - len(samples)) < 3000
        late = slice(-RATE, -4000)
        whole = slice(len(audio) - RATE, len(audio) - 4000)
        assert np.corrcoef(audio[late], samples[whole, 0])[0, 1] > 0.9


def test_a_truncated_film_is_used_as_well(here, capsys):
    encode(here / "a.mka", "flac", RATE, tone(4 * RATE))
    cut("a.mka", 0.5)
    assert run(mel.main, ["a.mka", "-o", "b.npy"]) == 0
    assert "a.mka is truncated, " in capsys.readouterr().err


def test_whole_files_are_not_called_truncated(here, capsys):
    for name in ("a.wav", "a.aiff", "a.caf", "a.flac", "a.mp3", "a.ogg", "a.opus", "a.w64"):
        kind = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
        soundfile.write(name, tone(20_001, 48_000), 48_000, **kind)
        read_audio(name)
    assert capsys.readouterr().err == ""


def at(data: bytes, mark: bytes, offset: int, form: str, *values: int) -> bytes:
    """``data`` with numbers written ``offset`` bytes after ``mark``."""
    place = data.index(mark) + offset
    new = struct.pack(form, *values)
    return data[:place] + new + data[place + len(new) :]


@pytest.mark.parametrize("declared", [0, 2, 3000, 3001])
@pytest.mark.parametrize("outer", [0, 36, None])
def test_a_wav_whose_header_declares_too_little_is_read_to_the_end(here, capsys, declared, outer):
    samples = tone()
    soundfile.write("a.wav", samples, RATE)
    data = at(Path("a.wav").read_bytes(), b"data", 4, "<I", declared)
    if outer is not None:
        data = at(data, b"RIFF", 4, "<I", outer)
    Path("b.wav").write_bytes(data)
    assert run(mel.main, ["b.wav", "-o", "b.npy"]) == 0
    expected = f"b.wav declares {declared} of its 32000 bytes of samples: it is read to the end\n"
    assert capsys.readouterr().err == expected
    assert np.array_equal(read_audio("b.wav")[0], read_audio("a.wav")[0])


@pytest.mark.parametrize(
    ("name", "mark", "offset", "form", "declared"),
    [
        ("a.aiff", b"SSND", 4, ">I", 0),
        ("a.aiff", b"SSND", 4, ">I", 5000),
        ("a.au", b".snd", 8, ">I", 0),
        ("a.au", b".snd", 8, ">I", 5000),
        ("a.caf", b"data", 4, ">Q", 4004),
        ("a.w64", b"data\xf3\xac", 16, "<Q", 5000),
        ("a.rf64", b"ds64", 16, "<Q", 5000),
    ],
)
def test_other_headers_that_declare_too_little(here, capsys, name, mark, offset, form, declared):
    soundfile.write(name, tone(), RATE, format="RF64" if name == "a.rf64" else None)
    whole = read_audio(name)[0]
    Path(name).write_bytes(at(Path(name).read_bytes(), mark, offset, form, declared))
    assert run(mel.main, [name, "-o", "b.npy"]) == 0
    assert "it is read to the end" in capsys.readouterr().err
    assert np.array_equal(read_audio(name)[0], whole)


@pytest.mark.parametrize(
    "tail",
    [
        b"LIST" + struct.pack("<I", 4000) + b"INFO" + bytes(3996),
        b"xyz " + struct.pack("<I", 4000) + bytes(range(250)) * 16,
        b"ID3\x04" + bytes(range(1, 250)) * 20,
        bytes(5000),
    ],
)
def test_what_follows_the_samples_is_not_taken_for_samples(here, capsys, tail):
    soundfile.write("a.wav", tone(), RATE)
    with open("a.wav", "ab") as file:
        file.write(tail)
    assert read_audio("a.wav")[0].shape[-1] == RATE
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_that_does_not_declare_its_length_is_read_to_the_end(here, rate, channels):
    samples = tone(4 * rate, rate, channels)
    samples[: rate // 2] = 0  # a low bit rate first, from which the length is estimated
    kind = {"bitrate_mode": "VARIABLE", "compression_level": 0.5}
    with soundfile.SoundFile("a.mp3", "w", rate, channels, **kind) as file:
        file.write(samples)
    data = Path("a.mp3").read_bytes()
    second = data.index(data[:2], 40)  # the first frame has the length only
    Path("b.mp3").write_bytes(data[second:])
    assert run(mel.main, ["b.mp3", "-o", "b.npy"]) == 0
    assert abs(np.load("b.npy").shape[1] * 256 / 22_050 - 4) < 0.1
    audio, whole = (read_audio(name, mono=False)[0] for name in ("b.mp3", "a.mp3"))
    assert abs(audio.shape[1] - len(samples)) < 3000
    assert audio[:, -rate:].std() == pytest.approx(float(whole[:, -rate:].std()), rel=0.05)


def test_the_report_of_an_m4a(here):
    encode(here / "a.m4a", "aac", 44_100, tone(22_050, 44_100))
    assert run(enhance.main, ["a.m4a", "-o", "b.wav", "--report", "c.html"]) == 0
    assert "a.m4a" in Path("c.html").read_text()


def test_gsm_cannot_be_sought_in_and_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", 0.1 * np.random.default_rng(0).normal(size=8000), 8000, "GSM610")
    assert cli.main(["mel", "a.wav", "-o", "a.npy"]) == 0
    assert np.load("a.npy").shape[1] > 80
    whole = read_audio("a.wav")[0]
    part = read_audio("a.wav", start=3000, frames=1000)[0]
    assert torch.equal(part, whole[:, 3000:4000])


@pytest.mark.parametrize(("value", "said"), [(1e30, "1e+30"), (-1e20, "-1e+20"), (np.nan, "nan")])
def test_a_sample_that_cannot_be_sound_is_named_by_every_command(here, capsys, value, said):
    samples = tone()
    samples[1000] = value
    for folder in ("in", "other"):
        (here / folder).mkdir()
        soundfile.write(f"{folder}/a.wav", samples, RATE, subtype="FLOAT")
        soundfile.write(f"{folder}/b.wav", tone(), RATE)
    quick = ["--mel-iterations", "1", "--device", "cpu"]
    for words, place in (
        (["mel", "in", "-o", "mels"], "in/a.wav"),
        (["enhance", "in", "-o", "clean"], "in/a.wav"),
        (["vocode", "in", "-o", "again", *quick], "in/a.wav"),
        (["evaluate", "--reference", "other", "--estimate", "in", "--metrics", "lsd"], "a.wav"),
    ):
        assert cli.main(words) == 2
        error = capsys.readouterr().err
        assert f"{place}: sample 1000 is {said}" in error
        assert "checkpoint" not in error
    assert found(here / "clean") == found(here / "again") == ["b.wav"]
