"""Checkpoints of a run, from which it resumes to bit-identical weights."""

import fcntl
import re
import secrets
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import torch

from wavediff.errors import UserError, shorten
from wavediff.files import atomic_path
from wavediff.moved import current
from wavediff.notation import in_full
from wavediff.training.config import FREE
from wavediff.training.distributed import World, restarted

FORMAT = "wavediff-run-1"
_NAME = re.compile(r"step-(\d+)\.pt")
# Keys that may change in a run besides the free keys of the trainer.
_LOCK_SECONDS = 30  # in which torchrun ends the processes of a node that leaves
_FREE_KEYS = ("name", "run_dir", "sampler", "data.workers", "data.cache", "data.cache_dir")


class RunCheckpoints:
    """A run's folder ``checkpoints/`` with ``step-000001000.pt``, ...

    The newest ``keep_last`` checkpoints and the best one are kept.
    """

    def __init__(self, run_dir: Path, keep_last: int) -> None:
        self.folder = run_dir / "checkpoints"
        self.keep_last = keep_last

    def paths(self) -> list[tuple[int, Path]]:
        """Return (step, path) of every checkpoint, the oldest first."""
        found = ((_NAME.fullmatch(path.name), path) for path in self.folder.glob("step-*.pt"))
        return sorted((int(match[1]), path) for match, path in found if match and path.is_file())

    def save(self, state: Mapping[str, Any], best_step: int | None = None) -> None:
        """Write ``state`` (with its "step") atomically, then remove outdated checkpoints."""
        path = self.folder / f"step-{state['step']:09d}.pt"
        if path.is_dir():
            aside = path.with_name(f"{path.name}-{secrets.token_hex(3)}")
            print(f"{path} is a folder: it becomes {aside.name}", file=sys.stderr)
            path.rename(aside)
        with atomic_path(path) as temporary:
            torch.save({"format": FORMAT, **state}, temporary)
        for step, path in self.paths()[: -self.keep_last]:
            if step != best_step:
                path.unlink()

    def load(self) -> dict[str, Any] | None:
        """Load the newest readable state to the CPU; None if there is no checkpoint.

        Raises:
            UserError: if there are checkpoints and none of them can be read.
        """
        paths = self.paths()
        for path in self.folder.glob("step-*.pt"):
            if _NAME.fullmatch(path.name) and not path.is_file():
                print(f"{path} is not a file: it is left out", file=sys.stderr)
        for _, path in reversed(paths):
            try:
                _verify(path)
                state = torch.load(path, map_location="cpu", weights_only=True)
                if state["format"] == FORMAT:
                    return state
            except OSError as error:
                raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
            except Exception:  # torch.load raises any kind of error for a damaged file
                print(f"{path} is damaged: trying the checkpoint before it", file=sys.stderr)
        if paths:
            raise UserError(
                f"{self.folder}: none of the checkpoints can be read. Use trainer.restart=true to "
                "start again, or another run_dir."
            )
        return None

    def move_aside(self) -> None:
        """Move the files of the old run to ``before-restart-N/``."""
        run_dir = self.folder.parent
        old = [p for p in (self.folder, *run_dir.glob("*.safetensors")) if p.exists()]
        old += run_dir.glob("events.out.tfevents.*")
        if not old:
            return
        number = 1 + len(list(run_dir.glob("before-restart-*")))
        place = run_dir / f"before-restart-{number}"
        place.mkdir()
        for path in old:
            path.rename(place / path.name)


def _verify(path: Path) -> None:
    """Compare the whole file with its checksums, which ``torch.load`` does not do.

    Raises:
        zipfile.BadZipFile: if a byte has changed.
    """
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"{damaged} does not match its checksum")


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List ``key (old -> new)`` for each dotted key that defines the run and differs.

    Renamed targets and keys are compared under their current names. An empty group equals an
    absent one: the group may be newer than the run.
    """
    a, b = (_flat(in_full(current(config))) for config in (old, new))
    absent = object()
    # discriminators see samples at the sampler's times, so the sampler defines the run
    sampled = any(config.get("adversarial") for config in (old, new))
    return [
        f"{key} ({_show(a.get(key, absent))} -> {_show(b.get(key, absent))})"
        for key in sorted(a.keys() | b.keys())
        if a.get(key) != b.get(key) and not _is_free(key, sampled)
    ]


def _show(value: Any) -> str:
    return "absent" if type(value) is object else repr(value) if value == "" else str(value)


def _is_free(key: str, sampled: bool) -> bool:
    if sampled and key.startswith("sampler."):
        return False
    if key.startswith("trainer."):
        return key.split(".")[1] in FREE
    return any(key == free or key.startswith(f"{free}.") for free in _FREE_KEYS)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


@contextmanager
def locked(run_dir: Path, main: bool = True) -> Iterator[None]:
    """Hold ``run_dir`` for this run within the block; the main process takes the lock.

    Leaves no lock file behind in a folder that is otherwise empty.

    Raises:
        UserError: if another process trains in ``run_dir``.
    """
    if not main:
        yield
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = run_dir / ".lock"
    with open(lock, "w") as file:
        try:
            # the system releases it when the process dies; data workers do not inherit it
            _lock(file, _LOCK_SECONDS if restarted() else 0)
        except BlockingIOError as error:
            raise UserError(
                f"{run_dir}: another process is training there. Wait for it, or use another "
                "run_dir."
            ) from error
        except OSError:  # a file system without locks
            pass
        try:
            yield
        finally:
            with suppress(OSError):
                if list(run_dir.iterdir()) == [lock]:
                    lock.unlink()


def _lock(file: IO, seconds: float) -> None:
    """Lock a file, waiting at most that long.

    Raises:
        OSError: if it is locked, or cannot be.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.1)


def resume(
    checkpoints: RunCheckpoints,
    run_config: Mapping[str, Any],
    restart: bool,
    accept_changes: bool,
    world: World,
) -> dict[str, Any] | None:
    """Return the state to resume from, or None for a new run.

    Args:
        checkpoints: the checkpoints of the run.
        run_config: the configuration of the command.
        restart: move an old run aside and start again, unless torchrun restarts this very run.
        accept_changes: resume even if the configuration differs from that of the run.
        world: the processes that train together.

    Raises:
        UserError: if the run in this folder has another configuration, or not all processes find
            the same one.
    """
    (again,) = world.any([restarted()])
    if restart and not again:
        if world.main:
            checkpoints.move_aside()
        return None
    state = checkpoints.load()
    steps = world.gather(None if state is None else state["step"])
    if len(set(steps)) > 1:
        each = ", ".join("none" if step is None else f"of step {step}" for step in steps)
        raise UserError(
            f"{checkpoints.folder}: the processes find different checkpoints ({shorten(each)}). "
            "Use a run_dir on a file system that all nodes share."
        )
    if state is not None and not accept_changes:
        found = differences(current(state["config"]), current(run_config))
        if found:
            raise UserError(
                f"{checkpoints.folder.parent}: the run there differs in {', '.join(found)}. Use "
                "another run_dir, trainer.restart=true to start again there, or "
                "trainer.accept_changes=true to resume all the same."
            )
    return state
