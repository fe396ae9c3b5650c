"""`wavediff listen serve`: what it keeps, what it refuses, and how it ends."""

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import listening_set
import numpy as np
import pytest

from wavediff.cli import run
from wavediff.commands import listen
from wavediff.errors import UserError
from wavediff.evaluation.listening import serve
from wavediff.evaluation.listening.page import page
from wavediff.evaluation.listening.serve import Handler, Rate, Server
from wavediff.evaluation.listening.store import Store, read

PLAN = listening_set.plan("mushra", 3)


def opinion(condition):
    return 100 if condition == "reference" else 40


def session(name="Anna", seed=0):
    """What the page of PLAN would send."""
    return listening_set.simulated(PLAN, name, opinion, np.random.default_rng(seed))


@pytest.fixture
def folder(tmp_path):
    """A folder with the page of PLAN."""
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "manifest.json").write_bytes(PLAN.encoded())
    (tmp_path / "test" / "index.html").write_text(page(PLAN, {}))
    return tmp_path


class Client:
    """Asks a server."""

    def __init__(self, port):
        self.port = port

    def ask(self, method, path, body=None, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.read().decode(), response.headers
        finally:
            connection.close()

    def post(self, answers, **headers):
        body = answers if isinstance(answers, bytes) else json.dumps(answers).encode()
        given = {"Content-Type": "application/json"} | {
            key.replace("_", "-"): value for key, value in headers.items()
        }
        return self.ask("POST", "/answers", body, given)[:2]


@pytest.fixture
def served(folder):
    """served(most, per_minute) -> Client."""
    running = []

    def call(most=100, per_minute=100_000):
        store = Store(folder / "answers.sqlite", PLAN, most)
        server = Server(
            ("127.0.0.1", 0), PLAN, page(PLAN, {}).encode(), store, per_minute, lambda line: None
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        running.append((server, thread, store))
        return Client(server.server_address[1])

    yield call
    for server, thread, store in running:
        server.shutdown()
        thread.join()
        server.server_close()
        store.close()


def kept(folder):
    """The listeners in the file of answers."""
    return [json.loads(body)["listener"] for body in read(folder / "answers.sqlite")[1]]


def test_the_page_is_served_and_nothing_else(served):
    client = served()
    status, body, headers = client.ask("GET", "/")
    assert (status, body) == (200, page(PLAN, {}))
    assert headers["X-Content-Type-Options"] == "nosniff"
    for path in ("/manifest.json", "/../manifest.json", "/answers", "/answers.sqlite"):
        assert client.ask("GET", path)[0] == 404
    assert client.ask("HEAD", "/")[:2] == (200, "")
    assert client.ask("PUT", "/answers", b"x")[0] == 501


def test_answers_are_kept_once(served, folder):
    client = served()
    assert client.post(session()) == (200, "received\n")
    assert client.post(session()) == (200, "received\n")  # sent again: a lost reply
    assert client.post(session("Bert", 1)) == (200, "received\n")
    assert kept(folder) == ["Anna", "Bert"]


def test_many_listeners_at_once(served, folder):
    client = served(200)
    everybody = [session(f"l{n}", n) for n in range(60)]
    with ThreadPoolExecutor(12) as pool:
        assert {code for code, _ in pool.map(client.post, everybody)} == {200}
    assert sorted(kept(folder)) == sorted(s["listener"] for s in everybody)


def changed(**fields):
    return session() | fields


def first_answer(**fields):
    found = session()
    found["answers"][0] |= fields
    return found


def without(name):
    return {key: value for key, value in session().items() if key != name}


STIMULI = [s.id for s in PLAN.trials[0].stimuli]
BAD = {
    "not JSON": b"{",
    "not text": b"\xff\xfe",
    "a list": b"[]",
    "nested": b"[" * 6000,
    "a long number": b'{"a": ' + b"1" * 6000 + b"}",
    "NaN": b'{"a": NaN}',
    "a field more": changed(admin=True),
    "a field less": without("device"),
    "another test": changed(test="0" * 32),
    "a version": changed(version=2),
    "a session": changed(session="../../x"),
    "a listener of another type": changed(listener=5),
    "no listener": changed(listener="  "),
    "a long listener": changed(listener="x" * 65),
    "a control character": changed(listener="a\x00b"),
    "a long comment": changed(comment="x" * 1001),
    "a device": changed(device="radio"),
    "a time": changed(started="yesterday"),
    "no answers": changed(answers=[]),
    "answers of another type": changed(answers={"t0": 1}),
    "a trial twice": changed(answers=[session()["answers"][0]] * 3),
    "an unknown trial": first_answer(trial="t99"),
    "a trial of another type": first_answer(trial=["t0"]),
    "an order": first_answer(order=[]),
    "an order twice": first_answer(order=[STIMULI[0]] * 5),
    "seconds below 0": first_answer(seconds=-1),
    "seconds as text": first_answer(seconds="1"),
    "infinite seconds": json.dumps(first_answer()).replace("12.5", "1e999", 1).encode(),
    "true seconds": first_answer(seconds=True),
    "ratings": first_answer(ratings={}),
    "a choice": first_answer(choice=STIMULI[0]),
}


@pytest.mark.parametrize("answers", BAD.values(), ids=BAD.keys())
def test_every_field_is_checked(answers, served, folder):
    client = served()
    status, text = client.post(answers)
    assert status == 400
    assert text.startswith("not answers to this test: ")
    assert len(text) < 300
    assert kept(folder) == []


@pytest.mark.parametrize("rating", [101, -1, 50.5, "50", True, None])
def test_a_rating_is_a_whole_number_of_the_scale(rating, served, folder):
    found = session()
    ratings = found["answers"][0]["ratings"]
    ratings[next(iter(ratings))] = rating
    assert served().post(found)[0] == 400
    assert kept(folder) == []


def test_requests_are_bounded(served, folder):
    client = served()
    assert client.post(b"x" * 100_000)[0] == 413
    assert client.post(session(), Content_Type="text/plain")[0] == 415
    assert client.ask("OPTIONS", "/answers")[0] == 501  # so that no other site can send any
    assert client.post(session(), Content_Length="-5")[0] == 411
    assert client.post(session(), Content_Length="9" * 30)[0] == 413
    assert client.ask("POST", "/other", b"{}")[0] == 404
    assert client.post(b"x" * 500_000)[0] == 413
    assert client.post(session())[0] == 200
    assert kept(folder) == ["Anna"]


def test_names_and_comments_may_be_of_any_script(served, folder):
    names = ["Zoë", "明", "👩\u200d🚀", "ქართული\u0378"]
    client = served()
    for n, name in enumerate(names):
        assert client.post(session(name, n) | {"comment": f"{name}\n\tgood"})[0] == 200
    assert kept(folder) == names


@pytest.mark.parametrize("head", [b"G", b"POST /answers HTTP/1.0\r\nContent-Length: 99\r\n"])
def test_a_request_drop_by_drop_is_ended(head, served, monkeypatch):
    monkeypatch.setattr(serve, "REQUEST_SECONDS", 0.4)
    client = served()
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", client.port)) as line, suppress(OSError):
        line.settimeout(0.05)
        line.sendall(head)
        while time.monotonic() < begun + 10:
            line.sendall(b"x")
            with suppress(TimeoutError):
                if not line.recv(1000):
                    break
    assert 0.3 < time.monotonic() - begun < 5


def test_a_slow_line_gets_the_whole_page(folder, monkeypatch):
    monkeypatch.setattr(Handler, "timeout", 0.3)
    body = bytes(12 << 20)
    store = Store(folder / "answers.sqlite", PLAN, 1)
    server = Server(("127.0.0.1", 0), PLAN, body, store, 100, lambda line: None)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    with socket.create_connection(server.server_address[:2]) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        line.sendall(b"GET / HTTP/1.0\r\n\r\n")
        got = 0
        for block in iter(lambda: line.recv(1 << 20), b""):
            got += len(block)
            time.sleep(0.02 if len(block) < 1 << 17 else 0.1)
    server.shutdown()
    thread.join()
    server.server_close()
    store.close()
    assert got > len(body)


def test_the_number_of_answers_is_bounded(served, folder):
    client = served(most=2)
    codes = [client.post(session(f"l{n}", n))[0] for n in range(3)]
    assert codes == [200, 200, 503]
    assert client.post(session("l0", 0))[0] == 200  # is there already
    assert kept(folder) == ["l0", "l1"]


def test_the_rate_of_an_address_is_bounded(served):
    client = served(per_minute=5)
    codes = [client.ask("GET", "/")[0] for _ in range(7)]
    assert codes == [200] * 5 + [429] * 2
    rate = Rate(60)
    assert sum(rate.allow("a", 0.0) for _ in range(100)) == 60
    assert rate.allow("b", 0.0)
    assert sum(rate.allow("a", 10.0) for _ in range(100)) == 10  # one a second


def test_a_file_of_another_test_or_program_is_refused(folder):
    file = folder / "answers.sqlite"
    Store(file, PLAN, 1).close()
    with pytest.raises(UserError, match="answers of another test"):
        Store(file, listening_set.plan("mushra", 4), 1)
    with sqlite3.connect(folder / "other.sqlite") as database:
        database.execute("CREATE TABLE t (x)")
    with pytest.raises(UserError, match="a database of something else"):
        Store(folder / "other.sqlite", PLAN, 1)
    (folder / "text.sqlite").write_text("no database, but a text that is long enough" * 20)
    with pytest.raises(UserError, match="cannot use"):
        Store(folder / "text.sqlite", PLAN, 1)
    assert (folder / "text.sqlite").read_text().startswith("no database")


def start(folder):
    """The command in a process of its own, and its client."""
    words = [sys.executable, "-m", "wavediff", "listen", "serve", "test", "--port", "0"]
    process = subprocess.Popen(
        [*words, "--answers", "answers.sqlite"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    address = process.stdout.readline()
    assert address.startswith("http://127.0.0.1:"), process.stderr.read()
    return process, Client(int(address.strip(" /\n").rpartition(":")[2]))


def test_acknowledged_answers_survive_kill_9_and_ctrl_c_ends(folder):
    process, client = start(folder)
    sent = []

    def send():
        with suppress(OSError, http.client.HTTPException):
            while client.post(session(f"l{len(sent)}", len(sent)))[0] == 200:
                sent.append(f"l{len(sent)}")

    thread = threading.Thread(target=send)
    thread.start()
    while len(sent) < 20:
        time.sleep(0.01)
    process.kill()
    thread.join()
    process.communicate()
    copy = folder / "copy.sqlite"
    copy.write_bytes((folder / "answers.sqlite").read_bytes())
    process, client = start(folder)
    assert client.post(session("last", 99_999))[0] == 200
    assert not (folder / "answers.sqlite-journal").exists()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 0, told
    assert "Traceback" not in told
    found = kept(folder)
    assert found[: len(sent)] == sent
    assert found[-1] == "last"
    assert len(found) <= len(sent) + 2  # one that was written and not acknowledged


def test_what_is_served_is_one_test(folder, capsys):
    def refused(*options):
        words = ["serve", f"{folder}/test", "--answers", f"{folder}/a.sqlite", *options]
        assert run(listen.main, words) == 2
        return capsys.readouterr().err

    assert "cannot serve at nowhere.invalid port 1" in refused("--host=nowhere.invalid", "--port=1")
    text = (folder / "test" / "index.html").read_text()
    (folder / "test" / "index.html").write_text(page(listening_set.plan("mos", 3), {}))
    assert "are of two tests" in refused()
    (folder / "test" / "index.html").write_text(text)
    (folder / "test" / "manifest.json").write_text('{"format": 1}')
    assert "not a listening test of wavediff" in refused()
    (folder / "test" / "manifest.json").unlink()
    assert "holds no listening test" in refused()
    assert os.listdir(folder / "test") == ["index.html"]
