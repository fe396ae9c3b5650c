"""Jobs for the worker of the app, which imports them."""

import os
import signal
import time
from pathlib import Path

from wavediff.errors import UserError


def count(numbers, progress):
    for number in range(numbers):
        progress(number / numbers)
    return sum(range(numbers))


def sleep(progress):
    progress(0.5)
    time.sleep(60)


def refuse(progress):
    raise UserError("a.wav is bad: give another")


def fail(progress):
    raise ValueError("oh")


def run_out(progress):
    raise MemoryError


def leave(progress):
    os._exit(3)


def be_killed(progress):
    os.kill(os.getpid(), signal.SIGKILL)


def number_of_process(progress):
    return os.getpid()


def write(path, progress):
    Path(path).write_text("begun")
    time.sleep(60)
