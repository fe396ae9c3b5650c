"""What all processes of a search share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavediff.commands.search_space import Space, merged
from wavediff.commands.search_study import FACTOR

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

MOST_STEPS = 1_000_000  # trainer.max_steps where the budget is a time: never reached
DEFAULT_TRIALS = 50


@dataclass(frozen=True)
class Setting:
    """What all processes of a study share."""

    folder: Path
    recipe: str
    words: list[str]  # of every trial
    space: Space
    metric: str
    seconds: float | None
    max_steps: int
    shares: list[float]
    trials: int | None
    usual: list[str]  # words that serve the search alone
    argv: list[str] | None

    @property
    def wanted(self) -> int:
        """How many trials a study of a space has."""
        return self.trials or DEFAULT_TRIALS

    @property
    def higher(self) -> bool:
        """Whether a higher metric is better; what is not a metric of audio is an error."""
        known = metrics().get(self.metric)
        return known is not None and known.higher_is_better

    @property
    def label(self) -> str:
        """The metric's name."""
        known = metrics().get(self.metric)
        return self.metric if known is None else known.label

    @property
    def budget(self) -> str:
        """The budget of a trial in words."""
        if self.seconds is None:
            return f"{self.max_steps:,} steps"
        return f"{self.seconds / 60:g} minutes of training"

    def unit(self, rung: int) -> int:
        """What Optuna calls the step of a rung: the budget in units of the first."""
        return FACTOR**rung

    def run_words(self) -> list[str]:
        """Return the overrides of every trial, with its budget."""
        limits = [] if self.seconds is None else [f"trainer.max_steps={MOST_STEPS}"]
        return merged([*self.words, *limits, "trainer.max_minutes=null"])

    def shared(self) -> dict[str, Any]:
        """Return what must be the same in every process of a study."""
        return {
            "recipe": self.recipe,
            "overrides": sorted(self.words),
            "space": self.space.as_settings(),
            "budget": self.budget,
            "rungs": len(self.shares),
        }


def metrics() -> Mapping[str, Any]:
    """Return the metrics of audio by name."""
    from wavediff.evaluation.metrics import METRICS

    return METRICS


def last_standing(trial: FrozenTrial) -> Mapping[str, Any]:
    """Return the last standing of a trial, empty where it had none."""
    return (trial.user_attrs.get("standings") or [{}])[-1]
