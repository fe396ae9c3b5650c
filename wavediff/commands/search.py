"""`wavediff search`: search hyper-parameters of a recipe."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavediff.cli import run
from wavediff.commands.arguments import Parser, name_list, new_folder, positive_int, whole
from wavediff.commands.outputs import interruptible, require_writable
from wavediff.errors import UserError, listed, shorten
from wavediff.files import exclusive

if TYPE_CHECKING:
    from wavediff.commands.search_space import Space

DESCRIPTION = """\
Search hyper-parameters of a recipe with Optuna. Each trial is a training run with a folder of its
own, compared with the others by trainer.best on the validation files, and pruned where it is among
the worse two thirds. The same command resumes a search that was stopped; several processes or
machines may work on one storage.
"""

EXAMPLES = """\
examples:
  wavediff search recipe=tiny space=learning_rate --trials 20
  wavediff search recipe=kathleen space=[learning_rate,width] --budget seconds trainer.max_minutes=9
  wavediff search recipe=kathleen space=my-space.yaml --storage sqlite:///study.db -o runs/search
  wavediff search recipe=kathleen space=recipes/kathleen/sweep.yaml --budget seconds -o runs/sweep
  wavediff train recipe=runs/search/best.yaml

A space maps overrides to {low: A, high: B, log: true, step: S} or {choices: [A, B]}, as the files
in conf/space. With `relative: true`, values are multiples of the recipe's. A list, {list: {NAME:
[KEY=VALUE]}}, names settings that are all trained, without pruning. The first trial of a space is
the recipe as it is.
With --budget seconds, a trial has trainer.max_minutes of training, in which the learning rate
decays; only the time of the steps counts. stdout gets the paths of the report: a page, a table
(CSV), figures and the best configuration as a recipe.
"""
# a search has many runs without supervision; the command line may say otherwise
USUAL = ["trainer.progress=false", "trainer.keep_last=1", "trainer.checkpoint_minutes=2"]
SEEDS = 2**32
MOST_RUNGS = 9


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    arguments = parse(argv)
    if importlib.util.find_spec("optuna") is None:
        raise UserError("Optuna is not installed: pip install 'wavediff[search]'")

    from wavediff.commands import search_space
    from wavediff.commands.composing import composed, plain_values

    recipe, spaces, words = _sorted(arguments.words)
    space = search_space.read_space(spaces)
    clash = {p.name for p in space.parameters} & {search_space.key_of(word) for word in words}
    if clash:
        raise UserError(f"{min(clash)} is in space={shorten(spaces)} too: leave one of them out")
    words = search_space.merged([f"recipe={recipe}", *USUAL, *space.common, *words])
    config = composed(words)
    plain = plain_values(config)
    space = space.absolute(config)
    seconds = _seconds(arguments.budget, plain["trainer"])
    _require_names(arguments.only, space)
    own = _checked_by_word(space, words, plain)

    from wavediff.commands import search_study
    from wavediff.commands.search_loop import Search
    from wavediff.commands.search_report import write_report
    from wavediff.commands.search_setting import Setting, run_words

    study_name = arguments.study or f"{plain['name']}-{'-'.join(Path(n).stem for n in space.names)}"
    folder = arguments.output or Path("runs") / "search" / study_name
    require_writable(folder)
    words = run_words(words, seconds)
    with interruptible():
        metrics, refused = _built(space, words, arguments.only, folder)
        trainer, usual = plain["trainer"], [word for word in USUAL if word not in arguments.words]
        setting = Setting(
            folder, recipe, words, space, trainer["best"], metrics, seconds, trainer["max_steps"],
            search_study.rungs(arguments.rungs), usual, argv,
        )  # fmt: skip
        storage = arguments.storage or f"sqlite:///{folder / 'study.db'}"
        worker, seed = search_study.Worker(folder), arguments.seed
        with search_study.errors_of(storage), worker.alive():
            study = search_study.open_study(
                storage, study_name, setting.higher, seed,
                "none" if space.listed else arguments.pruner, arguments.rungs,
            )  # fmt: skip
            search_study.keep_settings(study, setting.shared())
            search = Search(
                study, setting, worker, own, arguments.trials, arguments.only, seed, refused
            )
            try:
                search.run()
            finally:
                with exclusive(folder):  # the last one knows all trials
                    paths = write_report(study, setting, refused)
    for path in paths:
        print(path)
    return search.result()


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("search", DESCRIPTION, EXAMPLES)
    add = parser.add_option
    parser.add_argument(
        "words", nargs="+", metavar="KEY=VALUE", help="recipe=NAME space=SPACE and overrides"
    )
    add("--trials", positive_int, "N", "of the study in all (default: 50; all of a list)")
    add("--storage", str, "URL", "of Optuna (default: sqlite:///FOLDER/study.db)")
    add("--study", str, "NAME", "in the storage (default: after the recipe and the space)")
    parser.add_argument(
        "-o", "--output", type=new_folder, metavar="FOLDER",
        help="of the runs and the report (default: runs/search/STUDY)",
    )  # fmt: skip
    parser.add_argument(
        "--budget",
        choices=["steps", "seconds"],
        default="steps",
        help="trainer.max_steps, or trainer.max_minutes of the steps alone (default: steps)",
    )
    parser.add_argument(
        "--pruner",
        choices=["halving", "hyperband", "none"],
        default="halving",
        help="halving: successive halving (default); hyperband: which prunes some trials later",
    )
    add("--rungs", whole(1, MOST_RUNGS), "N", "comparisons: 3 after 1/9, 1/3 and all of the budget",
        default=3)  # fmt: skip
    add("--seed", whole(0, SEEDS - 1), "N", "of the sampler", default=0)
    add("--only", name_list, "NAME,NAME", "settings of a list (default: all)")
    return parser.parse_intermixed_args(argv)


def _sorted(words: Sequence[str]) -> tuple[str, str, list[str]]:
    """Recipe, spaces and the other words. Raises UserError where one of the first lacks."""
    from wavediff.commands.search_space import OWN, key_of

    found: dict[str, str] = {}
    rest = []
    for word in words:
        key, equals, value = word.partition("=")
        if key in ("recipe", "space") and value:
            found[key] = value
        elif not equals and not key.startswith("~"):
            raise UserError(f"cannot read {shorten(word)!r}: write KEY=VALUE")
        elif key_of(word) in OWN or word.startswith("~"):
            raise UserError(f"{shorten(word)}: the search sets {key_of(word)}: leave it out")
        else:
            rest.append(word)
    for key in ("recipe", "space"):
        if key not in found:
            raise UserError(
                f"give {key}=NAME, as in wavediff search recipe=tiny space=learning_rate"
            )
    return found["recipe"], found["space"], rest


def _seconds(budget: str, trainer: dict[str, Any]) -> float | None:
    if budget == "steps":
        return None
    minutes = trainer["max_minutes"]
    if minutes is None:
        raise UserError("--budget seconds needs the time of a trial: add trainer.max_minutes=M")
    return 60 * float(minutes)


def _require_names(only: Sequence[str] | None, space: Space) -> None:
    if only is None:
        return
    if not space.listed:
        raise UserError("--only is for a list of settings: leave it out")
    known = space.parameters[0].cases()
    unknown = [name for name in only if name not in known]
    if unknown:
        raise UserError(f"the list has no {listed(unknown)}: give --only of {listed(known, 40)}")


def _checked_by_word(
    space: Space, words: Sequence[str], plain: dict[str, Any]
) -> dict[str, Any] | None:
    """Compose each value of each parameter. Returns those of the recipe, None if one is not there.

    Raises:
        UserError: for an override that the recipe does not take.
    """
    from wavediff.commands.composing import composed, plain_values
    from wavediff.commands.search_space import merged

    own: dict[str, Any] = {}
    config = composed(words)
    for parameter in space.parameters:
        same = []
        for case, overrides in parameter.cases().items():
            try:
                values = plain_values(composed(merged([*words, *overrides])))
            except UserError as error:
                if space.listed:  # told with the others, by the check of what it builds
                    continue
                raise UserError(
                    f"{parameter.source}: {parameter.name}: {shorten(' '.join(overrides))}: {error}"
                ) from error
            if values == plain:
                same.append(case)
        value = parameter.own(config, same)
        if value is not None:
            own[parameter.name] = value
    if len(own) == len(space.parameters):
        return own
    absent = [p.name for p in space.parameters if p.name not in own]
    if not space.listed:
        print(f"search: the recipe's own {listed(absent)} is not in the space: the first trial is "
              "the recipe all the same", file=sys.stderr)  # fmt: skip
    return None


def _built(
    space: Space, words: Sequence[str], only: Sequence[str] | None, folder: Path
) -> tuple[dict[str, tuple[str, bool]], dict[str, str]]:
    """Build each value of each parameter, before hours of training.

    Returns:
        What is known of metrics, and the settings of a list that cannot be trained, with reasons.

    Raises:
        UserError: where the recipe, or a value of a space, cannot be trained.
    """
    from wavediff.commands.search_space import merged
    from wavediff.commands.search_trial import TrialFailed, check

    named: dict[str, list[str]] = {"the recipe": []}
    for parameter in space.parameters:
        for case, overrides in parameter.cases().items():
            if space.listed and only is not None and case not in only:
                continue
            named[str(case) if space.listed else f"{parameter.name} {case}"] = overrides
    sets = [merged([*words, *overrides]) for overrides in named.values()]
    print(f"search: checking {len(named)} configurations", file=sys.stderr, flush=True)
    try:
        checked = check(sets, folder / "logs" / "check.log")
    except TrialFailed as error:
        raise UserError(f"the configurations cannot be checked: {error}") from error
    refused = {n: reason for n, reason in zip(named, checked.errors, strict=True) if reason}
    if "the recipe" in refused:
        raise UserError(refused["the recipe"])
    for name, reason in refused.items():
        if not space.listed:
            raise UserError(f"{name} cannot be trained: {reason}")
        print(f"search: {name} cannot be trained: {reason}", file=sys.stderr)
    return checked.metrics, refused


if __name__ == "__main__":
    sys.exit(run(main))
