"""`wavediff export`: write a model as an ONNX file, for programs without torch."""

from __future__ import annotations

import argparse
import sys

from wavediff.cli import run
from wavediff.commands.arguments import Parser
from wavediff.commands.outputs import require_new
from wavediff.errors import UserError
from wavediff.tasks.names import find_checkpoint

DESCRIPTION = """\
Write a model as an ONNX file, which onnxruntime computes without torch and without wavediff.
"""

EXAMPLES = """\
examples:
  wavediff export enhancer-16k -o enhancer.onnx
  wavediff export runs/libri_noise_live -o live.onnx
  wavediff export vocoder-en-22k -o vocoder.onnx

What a file holds depends on the model:
  a causal enhancer   the step of a frame, with its state as further inputs and outputs; zeros at
                      first. examples/live_onnx.py cleans a recording with it in 80 lines
  another enhancer    whole signals at the model's rate: noisy [channels, 1, time] to enhanced
  a vocoder           its network: x [batch, channels, frames], c_noise [batch],
                      mel [batch, n_mels, frames] to output

The key "wavediff" of the file's metadata is JSON with rates, windows, shapes of the state and the
settings of the mel. What onnxruntime computes is compared with torch before the file is written.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = Parser("export", DESCRIPTION, EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="a bundled model, run folder or checkpoint")
    parser.add_output("an .onnx file", metavar="FILE")
    arguments = parser.parse_args(argv)
    return export_model(arguments)


def export_model(arguments: argparse.Namespace) -> int:
    """Export ``arguments.model`` to ``arguments.output``."""
    target = arguments.output
    if target.suffix != ".onnx":
        raise UserError(f"{target} is not a name of an ONNX file: let it end in .onnx")
    require_new(target, arguments.overwrite)
    find_checkpoint(arguments.model)

    from wavediff.tasks.checkpoint import load_task
    from wavediff.tasks.onnx_export import export

    metadata = export(load_task(arguments.model), target)
    print(f"{target}: {metadata['kind']}, {target.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
