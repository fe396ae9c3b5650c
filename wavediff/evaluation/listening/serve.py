"""A server of one listening test, which collects the answers of its listeners.

It is made for a local network or a tunnel, by the standard library. Whatever a request holds, its
size, the time it takes, the number at once and the rate of one address are bounded, and answers
are kept only if every field fits the test. There is no TLS: put a proxy in front for the internet.
"""

import socket
import sqlite3
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from wavediff import __version__
from wavediff.errors import UserError, shorten
from wavediff.evaluation.listening.plan import Plan, decode, identity
from wavediff.evaluation.listening.store import Full, Store
from wavediff.evaluation.listening.validate import check, most_bytes, parse

SILENCE_SECONDS = 30.0  # until a connection is closed
REQUEST_SECONDS = 60.0  # to receive a whole request
MOST_AT_ONCE = 256  # connections, each of one request
MOST_ADDRESSES = 10_000  # of which the rate is remembered
BLOCK = 1 << 16  # bytes that are sent or dropped at once
MOST_DRAINED = 1 << 20
MARK = 'name="wavediff-listening-test" content="'


class Rate:
    """At most so many requests of one address within a minute."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # requests, and when

    def allow(self, address: str, now: float) -> bool:
        """Count a request at a time in seconds, and return whether it may go on."""
        with self._lock:
            left, then = self._left.pop(address, (float(self.per_minute), now))
            left = min(self.per_minute, left + (now - then) * self.per_minute / 60)
            allowed = left >= 1
            self._left[address] = (left - allowed, now)
            if len(self._left) > MOST_ADDRESSES:
                self._left.popitem(last=False)
        return allowed


def read_test(folder: Path) -> tuple[Plan, bytes]:
    """Return the plan and the page of a folder that ``make`` wrote.

    Raises:
        UserError: if it is none.
    """
    try:
        plan = decode((folder / "manifest.json").read_bytes(), folder / "manifest.json")
        page = (folder / "index.html").read_bytes()
    except OSError as error:
        raise UserError(
            f"{folder} holds no listening test ({error.strerror}: {shorten(error.filename)}): "
            "make one by `wavediff listen make`"
        ) from error
    if f"{MARK}{identity(plan.encoded())}".encode() not in page[:10_000]:
        raise UserError(
            f"{folder}: index.html and manifest.json are of two tests: make the test again"
        )
    return plan, page


class Server(ThreadingHTTPServer):
    """Serves the page, and keeps answers.

    Args:
        address: host and port; port 0 chooses one.
        plan: the test.
        page: its HTML.
        store: where answers go.
        per_minute: requests of one address.
        tell: called with a line about each answer.

    Raises:
        UserError: if the address cannot be used.
    """

    daemon_threads = True  # a slow listener does not delay the end
    request_queue_size = 32

    def __init__(
        self,
        address: tuple[str, int],
        plan: Plan,
        page: bytes,
        store: Store,
        per_minute: int,
        tell: Callable[[str], None],
    ) -> None:
        self.plan, self.page, self.store, self.tell = plan, page, store, tell
        self.identity, self.most_bytes = identity(plan.encoded()), most_bytes(plan)
        self.rate = Rate(per_minute)
        self._places = threading.BoundedSemaphore(MOST_AT_ONCE)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        try:
            super().__init__(address, Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"cannot serve at {shorten(address[0])} port {address[1]}: {shorten(reason)}. Give "
                "another --host or --port."
            ) from error

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread, or hang up where there are too many."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Handle a request, and give its place to another."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke off is the listener's; anything else is told in one line."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            self.tell(f"a request failed: {type(error).__name__}: {shorten(error)}")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    server_version = f"wavediff/{__version__}"
    sys_version = ""
    timeout = SILENCE_SECONDS

    def setup(self) -> None:
        """Give the request its time, also where it comes drop by drop."""
        super().setup()
        self._late = threading.Timer(REQUEST_SECONDS, self._hang_up)
        self._late.daemon = True
        self._late.start()

    def finish(self) -> None:
        """End the connection."""
        self._late.cancel()
        super().finish()

    def _hang_up(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RD)

    def do_GET(self) -> None:
        """Send the page."""
        if not self._allowed():
            return
        if self.path.partition("?")[0] not in ("/", "/index.html"):
            self._say(HTTPStatus.NOT_FOUND, "there is only the page of the test, at /")
            return
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Keep answers."""
        body = self._body() if self._allowed() else None
        if body is None:
            self._drain()
            return
        try:
            session = check(parse(body), self.server.plan, self.server.identity)
        except (UserError, ValueError) as error:
            self._say(HTTPStatus.BAD_REQUEST, f"not answers to this test: {shorten(error, 200)}")
            return
        try:
            new = self.server.store.add(session)
        except Full:
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, "this test has all the answers it takes")
            return
        except sqlite3.Error as error:
            self.server.tell(f"answers could not be kept: {shorten(error)}")
            self._say(HTTPStatus.INSUFFICIENT_STORAGE, "the answers could not be kept")
            return
        if new:
            self.server.tell(f"answers of {shorten(session.listener)}")
        self._say(HTTPStatus.OK, "received")

    def _allowed(self) -> bool:
        """Whether the address may ask; else it is told."""
        if self.server.rate.allow(self.client_address[0], time.monotonic()):
            return True
        self._say(HTTPStatus.TOO_MANY_REQUESTS, "too many requests: try again in a minute")
        return False

    def _body(self) -> bytes | None:
        """The body of a POST; None where it is refused, which is told."""
        length = self.headers.get("Content-Length", "")
        refusal = None
        if self.path != "/answers":
            refusal = HTTPStatus.NOT_FOUND, "answers go to /answers"
        elif self.headers.get_content_type() != "application/json":
            # other sites cannot send this type: browsers would ask first, by OPTIONS
            refusal = HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "answers are application/json"
        elif "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdecimal()):
            refusal = HTTPStatus.LENGTH_REQUIRED, "the length of the answers is missing"
        elif len(length) > 9 or int(length) > self.server.most_bytes:
            refusal = (
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"answers to this test have at most {self.server.most_bytes} bytes",
            )
        if refusal is not None:
            self._say(*refusal)
            return None
        body = bytearray()
        while len(body) < int(length):
            block = self.rfile.read1(int(length) - len(body))
            if not block:
                return None
            body += block
        return bytes(body)

    def _drain(self) -> None:
        """Read what still comes, a little: unread bytes would reset the connection."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            for _ in range(MOST_DRAINED // BLOCK):
                if not self.rfile.read1(BLOCK):
                    return

    def _say(self, status: HTTPStatus, text: str) -> None:
        self._send(status, "text/plain; charset=utf-8", f"{text}\n".encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        if self.command != "HEAD":
            for start in range(0, len(body), BLOCK):  # each has its time, on a slow line
                self.wfile.write(body[start : start + BLOCK])

    def log_message(self, *_: object) -> None:
        """Nothing: requests of listeners are their own matter."""
