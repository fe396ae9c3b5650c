"""Reading the answers of many listeners: databases of a server, and exported files."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wavediff.errors import UserError, listed, shorten
from wavediff.evaluation.listening import store
from wavediff.evaluation.listening.plan import Plan, decode, decode_base64, identity
from wavediff.evaluation.listening.validate import FORMAT, VERSION, Session, check, parse

MOST_FILE_BYTES = 16 << 20  # of an exported file
DATABASES = (".sqlite", ".sqlite3", ".db")


@dataclass
class Answers:
    """The sessions of one test, and what could not be used."""

    plan: Plan
    sessions: list[Session]
    repeated: list[str] = field(default_factory=list)  # listeners who answered again
    failures: list[str] = field(default_factory=list)


def read_answers(paths: Sequence[Path]) -> Answers:
    """Read sessions, each once, and of each listener the first.

    Args:
        paths: databases, exported files, or folders of them.

    Raises:
        UserError: if there are none, or they are of several tests.
    """
    failures: list[str] = []
    found: dict[str, tuple[Plan, list[Session]]] = {}
    for file in _files(paths):
        try:
            name, plan, sessions = _read(file, failures)
        except UserError as error:
            failures.append(str(error))
            continue
        found.setdefault(name, (plan, []))[1].extend(sessions)
    found = {name: (plan, sessions) for name, (plan, sessions) in found.items() if sessions}
    if not found:
        raise UserError(f"there are no answers{f': {failures[0]}' if failures else ''}")
    if len(found) > 1:
        counts = [f"{name} ({len(sessions)})" for name, (_, sessions) in found.items()]
        raise UserError(f"these are answers of several tests, {listed(counts)}: give those of one")
    ((plan, sessions),) = found.values()
    distinct = {session.session: session for session in sessions}
    first: dict[str, Session] = {}
    for session in sorted(distinct.values(), key=lambda session: session.started):
        first.setdefault(session.listener, session)
    counted = Counter(session.listener for session in distinct.values())
    repeated = [name for name, count in counted.items() if count > 1]
    return Answers(plan, list(first.values()), repeated, failures)


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in (".json", *DATABASES))
            if not inside:
                raise UserError(f"{path} has no .json and no {DATABASES[0]} files: give answers")
            files += inside
        elif path.exists():
            files.append(path)
        else:
            raise UserError(f"{path} does not exist: give answers of a listening test")
    return files


def _read(path: Path, failures: list[str]) -> tuple[str, Plan, list[Session]]:
    """The name of the test, the test, and the sessions of one file."""
    try:
        database = store.is_database(path)
        size = path.stat().st_size
        text = b"" if database else path.read_bytes() if size <= MOST_FILE_BYTES else None
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from error
    if text is None:
        raise UserError(f"{path} has {size >> 20} MiB: that is no file of answers")
    if database:
        encoded, bodies = store.read(path)
        plan = decode(encoded, path)
        return identity(encoded), plan, _stored(path, bodies, plan, identity(encoded), failures)
    try:
        found = parse(text)
    except ValueError as error:
        raise UserError(f"{path}: not a file of answers ({shorten(error)})") from error
    manifest = found.pop("manifest", None)
    if found.get("format") != FORMAT or not isinstance(manifest, str):
        raise UserError(f"{path}: not answers that the page of a listening test has saved")
    plan = decode_base64(manifest, path)
    name = identity(plan.encoded())
    return name, plan, [_checked(found, plan, name, path)]


def _stored(
    path: Path, bodies: Sequence[str], plan: Plan, name: str, failures: list[str]
) -> list[Session]:
    sessions = []
    for number, body in enumerate(bodies, 1):
        try:
            found = {"format": FORMAT, "version": VERSION, "test": name, **parse(body)}
            keys = ("ratings", "choice", "x")
            found["answers"] = [
                {k: v for k, v in answer.items() if k not in keys or v is not None}
                for answer in found["answers"]
            ]
            sessions.append(_checked(found, plan, name, f"{path}, row {number}"))
        except (ValueError, TypeError, KeyError, AttributeError, UserError) as error:
            failures.append(f"{path}, row {number}: {shorten(error, 200)}")
    return sessions


def _checked(found: dict, plan: Plan, name: str, source: object) -> Session:
    try:
        return check(found, plan, name)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
