"""The loop of ``wavediff live``: the model in a thread, and keys, meter and recording beside it."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from wavediff.commands.live_blocks import Block, Blocks
from wavediff.commands.live_devices import Audio, OpenAudio, Setup
from wavediff.commands.live_keys import Keys
from wavediff.commands.live_meter import Durations, Levels, StatusLine, status, summary
from wavediff.commands.live_record import Recording
from wavediff.errors import UserError
from wavediff.tasks.live import LiveStream

PERIOD = 0.1  # seconds between looks at keys, levels and devices
SILENCE = 3.0  # seconds without a call of the devices, after which that is told
RESTARTS, STEADY = 3, 10.0  # in a row, each after fewer seconds of sound
SWITCH = 5e-4  # seconds after which a thread yields to the callback
WARM_UP = 20  # blocks
BYPASS, QUIT = "b ", "q"  # keys


@dataclass
class Session:
    """What a run is given beside stream and devices.

    Attributes:
        dry: share of the input in the output.
        seconds: after which it ends by itself, or None.
        buffer: blocks of time for the model, see ``Blocks``.
        stop: is set to end it.
    """

    keys: Keys
    line: StatusLine
    recording: Recording
    dry: float = 0.0
    seconds: float | None = None
    buffer: int = 1
    stop: threading.Event = field(default_factory=threading.Event)


class Worker(threading.Thread):
    """Enhances the blocks that wait.

    Attributes:
        dry: share of the input in the output; it may be set at any time.
        durations: of the calls of the stream.
        failure: what ended it, or None.
    """

    def __init__(self, stream: LiveStream, blocks: Blocks, dry: float) -> None:
        super().__init__(name="enhance", daemon=True)
        self.dry, self.durations = dry, Durations()
        self.failure: Exception | None = None
        self._stream, self._blocks = stream, blocks
        self._pushed: deque[int] = deque()
        self._end = threading.Event()

    def run(self) -> None:
        """Until ``end``."""
        try:
            while not self._end.is_set():
                waiting = self._blocks.take(PERIOD)
                if waiting:
                    start = time.perf_counter()
                    self._enhance(waiting)
                    self.durations.add(time.perf_counter() - start)
        except Exception as error:
            self.failure = error

    def end(self) -> None:
        """Wait for the end, some seconds at most."""
        self._end.set()
        self.join(2)

    def _enhance(self, waiting: list[tuple[int, Block]]) -> None:
        block = np.concatenate([block for _, block in waiting], axis=1)
        self._pushed.extend(index for index, _ in waiting)
        self._stream.dry = self.dry  # here, where no frame is half done
        out = self._stream.push(np.nan_to_num(block, copy=False, posinf=0.0, neginf=0.0))
        for start in range(0, out.shape[1], self._blocks.block):
            part = np.asarray(out[:, start : start + self._blocks.block])
            self._blocks.give(self._pushed.popleft(), part)


def play(stream: LiveStream, audio: Audio, setup: Setup, session: Session) -> None:
    """Play what the stream makes of the input, until it is stopped.

    Args:
        stream: a new one, of the rate and channels of ``setup``.
        audio: the audio system.
        setup: its devices.
        session: the rest.

    Raises:
        UserError: where the devices cannot be opened or stop, or the model fails.
    """
    blocks = Blocks(stream.hop, setup.channels, session.buffer)
    worker = Worker(stream, blocks, session.dry)
    worker.start()
    monitor = _Monitor(blocks, worker, stream.sample_rate, session)
    restarts = 0
    try:
        while True:
            start = time.monotonic()
            with undisturbed(), audio.open(setup, stream.hop, blocks.callback) as devices:
                if not restarts:
                    _tell_latency(stream, devices, session)
                if monitor.watch(devices):
                    return
            restarts = 1 if time.monotonic() - start > STEADY else restarts + 1
            if restarts > RESTARTS:
                raise UserError("an audio device stopped: is it unplugged? See --list-devices")
            session.line.tell("an audio device stopped and is opened again")
    finally:
        worker.end()
        session.line.end()
        if blocks.count:
            session.line.tell(summary(blocks, worker.durations, stream.hop / stream.sample_rate))


def _tell_latency(stream: LiveStream, devices: OpenAudio, session: Session) -> None:
    computing = session.buffer * stream.hop / stream.sample_rate
    session.line.tell(
        f"latency: {1000 * stream.latency:.0f} ms of the model, {1000 * computing:.0f} ms for "
        f"computing, {1000 * devices.latency:.0f} ms of the devices by their own account"
    )


class _Monitor:
    """What happens beside the sound: keys, levels, the recording and the line of status."""

    def __init__(self, blocks: Blocks, worker: Worker, sample_rate: int, session: Session) -> None:
        self._blocks, self._worker, self._session = blocks, worker, session
        self._block_seconds = blocks.block / sample_rate
        seconds = session.seconds
        self._left = None if seconds is None else round(seconds * sample_rate)
        self._levels, self._bypass = Levels(), False

    def watch(self, devices: OpenAudio) -> bool:
        """Return True when it is to end, False when the devices have stopped."""
        session, line = self._session, self._session.line
        seen, since = self._blocks.count, time.monotonic()
        while True:
            ended = session.stop.wait(PERIOD)
            ended |= self._keys()
            ended |= self._listen()
            if self._worker.failure is not None:
                raise self._worker.failure
            if line.shown:
                levels, durations = self._levels.read(), self._worker.durations
                seconds, bypass = self._block_seconds, self._bypass
                line.show(status(levels, self._blocks, durations, seconds, bypass))
            else:
                line.tell_late(self._blocks.late, self._block_seconds, time.monotonic())
            if ended:
                return True
            now = time.monotonic()
            if self._blocks.count > seen:
                seen, since = self._blocks.count, now
            elif not devices.active:
                return False
            elif now - since > SILENCE:
                line.tell("no sound comes from the devices: are they suspended or unplugged?")
                since = now + 60

    def _keys(self) -> bool:
        """Whether the key that ends was pressed."""
        ended = False
        for key in self._session.keys.pressed():
            if key in BYPASS:
                self._bypass = not self._bypass
                self._worker.dry = 1.0 if self._bypass else self._session.dry
            ended |= key in QUIT
        return ended

    def _listen(self) -> bool:
        """Measure and record what was played; whether that is all that was asked for."""
        for before, after in self._blocks.pairs():
            if self._left is not None:
                before, after = before[:, : self._left], after[:, : self._left]
                self._left -= before.shape[1]
            if before.size:
                self._levels.add(before, after)
                self._session.recording.write(before, after)
        return self._left == 0


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Yield what Ctrl-C, SIGTERM and SIGHUP set; a second one interrupts as usual."""
    stop = threading.Event()
    before = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def end(number: int, frame: object) -> None:
        stop.set()
        restore()

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, end)
    try:
        yield stop
    finally:
        restore()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Threads take turns often, and what is there now is left out of garbage collections."""
    interval = sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.unfreeze()


def warm_up(stream: LiveStream) -> float:
    """The median time of a block in seconds, after the first ones, which allocate.

    Args:
        stream: that is not used otherwise.
    """
    times = []
    noise = np.random.default_rng(0)
    for _ in range(WARM_UP):
        block = 0.01 * noise.standard_normal((stream.channels, stream.hop), np.float32)
        start = time.perf_counter()
        stream.push(block)
        times.append(time.perf_counter() - start)
    return float(np.median(times[WARM_UP // 2 :]))
