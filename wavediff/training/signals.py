"""SIGINT and SIGTERM as requests that the training loop honours between two steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """``signum`` is the signal that asked the run to stop, 0 for none."""

    signum = 0


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Record the first SIGINT or SIGTERM within the block; a second SIGINT interrupts at once."""
    request = StopRequest()

    def record(signum: int, frame: FrameType | None) -> None:
        if request.signum and signum == signal.SIGINT:
            raise KeyboardInterrupt
        request.signum = signum

    before = {s: signal.signal(s, record) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
