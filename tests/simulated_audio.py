"""Audio devices for `wavediff live` that are not there."""

import threading
import time
from contextlib import contextmanager

import numpy as np

from wavediff.commands.live_devices import Device

MICROPHONE = Device(0, "USB microphone", "ALSA", 2, 0, 16_000)
HEADSET = Device(1, "USB headset", "ALSA", 1, 2, 48_000)
CABLE = Device(2, "cable", "JACK", 0, 1, 48_000)


class Simulated:
    """Devices that give noise, and keep what is played.

    Args:
        pace: blocks in the time of one.
        unplugged: blocks after which they stop, opened again or not.
        rates: that they have; None are all.
    """

    latency = 0.01

    def __init__(self, pace=1.0, unplugged=(), rates=None, found=(MICROPHONE, HEADSET, CABLE)):
        self.pace, self.unplugged, self.rates, self.found = pace, unplugged, rates, list(found)
        self.defaults = {"input": 0, "output": 1}
        self.active, self.setup = True, None
        self.given, self.played = [], []

    def devices(self):
        return self.found

    def default(self, kind):
        return self.defaults[kind]

    def refusal(self, setup):
        good = self.rates is None or setup.sample_rate in self.rates
        return None if good else "Invalid sample rate"

    @contextmanager
    def open(self, setup, block, callback):
        self.setup, end = setup, threading.Event()
        rng = np.random.default_rng(0)

        def call():
            due, first = time.perf_counter(), len(self.given)
            self.active = True
            while not end.is_set():
                if len(self.given) in self.unplugged and len(self.given) > first:
                    self.active = False
                    return
                indata = 0.02 * rng.standard_normal((block, setup.channels), np.float32)
                outdata = np.full((block, setup.output_channels), np.nan, np.float32)
                callback(indata, outdata, len(self.given) == 3, len(self.given) in (3, 4))
                self.given.append(indata)
                self.played.append(outdata)
                due += block / setup.sample_rate / self.pace
                time.sleep(max(0, due - time.perf_counter()))

        thread = threading.Thread(target=call)
        thread.start()
        try:
            yield self
        finally:
            end.set()
            thread.join()
