"""List of runs for `tools/sweep.py`, and the record of each run."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from wavediff.errors import UserError
from wavediff.evaluation.metrics import METRICS
from wavediff.files import atomic_path
from wavediff.training.checkpoint import RunCheckpoints

Record = dict[str, Any]  # of a run: overrides, max_steps by fraction of the time, results

# defaults of a sweep, which has many runs without supervision; a list may replace them
USUAL = ["trainer.progress=false", "trainer.keep_last=1", "trainer.checkpoint_minutes=2"]
# keys that the sweep sets
OWN = (
    "recipe", "run_dir", "seed", "trainer.max_steps", "trainer.max_minutes", "trainer.restart",
    "trainer.validate_every", "trainer.threads",
)  # fmt: skip
AUDIO, LOGS = "audio", "logs"  # folders besides those of the runs


@dataclass(frozen=True)
class Measuring:
    """Section `measure` of a list."""

    files: int = 16
    seconds: float | None = 10
    steps: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16])
    measures: list[str] = field(default_factory=lambda: ["pesq_wb"])
    ways: dict[str, list[str]] = field(default_factory=lambda: {"as shipped": []})

    def points(self, share: float) -> list[tuple[str, int]]:
        """(way, steps) to measure at this fraction of the time."""
        return list(product(self.ways, self.steps if share == 1 else self.steps[:1]))


@dataclass(frozen=True)
class Sweep:
    """A list with the options of the command line."""

    recipe: str
    runs: dict[str, list[str]]
    minutes: float
    overrides: list[str]
    curve: list[float]
    measure: Measuring
    seed: int
    threads: int | None
    out: Path

    @property
    def base(self) -> str:
        return next(iter(self.runs))

    def overrides_of(self, name: str) -> list[str]:
        """Overrides of a run with its recipe; the last value of a key counts."""
        words = [f"recipe={self.recipe}", *USUAL, *self.overrides, *self.runs[name]]
        return list({word.partition("=")[0]: word for word in words}.values())

    def settings(self) -> dict[str, Any]:
        """Settings that all runs in OUT share."""
        return {k: v for k, v in asdict(self).items() if k not in ("runs", "out")}


def read_list(
    where: Path,
    out: Path,
    overrides: Sequence[str] = (),
    minutes: float | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> Sweep:
    """Read a list, with further overrides, and other minutes if not None.

    Raises UserError for a list that cannot be read or is invalid.
    """
    try:
        values = OmegaConf.to_container(OmegaConf.load(where), resolve=True)
    except OSError as error:
        raise UserError(f"cannot read {where} ({error.strerror}): give a list (YAML)") from error
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        lines = " ".join(str(error).split())
        raise UserError(f"{where} is not valid YAML: {lines}") from error
    if not isinstance(values, dict):
        raise UserError(f"{where} is not a list of runs: it needs recipe, minutes and runs")
    _known(where, values, ("recipe", "minutes", "overrides", "curve", "measure", "runs"))
    missing = [key for key in ("recipe", "minutes", "runs") if values.get(key) is None]
    if missing:
        raise UserError(f"{where} lacks {', '.join(missing)}")
    runs = values["runs"]
    _check(where, isinstance(runs, dict) and runs, "runs must be {NAME: [KEY=VALUE, ...], ...}")
    for name, words in runs.items():
        good = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][\w.-]*", name)
        _check(where, good and name not in (AUDIO, LOGS), f"a run cannot be called {name!r}")
        _check(where, _strings(words), f"{name} must be a list of KEY=VALUE")
    _check(where, not runs[next(iter(runs))], "the first run is the base, without overrides: []")
    common = values.get("overrides") or []
    _check(where, _strings(common), "overrides must be a list of KEY=VALUE")
    for word in [*common, *overrides, *(word for words in runs.values() for word in words)]:
        key, equals, _ = word.partition("=")
        if not equals or not key:
            raise UserError(f"cannot read {word!r}: write KEY=VALUE")
        if key.lstrip("+~") in OWN:
            raise UserError(f"{word}: the sweep sets {key}; see --help for its options")
    minutes = values["minutes"] if minutes is None else minutes
    _check(where, _number(minutes) and minutes > 0, f"minutes must be above 0, not {minutes!r}")
    curve = values.get("curve") or [0.125, 0.25, 0.5, 0.75, 1]
    rising = isinstance(curve, list) and all(map(_number, curve)) and curve == sorted(set(curve))
    _check(
        where, rising and curve[0] > 0 and curve[-1] == 1,
        f"curve must be increasing fractions above 0, the last one 1, not {curve!r}",
    )  # fmt: skip
    return Sweep(
        str(values["recipe"]), dict(runs), float(minutes), [*common, *overrides],
        [float(share) for share in curve], _measuring(where, values.get("measure") or {}),
        seed, threads, out,
    )  # fmt: skip


def _measuring(where: Path, values: Any) -> Measuring:
    _check(where, isinstance(values, dict), "measure must hold files, steps, measures, ...")
    _known(where, values, [f.name for f in fields(Measuring)], "measure.")
    found = Measuring(**values)
    whole = type(found.files) is int and found.files > 0
    _check(where, whole, f"measure.files must be 1 or more, not {found.files!r}")
    length = found.seconds is None or (_number(found.seconds) and found.seconds > 0)
    _check(where, length, f"measure.seconds must be above 0, or null, not {found.seconds!r}")
    steps = isinstance(found.steps, list) and found.steps
    steps = steps and all(type(n) is int and n > 0 for n in found.steps)
    _check(where, steps, f"measure.steps must be a list of 1 or more, not {found.steps!r}")
    unknown = sorted(set(found.measures) - set(METRICS)) if _strings(found.measures) else ["?"]
    _check(
        where, found.measures and not unknown,
        f"measure.measures must be of {', '.join(METRICS)}, not {found.measures!r}",
    )  # fmt: skip
    ways = found.ways
    good = isinstance(ways, dict) and ways and all(isinstance(o, list) for o in ways.values())
    good = good and len({slug(way) for way in ways}) == len(ways)
    _check(where, good, "measure.ways must be {NAME: [OPTION, ...], ...}")
    ways = {str(way): [str(option) for option in options] for way, options in ways.items()}
    steps, measures = (list(dict.fromkeys(v)) for v in (found.steps, found.measures))
    return Measuring(found.files, found.seconds, steps, measures, ways)


def _known(where: Path, values: Mapping, keys: Sequence[str], prefix: str = "") -> None:
    unknown = [str(key) for key in values if key not in keys]
    if unknown:
        raise UserError(
            f"{where}: unknown key {prefix}{unknown[0]}; the keys are "
            f"{', '.join(prefix + key for key in keys)}"
        )


def _check(where: Path, good: object, sentence: str) -> None:
    if not good:
        raise UserError(f"{where}: {sentence}")


def _strings(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def slug(way: object) -> str:
    return re.sub(r"\W+", "-", str(way))


def read_record(sweep: Sweep, name: str) -> Record:
    """Record of a run. Raises UserError if the run has other overrides."""
    try:
        record = json.loads((sweep.out / name / "sweep.json").read_text())
    except (OSError, ValueError):
        record = {"overrides": sweep.runs[name], "max_steps": {}, "measured": []}
    if record["overrides"] != sweep.runs[name]:
        begun = RunCheckpoints(sweep.out / name, 1).paths()
        if begun or record["measured"]:
            raise UserError(
                f"{sweep.out / name} was trained with [{', '.join(record['overrides'])}], and the "
                "list has changed: give the run another name, or remove that folder"
            )
        record["overrides"] = sweep.runs[name]
    return record


def write_record(sweep: Sweep, name: str, record: Record) -> None:
    with atomic_path(sweep.out / name / "sweep.json") as path:
        path.write_text(json.dumps(record, indent=1) + "\n")


def unmeasured(sweep: Sweep, record: Record, share: float) -> list[tuple[str, int]]:
    """(way, steps) that remain to be measured at this fraction of the time."""
    done = {(m["way"], m["steps"]) for m in record["measured"] if m["share"] == share}
    return [point for point in sweep.measure.points(share) if point not in done]
