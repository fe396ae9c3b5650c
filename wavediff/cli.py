"""The `wavediff` command: finds the module of a command, and turns errors into exit codes."""

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Callable

from wavediff import __version__
from wavediff.errors import UserError

COMMANDS = {
    "train": "train a model by a recipe",
    "vocode": "turn mel spectrograms (or audio, by copy synthesis) into audio",
    "enhance": "take the noise out of recordings of speech",
    "generate": "make new sounds with a generator, or extend a dataset by them",
    "inpaint": "fill gaps in a recording",
    "extend": "give a recording of a low sample rate its high band",
    "declip": "restore the peaks of a recording that was too loud",
    "forecast": "forecast the series in a CSV",
    "impute": "fill the gaps of the series in a CSV",
    "synthesize": "make up series like those that a model was trained on",
    "backtest": "measure forecasts on the end of the series, beside simple ones",
    "mel": "turn audio into mel spectrograms",
    "encode": "turn audio into the latent of an autoencoder",
    "decode": "turn such a latent into audio",
    "evaluate": "measure estimates against references",
    "likelihood": "say how likely recordings are under a generator",
    "import": "convert a checkpoint of another project",
    "tune": "find the best times for a given number of sampling steps",
    "info": "say what a checkpoint is",
}

_EXAMPLES = """\
examples:
  wavediff enhance noisy.wav -o clean.wav
  wavediff train recipe=ljspeech data.root=LJSpeech-1.1
  wavediff vocode speech.wav -o speech-again.wav
  wavediff vocode mels/ -o audio/ --steps 6
  wavediff mel speech.wav -o speech.npy
  wavediff evaluate --reference originals/ --estimate audio/
  wavediff generate --checkpoint runs/tiny_generate --n 4 -o samples/
  wavediff forecast data.csv --horizon 24 -o forecast.csv
  wavediff COMMAND --help
"""


def run(main: Callable[[list[str] | None], int], argv: list[str] | None = None) -> int:
    """Call `main(argv)` and return the exit code of the process.

    A `UserError` becomes `error: <message>` on stderr and code 2, Ctrl-C becomes 130, and a reader
    that closed our output (`wavediff ... | head`) ends the command quietly with 141.
    """
    try:
        code = main(argv)
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Python flushes stdout again at exit: give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def main(argv: list[str] | None = None) -> int:
    """Run `wavediff COMMAND ...` and return its exit code. `argv` defaults to `sys.argv[1:]`."""
    return run(_dispatch, argv)


def _dispatch(argv: list[str] | None) -> int:
    command, *rest = _parse(sys.argv[1:] if argv is None else argv)
    # Imported late: `wavediff --help` need not wait for torch.
    return importlib.import_module(f"wavediff.commands.{module_of(command)}").main(rest)


def module_of(command: str) -> str:
    """Its name in ``wavediff.commands``; Python keeps ``import`` for itself."""
    return "import_checkpoint" if command == "import" else command


def _parse(argv: list[str]) -> list[str]:
    """The command's name and its own arguments; prints help or the version and exits when asked."""
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:{width}}  {what}" for name, what in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="wavediff",
        usage="wavediff [-h] [--version] COMMAND ...",
        description=f"Diffusion models for audio and time series.\n\ncommands:\n{listing}",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"wavediff {__version__}")
    # Options after the command's name are the command's own.
    if not argv or argv[0].startswith("-"):
        parser.parse_args(argv)
        parser.error(f"give a command: {', '.join(COMMANDS)}")
    if argv[0] not in COMMANDS:
        close = difflib.get_close_matches(argv[0], COMMANDS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(COMMANDS)}"
        parser.error(f"unknown command {argv[0]!r}: {hint}")
    return argv
