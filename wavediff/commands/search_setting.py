"""What all processes of a search share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavediff.commands.search_space import Space, merged
from wavediff.commands.search_study import FACTOR

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

MOST_STEPS = 1_000_000  # trainer.max_steps where the budget is a time: never reached


@dataclass(frozen=True)
class Setting:
    """What all processes of a study share."""

    folder: Path
    recipe: str
    words: list[str]  # of every trial, with its budget
    space: Space
    metric: str
    metrics: dict[str, tuple[str, bool]]  # label and whether higher is better, by name
    seconds: float | None
    max_steps: int
    shares: list[float]
    usual: list[str]  # words that serve the search alone
    argv: list[str] | None

    @property
    def higher(self) -> bool:
        """Whether a higher metric is better; what is not a metric of audio is an error."""
        return self.metrics.get(self.metric, ("", False))[1]

    @property
    def label(self) -> str:
        """The metric's name."""
        return self.label_of(self.metric)

    def label_of(self, metric: str) -> str:
        """Return a metric's name for people."""
        return self.metrics.get(metric, (metric, False))[0]

    @property
    def budget(self) -> str:
        """The budget of a trial in words."""
        if self.seconds is None:
            return f"{self.max_steps:,} steps"
        return f"{self.seconds / 60:g} minutes of training"

    def unit(self, rung: int) -> int:
        """What Optuna calls the step of a rung: the budget in units of the first."""
        return FACTOR**rung

    def shared(self) -> dict[str, Any]:
        """Return what must be the same in every process of a study."""
        return {
            "recipe": self.recipe,
            "overrides": sorted(self.words),
            "space": self.space.as_settings(),
            "budget": self.budget,
            "rungs": len(self.shares),
        }


def run_words(words: Sequence[str], seconds: float | None) -> list[str]:
    """Return the overrides of every trial, with its budget: of time where ``seconds`` is given."""
    limits = [] if seconds is None else [f"trainer.max_steps={MOST_STEPS}"]
    return merged([*words, *limits, "trainer.max_minutes=null"])


def last_standing(trial: FrozenTrial) -> Mapping[str, Any]:
    """Return the last standing of a trial, empty where it had none."""
    return (trial.user_attrs.get("standings") or [{}])[-1]
