"""One process's part of a study of `wavediff search`."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optuna.exceptions import TrialPruned
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from wavediff.commands.search_setting import Setting
from wavediff.commands.search_space import merged
from wavediff.commands.search_study import Worker, counted, first_number, give_up, revive
from wavediff.commands.search_trial import Job, TrialFailed, check, train
from wavediff.errors import UserError
from wavediff.files import exclusive

if TYPE_CHECKING:
    from wavediff.training.trial import Standing

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
        only: Sequence[str] | None,
        own: dict[str, Any] | None,
    ) -> None:
        self.study, self.setting, self.worker, self.own = study, setting, worker, own
        self.space = setting.space
        self.chosen = list(self.space.parameters[0].cases()) if self.space.listed else []
        if only is not None:
            self.chosen = [name for name in self.chosen if name in only]
        self.refused: dict[str, str] = {}  # settings of a list that cannot be trained
        self.failures: list[str] = []
        self.succeeded = False

    def check(self) -> None:
        """Build each value of each parameter, before hours of training.

        Raises:
            UserError: where one, or all of a list, cannot be trained.
        """
        if not self.left():
            return
        named = {
            str(case) if self.space.listed else f"{parameter.name} {case}": overrides
            for parameter in self.space.parameters
            for case, overrides in parameter.cases().items()
            if not self.space.listed or case in self.chosen
        }
        named = {"the recipe": []} | named
        say(f"checking {len(named)} configurations")
        words = [merged([*self.setting.run_words(), *overrides]) for overrides in named.values()]
        try:
            errors = check(words, self.setting.folder / "logs" / "check.log")
        except TrialFailed as error:
            raise UserError(f"the configurations cannot be checked: {error}") from error
        found = {name: error for name, error in zip(named, errors, strict=True) if error}
        if "the recipe" in found:
            raise UserError(found["the recipe"])
        if found and not self.space.listed:
            name, reason = next(iter(found.items()))
            raise UserError(f"{name} cannot be trained: {reason}")
        for name, reason in found.items():
            say(f"{name} cannot be trained: {reason}")
        self.refused = found
        self.chosen = [name for name in self.chosen if name not in found]

    def run(self) -> None:
        """Train trials until the study has all of them.

        Raises:
            UserError: where the first trials of all fail.
        """
        if self.space.listed:
            self._retry_failed()
        while True:
            revive(self.study, self.worker)
            with exclusive(self.setting.folder):
                if not self.left():
                    break
                self._enqueue()
            before = len(self.failures)
            self.study.optimize(self._objective, n_trials=1, catch=(NotTrained,))
            if len(self.failures) == before or self.space.listed:
                continue
            if len(self.failures) >= FAILURES and not self.succeeded:
                raise UserError(f"the first {FAILURES} trials failed, the last one: "
                                f"{self.failures[-1]}")  # fmt: skip
        others = sum(trial.state.name == "RUNNING" for trial in counted(self.study))
        if others:
            say(f"{others} trial{'s' * (others != 1)} still running in other processes")

    def left(self) -> bool:
        """Whether there is a trial to begin, or to resume."""
        trials = counted(self.study)
        if any(trial.state.name == "WAITING" for trial in trials):
            return True
        if self.space.listed:
            return bool(self._unlisted(trials)) and len(trials) < (self.setting.trials or math.inf)
        return len(trials) < self.setting.wanted

    def result(self) -> int:
        """List the failures on stderr. Returns the exit code."""
        for name, reason in self.refused.items():
            say(f"failed: {name}: {reason}")
        for reason in self.failures:
            say(f"failed: {reason}")
        values = any(trial.value is not None for trial in self._finished())
        return 2 if self.refused or not values or (self.failures and self.space.listed) else 0

    def _finished(self) -> list[FrozenTrial]:
        return [trial for trial in counted(self.study) if trial.state.name == "COMPLETE"]

    def _unlisted(self, trials: Sequence[FrozenTrial]) -> list[str]:
        begun = {trial.user_attrs.get("label") for trial in trials}
        return [name for name in self.chosen if name not in begun]

    def _retry_failed(self) -> None:
        with exclusive(self.setting.folder):
            for trial in counted(self.study):
                if trial.state.name == "FAIL" and trial.user_attrs.get("label") in self.chosen:
                    give_up(self.study, trial)

    def _enqueue(self) -> None:
        """Queue the next of a list, and the recipe as the first trial of a space."""
        trials = counted(self.study)
        if any(trial.state.name == "WAITING" for trial in trials):
            return
        if self.space.listed:
            name = self._unlisted(trials)[0]
            self.study.enqueue_trial({self.space.parameters[0].name: name}, {"label": name})
        elif not trials:
            self.study.enqueue_trial(self.own or {}, {"recipe": True})

    def _objective(self, trial: Trial) -> float:
        """Train a trial; what fails is an exception that Optuna records."""
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
        except BaseException:  # interrupted: the next process resumes it
            give_up(self.study, self.study.get_trials(deepcopy=False)[trial.number])
            raise
        self.succeeded = True
        say(f"{begun.name}: {begun.told}")
        return value


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
        label = trial.user_attrs.get("label")
        self.name = label or f"trial {first_number(self.frozen)}"
        self.place = label or f"{first_number(self.frozen):04d}"
        self.standing: Standing | None = None
        self.reason = ""
        self.pruned = False

    @property
    def told(self) -> str:
        """The standing in words."""
        known = self.standing
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
        label = trial.user_attrs.get("label")
        if label is None:
            surplus = len(earlier) >= self.setting.wanted
        else:
            surplus = any(t.user_attrs.get("label") == label for t in earlier)
        if surplus:
            trial.set_user_attr("surplus", True)
            raise NotTrained("another process has the last trial", counts=False)
        drawn: list[str] = []
        if not (trial.user_attrs.get("recipe") and self.search.own is None):
            for parameter in space.parameters:
                drawn += parameter.suggest(trial)
        self.overrides = drawn
        trial.set_user_attr("overrides", drawn)
        trial.set_user_attr("place", self.place)
        what = "the recipe as it is" if trial.user_attrs.get("recipe") else " ".join(drawn)
        total = "" if space.listed else f" of {self.setting.wanted}"
        say(f"{self.name} ({len(earlier) + 1}{total}): {what or 'no change'}")

    def trained(self) -> float:
        """Train, and return the last metric.

        Raises:
            NotTrained: where there is none.
            TrialPruned: where others are better.
        """
        twin = self._twin()
        if twin is not None:
            for key in ("standings", "place"):
                self.trial.set_user_attr(key, twin.user_attrs.get(key))
            say(f"{self.name}: the same settings as trial {twin.number}, which is not repeated")
            if twin.value is None or twin.state.name == "PRUNED":
                raise TrialPruned
            return twin.value
        job = Job(
            merged([*self.setting.run_words(), *self.overrides]),
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

    def _twin(self) -> FrozenTrial | None:
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
