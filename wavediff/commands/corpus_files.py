"""The files of a corpus: one after the other here, or on a Ray cluster, whose nodes see them."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from pathlib import Path

from tqdm import tqdm

from wavediff.commands.corpus import Outcome, Pair, Work, quietly
from wavediff.commands.manifest import Manifest, seconds_of
from wavediff.commands.progress import Bar
from wavediff.commands.ray_workers import MOST_TRIES, Recipe, on_cluster
from wavediff.errors import first_time
from wavediff.files import remove_left_over
from wavediff.inputs import expanded

Answer = tuple[dict[Path, Outcome], list[str]]  # and what was told on stderr


def one_by_one(work: Work, pairs: Sequence[Pair], manifest: Manifest) -> dict[Path, str]:
    """Work on files in this process; prints the outputs as they come.

    Returns:
        A sentence for each output that failed.
    """
    failures: dict[Path, str] = {}
    for source, target in Bar(pairs, unit="file", delay=1, disable=len(pairs) < 2):
        outcome = work([(source, target)])[target]
        if outcome.error is None:
            tqdm.write(str(target))
        else:
            failures[target] = outcome.error
        manifest.add(source, target, outcome)
    return failures


def on_ray(
    arguments: argparse.Namespace,
    make: Callable[[argparse.Namespace], Work],
    pairs: Sequence[Pair],
    manifest: Manifest,
    at_once: int = 1,
) -> dict[Path, str]:
    """Work on files on the cluster of ``--ray``; prints the outputs as they come.

    Args:
        arguments: of the command.
        make: loads the model, on a node.
        pairs: (input, output), names that all nodes see.
        manifest: to which the results are added.
        at_once: files that a worker is given.

    Returns:
        A sentence for each output that failed.
    """
    given = {Path(target).absolute(): (source, target) for source, target in pairs}
    files = [(source.absolute(), target.absolute()) for source, target in pairs]
    tasks = [tuple(files[k : k + at_once]) for k in range(0, len(files), at_once)]
    failures: dict[Path, str] = {}
    stdout = sys.stdout  # on which Ray would tell of nodes that are lost
    results = on_cluster(arguments.ray, recipe(arguments, make), tasks)
    try:
        with (
            contextlib.redirect_stdout(sys.stderr),
            contextlib.closing(results) as done,
            Bar(total=len(files), unit="file", delay=1) as bar,
        ):
            for task, answer in done:
                outcomes, told = _ended(task) if answer is None else answer
                for line in told:
                    if first_time(line := _as_given(line, task, given)):
                        tqdm.write(line, file=sys.stderr)
                for place, outcome in outcomes.items():
                    source, target = given[place]
                    if outcome.error is None:
                        tqdm.write(str(target), file=stdout)
                    else:
                        sentence = _as_given(outcome.error, task, given)
                        outcome = Outcome(None, outcome.wall, sentence)
                        failures[target] = sentence
                    manifest.add(source, target, outcome)
                stdout.flush()
                bar.update(len(outcomes))
    finally:  # what workers that were ended have left
        remove_left_over.cache_clear()
        for folder in {target.parent for _, target in pairs}:
            remove_left_over(folder)
    return failures


def recipe(
    arguments: argparse.Namespace, make: Callable[[argparse.Namespace], Work]
) -> Recipe[tuple[Pair, ...], Answer]:
    """What the workers of a command are, which has --threads and --device or neither."""
    return Recipe(
        partial(_worker, make),
        for_nodes(arguments),
        vars(arguments).get("threads") or 1,
        gpu=vars(arguments).get("device") in ("auto", "cuda"),
        workers=arguments.workers,
        split=lambda task: [(pair,) for pair in task],
    )


def for_nodes(arguments: argparse.Namespace) -> argparse.Namespace:
    """A command line whose files are found from any folder; of one thread by default."""
    arguments = copy(arguments)
    for name in ("checkpoint", "data"):
        given = vars(arguments).get(name)
        if given is not None and os.path.exists(expanded(given)):
            setattr(arguments, name, expanded(given).absolute())
    if "threads" in vars(arguments):
        arguments.threads = arguments.threads or 1
    return arguments


def _worker(
    make: Callable[[argparse.Namespace], Work], arguments: argparse.Namespace
) -> Callable[[Sequence[Pair], bool], Answer]:
    work = make(arguments)

    def do(pairs: Sequence[Pair], again: bool) -> Answer:
        finished = {}
        if again and not arguments.overwrite:  # by a worker that was lost before it said so
            finished = {t: Outcome(seconds_of(s, t)) for s, t in pairs if t.exists()}
        outcomes, told = quietly(work, [pair for pair in pairs if pair[1] not in finished])
        return finished | outcomes, told

    return do


def _ended(task: Sequence[Pair]) -> Answer:
    ((source, target),) = task
    sentence = (
        f"{source}: {MOST_TRIES} workers ended at it (out of memory, or a fault of a library): "
        "Ray's logs have more"
    )
    return {target: Outcome(error=sentence)}, []


def _as_given(text: str, task: Sequence[Pair], given: dict[Path, Pair]) -> str:
    """A message with the files called as on the command line."""
    for source, target in task:
        text = text.replace(str(source), str(given[target][0]))
        text = text.replace(str(target), str(given[target][1]))
    return text
