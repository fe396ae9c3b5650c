"""What the commands that restore a recording share: options, checks, and the model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from wavediff.commands.arguments import A_GENERATOR, Parser, device, path, require_model
from wavediff.commands.outputs import require_new, require_suffix
from wavediff.inputs import require_file

if TYPE_CHECKING:
    from wavediff.tasks.restoration import Posterior


def add_restoration(parser: Parser) -> None:
    """The input, the output, the generator, and sampling."""
    parser.add_argument("path", type=path, metavar="PATH", help="an audio file, or - (stdin)")
    parser.add_output("an audio file, or - (stdout), as wav")
    parser.add_checkpoint(f"{A_GENERATOR} (default: prior-en-22k if bundled)")
    parser.add_sampling()


def require_restoration(arguments: argparse.Namespace, suffixes: Sequence[str]) -> None:
    """See that the input and the model exist, and that the output can be written.

    Args:
        suffixes: that the output may have.

    Raises:
        UserError: where it is not so.
    """
    require_file(arguments.path, "an audio file")
    require_suffix(arguments.output, suffixes)
    require_new(arguments.output, arguments.overwrite, arguments.path)
    require_model(arguments)


def load_posterior(arguments: argparse.Namespace) -> Posterior:
    """Return what recordings are restored by."""
    from wavediff.tasks.restoration import posterior_of

    return posterior_of(
        arguments.checkpoint,
        device(arguments),
        arguments.sampler,
        arguments.steps,
        seed=arguments.seed,
    )
