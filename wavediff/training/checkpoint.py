"""Checkpoints of a run: everything needed to go on as if it had never stopped."""

import fcntl
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from wavediff.errors import UserError
from wavediff.files import atomic_path
from wavediff.moved import current
from wavediff.notation import in_full
from wavediff.training.config import FREE
from wavediff.training.distributed import World

FORMAT = "wavediff-run-1"
_NAME = re.compile(r"step-(\d+)\.pt")
# What may change in a run besides the trainer's own free keys.
_FREE_KEYS = ("name", "run_dir", "sampler", "data.workers", "data.cache")


class RunCheckpoints:
    """A run's folder `checkpoints/`: `step-000001000.pt`, ...; the newest and the best stay."""

    def __init__(self, run_dir: Path, keep_last: int) -> None:
        self.folder = run_dir / "checkpoints"
        self.keep_last = keep_last

    def paths(self) -> list[tuple[int, Path]]:
        """(step, path), the oldest first."""
        found = ((_NAME.fullmatch(path.name), path) for path in self.folder.glob("step-*.pt"))
        return sorted((int(match[1]), path) for match, path in found if match)

    def save(self, state: Mapping[str, Any], best_step: int | None = None) -> None:
        """Write `state` (with its "step"), whole or not at all, then remove what is not kept."""
        with atomic_path(self.folder / f"step-{state['step']:09d}.pt") as temporary:
            torch.save({"format": FORMAT, **state}, temporary)
        for step, path in self.paths()[: -self.keep_last]:
            if step != best_step:
                path.unlink()

    def load(self) -> dict[str, Any] | None:
        """The newest state, on the CPU, or None where there is none.

        A file that a failing disk has damaged gives way to the one before it.
        Raises `UserError` where there are files and none can be read.
        """
        paths = self.paths()
        for _, path in reversed(paths):
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
                if state["format"] == FORMAT:
                    return state
            except OSError as error:
                raise UserError(f"cannot read {path}: {error.strerror}") from error
            except Exception as error:  # torch.load raises whatever the damage leads to
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                print(f"{path} cannot be read ({reason}): using an older one", file=sys.stderr)
        if paths:
            raise UserError(
                f"no checkpoint in {self.folder} can be read: use trainer.restart=true to begin "
                "anew, or another run_dir"
            )
        return None

    def move_aside(self) -> None:
        """Make room for a new run: the old one goes to `before-restart-N/`."""
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


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`key: old -> new` for what differs and defines the run, by dotted key.

    Names that have moved since are no difference. An empty group or value is as good as none: what
    a run has not chosen may have come up since it began.
    """
    a, b = (_flat(in_full(current(config))) for config in (old, new))
    absent = object()
    # discriminators are shown what the sampler makes at its own times
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
    """Within the block no other run may train in `run_dir`; the main process sees to it. The file
    that it makes goes again when there is no other.

    Raises `UserError` if one does.
    """
    if not main:
        yield
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    lock = run_dir / ".lock"
    with open(lock, "w") as file:
        try:
            # given up by the system when the process dies, and not inherited by data workers
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another process is training in {run_dir}: wait for it, or use another run_dir"
            ) from error
        except OSError:  # a file system that knows no locks
            pass
        try:
            yield
        finally:
            with suppress(OSError):
                if list(run_dir.iterdir()) == [lock]:
                    lock.unlink()


def resume(
    checkpoints: RunCheckpoints,
    run_config: Mapping[str, Any],
    restart: bool,
    accept_changes: bool,
    world: World,
) -> dict[str, Any] | None:
    """The state to go on from, or None to begin.

    Raises `UserError` where the run in this folder was made by a configuration that differs.
    """
    if restart:
        if world.main:
            checkpoints.move_aside()
        return None
    state = checkpoints.load()
    if state is not None and not accept_changes:
        found = differences(current(state["config"]), current(run_config))
        if found:
            raise UserError(
                f"{checkpoints.folder.parent} holds a run of another configuration, which differs "
                f"in {', '.join(found)}: use another run_dir, or trainer.restart=true to begin "
                "anew there (trainer.accept_changes=true continues all the same)"
            )
    return state
