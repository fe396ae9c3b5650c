"""Ctrl-C and SIGTERM as wishes that the loop fulfils between two steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Wish:
    """`signum` is the signal that asked to stop, 0 for none."""

    signum = 0


@contextmanager
def stop_wishes() -> Iterator[Wish]:
    """Within the block the first SIGINT or SIGTERM is noted; a second Ctrl-C stops at once."""
    wish = Wish()

    def note(signum: int, frame: FrameType | None) -> None:
        if wish.signum and signum == signal.SIGINT:
            raise KeyboardInterrupt
        wish.signum = signum

    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield wish
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
