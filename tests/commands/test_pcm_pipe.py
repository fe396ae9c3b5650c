"""`wavediff enhance --live - -o -` and --strength: sound through pipes while it comes."""

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wavediff.cli import run
from wavediff.commands.enhance import main

RATE = 16_000
HOP = 256


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Stdin(io.BytesIO):
    """Gives a few bytes at a time, as a pipe does."""

    def read1(self, size=-1, /):
        return super().read1(min(size, 777))


@pytest.fixture
def pipe(here, tiny_live, monkeypatch, capfdbinary):
    """pipe(data, words) -> (code, stdout, stderr) of `enhance --live - -o -`."""

    def call(data: bytes, *words: str, live=("--live",)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Stdin(data)))
        paths = ["-", "-o", "-"] if "-" not in words else []
        model_words = [] if "--checkpoint" in words else ["--checkpoint", str(tiny_live)]
        code = run(main, [*live, *paths, *model_words, *words])
        out, err = capfdbinary.readouterr()
        return code, out, err.decode()

    return call


def noise(length: int, channels: int = 1) -> np.ndarray:
    return 0.05 * np.random.default_rng(0).standard_normal((length, channels))


def wav(samples: np.ndarray, subtype: str = "PCM_16", kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, subtype, format=kind)
    return file.getvalue()


def enhanced(here: Path, tiny_live: Path, data: bytes) -> np.ndarray:
    """What the command makes of a file."""
    (here / "in.wav").write_bytes(data)
    words = ["in.wav", "-o", "out.wav", "--overwrite", "--checkpoint", str(tiny_live)]
    assert run(main, words) == 0
    return soundfile.read(here / "out.wav", always_2d=True)[0]


STEPS = {"PCM_U8": 2**-7, "PCM_16": 2**-15, "ULAW": 0.01, "ALAW": 0.01}


@pytest.mark.parametrize(
    ("subtype", "kind", "channels", "length"),
    [
        ("PCM_16", "WAV", 1, 5000),
        ("PCM_U8", "WAV", 1, 5001),
        ("PCM_24", "WAVEX", 2, 3000),
        ("PCM_32", "RF64", 1, 3000),
        ("FLOAT", "WAV", 2, 3000),
        ("DOUBLE", "WAV", 1, 3000),
        ("ULAW", "WAV", 1, 3000),
        ("ALAW", "WAV", 1, 3000),
    ],
)
def test_a_wav_file_comes_out_as_a_wav_file(pipe, here, tiny_live, subtype, kind, channels, length):
    data = wav(noise(length, channels), subtype, kind)
    code, out, err = pipe(data)
    wanted = enhanced(here, tiny_live, data)
    assert code == 0, err
    assert err.splitlines()[-1].endswith(f"channels: {channels}, {subtype}, latency: 32 ms")
    info = soundfile.info(io.BytesIO(out))
    assert (info.frames, info.samplerate, info.subtype) == (length, RATE, subtype)
    assert len(out) == 8 + struct.unpack("<I", out[4:8])[0]
    found = soundfile.read(io.BytesIO(out), always_2d=True)[0]
    np.testing.assert_allclose(found, wanted, atol=1.01 * STEPS.get(subtype, 1e-5))


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000, 0x7FFFFF00, 0x80000000, 0xFFFFFFDA])
def test_a_length_that_is_not_known_stays_so(pipe, here, tiny_live, size):
    """As arecord, sox and ffmpeg write it; chunks before the samples are left out."""
    samples = noise(2000)
    plain = wav(samples)
    riff = struct.pack("<I", min(size + 36, 0xFFFFFFFF))
    note = b"LIST" + struct.pack("<I", 5) + b"INFOx\0"
    data = b"RIFF" + riff + plain[8:36] + note + b"data" + struct.pack("<I", size) + plain[44:]
    code, out, err = pipe(data)
    assert code == 0, err
    assert out[:44] == data[:36] + b"data" + struct.pack("<I", size)
    wanted = enhanced(here, tiny_live, plain)[:, 0]
    assert len(out) == len(plain)
    found = np.frombuffer(out[44:], "<i2") / 32768
    np.testing.assert_allclose(found, wanted, atol=1.01 * 2**-15)


def test_bytes_that_are_no_sample_are_told(pipe):
    code, out, err = pipe(bytes(957), "--raw", "s24le", "--rate", "8000", "--channels", "2")
    assert (code, len(out)) == (0, 954)
    assert "the last 3 bytes are left out" in err


@pytest.mark.parametrize(
    ("name", "type", "scale"),
    [("s16le", "<i2", 2**15), ("f32le", "<f4", 1), ("s32le", "<i4", 2**31)],
)
def test_raw_in_raw_out(pipe, here, tiny_live, name, type, scale):
    samples = noise(3000, 2)
    integers = (samples * scale).round() if scale > 1 else samples
    words = ["--raw", name, "--rate", str(RATE), "--channels", "2"]
    code, out, err = pipe(integers.astype(type).tobytes() + b"x", *words)
    assert code == 0, err
    found = np.frombuffer(out, type).reshape(-1, 2) / scale
    wanted = enhanced(here, tiny_live, wav(samples, "DOUBLE"))
    np.testing.assert_allclose(found, wanted, atol=2**-13)


def test_what_follows_the_samples_is_left_and_what_is_missing_is_told(pipe):
    data = wav(noise(2000))
    _, whole, _ = pipe(data)
    code, out, _ = pipe(data + b"LIST" + struct.pack("<I", 4) + b"INFO")
    assert (code, out) == (0, whole)
    code, out, err = pipe(data[:-1000])
    assert code == 0
    assert len(out) == len(whole) - 1000
    assert "stdin: 500 samples that its header declares are missing" in err


def test_floats_beyond_full_scale_pass(pipe):
    data = np.full((3000, 1), 1.0)
    data[::2] = -1
    code, out, _ = pipe(wav(4 * data, "FLOAT"), "--strength", "0")
    assert code == 0
    assert np.abs(soundfile.read(io.BytesIO(out))[0]).max() > 3


@pytest.mark.parametrize(
    ("data", "words", "said"),
    [
        (b"", [], "stdin is empty: it has no bytes."),
        (wav(noise(0)), [], "stdin is empty: it holds no samples."),
        (b"", ["--raw", "s16le", "--rate", "8000"], "stdin is empty: it holds no samples."),
        (b"fLaC" + bytes(100), [], "stdin is not wav: give wav or, with --raw, PCM"),
        (wav(noise(10))[:30], [], "stdin ends within its wav header"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", [], "stdin has no chunk 'fmt '"),
        (wav(noise(999), "IMA_ADPCM"), [], "stdin holds samples of wav format 17 with 4 bits"),
        (wav(noise(10)), ["--raw", "s16le"], "--raw has no header: give --rate too"),
        (wav(noise(10)), ["--rate", "8000"], "--rate is for --raw"),
        (wav(noise(10)), ["--channels", "2"], "--channels is for --raw"),
        (wav(noise(10)), ["--format", "flac"], "--format flac does not go with --live - -o -"),
        (wav(noise(10)), ["--report", "a.html"], "--report does not go with --live - -o -"),
        (wav(noise(10)), ["--bit-rate", "64"], "--bit-rate does not go with --live - -o -"),
        (wav(noise(10)), ["--raw", "s16le", "-", "-o", "a.wav"], "--raw is for a stream"),
        (wav(noise(10)), ["--dry", "0", "--strength", "20"], "--strength 20 is --dry 0.1"),
        (wav(np.full((900, 1), np.nan), "FLOAT"), [], "sample 0 of the audio is nan"),
        (wav(noise(10)), ["--checkpoint", "nothing"], "there is no checkpoint 'nothing'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_is_one_sentence(pipe, here, data, words, said):
    code, out, err = pipe(data, *words)
    assert code == 2
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
    assert len(out) <= 60  # a header at most
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("name", "said"), [("stdin", "nothing comes from stdin"), ("stdout", "not for a terminal")]
)
def test_terminals_are_refused(pipe, monkeypatch, name, said):
    if name == "stdout":
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    else:
        monkeypatch.setattr(Stdin, "isatty", lambda self: True)
    code, out, err = pipe(wav(noise(10)))
    assert (code, out) == (2, b"")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("strength", [0, 6, 20])
def test_strength_limits_the_attenuation(here, tiny_live, strength):
    soundfile.write("a.wav", noise(5000), RATE, "DOUBLE")
    words = ["a.wav", "--checkpoint", str(tiny_live), "-o"]
    share = 10 ** (-strength / 20)
    options = {
        "b": ["--strength", str(strength)],
        "c": ["--dry", str(share)],
        "d": [],
        "e": ["--dry=1"],
    }
    for name, chosen in options.items():
        assert run(main, [*words, f"{name}.wav", *chosen]) == 0
    limited, dry, wet, passed = (soundfile.read(f"{name}.wav")[0] for name in options)
    np.testing.assert_array_equal(limited, dry)
    np.testing.assert_allclose(limited, share * passed + (1 - share) * wet, atol=1e-6)
    assert np.abs(passed - wet).max() > 0.01


def test_live_of_a_file_takes_the_live_model(here, tiny_live):
    soundfile.write("a.wav", noise(3000), RATE)
    words = ["--live", "a.wav", "--overwrite", "-o", "b.wav"]
    assert run(main, [*words, "--checkpoint", str(tiny_live)]) == 0
    assert soundfile.info("b.wav").frames == 3000
    own, _ = soundfile.read("b.wav")
    assert run(main, words) == 0
    bundled, _ = soundfile.read("b.wav")
    assert not np.allclose(own, bundled)
    assert run(main, ["a.wav", "-o", "c.wav", "--checkpoint", "enhancer-live-16k"]) == 0
    np.testing.assert_array_equal(soundfile.read("c.wav")[0], bundled)


def start(tiny_live: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "wavediff", "enhance", "--live", "-", "-o", "-"]
    return subprocess.Popen(
        [*command, "--checkpoint", str(tiny_live), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )


def test_output_comes_while_input_comes_and_a_reader_may_leave(tiny_live):
    """A header, then a block for each block but the one that is not complete."""
    samples = (32768 * noise(20 * HOP)[:, 0]).astype("<i2")
    raw = ["--raw", "s16le", "--rate", str(RATE)]
    with start(tiny_live, *raw) as process:
        assert b"latency" in process.stderr.readline()
        descriptor = process.stdout.fileno()
        for k in range(20):
            process.stdin.write(samples[k * HOP : (k + 1) * HOP].tobytes())
            process.stdin.flush()
            if k:
                got = b""
                while len(got) < 2 * HOP:
                    got += os.read(descriptor, 2 * HOP - len(got))
        process.stdin.close()
        assert len(process.stdout.read()) == 2 * HOP
        assert process.wait() == 0
        assert process.stderr.read() == b""
    with start(tiny_live, *raw) as process:
        process.stderr.readline()
        process.stdout.close()
        try:
            process.stdin.write(samples.tobytes())
            process.stdin.close()
        except BrokenPipeError:
            pass
        assert process.wait() == 141
        assert process.stderr.read() == b""
