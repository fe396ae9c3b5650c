"""`wavediff live` and pipes beside a real PulseAudio daemon, whose sinks are null sinks.

pacat --> sink "room" --> its monitor --> wavediff live --> sink "cable" --> its monitor --> parec
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import live_model
import numpy as np
import pytest
import soundfile
import soxr

RATE = 44_100  # of all devices, as PortAudio takes it for PulseAudio
PROGRAMS = ("pulseaudio", "pactl", "pacat", "parec")


def has_portaudio() -> bool:
    try:
        import sounddevice
    except (ImportError, OSError):
        return False
    return bool(sounddevice)


pytestmark = [
    pytest.mark.skipif(
        not all(map(shutil.which, PROGRAMS)), reason="needs pulseaudio and pulseaudio-utils"
    ),
    pytest.mark.skipif(not has_portaudio(), reason="needs sounddevice and PortAudio"),
]


@pytest.fixture(scope="module")
def daemon() -> Iterator[dict[str, str]]:
    """The environment in which programs find the daemon."""
    folder = Path(tempfile.mkdtemp(prefix="pa"))  # the name of a socket has to be short
    environment = os.environ | {
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "PULSE_RUNTIME_PATH": str(folder),
        "PULSE_SOURCE": "room.monitor",
        "PULSE_SINK": "cable",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("PULSE_SERVER", None)
    words = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"]
    words += ["--load=module-native-protocol-unix auth-anonymous=1"]
    for name in ("room", "cable"):
        words += [f"--load=module-null-sink sink_name={name} rate={RATE} channels=1"]
    words += ["--load=module-remap-source master=cable.monitor source_name=clean"]
    process = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            if not subprocess.run(
                ["pactl", "info"], env=environment, capture_output=True
            ).returncode:
                break
            time.sleep(0.1)
        else:
            pytest.skip("the daemon does not start here")
        listed = run(["live", "--list-devices"], environment)
        if " pulse " not in listed:
            pytest.skip("ALSA does not know PulseAudio: needs libasound2-plugins")
        yield environment
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def run(words: list[str], environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "wavediff", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return live_model.save(live_model.fitted(200), tmp_path_factory.mktemp("fitted"))


@pytest.fixture(scope="module")
def sounds() -> tuple[np.ndarray, np.ndarray]:
    """(clean, noisy) at the devices' rate."""
    clean = live_model.voice(4 * live_model.RATE, seed=10**6)
    noisy = clean + 0.1 * np.random.default_rng(1).standard_normal(len(clean))
    return tuple(soxr.resample(x, live_model.RATE, RATE) for x in (clean, noisy))


def pcm(sound: np.ndarray) -> bytes:
    return np.round(32767 * np.clip(sound, -1, 1)).astype("<i2").tobytes()


def si_sdr(estimate: np.ndarray, clean: np.ndarray) -> float:
    """In dB, of the better parts, each at its own delay: a busy daemon loses some samples."""
    size = 1 << (2 * len(estimate)).bit_length()
    spectrum = np.fft.rfft(estimate, size)
    values = []
    for part in np.array_split(clean, 8):
        likeness = np.fft.irfft(spectrum * np.fft.rfft(part, size).conj(), size)
        at = int(likeness[: len(estimate) - len(part)].argmax())
        found = estimate[at : at + len(part)]
        wanted = found @ part / (part @ part) * part
        error = found - wanted
        values.append(10 * np.log10(wanted @ wanted / (error @ error)))
    return float(np.quantile(values, 0.75))


def stream(rate_of: str) -> list[str]:
    return [f"--rate={RATE}", "--channels=1", "--format=s16le", "--raw", f"--device={rate_of}"]


def heard(environment: dict[str, str], noisy: np.ndarray, after: float = 0.5) -> np.ndarray:
    """What the virtual microphone hears while a sound is played in the room, and seconds after."""
    words = ["parec", *stream("clean"), "--latency-msec=20"]
    with tempfile.TemporaryFile() as file:
        with subprocess.Popen(words, env=environment, stdout=file) as recorder:
            time.sleep(0.3)
            data = pcm(np.concatenate([noisy, np.zeros(round(after * RATE))]))
            subprocess.run(["pacat", *stream("room")], input=data, env=environment, check=True)
            recorder.send_signal(signal.SIGINT)
        file.seek(0)
        return np.frombuffer(file.read(), "<i2") / 32768


@pytest.mark.slow  # needs a machine that keeps up with the sound
@pytest.mark.parametrize("strength", [None, 0])
def test_noise_goes_in_and_comes_out_clean(daemon, model, sounds, tmp_path, strength):
    clean, noisy = sounds
    words = [sys.executable, "-m", "wavediff", "live", "--checkpoint", str(model), "--buffer", "4"]
    words += ["--input", "pulse", "--output", "pulse", "--latency", "high"]
    words += ["--record", "before.wav", "after.flac"]
    words += [] if strength is None else ["--strength", str(strength)]
    with subprocess.Popen(
        words, env=daemon, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as live:
        told = []
        while "latency" not in (told or [""])[-1]:
            told.append(live.stderr.readline())
            assert told[-1], "".join(told)
        out = heard(daemon, noisy)
        live.send_signal(signal.SIGINT)
        printed, rest = live.communicate(timeout=30)
    told = "".join(told) + rest
    assert live.returncode == 0, told
    assert "pulse (ALSA)" in told
    assert "a block took" in told
    assert printed.split() == ["before.wav", "after.flac"]
    before, after = (soundfile.read(tmp_path / name)[0] for name in printed.split())
    assert len(before) == len(after) > len(noisy)
    if strength is None:
        assert si_sdr(before, clean) < -4
        for sound in (out, after):
            assert si_sdr(sound, clean) > si_sdr(before, clean) + 2, told
    else:
        assert si_sdr(out, noisy) > 10, told


@pytest.mark.slow
def test_pipes_of_the_daemon(daemon, model, sounds):
    """parec | wavediff enhance --live | pacat, until the recorder is stopped."""
    clean, noisy = sounds
    words = [sys.executable, "-m", "wavediff", "enhance", "--live", "--raw", "s16le"]
    words += ["--rate", str(RATE), "-", "-o", "-", "--checkpoint", str(model)]
    pipe = {"env": daemon, "stdout": subprocess.PIPE}
    with (
        subprocess.Popen(["parec", *stream("room.monitor")], **pipe) as microphone,
        subprocess.Popen(words, stdin=microphone.stdout, **pipe, stderr=subprocess.PIPE) as enhance,
        subprocess.Popen(
            ["pacat", *stream("cable"), "--latency-msec=500"], stdin=enhance.stdout, env=daemon
        ) as player,
    ):
        for own, kept in ((microphone.stdout, enhance), (enhance.stdout, player)):
            assert kept
            own.close()
        assert b"latency: 32 ms" in enhance.stderr.readline()
        out = heard(daemon, noisy, after=3)  # what comes while the model loads waits
        microphone.send_signal(signal.SIGINT)
        assert enhance.wait(20) == 0
        assert player.wait(20) == 0
    assert si_sdr(out, clean) > -3
