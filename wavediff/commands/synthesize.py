"""`wavediff synthesize`: made-up series of a trained model."""

import argparse
import sys
from pathlib import Path

import torch

from wavediff.cli import run
from wavediff.commands.arguments import (
    Parser,
    add_sampling,
    device,
    ended_by_sigterm,
    positive,
    require_new,
)
from wavediff.errors import UserError
from wavediff.series.filling import TABLES, write_table
from wavediff.series.forecaster import Forecaster
from wavediff.tasks.sampler import sampler_names

EXAMPLES = """\
examples:
  wavediff train recipe=series data.path=sales.csv run_dir=runs/sales
  wavediff synthesize --checkpoint runs/sales --n 100 -o series.csv

OUT has the columns series (1 to N), time and one for each variable. A series is as long as a window
of the model; its level and scale are those of a window that the model was trained on.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command and return the exit code."""
    arguments = parse(argv)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    output = arguments.output.expanduser()
    if not output.name.lower().endswith(TABLES):
        raise UserError(f"cannot write {output}: give the name of a .csv or .parquet file")
    require_new(Path(arguments.checkpoint), output, arguments.overwrite)
    with ended_by_sigterm():
        forecaster = Forecaster(
            checkpoint=arguments.checkpoint,
            seed=arguments.seed,
            sampler=arguments.sampler,
            steps=arguments.steps,
            device=str(device(arguments.device)),
        )
        write_table(forecaster.synthesize(arguments.n), output)
    print(output)
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog="wavediff synthesize",
        description="Make up series like those that a model was trained on.",
        epilog=EXAMPLES,
    )
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="RUN", help="a run folder or a model.safetensors")
    add("--n", type=positive, default=100, metavar="N", help="how many (default: 100)")
    add("-o", "--output", required=True, type=Path, metavar="OUT", help="a CSV or Parquet file")
    add_sampling(parser, sampler_names())
    add("--overwrite", action="store_true", help="replace OUT if it exists")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(main))
