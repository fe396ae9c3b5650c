"""`wavediff import`: convert a DiffWave checkpoint of another project."""

import argparse
import sys

from wavediff.cli import run
from wavediff.commands.arguments import Parser, integer, path, real
from wavediff.commands.outputs import require_new
from wavediff.errors import UserError
from wavediff.tasks.names import FILE_NAME

DESCRIPTION = "Convert a checkpoint of another project."

EXAMPLES = """\
examples:
  wavediff import diffwave-ljspeech-22kHz.pt -o diffwave-lj
  wavediff vocode mels/ -o audio/ --checkpoint diffwave-lj
  wavediff import 1000000.pkl -o large --steps 200 --beta-max 0.02

The checkpoints of lmnt-com/diffwave and of philsyn/DiffWave-Vocoder are recognised by the names of
their tensors. Sizes are read from the tensors, the noise schedule from the checkpoint if it has one
(lmnt); otherwise it is the paper's: 50 steps up to 0.05 for BASE, 200 up to 0.02 for LARGE. Options
override it. No code in a file is executed.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    arguments = parse(argv)
    file = arguments.checkpoint
    if not file.exists():
        raise UserError(
            f"there is no checkpoint {str(file)!r}: give a file, or a folder with weights.pt"
        )
    target = arguments.output / FILE_NAME
    require_new(target, arguments.overwrite)

    from wavediff.tasks.checkpoint import save_task
    from wavediff.tasks.importers import Overrides, read_foreign

    overrides = Overrides(
        steps=arguments.steps,
        beta_min=arguments.beta_min,
        beta_max=arguments.beta_max,
        fast_betas=tuple(arguments.fast_betas) if arguments.fast_betas else None,
        sample_rate=arguments.sample_rate,
    )
    model = read_foreign(file, overrides)
    source = {"imported_from": model.origin, "file": file.name}
    save_task(target, model.config, model.state, {**source, **model.extra})
    numbers = sum(tensor.numel() for tensor in model.state.values())
    print(f"{model.origin}, {numbers:,} parameters, written to {target}", file=sys.stderr)
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("import", DESCRIPTION, EXAMPLES)
    add = parser.add_option
    parser.add_argument("checkpoint", type=path, help="the file, or a folder with weights.pt")
    parser.add_output(f"folder to write {FILE_NAME} into", metavar="DIR")
    add("--steps", integer, "T", "training noise levels")
    add("--beta-min", real, "BETA", "of the first level")
    add("--beta-max", real, "BETA", "of the last level")
    add("--fast-betas", real, "BETA", "of the fast sampler", nargs="+")
    add("--sample-rate", integer, "HZ", "of the audio")
    parser.add_argument("--force", dest="overwrite", action="store_true", help="as --overwrite")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(main))
