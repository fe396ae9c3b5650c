"""What `wavediff search` searches: spaces of overrides, and lists of named sets of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavediff.commands.composing import read_mapping
from wavediff.errors import UserError, shorten
from wavediff.files import conf_files

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from optuna.trial import Trial

RUN = "run"  # the parameter of a list
OWN = ("recipe", "run_dir", "name", "trainer.restart", "trainer.accept_changes")  # of the search
COMMON = (  # what all trials of a search have alike
    "trainer.max_steps", "trainer.max_minutes", "trainer.validate_every", "trainer.best",
    "trainer.validate_files", "trainer.validate_seconds", "trainer.measures",
)  # fmt: skip
WHAT = "a mapping of overrides to {low: A, high: B} or {choices: [A, B]}"


@dataclass(frozen=True)
class Range:
    """A number of a trial, integer if both ends are."""

    name: str
    low: float
    high: float
    log: bool = False
    step: float | None = None
    relative: bool = False
    source: str = ""

    def suggest(self, trial: Trial) -> list[str]:
        """Return the overrides of a trial."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            step = 1 if self.step is None else int(self.step)
            value: float = trial.suggest_int(
                self.name, self.low, self.high, step=step, log=self.log
            )
        else:
            low, high = float(self.low), float(self.high)
            value = trial.suggest_float(self.name, low, high, step=self.step, log=self.log)
        return [f"{self.name}={value!r}"]

    def cases(self) -> dict[Any, list[str]]:
        """Return the overrides of both ends, to check them."""
        return {end: [f"{self.name}={end!r}"] for end in (self.low, self.high)}

    def values(self) -> list[Any] | None:
        """Return all values, None where they are not countable."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return list(range(self.low, self.high + 1, int(self.step or 1)))
        if self.step is None:
            return None
        count = math.floor((self.high - self.low) / self.step + 1e-9)
        return [self.low + k * self.step for k in range(count + 1)]

    def own(self, config: DictConfig, same: Sequence[Any]) -> float | None:
        """Return the value of the recipe, None where the range does not have it."""
        value = _selected(config, self.name)
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        if not _number(value) or not self.low <= value <= self.high:
            return None
        if whole and value != int(value):
            return None
        if self.step is not None and abs((value - self.low) / self.step % 1) > 1e-9:
            return None
        return int(value) if whole else float(value)

    def absolute(self, config: DictConfig) -> Range:
        """Return the range with multiples of the recipe's value as values."""
        if not self.relative:
            return self
        low, high = (_multiple(self, config, end) for end in (self.low, self.high))
        return Range(self.name, low, high, self.log, self.step, source=self.source)


@dataclass(frozen=True)
class Choices:
    """Sets of overrides by their labels, of which a trial takes one."""

    name: str
    overrides: Mapping[str, list[str]]
    factors: Sequence[float] | None = None
    source: str = ""

    def suggest(self, trial: Trial) -> list[str]:
        """Return the overrides of a trial."""
        return self.overrides[trial.suggest_categorical(self.name, list(self.overrides))]

    def cases(self) -> Mapping[Any, list[str]]:
        """Return the overrides of each label, to check them."""
        return self.overrides

    def values(self) -> list[Any]:
        """Return all labels."""
        return list(self.overrides)

    def own(self, config: DictConfig, same: Sequence[Any]) -> str | None:
        """Return the first label whose configuration is that of the recipe; None without any."""
        return next(iter(same), None)

    def absolute(self, config: DictConfig) -> Choices:
        """Return the choices with multiples of the recipe's value as values."""
        if self.factors is None:
            return self
        values = [written(_multiple(self, config, factor)) for factor in self.factors]
        overrides = {value: [f"{self.name}={value}"] for value in values}
        return Choices(self.name, overrides, source=self.source)


Parameter = Range | Choices


@dataclass(frozen=True)
class Space:
    """All parameters of a search, and the overrides that every trial has.

    ``listed`` is whether it is a list: each label of its only parameter is one trial.
    """

    names: list[str]
    parameters: list[Parameter]
    common: list[str]
    listed: bool

    def as_settings(self) -> list[str]:
        """What must not change within a study; a list may grow."""
        return [RUN] if self.listed else [_described(p) for p in self.parameters]

    def grid(self, most: int) -> list[dict[str, Any]] | None:
        """Return all combinations of values, None where there are more than ``most``."""
        values = {p.name: p.values() for p in self.parameters}
        sizes = [math.inf if v is None else len(v) for v in values.values()]
        if math.prod(sizes) > most:
            return None
        combined = product(*(v for v in values.values() if v is not None))
        return [dict(zip(values, combination, strict=True)) for combination in combined]

    def absolute(self, config: DictConfig) -> Space:
        """Return the space with multiples of the recipe's values as values."""
        parameters = [parameter.absolute(config) for parameter in self.parameters]
        return Space(self.names, parameters, self.common, self.listed)


def read_space(text: str) -> Space:
    """Read the spaces of ``space=NAME``, ``space=FILE.yaml`` or ``space=[NAME,...]``.

    Raises:
        UserError: for an unknown name, a file that cannot be read, and values that make no space.
    """
    names = [name.strip() for name in text.strip().removeprefix("[").removesuffix("]").split(",")]
    if not all(names):
        raise UserError(f"cannot read space={shorten(text)}: give space=NAME or space=[NAME,NAME]")
    parameters: dict[str, Parameter] = {}
    for name in dict.fromkeys(names):
        path = _find(name)
        values = read_mapping(path, "a space")
        if "list" in values:
            if len(names) > 1:
                raise UserError(f"{name} is a list and is not combined with other spaces")
            return _read_list(name, values)
        for key, value in values.items():
            if key in parameters:
                raise UserError(f"space={shorten(text)}: {parameters[key].source} and {name} both "
                                f"have {key}: leave one of them out")  # fmt: skip
            parameters[key] = _parameter(name, key, value)
    return Space(names, list(parameters.values()), [], False)


def key_of(word: str) -> str:
    """Return the key of an override, without the signs before it."""
    return word.partition("=")[0].lstrip("+~")


def merged(words: Sequence[str]) -> list[str]:
    """Return overrides with the last one of each key only, in the order of their first."""
    return list({key_of(word): word for word in words}.values())


def written(value: Any) -> str:
    """Return a value as Hydra reads it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{written(item)}' for key, item in value.items())}}}"
    return repr(value) if isinstance(value, float) else str(value)


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        return Path(name).expanduser()
    known = conf_files("space")
    if name not in known:
        raise UserError(
            f"there is no space {shorten(name)!r}: choose from {', '.join(known)}, or give a "
            "file ending in .yaml"
        )
    return known[name]


def _parameter(source: str, key: str, values: Any) -> Parameter:
    where = f"{source}: {shorten(key)}"
    own = key_of(key)
    if own in (*OWN, *COMMON) or key.startswith("~") or own.startswith("hydra"):
        raise UserError(f"{where} cannot be searched: the search sets it or leaves it alone")
    if not isinstance(values, dict):
        raise UserError(f"{where} is {shorten(values)!r}: a space is {WHAT}")
    if "choices" in values:
        _known(where, values, ("choices", "relative"))
        return _choices(where, source, key, values["choices"], values.get("relative", False))
    _known(where, values, ("low", "high", "log", "step", "relative"))
    low: Any = values.get("low")
    high: Any = values.get("high")
    if not (_number(low) and _number(high) and low < high):
        raise UserError(
            f"{where} has low {shorten(low)} and high {shorten(high)}: give two numbers, low below "
            "high, or choices"
        )
    log, step, relative = (
        values.get("log", False),
        values.get("step"),
        values.get("relative", False),
    )
    _flag(where, "log", log)
    _flag(where, "relative", relative)
    if log and low <= 0:
        raise UserError(f"{where} has log with low {low}: low must be above 0")
    if step is not None and not (_number(step) and 0 < step <= high - low):
        raise UserError(
            f"{where} has step {shorten(step)}: give a number above 0, up to high - low"
        )
    if step is not None and (log or relative):
        raise UserError(f"{where} has step, which does not go with log or relative: leave it out")
    if step is not None and isinstance(low, int) and isinstance(high, int) and step != int(step):
        low = float(low)
    return Range(key, low, high, log, step, relative, source)


def _choices(where: str, source: str, key: str, values: Any, relative: Any) -> Choices:
    _flag(where, "relative", relative)
    if isinstance(values, dict):
        if relative:
            raise UserError(f"{where}: relative does not go with named choices: leave it out")
        overrides = {str(label): _words(where, label, words) for label, words in values.items()}
    elif isinstance(values, list):
        labels = list(map(written, values))
        if len(set(labels)) < len(labels):
            raise UserError(f"{where} has a choice twice: {shorten(', '.join(labels))}")
        overrides = {label: [f"{key}={label}"] for label in labels}
    else:
        raise UserError(f"{where} has choices {shorten(values)!r}: give [A, B] or {{NAME: [...]}}")
    if len(overrides) < 2:
        raise UserError(
            f"{where} has {len(overrides)} choice{'s' * (not overrides)}: give two or more"
        )
    if relative and not all(_number(value) and value > 0 for value in values):
        raise UserError(f"{where} is relative: its choices must be factors above 0")
    return Choices(key, overrides, list(values) if relative else None, source)


def _read_list(source: str, values: Mapping[str, Any]) -> Space:
    _known(source, values, ("list", "overrides"))
    runs = values["list"]
    if not isinstance(runs, dict) or not runs:
        raise UserError(f"{source}: list must be {{NAME: [KEY=VALUE, ...], ...}}")
    for name in runs:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
            raise UserError(
                f"{source}: a run cannot be called {shorten(name)!r}: use letters, digits, "
                "-, _ and ."
            )
    overrides = {name: _words(source, name, words) for name, words in runs.items()}
    common = _words(source, "overrides", values.get("overrides") or [], common=True)
    return Space([source], [Choices(RUN, overrides, source=source)], common, True)


def _words(where: str, label: Any, words: Any, common: bool = False) -> list[str]:
    """Overrides of a trial, or of all trials."""
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(f"{where}: {shorten(label)} must be a list of KEY=VALUE")
    for word in words:
        key, equals, _ = word.partition("=")
        if not key or not equals or word.startswith("~"):
            raise UserError(
                f"{where}: {shorten(label)}: cannot read {shorten(word)!r}: write KEY=VALUE"
            )
        refused = OWN if common else (*OWN, *COMMON)
        if key_of(word) in refused or key_of(word).startswith("hydra"):
            raise UserError(f"{where}: {shorten(label)}: {shorten(word)}: the search sets {key}")
    return words


def _multiple(parameter: Parameter, config: DictConfig, factor: float) -> Any:
    base = _selected(config, parameter.name)
    values = base if isinstance(base, list) else [base]
    if not values or not all(map(_number, values)):
        raise UserError(
            f"{parameter.source}: {parameter.name} is relative, and the recipe's own value "
            f"({shorten(base)}) is not a number: give a space of your own"
        )
    found = [max(1, round(v * factor)) if isinstance(v, int) else v * factor for v in values]
    return found if isinstance(base, list) else found[0]


def _selected(config: DictConfig, key: str) -> Any:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        value = OmegaConf.select(config, key.lstrip("+"))
    except OmegaConfBaseException:
        return None
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _described(parameter: Parameter) -> str:
    if isinstance(parameter, Range):
        step = "" if parameter.step is None else f" by {parameter.step:g}"
        return (
            f"{parameter.name} {parameter.low} to {parameter.high}{step}" + " log" * parameter.log
        )
    words = chain.from_iterable(parameter.overrides.values())
    return f"{parameter.name}: {', '.join(parameter.overrides)} ({' '.join(words)})"


def _known(where: str, values: Mapping[str, Any], keys: Sequence[str]) -> None:
    unknown = [str(key) for key in values if key not in keys]
    if unknown:
        raise UserError(f"{where}: unknown key {shorten(unknown[0])}: use {', '.join(keys)}")


def _flag(where: str, name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise UserError(f"{where}: {name} is {shorten(value)!r}: give true or false")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
