"""Tries the commands on malformed inputs: no traceback, signal, hang, or half-written file.

    python tools/fuzz.py --cases 3000 --seed 0
    python tools/fuzz.py --seed 0 --only 1234 --keep CASES  # some of them again, with tracebacks

A case is a function of the seed and its number: a valid input (a checkpoint, a run, sound, a mel, a
latent, a table, the overrides of a training, a command line) that is damaged at random, and a
command that reads it. Each runs in a fork of this process, in a folder of its own, and has

- to end by itself within 20 s, in at most 2 GB of memory;
- with exit code 0, or 2 and a sentence on stderr that does not repeat a large input;
- without a temporary file left, a file outside its folder, or an output beside exit code 2.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from fuzzing.material import Case, Material, make_material
from fuzzing.media import audio_case, latent_case, mel_case
from fuzzing.models import checkpoint_case, run_case
from fuzzing.tables import table_case
from fuzzing.words import arguments_case, overrides_case
from numpy.random import Generator
from tqdm import tqdm

from wavediff import cli
from wavediff.cli import run
from wavediff.errors import UserError, shorten
from wavediff.files import TEMPORARY

KINDS: dict[str, Callable[[Generator, Path, Material], Case]] = {
    "checkpoint": checkpoint_case,
    "table": table_case,
    "audio": audio_case,
    "overrides": overrides_case,
    "mel": mel_case,
    "arguments": arguments_case,
    "latent": latent_case,
    "run": run_case,
}
# of 25 cases, those that take long the fewest
TURN = [*["checkpoint", "table", "audio"] * 4, *["checkpoint", "table", "arguments"] * 2,
        "arguments", "mel", "mel", "overrides", "overrides", "latent", "run"]  # fmt: skip
SECONDS = 20
BYTES = 2_000_000_000
LIMIT = 6_000_000_000  # beyond the address space of this process: the machine is to survive
WORDS = 20_000  # bytes of a message
DEBUG = "WAVEDIFF_DEBUG"
INTERRUPTED = 130


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        wrong: what is not as it has to be; empty where all is.
        code: exit code, or minus the number of a signal.
        message: what it wrote on stderr.
    """

    wrong: list[str]
    code: int
    message: str


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 1 where a case went wrong."""
    arguments = parse(argv)
    torch.set_num_threads(1)
    os.environ.pop(DEBUG, None)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as made:
        work = Path(made)
        print("making valid inputs", file=sys.stderr)
        material = make_material(work / "material")
        numbers = range(arguments.cases) if arguments.only is None else arguments.only
        counts: Counter[str] = Counter()
        codes: Counter[int] = Counter()
        failures = []
        start = time.monotonic()
        for number in tqdm(numbers, unit="case", disable=None):
            rng = np.random.default_rng([arguments.seed, number])
            kind = arguments.kind or TURN[number % len(TURN)]
            folder = work / "case"
            folder.mkdir()
            case = KINDS[kind](rng, folder, material)
            outcome = attempt(case, folder, debug=arguments.only is not None)
            counts[kind] += 1
            codes[outcome.code] += 1
            if arguments.keep is not None and (outcome.wrong or arguments.only is not None):
                keep(folder, arguments.keep / str(number))
            if arguments.only is not None:
                print(f"wavediff {' '.join(case.words)}\n{outcome.message}", file=sys.stderr)
            if outcome.wrong:
                failures.append(number)
                tqdm.write(
                    f"{number} {kind} ({case.damage}): {'; '.join(outcome.wrong)}\n"
                    f"    wavediff {shorten(' '.join(map(repr, case.words)), 300)}\n"
                    f"    {shorten(outcome.message, 400)}"
                )
            shutil.rmtree(folder)
        seconds = time.monotonic() - start
    for kind, count in counts.items():
        print(f"{kind}: {count} cases")
    ends = ", ".join(f"{code}: {count}" for code, count in sorted(codes.items()))
    print(f"exit codes {ends}; {seconds:.0f} s")
    print(f"{len(failures)} of {counts.total()} cases went wrong{': ' if failures else ''}", end="")
    print(*failures)
    return 1 if failures else 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=3000, help="their number (default: 3000)")
    parser.add_argument("--seed", type=int, default=0, help="of the cases (default: 0)")
    parser.add_argument("--kind", choices=KINDS, help="one kind alone (default: all in turn)")
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="cases by number alone")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="for the cases that go wrong")
    return parser.parse_args(argv)


def attempt(case: Case, folder: Path, debug: bool = False) -> Outcome:
    """Run a case in a fork, and see how it ends."""
    before = files(folder.parent)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        child(case, folder, debug)
    status, usage, hung = wait(pid)
    message_file = folder / "stderr"
    message = message_file.read_text(errors="replace") if message_file.exists() else ""
    code = os.waitstatus_to_exitcode(status)
    wrong = []
    if hung:
        wrong.append(f"ran for more than {SECONDS} s")
    elif code < 0:
        wrong.append(f"ended by {signal.Signals(-code).name}")
    elif code not in (0, 2):
        wrong.append(f"exit code {code}")
    if "Traceback (most recent call last)" in message:
        wrong.append("a traceback")
    if code == 2 and not message.strip():
        wrong.append("no message")
    if len(message) > WORDS:
        wrong.append(f"a message of {len(message)} characters")
    if usage.ru_maxrss * 1024 > BYTES:
        wrong.append(f"{usage.ru_maxrss / 1e6:.1f} GB of memory")
    new = files(folder.parent) - before
    outside = sorted(path for path in new if not path.is_relative_to(folder))
    left = sorted(path for path in new if path.name.startswith(TEMPORARY))
    if outside:
        wrong.append(f"wrote {outside[0]}")
    if left and code >= 0:
        wrong.append(f"left {left[0].name}")
    if code == 2 and case.output is not None and (folder / case.output).exists():
        wrong.append(f"wrote {case.output} beside an error")
    return Outcome(wrong, code, message)


def child(case: Case, folder: Path, debug: bool) -> None:
    """Run the command of a case in this process, which then ends."""
    code = 1
    try:
        os.chdir(folder)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + LIMIT, size + LIMIT))
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), stream)
        sys.stdout, sys.stderr = (
            open(stream, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
            for stream in (1, 2)
        )
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if debug:
            os.environ[DEBUG] = "1"
        code = cli.main(case.words)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def wait(pid: int) -> tuple[int, resource.struct_rusage, bool]:
    """(status, usage, whether it had to be killed) of a child."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            return status, usage, False
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    return status, usage, True


def files(folder: Path) -> set[Path]:
    """All below a folder, but the inputs that cases are made from."""
    return set(_walk(folder, skip="material"))


def _walk(folder: Path, skip: str) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        if skip in folders:
            folders.remove(skip)
        yield from (Path(here, name) for name in names)


def keep(folder: Path, target: Path) -> None:
    """Copy the folder of a case."""
    if target.exists():
        raise UserError(f"{target} exists already: give another folder to --keep")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, target, symlinks=True)


if __name__ == "__main__":
    sys.exit(run(main))
