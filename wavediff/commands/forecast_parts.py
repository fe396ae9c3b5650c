"""The forecast of many items on a Ray cluster, in parts that are kept until the table is whole."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from wavediff import __version__
from wavediff.commands.corpus import Outcome
from wavediff.commands.corpus_files import for_nodes
from wavediff.commands.manifest import Manifest
from wavediff.commands.outputs import report_failures
from wavediff.commands.progress import Bar
from wavediff.commands.ray_workers import MOST_TRIES, Recipe, on_cluster
from wavediff.commands.series_arguments import report, series_options
from wavediff.errors import UserError, first_time, sentence
from wavediff.files import atomic_path
from wavediff.inputs import expanded
from wavediff.tasks.names import find_checkpoint

if TYPE_CHECKING:
    from wavediff.series.forecaster import Forecaster

PART = 16  # items, whatever the cluster is, so that the result does not depend on it
SETTINGS = "settings.json"
# what a forecast does not depend on
ELSEWHERE = ("output", "overwrite", "ray", "workers", "manifest", "threads", "device")

Part = tuple[tuple[int, ...], Path]  # numbers of items, and the file of their quantiles
# seconds that it took, what is wrong, and what is told
Answer = tuple[float | None, str | None, list[str]]
LOST = f"{MOST_TRIES} workers ended at it: Ray's logs have more"


def on_ray(
    arguments: argparse.Namespace, forecaster: Forecaster, items: Sequence[int], manifest: Manifest
) -> int:
    """Forecast these items of the table that was read on the cluster of ``--ray``, and write them.

    Returns the exit code; without all items no table is written.
    """
    import numpy as np

    from wavediff.series.forecast_frames import quantiles_frame
    from wavediff.series.writing import as_columns, write_table

    series = forecaster.series
    assert series is not None
    output = arguments.output
    folder = output.with_name(f"{output.name}.parts")
    prepare(folder, settings_of(arguments))
    parts = [
        (tuple(items[first : first + PART]), folder.absolute() / f"{first // PART:06}.npz")
        for first in range(0, len(items), PART)
    ]
    missing = [part for part in parts if not part[1].exists()]
    if finished := len(parts) - len(missing):
        print(f"{finished} of {len(parts)} parts are finished already", file=sys.stderr)

    def lines(some: Sequence[Part]) -> list[tuple[Path, Path]]:
        return [(Path(series.items[k].name), output) for numbers, _ in some for k in numbers]

    manifest.begin(lines(parts), lines(missing))
    failures = []
    results = on_cluster(arguments.ray, recipe(arguments), missing)
    with (
        contextlib.redirect_stdout(sys.stderr),  # where Ray tells of nodes that are lost
        contextlib.closing(results) as done,
        Bar(total=sum(len(numbers) for numbers, _ in missing), unit="item", delay=1) as bar,
    ):
        for part, answer in done:
            wall, wrong, notes = answer or (None, LOST, [])
            for note in filter(first_time, notes):
                tqdm.write(sentence(note), file=sys.stderr)
            each = wall and wall / len(part[0])
            for item, target in lines([part]):
                manifest.add(item, target, Outcome(None, each, wrong))
            if wrong is not None:
                first, last = (series.items[k].name for k in (part[0][0], part[0][-1]))
                failures.append(f"items {first} to {last}: {wrong}")
            bar.update(len(part[0]))
    if failures:
        tqdm.write(f"{output} is not written: the same command resumes", file=sys.stderr)
        return report_failures(failures)
    found = [np.load(path) for _, path in parts]
    values = np.concatenate([part["values"] for part in found], axis=1)
    report(beside_naive(found))
    frame = quantiles_frame(series, values, arguments.quantiles, items=items, as_written=True)
    write_table(as_columns(frame, series), output)
    shutil.rmtree(folder, ignore_errors=True)
    print(output)
    return 0


def beside_naive(parts: Sequence[Any]) -> list[str]:
    """How all parts do beside seasonal naive; nothing for a model of a recipe."""
    import numpy as np

    from wavediff.series.assessment import Assessment

    if "ratio" not in parts[0]:
        return []
    windows, ratio, naive = (
        np.concatenate([part[name] for part in parts]) for name in ("windows", "ratio", "naive")
    )
    nothing = float("nan")
    horizon = parts[0]["values"].shape[2]
    whole = Assessment(horizon, 1, windows, ratio, nothing, nothing, nothing, naive, None)
    if not windows.any():
        return whole.sentences()
    return [f"on the last windows of {horizon} steps: {whole.meaning()}"]


def recipe(arguments: argparse.Namespace) -> Recipe[Part, Answer]:
    """What the workers are."""
    return Recipe(
        worker,
        for_nodes(arguments),
        arguments.threads or 1,
        gpu=arguments.device in ("auto", "cuda"),
        workers=arguments.workers,
    )


def worker(arguments: argparse.Namespace) -> Callable[[Part, bool], Answer]:
    """Load the model and read the table; what is returned forecasts a part of its items."""
    import numpy as np

    from wavediff.series.forecaster import Forecaster
    from wavediff.series.metrics import quantiles

    forecaster = Forecaster(arguments.horizon, progress=False, **series_options(arguments))
    forecaster.read(arguments.data)

    def do(part: Part, again: bool) -> Answer:
        items, path = part
        begun, told = time.monotonic(), len(forecaster.notes)
        if again and path.exists():  # by a worker that was lost before it said so
            return None, None, []
        try:
            samples = forecaster.sample(items=items)
            found: dict[str, Any] = {"values": quantiles(samples, arguments.quantiles)}
            tried = forecaster.assessment
            if tried is not None:
                found |= {"windows": tried.windows, "ratio": tried.ratio, "naive": tried.naive}
            with atomic_path(path) as temporary:
                np.savez(temporary, **found)
        except UserError as error:
            return time.monotonic() - begun, str(error), []
        return time.monotonic() - begun, None, forecaster.notes[told:]

    return do


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a forecast depends on: the options, the table, the model and the version."""

    def stamp(path: Path) -> list[Any]:
        found = path.stat()
        return [str(path.absolute()), found.st_size, found.st_mtime_ns]

    options = {key: value for key, value in vars(arguments).items() if key not in ELSEWHERE}
    found = {
        "version": __version__,
        "part": PART,
        "data": stamp(expanded(arguments.data)),
        "model": stamp(find_checkpoint(arguments.checkpoint)),
        "options": {key: str(value) for key, value in options.items()},
    }
    return found


def prepare(folder: Path, settings: dict[str, Any]) -> None:
    """See that the parts in a folder, if there are any, are of these settings.

    Raises:
        UserError: where the folder is another's.
    """
    place = folder / SETTINGS
    if folder.exists() and not place.is_file() and any(folder.iterdir()):
        raise UserError(f"{folder} is not a folder of parts: rename it, or give another OUT")
    try:
        if json.loads(place.read_text(encoding="utf-8")) == settings:
            return
        print(f"{folder} has parts of another forecast: removed", file=sys.stderr)
        for path in folder.glob("*.npz"):
            path.unlink()
    except (OSError, ValueError):
        pass
    with atomic_path(place) as temporary:
        temporary.write_text(json.dumps(settings), encoding="utf-8")
