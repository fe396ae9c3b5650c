"""Single keys from the terminal, while something else runs."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator


class Keys:
    """Reads keys as they are pressed; without a terminal there are none.

    Attributes:
        there: whether keys can be pressed.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    @property
    def there(self) -> bool:
        return self._descriptor is not None

    def pressed(self) -> str:
        """The keys since the last call, which does not wait."""
        if self._descriptor is None or not _in_foreground(self._descriptor):
            return ""
        if not select.select([self._descriptor], [], [], 0)[0]:
            return ""
        with contextlib.suppress(OSError):
            data = os.read(self._descriptor, 64)
            if data:
                return data.decode(errors="replace")
        self._descriptor = None  # the terminal is gone
        return ""


@contextlib.contextmanager
def keys() -> Iterator[Keys]:
    """Keys come one by one and are not shown within the block, if stdin is a terminal."""
    try:
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
        foreground = _in_foreground(descriptor)
    except (AttributeError, ValueError, OSError, termios.error):
        foreground = False
    if not foreground:
        yield Keys(None)
        return
    tty.setcbreak(descriptor, termios.TCSANOW)
    try:
        yield Keys(descriptor)
    finally:
        # a process that was sent to the background would be stopped here
        handler = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        with contextlib.suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSANOW, before)
        signal.signal(signal.SIGTTOU, handler)


def _in_foreground(descriptor: int) -> bool:
    """Whether the terminal is ours to read and set: a shell's job with & would be stopped."""
    try:
        return os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False
