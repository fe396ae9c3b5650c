"""`wavediff synthesize`: sample synthetic time series from a trained model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands.arguments import Parser, device, path, positive_int, require_model
from wavediff.commands.outputs import interruptible
from wavediff.commands.series_arguments import require_new_table, require_table
from wavediff.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from wavediff.series.forecaster import Forecaster

DESCRIPTION = "Sample synthetic time series from a trained model."

EXAMPLES = """\
examples:
  wavediff train recipe=series data.path=sales.csv run_dir=runs/sales
  wavediff synthesize --checkpoint runs/sales --n 100 -o series.csv

OUT has the columns series (1 to N), time and one for each variable. A series is as long as a window
of the model; its level and scale are those of a training window.

--reference prints how far the synthetic series are from windows of real ones, lower is better:
  discriminative score  |accuracy - 1/2| of a network that learns to tell the two apart
                        (TimeGAN, Yoon et al. 2019)
  predictive score      absolute error of a network that learns from the one to predict the next
                        step of the other, relative to the range of the real values
  Frechet distance      between the two sets' features of random convolutions
The first two are the mean and the standard deviation of five trainings. All depend on the number of
windows: compare them with the last column, where other real windows replace the synthetic ones.
"""
FEWEST = 10  # windows of a set that is scored


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    arguments = parse(argv)
    require_new_table(arguments.output, arguments.overwrite, Path(arguments.checkpoint))
    if arguments.reference is not None:
        if arguments.n < FEWEST:
            raise UserError(f"--n {arguments.n} series are too few for --reference: give {FEWEST}")
        require_table(arguments.reference)
    require_model(arguments)

    from wavediff.series.forecaster import Forecaster
    from wavediff.series.writing import write_table

    with interruptible():
        forecaster = Forecaster(
            checkpoint=arguments.checkpoint,
            seed=arguments.seed,
            sampler=arguments.sampler,
            steps=arguments.steps,
            device=str(device(arguments)),
        )
        real = None
        if arguments.reference is not None:
            real = real_windows(forecaster, arguments.reference, arguments.n)
        made = forecaster.synthesize(arguments.n)
        write_table(made, arguments.output)
        print(arguments.output, flush=True)
        if real is not None:
            synthetic = made[made.columns[2:]].to_numpy().reshape(arguments.n, -1, real.shape[1])
            print(scores(real, synthetic.swapaxes(1, 2), arguments))
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("synthesize", DESCRIPTION, EXAMPLES)
    add = parser.add_option
    parser.add_checkpoint("a run folder or a model.safetensors", required=True)
    add("--n", positive_int, "N", "how many", default=100)
    parser.add_output("a CSV or Parquet file")
    add(
        "--reference",
        path,
        "DATA",
        "a CSV or Parquet file of real series to score the synthetic ones by",
    )
    add(
        "--score-steps",
        positive_int,
        "N",
        "training steps of the networks that score",
        default=1000,
    )
    parser.add_sampling()
    return parser.parse_args(argv)


def real_windows(forecaster: Forecaster, reference: Path, n: int) -> np.ndarray:
    """Up to 2 n windows ``[2 N, V, length]`` of the model's length.

    Raises:
        UserError: for a table that does not fit the model, or has too few.
    """
    from wavediff.series.model import SeriesModel
    from wavediff.series.synthesis_metrics import complete_windows

    series = forecaster.read(reference).series
    print(*forecaster.notes, sep="\n", file=sys.stderr)
    model = forecaster.model
    assert series is not None
    if not isinstance(model, SeriesModel):
        raise UserError(f"{forecaster.checkpoint} does not synthesize: give a run of recipe=series")
    rows = [item.values for item in series.items]
    if model.variables == 1:
        rows = [row[None] for values in rows for row in values]
    found = complete_windows(rows, model.length, 2 * n)
    if len(found) < 2 * FEWEST:
        raise UserError(
            f"{reference} has {len(found)} windows of {model.length} steps without missing values: "
            f"{2 * FEWEST} are needed to score by; give more data"
        )
    return found[: len(found) // 2 * 2]


def scores(real: np.ndarray, synthetic: np.ndarray, arguments: argparse.Namespace) -> str:
    """The table: every second real window against the synthetic, and against the other real ones.

    Args:
        real, synthetic: ``[2 N, V, length]`` and ``[N or more, V, length]``.
    """
    from wavediff.series.synthesis_metrics import (
        discriminative_score,
        predictive_score,
        series_frechet,
    )

    trained = {"discriminative score": discriminative_score, "predictive score": predictive_score}
    n, variables, length = len(real) // 2, *real.shape[1:]
    options = {"seed": arguments.seed, "steps": arguments.score_steps}
    rows: dict[str, list[str]] = {"": ["synthetic", "real"]}
    with tqdm(total=4, desc="scores", delay=1, leave=False) as bar:
        for name, score in trained.items():
            rows[name] = []
            for estimate in (synthetic[:n], real[1::2]):
                found = score(real[::2], estimate, **options)
                rows[name].append(f"{found.mean:.4f} +- {found.std:.4f}")
                bar.update()
    distances = [series_frechet(real[::2], estimate) for estimate in (synthetic[:n], real[1::2])]
    rows["Frechet distance"] = [f"{distance:.4f}" for distance in distances]
    steps = f"{n} windows of {length} steps, {variables} variable{'s' * (variables > 1)}"
    table = [f"{name:20}  {one:>16}  {other:>16}" for name, (one, other) in rows.items()]
    return "\n".join([f"{steps}:", *table])


if __name__ == "__main__":
    sys.exit(run(main))
