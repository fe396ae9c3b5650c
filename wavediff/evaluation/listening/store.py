"""Answers in one SQLite file, which holds the test as well.

Each session is one transaction, with SQLite's rollback journal and ``synchronous=FULL``: after a
kill or a power cut every answer that was acknowledged is there. Unlike a write-ahead log this
leaves nothing beside the file between two answers, so that a copy of the file is a backup.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from wavediff.errors import UserError, shorten
from wavediff.evaluation.listening.plan import Plan, decode, identity
from wavediff.evaluation.listening.validate import Session

APPLICATION = 0x77646C74  # SQLite's application_id of these files: "wdlt"
SCHEMA = """
CREATE TABLE test (identity TEXT NOT NULL, plan BLOB NOT NULL);
CREATE TABLE answers (
    number INTEGER PRIMARY KEY,
    session TEXT NOT NULL UNIQUE,
    received TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now')),
    listener TEXT NOT NULL,
    body TEXT NOT NULL
);
"""


class Full(Exception):
    """The store has as many answers as it may."""


class Store:
    """The answers to one test; for several threads.

    Args:
        path: the file, which is made if need be.
        plan: the test.
        most: number of sessions at which it is full.

    Raises:
        UserError: if the file is something else, of another test, or cannot be written.
    """

    def __init__(self, path: Path, plan: Plan, most: int) -> None:
        self.path, self.most = path, most
        self._lock = threading.Lock()
        encoded = plan.encoded()
        with _reported(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=30
            )
        try:
            with _reported(path):
                self._database.execute("PRAGMA synchronous=FULL")
                self._begin(encoded)
        except BaseException:
            self._database.close()
            raise

    def _begin(self, encoded: bytes) -> None:
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            if not database.execute("SELECT 1 FROM sqlite_master").fetchone():
                for statement in SCHEMA.split(";\n"):
                    database.execute(statement)
                database.execute(f"PRAGMA application_id={APPLICATION}")
                row = (identity(encoded), encoded)
                database.execute("INSERT INTO test VALUES (?, ?)", row)
            name, _ = _test(database, self.path)
            if name != identity(encoded):
                raise UserError(
                    f"{self.path} holds answers of another test ({name}): give --answers another "
                    "file"
                )
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")

    def add(self, session: Session) -> bool:
        """Keep a session; False where it is there already.

        Raises:
            Full: if there is no place for it.
            sqlite3.Error: if it cannot be written.
        """
        body = json.dumps(asdict(session), ensure_ascii=False, separators=(",", ":"))
        with self._lock:
            known = "SELECT 1 FROM answers WHERE session = ?"
            if self._database.execute(known, (session.session,)).fetchone():
                return False
            if self.count() >= self.most:
                raise Full
            self._database.execute(
                "INSERT INTO answers (session, listener, body) VALUES (?, ?, ?)",
                (session.session, session.listener, body),
            )
        return True

    def count(self) -> int:
        """Return the number of sessions."""
        return int(self._database.execute("SELECT count(*) FROM answers").fetchone()[0])

    def close(self) -> None:
        """Close the file, after a session that is being written."""
        with self._lock:
            self._database.close()


def read(path: Path) -> tuple[bytes, list[str]]:
    """Return the JSON of the plan, and that of each session in the order of arrival.

    Raises:
        UserError: if the file is not one of a ``Store``.
    """
    with _reported(path):
        # not read-only: what a killed server left half-written is rolled back
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=30)
        try:
            _, plan = _test(database, path)
            rows = database.execute("SELECT body FROM answers ORDER BY number").fetchall()
        finally:
            database.close()
    return plan, [body for (body,) in rows]


def is_database(path: Path) -> bool:
    """Return whether a file begins as those of SQLite do."""
    with open(path, "rb") as file:
        return file.read(16) == b"SQLite format 3\x00"


def _test(database: sqlite3.Connection, path: Path) -> tuple[str, bytes]:
    if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise UserError(f"{path} is a database of something else: give another file")
    name, plan = database.execute("SELECT identity, plan FROM test").fetchone()
    decode(plan, path)
    return name, plan


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, TypeError) as error:
        raise UserError(f"cannot use {path} for answers: {shorten(error)}") from error
