"""Trains on a machine that is lent for minutes at a time and keeps nothing, a GPU for example.

    python tools/stretches.py pack data/librispeech data/noise -o parts
        once, where the data is: one archive, in parts that a transfer takes

    python tools/stretches.py train runs/lent --minutes 9 --state state --data parts --place data \\
        recipe=libri_noise data.root=data/librispeech data.mix.noise=data/noise trainer=gpu
        on the lent machine, as often as it is lent: data that is not there yet is unpacked, a run
        that is not there is taken from the state, trained, and put back into the state, all
        within the minutes

    python tools/stretches.py unpack state -o runs
        anywhere: the run, to go on with or to use

Only PARTS and STATE have to travel; their files are checked on arrival. The state holds the run's
configuration, the newest checkpoint with the optimizer, the exported weights and the curves. A
stretch ends at a step, its learning rate follows trainer.max_steps, and so the run ends the same as
if it had never been stopped.
"""

import argparse
import hashlib
import io
import json
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from wavediff.cli import run
from wavediff.commands.arguments import above_zero, require_writable
from wavediff.errors import UserError
from wavediff.files import atomic_path
from wavediff.training.checkpoint import RunCheckpoints

INDEX = "parts.json"  # written last: parts without it are no archive
UNPACKED = ".unpacked-"  # of a marker; the digest of the index follows
BLOCK = 1 << 20
OWN = ("run_dir", "trainer.max_minutes")


def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    if args.command == "pack":
        paths = [(path, path.resolve().name) for path in args.paths]
        pack(paths, args.output, args.part_mb)
    elif args.command == "unpack":
        unpack(args.parts, args.output)
    else:
        return stretch(args)
    return 0


def pack(paths: Iterable[tuple[Path, str]], out: Path, part_mb: float) -> None:
    """Write files and folders, under the names given, into parts of an archive in ``out``.

    Raises UserError for what does not exist, and where ``out`` cannot be written to.
    """
    paths = list(paths)
    for path, _ in paths:
        if not path.exists():
            raise UserError(f"there is no {path}: give files or folders that exist")
    old = sorted(out.glob("part-*"))
    stream = _Parts(out, int(1e6 * part_mb), first=_next_number(old))
    try:
        with tarfile.open(fileobj=stream, mode="w|", bufsize=BLOCK, dereference=True) as archive:
            for path, name in paths:
                archive.add(path.resolve(), name, filter=_plain)
        stream.finish()
        with atomic_path(out / INDEX) as index:
            index.write_text(json.dumps(stream.parts, indent=1) + "\n")
    except BaseException:
        for name in stream.parts:
            (out / name).unlink(missing_ok=True)
        raise
    for path in old:  # the archive before this one was whole until now
        path.unlink()
    size = sum(part["bytes"] for part in stream.parts.values())
    print(f"{out}: {len(stream.parts)} parts, {size / 1e6:.1f} MB")


def unpack(parts: Path, out: Path) -> None:
    """What ``pack`` has written, into the folder ``out``; not again where that was done before.

    Raises UserError where a part is missing or damaged.
    """
    try:
        text = (parts / INDEX).read_bytes()
        index = {str(k): (int(v["bytes"]), str(v["sha256"])) for k, v in json.loads(text).items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{parts} is no archive: {INDEX} is missing or damaged; make it with "
            "`python tools/stretches.py pack`"
        ) from error
    marker = out / f"{UNPACKED}{hashlib.sha256(text).hexdigest()[:16]}"
    if marker.exists():
        return
    for name, (size, digest) in index.items():
        path = parts / name
        if Path(name).name != name or not path.is_file():
            raise UserError(f"{path} is missing: copy all parts of the archive")
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if (path.stat().st_size, found) != (size, digest):
            raise UserError(f"{path} is damaged or of another archive: copy it again")
    out.mkdir(parents=True, exist_ok=True)
    try:
        joined = _Joined([parts / name for name in index])
        with tarfile.open(fileobj=joined, mode="r|", bufsize=BLOCK) as archive:
            archive.extractall(out, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"cannot unpack {parts} into {out}: {error}") from error
    marker.touch()


def stretch(args: argparse.Namespace) -> int:
    """One stretch of a run; returns the exit code of its training."""
    began = time.monotonic()
    for word in args.overrides:
        if word.partition("=")[0].lstrip("+~") in OWN:
            raise UserError(f"{word}: {word.partition('=')[0]} is given by RUN and --minutes")
    folder: Path = args.run
    if args.data is not None:
        unpack(args.data, args.place)
    if not RunCheckpoints(folder, 1).paths() and (args.state / INDEX).exists():
        _fetch(args.state, folder)
    minutes = args.minutes - args.reserve - (time.monotonic() - began) / 60
    if minutes <= 0:
        raise UserError(
            f"{args.minutes:g} minutes leave no time for training beside --reserve "
            f"{args.reserve:g}: give --minutes more"
        )
    words = [*args.overrides, f"run_dir={folder}", f"trainer.max_minutes={minutes:.3f}"]
    code = _train([sys.executable, "-m", "wavediff.train", *words])
    checkpoints = RunCheckpoints(folder, 1).paths()
    if checkpoints:
        step, newest = checkpoints[-1]
        kept = [p for p in sorted(folder.iterdir()) if p.name not in ("checkpoints", ".lock")]
        named = [(path, f"{folder.name}/{path.name}") for path in kept]
        named.append((newest, f"{folder.name}/checkpoints/{newest.name}"))
        pack(named, args.state, args.part_mb)
        print(f"{folder}: step {step}")
    return code


def _fetch(state: Path, folder: Path) -> None:
    """The run of a state, which is there whole once its checkpoints are."""
    require_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".tmp-") as place:
        unpack(state, Path(place))
        found = Path(place, folder.name)
        if not RunCheckpoints(found, 1).paths():
            raise UserError(f"{state} is the state of another run: it has no {folder.name}")
        for path in sorted(found.iterdir(), key=lambda path: path.name == "checkpoints"):
            target = folder / path.name
            if target.is_dir():
                shutil.rmtree(target)
            path.replace(target)


def _train(words: list[str]) -> int:
    """Run a command to its end; a wish to stop goes to it, since it keeps what it has first."""
    with subprocess.Popen(words, stdout=sys.stderr) as child:
        before = [signal.signal(s, lambda s, _: child.send_signal(s)) for s in _STOPS]
        try:
            code = child.wait()
        finally:
            for number, handler in zip(_STOPS, before, strict=True):
                signal.signal(number, handler)
    return 128 - code if code < 0 else code


_STOPS = (signal.SIGINT, signal.SIGTERM)


class _Parts(io.RawIOBase):
    """A stream that is written into files of so many bytes."""

    def __init__(self, out: Path, size: int, first: int) -> None:
        self.out, self.size, self.number = out, size, first
        self.parts: dict[str, dict] = {}
        self.buffer = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:
        self.buffer += data
        while len(self.buffer) >= self.size:
            self._part(self.buffer[: self.size])
            del self.buffer[: self.size]
        return len(data)

    def finish(self) -> None:
        if self.buffer:
            self._part(self.buffer)

    def _part(self, data: bytearray) -> None:
        name = f"part-{self.number:04d}"
        with atomic_path(self.out / name) as path:
            path.write_bytes(data)
        self.parts[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        self.number += 1


class _Joined(io.RawIOBase):
    """Files that are read as one stream."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.blocks = (block for path in paths for block in _blocks(path))
        self.left = b""

    def read(self, size: int = -1) -> bytes:
        while len(self.left) < size and (block := next(self.blocks, None)):
            self.left += block
        data, self.left = self.left[:size], self.left[size:]
        return data


def _blocks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            yield block


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Without owner, and readable: the other machine has other users."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode |= 0o700 if member.isdir() else 0o600
    return member if member.isdir() or member.isfile() else None


def _next_number(old: list[Path]) -> int:
    """After the parts that are there, whose archive stays whole until its index is replaced."""
    taken = [int(path.name[5:]) for path in old if path.name[5:].isdigit()]
    return (max(taken) + 1) % 10_000 if taken else 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("pack", help="files and folders into parts").add_argument
    add("paths", type=Path, nargs="+", metavar="PATH")
    add("-o", "--output", type=Path, required=True, metavar="PARTS")
    add("--part-mb", type=above_zero, default=50, metavar="MB", help="(default: 50)")
    add = commands.add_parser("unpack", help="parts into files and folders").add_argument
    add("parts", type=Path, metavar="PARTS")
    add("-o", "--output", type=Path, required=True, metavar="FOLDER")
    usage = "%(prog)s RUN --state STATE [options] [KEY=VALUE ...]"
    add = commands.add_parser("train", usage=usage, help="begin or continue a run").add_argument
    add("run", type=Path, metavar="RUN", help="the run's folder, which must keep its name")
    add("--state", type=Path, required=True, metavar="STATE", help="the run, in parts")
    add("--minutes", type=above_zero, default=9, metavar="M", help="of the whole (default: 9)")
    reserve = "of them, to start and to keep the state (default: 0.5)"
    add("--reserve", type=above_zero, default=0.5, metavar="M", help=reserve)
    add("--data", type=Path, metavar="PARTS", help="data to unpack first")
    add("--place", type=Path, default=Path("data"), metavar="FOLDER", help="(default: data)")
    add("--part-mb", type=above_zero, default=16, metavar="MB", help="(default: 16)")
    # KEY=VALUE of `wavediff train`, before and after options: argparse takes them in one place only
    args, args.overrides = parser.parse_known_args(argv)
    unknown = [word for word in args.overrides if word.startswith("-") or "=" not in word]
    if unknown or (args.overrides and args.command != "train"):
        parser.error(f"unrecognized arguments: {' '.join(unknown or args.overrides)}")
    return args


if __name__ == "__main__":
    sys.exit(run(main))
