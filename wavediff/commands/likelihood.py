"""`wavediff likelihood`: compute the log-density of recordings under a generator."""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands.arguments import (
    A_GENERATOR,
    Parser,
    device,
    path,
    positive_int,
    real,
    require_model,
    whole,
)
from wavediff.commands.outputs import interruptible, report_failures, require_results
from wavediff.commands.pipes import piped
from wavediff.commands.progress import Bar
from wavediff.errors import UserError, named
from wavediff.files import atomic_path
from wavediff.inputs import find_audio
from wavediff.tasks.names import find_checkpoint

if TYPE_CHECKING:
    from wavediff.tasks.generator import Generator

MOST_PROBES = 10_000

DESCRIPTION = """\
Compute the likelihood of recordings under a generator with its probability-flow ODE: the negative
log-density in nats, in nats and in bits per dimension (lower is more likely), and the standard
error of the nats due to the stochastic estimate of the divergence.
"""

EXAMPLES = """\
examples:
  wavediff likelihood --checkpoint runs/kathleen_prior speech/
  wavediff likelihood --checkpoint runs/drums --class snare *.wav --probes 32 --csv nats.csv

The density is that of the model's representation of the audio, at full scale +-1: for an
orthonormal one that of the waveform itself (on whole frames), for others it differs by a constant.
It is that of the data with the noise of the model's first time, --t-min, added; the density of
quantised audio is unbounded, so compare numbers of one representation and one --t-min only.

A recording is processed whole, at the model's sample rate and in one channel: memory grows with its
length. Each step takes 4 network calls. Exit code 2: some input failed.
"""


@dataclass(frozen=True)
class Row:
    """Of one file; `nats` is the negative log-density, `error` its standard error."""

    file: str
    nats: float
    nats_per_dimension: float
    bits_per_dimension: float
    error: float | None
    dimensions: int


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 2 when an input of several failed."""
    arguments = parse(argv)
    with piped(arguments, json=".json", csv=".csv"):
        return compute(arguments)


def compute(arguments: argparse.Namespace) -> int:
    """All inputs; the exit code."""
    files = find_audio(arguments.paths)
    require_model(arguments)
    results = {"--csv": arguments.csv, "--json": arguments.json}
    require_results(results, [*files, find_checkpoint(arguments.checkpoint)])

    import torch

    from wavediff.tasks.generator import Generator

    generator = Generator.from_pretrained(arguments.checkpoint).to(device(arguments))
    generator.eval().requires_grad_(False)
    label = generator.label_number(arguments.label)
    rows, failures = [], []
    with interruptible(), ExitStack() as stack:
        # opened before the work, which is lost where nothing can be written
        table = stack.enter_context(atomic_path(arguments.csv)) if arguments.csv else None
        record = stack.enter_context(atomic_path(arguments.json)) if arguments.json else None
        calls = 4 * arguments.steps * len(files)
        progress = stack.enter_context(Bar(total=calls, desc="likelihood", unit="call", delay=1))
        for number, file in enumerate(files, 1):
            try:
                rows.append(measured(generator, file, label, arguments, progress))
            except UserError as error:
                failures.append(str(error))
            except torch.OutOfMemoryError:
                failures.append(
                    f"{named(file)} is too long for the GPU's memory: give --device cpu"
                )
            progress.update(4 * arguments.steps * number - progress.n)
        if failures and len(files) == 1:
            raise UserError(failures[0])
        if table is not None:
            write_table(table, rows)
        if record is not None:
            record.write_text(json.dumps(summary(rows, arguments), indent=1) + "\n")
    print(report(rows))
    return report_failures(failures)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("likelihood", DESCRIPTION, EXAMPLES)
    add = parser.add_option
    parser.add_paths("audio files")
    parser.add_checkpoint(A_GENERATOR, required=True)
    add("--class", str, "CLASS", "number or name, for a model of classes", dest="label")
    add("--probes", whole(1, MOST_PROBES), "K", "of the divergence", default=8)
    add("--steps", positive_int, "N", "Runge-Kutta steps", default=50)
    add("--t-min", real, "T", "first time (default: the model's own)")
    add("--csv", path, "FILE", "write a row for each file; - is stdout")
    add("--json", path, "FILE", "write everything; - is stdout")
    parser.add_seed("probes")
    parser.add_device()
    return parser.parse_args(argv)


def measured(
    generator: Generator,
    file: Path,
    label: int | None,
    arguments: argparse.Namespace,
    progress: tqdm,
) -> Row:
    """One file. Raises UserError where it cannot be read, or has no density."""
    import torch

    from wavediff.data.audio import read_audio
    from wavediff.diffusion.condition import Condition
    from wavediff.diffusion.likelihood import log_density
    from wavediff.diffusion.noise import PositionNoise

    audio, _ = read_audio(file, generator.sample_rate)
    audio = audio[None].to(generator.device)
    labels = None if label is None else torch.full((1,), label, device=generator.device)
    with torch.no_grad():
        x0 = generator.encode(audio)
    try:
        density = log_density(
            generator.denoiser,
            x0,
            Condition(label=labels),
            probes=arguments.probes,
            steps=arguments.steps,
            t_min=arguments.t_min,
            noise=PositionNoise(arguments.seed),
            callback=progress.update,
        )
    except ValueError as error:
        raise UserError(f"the likelihood of this model cannot be computed so: {error}") from error
    # of the representation itself, before the model's scale
    nats = -float(density.nats) - density.dimension * math.log(generator.scale)
    if not math.isfinite(nats):
        raise UserError(f"{file} has no finite density under this model: its checkpoint is broken")
    spread = float(density.error)
    return Row(
        named(file),
        nats,
        nats / density.dimension,
        nats / density.dimension / math.log(2),
        None if math.isnan(spread) else spread,
        density.dimension,
    )


def mean(rows: list[Row]) -> Row:
    """Over files: each counts the same, the errors are independent."""
    n = len(rows)
    errors = [row.error for row in rows if row.error is not None]
    error = math.sqrt(sum(e**2 for e in errors)) / n if len(errors) == n else None
    per_dimension = sum(row.nats_per_dimension for row in rows) / n
    return Row(
        "mean",
        sum(row.nats for row in rows) / n,
        per_dimension,
        per_dimension / math.log(2),
        error,
        round(sum(row.dimensions for row in rows) / n),
    )


def report(rows: list[Row]) -> str:
    """The table that is printed."""
    if not rows:
        return "no likelihood could be computed"
    lines = [*rows, mean(rows)] if len(rows) > 1 else rows
    width = max(4, *(len(row.file) for row in lines))
    text = [f"{'file':{width}}  {'nats':>12}  {'error':>8}  {'nats/dim':>9}  {'bits/dim':>9}"]
    for row in lines:
        error = "-" if row.error is None else f"{row.error:.4g}"
        text.append(
            f"{row.file:{width}}  {row.nats:12.2f}  {error:>8}  {row.nats_per_dimension:9.4f}  "
            f"{row.bits_per_dimension:9.4f}"
        )
    return "\n".join(text)


def write_table(path: Path, rows: list[Row]) -> None:
    """A row for each file."""
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, list(Row.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def summary(rows: list[Row], arguments: argparse.Namespace) -> dict:
    """All there is to know, for --json."""
    return {
        "checkpoint": str(arguments.checkpoint),
        "probes": arguments.probes,
        "steps": arguments.steps,
        "seed": arguments.seed,
        "mean": asdict(mean(rows)) if rows else None,
        "files": [asdict(row) for row in rows],
    }


if __name__ == "__main__":
    sys.exit(run(main))
