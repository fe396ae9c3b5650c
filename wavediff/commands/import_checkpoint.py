"""`wavediff import`: checkpoints of other DiffWave projects to ours."""

import argparse
import sys
from pathlib import Path

from wavediff.cli import run
from wavediff.commands.arguments import Parser
from wavediff.errors import UserError
from wavediff.tasks.checkpoint import FILE_NAME, save_task
from wavediff.tasks.importers import Overrides, read_foreign

EXAMPLES = """\
examples:
  wavediff import diffwave-ljspeech-22kHz.pt -o diffwave-lj
  wavediff vocode mels/ -o audio/ --checkpoint diffwave-lj
  wavediff import 1000000.pkl -o large --steps 200 --beta-max 0.02

Recognised by their tensors' names are the checkpoints of lmnt-com/diffwave and of
philsyn/DiffWave-Vocoder. Sizes are read from the tensors; the noise schedule from the checkpoint
where it tells it (lmnt), else it is the paper's: 50 steps up to 0.05 for BASE, 200 up to 0.02
for LARGE. Options override it. Nothing that a file may contain besides tensors is run.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    arguments = parse(argv)
    target = Path(arguments.output).expanduser() / FILE_NAME
    if target.exists() and not arguments.force:
        raise UserError(f"{target} exists: give another folder, or --force to replace it")
    overrides = Overrides(
        steps=arguments.steps,
        beta_min=arguments.beta_min,
        beta_max=arguments.beta_max,
        fast_betas=tuple(arguments.fast_betas) if arguments.fast_betas else None,
        sample_rate=arguments.sample_rate,
    )
    model = read_foreign(arguments.checkpoint, overrides)
    source = {"imported_from": model.origin, "file": Path(arguments.checkpoint).name}
    save_task(target, model.config, model.state, {**source, **model.extra})
    numbers = sum(tensor.numel() for tensor in model.state.values())
    print(f"{model.origin}, {numbers:,} parameters, written to {target}", file=sys.stderr)
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(
        prog="wavediff import",
        description="Convert a checkpoint of another project.",
        epilog=EXAMPLES,
    )
    parser.add_argument("checkpoint", help="the file, or a folder with weights.pt")
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help=f"folder to write {FILE_NAME} into"
    )
    parser.add_argument("--steps", type=int, metavar="T", help="training noise levels")
    parser.add_argument("--beta-min", type=float, metavar="BETA", help="of the first level")
    parser.add_argument("--beta-max", type=float, metavar="BETA", help="of the last level")
    parser.add_argument(
        "--fast-betas", type=float, nargs="+", metavar="BETA", help="of the fast sampler"
    )
    parser.add_argument("--sample-rate", type=int, metavar="HZ", help="of the audio")
    parser.add_argument("--force", action="store_true", help="replace what is there")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(main))
