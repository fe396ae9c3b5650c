"""One process's part of a study of `wavediff search`."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optuna.exceptions import OptunaError, TrialPruned
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from wavediff.commands.search_setting import Setting
from wavediff.commands.search_space import RUN, merged
from wavediff.commands.search_study import Worker, counted, first_number, give_up, revive
from wavediff.commands.search_trial import Job, TrialFailed, train
from wavediff.errors import UserError
from wavediff.files import exclusive

if TYPE_CHECKING:
    from wavediff.training.trial import Standing

DEFAULT_TRIALS = 50
FAILURES = 3  # without any success, that end the search


def say(sentence: str) -> None:
    """Print a line on stderr."""
    print(f"search: {sentence}", file=sys.stderr, flush=True)


class Search:
    """One process's part of a study."""

    def __init__(
        self,
        study: Study,
        setting: Setting,
        worker: Worker,
        own: dict[str, Any] | None,
        trials: int | None,
        only: Sequence[str] | None,
        seed: int,
        refused: Mapping[str, str],
    ) -> None:
        self.study, self.setting, self.worker, self.own = study, setting, worker, own
        self.refused, self.listed = refused, setting.space.listed
        self.failures: list[str] = []
        self.succeeded = False
        self.current: int | None = None  # the number of the trial that is trained
        most = trials or DEFAULT_TRIALS
        # what is trained in turn: the settings of a list, or all of a small space
        self.queue: list[dict[str, Any]] | None
        if self.listed:
            self.queue = [{RUN: name} for name in setting.space.parameters[0].values() or ()]
            chosen = [c for c in self.queue if only is None or c[RUN] in only]
            self.queue = [c for c in chosen if c[RUN] not in refused][:trials]
            self.wanted: float = math.inf
            return
        self.queue = setting.space.grid(most)
        self.wanted = most
        if self.queue is not None:
            random.Random(seed).shuffle(self.queue)
            self.wanted = min(most, len(self.queue) + (own is None))

    def run(self) -> None:
        """Train trials until the study has all of them.

        Raises:
            UserError: where the first trials of all fail.
        """
        if self.listed:
            self._require_unchanged()
            self._retry_failed()
        while True:
            revive(self.study, self.worker)
            with exclusive(self.setting.folder):
                if not self._queued():
                    break
            before = len(self.failures)
            self.current = None
            try:
                self.study.optimize(self._objective, n_trials=1, catch=(NotTrained,))
            except (ValueError, OptunaError):
                if not self._taken_over():
                    raise
                say(f"another process has taken over trial {self.current}")
            except BaseException:  # interrupted: the next free process resumes it
                if self.current is not None:
                    give_up(self.study, self.study.get_trials(deepcopy=False)[self.current])
                raise
            failed = len(self.failures) > before
            if failed and not self.listed and not self.succeeded and before + 1 >= FAILURES:
                raise UserError(
                    f"the first {FAILURES} trials failed, the last one: {self.failures[-1]}"
                )
        others = sum(trial.state.name == "RUNNING" for trial in counted(self.study))
        if others:
            say(f"{others} trial{'s' * (others != 1)} still running in other processes")

    def result(self) -> int:
        """List the failures on stderr. Returns the exit code."""
        for name, reason in self.refused.items():
            say(f"failed: {name}: {reason}")
        for reason in self.failures:
            say(f"failed: {reason}")
        values = any(trial.state.name == "COMPLETE" for trial in counted(self.study))
        return 2 if self.refused or not values or (self.failures and self.listed) else 0

    def _taken_over(self) -> bool:
        """Whether the current trial was taken for dead, as on a machine that slept for a while."""
        if self.current is None:
            return False
        return self.current not in {trial.number for trial in counted(self.study)}

    def _require_unchanged(self) -> None:
        cases = self.setting.space.parameters[0].cases()
        for trial in counted(self.study):
            name, old = settings_of(trial).get(RUN), trial.user_attrs.get("overrides")
            if old is None or trial.state.name == "FAIL" or cases.get(name, old) == old:
                continue
            raise UserError(
                f"{name} was trained with [{', '.join(old)}], and the list has changed: give the "
                "run another name, or the search another -o"
            )

    def _retry_failed(self) -> None:
        with exclusive(self.setting.folder):
            for trial in counted(self.study):
                if trial.state.name == "FAIL" and settings_of(trial) in (self.queue or ()):
                    give_up(self.study, trial)

    def _queued(self) -> bool:
        """Queue the next trial where it is not to be drawn. Returns False where none is left."""
        trials = counted(self.study)
        if any(trial.state.name == "WAITING" for trial in trials):
            return True
        if len(trials) >= self.wanted:
            return False
        if not trials and not self.listed:
            self.study.enqueue_trial(self.own or {}, {"queued": True, "recipe": True})
        elif self.queue is not None:
            begun = [settings_of(trial) for trial in trials]
            left = [settings for settings in self.queue if settings not in begun]
            if not left:
                return False
            self.study.enqueue_trial(left[0], {"queued": True})
        return True

    def _objective(self, trial: Trial) -> float:
        """Train a trial; what fails is an exception that Optuna records."""
        self.current = trial.number
        begun = Begun(self, trial)
        try:
            begun.claim()
            value = begun.trained()
        except NotTrained as failure:
            if failure.counts:
                trial.set_user_attr("reason", str(failure))
                self.failures.append(f"{begun.name}: {failure}")
                say(f"{begun.name} failed: {failure}")
            raise
        except TrialPruned:
            self.succeeded = True
            say(f"{begun.name}: pruned, {begun.told}")
            raise
        self.succeeded = True
        say(f"{begun.name}: {begun.told}")
        return value


def settings_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return the values of a trial's parameters, also of one that is queued."""
    return trial.params or trial.system_attrs.get("fixed_params", {})


class NotTrained(Exception):
    """A trial without a value. ``counts`` is whether it counts as one of the study."""

    def __init__(self, reason: str, counts: bool = True) -> None:
        super().__init__(reason)
        self.counts = counts


class Begun:
    """A trial that this process has begun or resumes."""

    def __init__(self, search: Search, trial: Trial) -> None:
        self.search, self.trial, self.setting = search, trial, search.setting
        self.frozen = search.study.get_trials(deepcopy=False)[trial.number]
        label = settings_of(self.frozen).get(RUN) if search.listed else None
        self.name = label or f"trial {first_number(self.frozen)}"
        self.place = label or f"{first_number(self.frozen):04d}"
        self.standing: Standing | None = None
        self.twin: FrozenTrial | None = None
        self.reason = ""
        self.pruned = False

    @property
    def told(self) -> str:
        """The standing in words."""
        known = self.standing
        if self.twin is not None:
            return f"as {self.twin.user_attrs['place']}, whose settings are the same"
        if known is None or known.score is None:
            return "as before"
        return (f"{self.setting.label} {known.score:.4g} after {known.step} steps, "
                f"{known.seconds:.0f} s")  # fmt: skip

    def claim(self) -> None:
        """Draw the settings, and see that no other process has begun the last trial, too.

        Raises:
            NotTrained: where one has.
        """
        trial, space = self.trial, self.setting.space
        trial.set_user_attr("worker", self.search.worker.name)
        earlier = [t for t in counted(self.search.study) if t.number < trial.number]
        surplus = len(earlier) >= self.search.wanted
        if self.search.queue is not None and not trial.user_attrs.get("queued"):
            surplus = True  # another process has taken what was queued
        if self.search.listed:
            surplus |= settings_of(self.frozen) in map(settings_of, earlier)
            surplus |= self.name not in space.parameters[0].cases()
        if surplus:
            trial.set_user_attr("surplus", True)
            raise NotTrained("another process has begun this trial", counts=False)
        drawn: list[str] = []
        if self.search.listed:  # which may grow: Optuna's choices may not
            drawn += space.parameters[0].cases()[self.name]
        elif not (trial.user_attrs.get("recipe") and self.search.own is None):
            for parameter in space.parameters:
                drawn += parameter.suggest(trial)
        self.overrides = drawn
        trial.set_user_attr("overrides", drawn)
        trial.set_user_attr("place", self.place)
        what = "the recipe as it is" if trial.user_attrs.get("recipe") else " ".join(drawn)
        total = "" if space.listed else f" of {self.search.wanted}"
        say(f"{self.name} ({len(earlier) + 1}{total}): {what or 'no change'}")

    def trained(self) -> float:
        """Train, and return the last metric.

        Raises:
            NotTrained: where there is none.
            TrialPruned: where others are better.
        """
        self.twin = twin = self._find_twin()
        if twin is not None:
            for key in ("standings", "place"):
                self.trial.set_user_attr(key, twin.user_attrs.get(key))
            if twin.value is None or twin.state.name == "PRUNED":
                raise TrialPruned
            return twin.value
        job = Job(
            merged([*self.setting.words, *self.overrides]),
            self.setting.folder / "trials" / self.place,
            self.setting.folder / "logs" / f"{self.place}.log",
            self.setting.shares,
            self.setting.seconds,
        )
        try:
            train(job, self.judge)
        except TrialFailed as error:
            raise NotTrained(str(error)) from error
        if self.reason:
            raise NotTrained(self.reason)
        if self.pruned:
            raise TrialPruned
        done = self.search.study.get_trials(deepcopy=False)[self.trial.number].intermediate_values
        last = self.setting.unit(len(self.setting.shares) - 1)
        if last not in done:
            raise NotTrained(f"it ended before its budget was spent (see {job.log})")
        return done[last]

    def judge(self, standing: Standing) -> bool:
        """Report a run's standing. Returns whether it goes on."""
        self.standing = standing
        if standing.score is None or not math.isfinite(standing.score):
            why = standing.undefined.get(self.setting.metric, "not measured")
            self.reason = f"{self.setting.metric} has no value at step {standing.step} ({why})"
            return False
        unit = self.setting.unit(standing.rung)
        if unit not in self.frozen.intermediate_values:
            self.trial.report(standing.score, unit)
        known = [s for s in self.trial.user_attrs.get("standings", []) if s["rung"] < standing.rung]
        self.trial.set_user_attr("standings", [*known, as_record(standing)])
        if standing.rung == len(self.setting.shares) - 1:
            return True
        self.pruned = self.trial.should_prune()
        return not self.pruned

    def _find_twin(self) -> FrozenTrial | None:
        """A finished trial of the same settings: the same seed would only repeat it."""
        done = ("COMPLETE", "PRUNED")
        others = (t for t in counted(self.search.study) if t.state.name in done)
        mine = self.overrides
        return next((t for t in others if t.user_attrs.get("overrides") == mine), None)


def as_record(standing: Standing) -> dict[str, Any]:
    """Return a standing as JSON holds it."""
    return {
        "rung": standing.rung,
        "step": standing.step,
        "seconds": standing.seconds,
        "parameters": standing.parameters,
        "score": standing.score,
        "scores": dict(standing.scores),
    }
