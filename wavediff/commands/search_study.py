"""The Optuna study of `wavediff search`: storage, sampler, pruner, and trials of dead processes."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from wavediff.errors import UserError, shorten
from wavediff.files import atomic_path, exclusive

FACTOR = 3  # of the budget from one rung to the next, and of the trials that pass
HEARTBEAT, GRACE = 15, 60  # seconds between signs of life of a trial, and until it counts as dead
WAIT = 60  # seconds for SQLite, while other processes write
STARTUP = 10  # trials at random before TPE has something to learn from

warnings.filterwarnings("ignore", category=ExperimentalWarning)
warnings.filterwarnings("ignore", message="Heartbeat of storage")  # trials are asked for and told
optuna.logging.set_verbosity(optuna.logging.ERROR)


class Seeded(BaseSampler):
    """TPE whose draws depend on the seed and on how many trials there are before, alone.

    A resumed search therefore goes on as if it had not been stopped, and processes that share a
    study draw different trials.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.study: Study | None = None
        self._sampler = TPESampler(seed=seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed the draws of this trial."""
        earlier = counted(self.study) if self.study is not None else []
        rank = sum(other.number < trial.number for other in earlier)
        seed = int(np.random.SeedSequence([self.seed, rank]).generate_state(1)[0])
        self._sampler = TPESampler(seed=seed, n_startup_trials=STARTUP, constant_liar=True)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As TPE's."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As TPE's."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """As TPE's."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """As TPE's."""
        self._sampler.after_trial(study, trial, state, values)


def rungs(number: int) -> list[float]:
    """Return the shares of the budget after which trials are compared."""
    return [FACTOR ** (k - number + 1) for k in range(number)]


def pruner_of(name: str, number: int) -> BasePruner:
    """Return the pruner of a name, which compares trials at so many rungs."""
    if name == "none" or number == 1:
        return NopPruner()
    if name == "hyperband":
        return HyperbandPruner(1, FACTOR ** (number - 1), FACTOR)
    return SuccessiveHalvingPruner(min_resource=1, reduction_factor=FACTOR)


def open_study(url: str, name: str, higher: bool, seed: int, pruner: str, number: int) -> Study:
    """Create a study, or load the one of that name.

    Args:
        url: of the storage.
        name: of the study.
        higher: whether a higher value is better.
        seed: of the draws.
        pruner: its name.
        number: of rungs.
    """
    sampler = Seeded(seed)
    make_file(url)
    storage = RDBStorage(
        url,
        engine_kwargs={"connect_args": {"timeout": WAIT}} if url.startswith("sqlite") else None,
        heartbeat_interval=HEARTBEAT,
        grace_period=GRACE,
        heartbeat_stale_trial_callback=requeue,
    )
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        sampler=sampler,
        pruner=pruner_of(pruner, number),
        direction="maximize" if higher else "minimize",
        load_if_exists=True,
    )
    sampler.study = study
    return study


def make_file(url: str) -> None:
    """Make the file of an SQLite storage, where there is none, with all of its tables at once.

    Optuna makes them one by one, and fails where two processes do so at the same time.
    """
    parsed = make_url(url)
    database = parsed.database or ":memory:"
    if parsed.get_backend_name() != "sqlite" or database.startswith((":", "file:")):
        return
    path = Path(database)
    if not path.parent.is_dir():
        return
    with exclusive(path.parent):
        if path.exists():
            return
        with atomic_path(path) as temporary:
            made = parsed.set(database=str(temporary))
            RDBStorage(made.render_as_string(hide_password=False)).engine.dispose()


@contextmanager
def errors_of(url: str) -> Iterator[None]:
    """Tell in one sentence what a storage cannot do within the block.

    Raises:
        UserError: for a storage that cannot be used, or is no storage of Optuna's.
    """
    try:
        yield
    except (SQLAlchemyError, OptunaError, ImportError, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, OptunaError) else error
        reason = shorten(getattr(cause, "orig", None) or cause or error, 200).rstrip(".")
        raise UserError(
            f"cannot use --storage {shorten(url)} ({reason}): give sqlite:///FILE.db, or the URL "
            "of a database as SQLAlchemy reads it; the same command resumes"
        ) from error


def keep_settings(study: Study, settings: dict[str, Any]) -> None:
    """Record what all trials share.

    Raises:
        UserError: where the study has other settings.
    """
    old = study.user_attrs.get("settings")
    if old is None:
        study.set_user_attr("settings", settings)
        return
    found = [
        f"{key} ({shorten(old.get(key))} -> {shorten(settings[key])})"
        for key in settings
        if old.get(key) != settings[key]
    ]
    if found:
        raise UserError(
            f"the study {study.study_name} has other settings, {', '.join(found)}: give another "
            "--study and -o, because its trials would not be comparable"
        )


def counted(study: Study) -> list[FrozenTrial]:
    """Return the trials that count: each once, however often it was resumed."""
    trials = study.get_trials(deepcopy=False)
    resumed = {n for trial in trials for n in trial.system_attrs.get("retry_history", [])}
    return [t for t in trials if t.number not in resumed and not t.user_attrs.get("surplus")]


def first_number(trial: FrozenTrial) -> int:
    """Return the number that a trial began with, before it was resumed."""
    return trial.system_attrs.get("failed_trial", trial.number)


def requeue(study: Study, trial: FrozenTrial) -> None:
    """Have the next free process resume a trial whose process has ended."""
    if trial.user_attrs.get("surplus") or trial.number not in {t.number for t in counted(study)}:
        return
    RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)(study, trial)


def give_up(study: Study, trial: FrozenTrial) -> None:
    """Let others resume a trial that this process has begun, or that a dead one has."""
    with suppress(OptunaError, ValueError):  # another process was first
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
        requeue(study, study.get_trials(deepcopy=False)[trial.number])


class Worker:
    """This process among those that share a folder. ``name`` is recorded in its trials."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve() / ".workers"
        self.file = f"{os.getpid()}-{secrets.token_hex(4)}"
        self.name = f"{socket.gethostname()}:{self.folder}/{self.file}"

    def has_died(self, name: str) -> bool:
        """Whether the process of that name, of this machine and folder, has ended."""
        if name == self.name or not name.startswith(f"{socket.gethostname()}:{self.folder}/"):
            return False
        path = self.folder / name.rpartition("/")[2]
        try:
            with open(path, "r+") as file:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return True
        except OSError:  # it is held, or the file system has no locks
            return False
        path.unlink(missing_ok=True)
        return True

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Be seen as alive within the block."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / self.file
        with open(path, "w") as file:
            with suppress(OSError):  # the heartbeats remain
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                yield
            finally:
                path.unlink(missing_ok=True)


def revive(study: Study, worker: Worker) -> None:
    """Queue the trials of dead processes again: of this folder at once, of others after a while."""
    for trial in counted(study):
        running = trial.state == TrialState.RUNNING
        if running and worker.has_died(trial.user_attrs.get("worker", "")):
            give_up(study, trial)
    fail_stale_trials(study)
