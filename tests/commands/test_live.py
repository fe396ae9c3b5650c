"""`wavediff live` with simulated devices: what is played, when, and what is told."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import simulated_audio
import soundfile
from full_disk import full_disk
from simulated_audio import Simulated

from wavediff.commands import live_keys
from wavediff.commands.live_blocks import CAUGHT_UP, Blocks
from wavediff.commands.live_devices import Device
from wavediff.commands.live_meter import Durations, Levels, StatusLine
from wavediff.tasks.enhancer import Enhancer
from wavediff.tasks.live import LiveStream


def slowed(monkeypatch, at: int, seconds: float) -> None:
    """One push of each stream takes long, also of that of the warm-up, which ends before."""
    push, count = LiveStream.push, {}

    def slow(self, block):
        count[self] = count.get(self, -1) + 1
        if count[self] == at:
            time.sleep(seconds)
        return push(self, block)

    monkeypatch.setattr(LiveStream, "push", slow)


def expected(tiny_live: Path, audio: Simulated, dry: float) -> np.ndarray:
    """What a stream makes of all that was given, ``[channels, blocks, block]``."""
    given = np.concatenate(audio.given).T
    enhancer = Enhancer.from_pretrained(tiny_live)
    out = enhancer.stream(audio.setup.sample_rate, len(given), dry=dry).push(given)
    return out.reshape(len(given), -1, audio.given[0].shape[0])


def played(audio: Simulated) -> np.ndarray:
    """``[channels, blocks, block]``."""
    return np.stack(audio.played).transpose(2, 0, 1)


@pytest.mark.parametrize(
    ("words", "rate", "channels", "outputs"),
    [((), 16_000, 1, 2), (("--output", "CAB", "--rate", "44100", "--strength", "6"), 44_100, 1, 1)],
    ids=str,
)
def test_what_is_enhanced_is_played_after_a_constant_delay(
    start, tiny_live, words, rate, channels, outputs
):
    audio = Simulated()
    files = ("--record", "before.wav", "after.flac")
    code, out, err = start(audio, "--seconds", "0.8", "--buffer", "6", *files, *words)
    assert (code, out.split()) == (0, ["before.wav", "after.flac"]), err
    setup = audio.setup
    assert (setup.sample_rate, setup.channels, setup.output_channels) == (rate, channels, outputs)
    assert f"{rate} Hz, channels: {channels}, blocks of" in err
    assert "latency: 32 ms of the model, 96 ms for computing, 10 ms of the devices" in err
    assert "0 USB microphone (ALSA)" in err
    wanted = expected(tiny_live, audio, 10 ** (-6 / 20) if words else 0.0)
    found = played(audio)
    delay, count = 7, found.shape[1] - 7
    assert (found == found[:1]).all()
    assert not found[:, :delay].any()
    np.testing.assert_allclose(found[0, delay:], wanted[0, :count], atol=1e-6)
    assert np.abs(wanted).max() > 0.002
    assert re.search(r"\d blocks of 16\.0 ms, 0 late, 1 overflow, 2 underflows; a block took", err)
    samples = round(0.8 * rate)
    for name, sound in (("before.wav", np.concatenate(audio.given).T[0]), ("after.flac", wanted)):
        kept, kept_rate = soundfile.read(name)
        assert (len(kept), kept_rate) == (samples, rate)
        np.testing.assert_allclose(kept, sound.reshape(-1)[:samples], atol=2e-5)


def test_each_channel_is_enhanced_by_itself(start, tiny_live):
    audio = Simulated()
    audio.found[1] = Device(1, "desk", "ALSA", 8, 8, 16_000)
    code, _, err = start(audio, "--seconds", "0.3", "--buffer", "6", "--channels", "2")
    assert code == 0, err
    assert (audio.setup.channels, audio.setup.output_channels) == (2, 2)
    wanted, found = expected(tiny_live, audio, 0.0), played(audio)
    np.testing.assert_allclose(found[:, 7:], wanted[:, : found.shape[1] - 7], atol=1e-6)


def test_late_blocks_are_silent_and_the_delay_stays(start, tiny_live, monkeypatch):
    """A stall of six blocks with two to spare: what waits is computed at once."""
    slowed(monkeypatch, 10, 6 * 0.016)
    audio = Simulated()
    code, _, err = start(audio, "--seconds", "1", "--buffer", "2", "--strength", "0")
    assert code == 0, err
    late = int(re.search(r"(\d+) late \(", err)[1])
    assert late >= 3
    assert re.search(r"late blocks?: \d+ ms were silent", err)
    wanted, found = expected(tiny_live, audio, 1.0)[0], played(audio)[0]
    wanted, found = wanted[: len(found) - 3], found[3:]
    wrong = np.flatnonzero(np.abs(found - wanted).max(axis=1) > 1e-4)
    faded = [k for k in wrong if found[k, len(found[k]) // 4 :].any()]
    assert len(wrong) - len(faded) == late
    for k in faded:  # begins with a fade, since silence was before
        assert k - 1 in wrong
        np.testing.assert_allclose(found[k, 64:], wanted[k, 64:], atol=1e-4)
        assert abs(found[k, 0]) < 1e-9
    for k in set(wrong) - set(faded):
        assert abs(found[k, 0] - found[k - 1, -1]) < 1e-9
    assert wrong.max() < len(found) - 10 or late > 10  # a busy machine is late by itself


def test_a_long_stall_is_dropped(start, tiny_live, monkeypatch):
    slowed(monkeypatch, 10, 30 * 0.016)
    audio = Simulated()
    code, _, err = start(audio, "--seconds", "1.5", "--buffer", "4", "--strength", "0")
    assert code == 0, err
    assert int(re.search(r"(\d+) late \(", err)[1]) >= 24
    wanted, found = expected(tiny_live, audio, 1.0)[0], played(audio)[0]
    tail = slice(-20, -5)
    np.testing.assert_allclose(found[tail], wanted[: len(found) - 5][tail], atol=1e-4)


def test_blocks_wait_for_nothing():
    """The exchange alone: what is due, what is late, and what is taken."""
    blocks = Blocks(4, 1, buffer=1)
    outs = []

    def call(value):
        out = np.full((4, 2), np.nan, np.float32)
        blocks.callback(np.full((4, 1), value, np.float32), out, False, False)
        assert (out[:, :1] == out).all()
        outs.append(out[:, 0].tolist())

    call(0)
    ((index, block),) = blocks.take(1)
    assert (index, block.shape) == (0, (1, 4))
    call(1)
    blocks.give(0, np.full((1, 4), 10, np.float32))
    call(2)  # 0 is due
    call(3)  # 1 is not there
    blocks.give(1, np.full((1, 4), 11, np.float32))  # too late
    blocks.give(2, np.full((1, 4), 12, np.float32))
    call(4)
    assert outs == [[0] * 4, [0] * 4, [10] * 4, [10, 0, 0, 0], [0, 12, 12, 12]]
    assert (blocks.late, blocks.count) == (1, 5)
    assert [index for index, _ in blocks.take(1)] == [1, 2, 3, 4]
    assert blocks.take(0.01) == []
    for k in range(CAUGHT_UP + 1):
        call(5 + k)
    assert [index for index, _ in blocks.take(1)] == [5 + CAUGHT_UP]
    pairs = [(before[0, 0], after[0, -1]) for before, after in blocks.pairs()]
    assert pairs[:3] == [(0, 10), (1, 0), (2, 12)]


def test_nothing_grows_where_nobody_takes_it():
    blocks = Blocks(1, 1)
    size = []
    for k in range(40_000):
        blocks.callback(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32), False, False)
        if k in (20_000, 39_999):
            size.append((len(blocks._calls), blocks._waiting.qsize(), len(blocks._ready)))
    assert size[0] == size[1]


class Pressed:
    """Keys at given looks."""

    there = True

    def __init__(self, **looks):
        self.looks = {int(at[1:]): key for at, key in looks.items()}
        self.count = -1

    def pressed(self):
        self.count += 1
        return self.looks.get(self.count, "")


def test_a_key_plays_the_input_and_another_ends(start, tiny_live, monkeypatch):
    keys = Pressed(_2="b", _5=" ", _8="xq")

    @contextmanager
    def given():
        yield keys

    monkeypatch.setattr(live_keys, "keys", given)
    lines = []
    monkeypatch.setattr(StatusLine, "show", lambda self, line: lines.append(line))
    monkeypatch.setattr(StatusLine, "__init__", terminal)
    audio = Simulated()
    code, _, err = start(audio, "--buffer", "6")
    assert code == 0, err
    assert keys.count == 8
    assert [line.startswith("BYPASS") for line in lines] == [2 <= k < 5 for k in range(9)]
    assert re.search(
        r"before #+-+ -3\d dB  after [#-]+ -\d\d dB  0:0\d  late \d+  over/underflows 1/2  "
        r"block \d+\.\d \(99\.9 %: \d+\.\d\) of 16\.0 ms",
        lines[-1],
    )
    wet, dry = (expected(tiny_live, audio, share)[0] for share in (0.0, 1.0))
    found = played(audio)[0, 7:]
    passed = [np.abs(x - d).max() < 1e-5 for x, d in zip(found, dry, strict=False)]
    assert 8 < sum(passed) < len(passed) - 8
    assert np.abs(found[:8] - wet[:8]).max() < 1e-5


def terminal(self, file=None):
    self._file, self.shown, self._told, self._next = sys.stderr, True, 0, 0.0


IN_A_TERMINAL = """
import sys
sys.path[:0] = [FOLDERS]
from simulated_audio import Simulated
from wavediff.commands import live
from wavediff.cli import run
live.audio_system = lambda: Simulated()
sys.exit(run(live.main, ["--checkpoint", MODEL]))
"""


@pytest.mark.slow
def test_keys_of_a_terminal(tiny_live):
    """The terminal is as it was afterwards."""
    folders = repr(str(Path(simulated_audio.__file__).parent))
    script = IN_A_TERMINAL.replace("FOLDERS", folders).replace("MODEL", repr(str(tiny_live)))
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)

    def lead():
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    words = [sys.executable, "-c", script]
    shown = ""
    with subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=lead
    ) as process:

        def until(text: str) -> None:
            nonlocal shown
            start = len(shown)
            end = time.monotonic() + 60
            while text not in shown[start:] and time.monotonic() < end:
                if select.select([ours], [], [], 1)[0]:
                    shown += os.read(ours, 4096).decode()
            assert text in shown[start:], shown

        until("\rbefore ")
        assert not termios.tcgetattr(theirs)[3] & (termios.ICANON | termios.ECHO)
        os.write(ours, b"b")
        until("\rBYPASS ")
        os.write(ours, b" ")
        until("\rbefore ")
        os.write(ours, b"q")
        until("a block took")
        assert process.wait(20) == 0
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_with_whole_recordings(start, number):
    audio = Simulated()
    handler = signal.getsignal(number)

    def later():
        while len(audio.played) < 20:
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    killer = threading.Thread(target=later)
    killer.start()
    code, out, err = start(audio, "--record", "a.wav", "b.wav")
    killer.join()
    assert code == 0, err
    assert signal.getsignal(number) == handler
    assert out.split() == ["a.wav", "b.wav"]
    lengths = [soundfile.info(name).frames for name in out.split()]
    assert lengths[0] == lengths[1] >= 15 * 256
    assert sorted(p.name for p in Path().iterdir()) == ["a.wav", "b.wav"]
    assert "late" in err


def test_a_full_disk_ends_the_recording_and_not_the_sound(start):
    audio = Simulated()
    with full_disk(12_000):
        code, _, err = start(audio, "--seconds", "1", "--record", "a.wav", "b.wav")
    assert code == 2
    assert err.count("the recording ends here: a.wav cannot be written on") == 1
    assert len(audio.played) * 256 >= 16_000
    kept, _ = soundfile.read("a.wav")
    np.testing.assert_allclose(kept, np.concatenate(audio.given)[: len(kept), 0], atol=2e-5)
    assert 4000 < len(kept) < 6000


def test_devices_that_stop_are_opened_again(start, tiny_live):
    audio = Simulated(unplugged=(20, 30))
    code, _, err = start(audio, "--seconds", "0.8", "--buffer", "6", "--strength", "0")
    assert code == 0, err
    assert err.count("an audio device stopped and is opened again\n") == 2
    assert err.count("latency:") == 1
    wanted, found = expected(tiny_live, audio, 1.0)[0], played(audio)[0]
    np.testing.assert_allclose(found[7:], wanted[: len(found) - 7], atol=1e-6)


def test_devices_that_stop_again_and_again_are_told(start):
    audio = Simulated(unplugged=(10, 20, 30, 40))
    code, out, err = start(audio, "--record", "a.wav", "b.wav")
    assert code == 2
    assert out == ""
    assert err.splitlines()[-1].startswith("error: an audio device stopped: is it unplugged?")
    assert soundfile.info("a.wav").frames == (40 - 2) * 256


def test_a_broken_model_is_told(start, monkeypatch):
    monkeypatch.setattr(
        "wavediff.tasks.live_step.LiveStep.__call__",
        lambda self, z: np.full_like(z, np.nan) if z.any() and np.abs(z).max() < 1e9 else z,
    )
    monkeypatch.setattr("wavediff.commands.live_loop.warm_up", lambda stream: 0.0)
    code, _, err = start(Simulated())
    assert code == 2
    assert "error: the model's output holds NaN" in err


def test_quantiles_of_durations():
    times = np.random.default_rng(0).lognormal(-5, 0.5, 5000)
    durations = Durations()
    assert durations.quantile(0.5) == 0
    for seconds in times:
        durations.add(seconds)
    for share in (0.01, 0.5, 0.999):
        assert durations.quantile(share) == pytest.approx(np.quantile(times, share), rel=0.03)
    durations.add(1e9)
    durations.add(0)


def test_levels_are_those_of_sines():
    time_axis = np.arange(1600) / 1600
    sine = np.sin(2 * np.pi * 10 * time_axis)[None].astype(np.float32)
    levels = Levels()
    for k in range(0, 1600, 160):
        levels.add(sine[:, k : k + 160], 0.1 * sine[:, k : k + 160])
    assert levels.read() == pytest.approx((-3.01, -23.01), abs=0.01)
    assert levels.read() == (-99, -99)
