"""The `wavediff` command: finds the module of a command, and turns errors into exit codes."""

import argparse
import contextlib
import difflib
import errno
import importlib
import io
import os
import sys
from collections.abc import Callable

from wavediff import __version__
from wavediff.errors import UserError, forget_warnings, shorten
from wavediff.files import REFUSALS

COMMANDS = {
    "train": "train a model with a recipe",
    "search": "search hyper-parameters of a recipe",
    "vocode": "convert mel spectrograms (or audio, by copy synthesis) to audio",
    "enhance": "denoise recordings of speech",
    "live": "denoise speech from a microphone while it is spoken",
    "generate": "sample sounds from a generator, or extend a dataset with them",
    "inpaint": "fill gaps in a recording",
    "extend": "extend the bandwidth of a recording",
    "declip": "restore the clipped peaks of a recording",
    "forecast": "forecast the time series of a table",
    "impute": "impute the missing values of a table of time series",
    "synthesize": "sample synthetic time series from a trained model",
    "backtest": "evaluate forecasts at rolling origins, beside baselines",
    "mel": "convert audio to mel spectrograms",
    "encode": "encode audio as the latent of an autoencoder",
    "decode": "decode the latent of an autoencoder to audio",
    "pack": "pack audio files into shards for training on a large corpus",
    "evaluate": "compute metrics of estimates against references",
    "listen": "make a listening test, collect its answers and analyse them",
    "app": "serve a page to try things: denoise, vocode, restore, forecast",
    "likelihood": "compute the likelihood of recordings under a generator",
    "import": "convert a checkpoint of another project",
    "tune": "search the time grid for a given number of sampling steps",
    "bundle": "export a run as a checkpoint in half precision",
    "export": "write a model as an ONNX file",
    "info": "describe a checkpoint, or list the bundled models",
}

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
OWN = {errno.ENOENT, errno.EEXIST}  # which only a fault of ours leaves unforeseen

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

    A `UserError` becomes `error: <message>` on stderr and code 2, as do a full disk and a lack of
    memory. Ctrl-C becomes 130, and a reader that closed our output (`wavediff ... | head`) ends the
    command quietly with 141. Any other exception is a fault of ours: one line and code 1, or the
    traceback where the environment has WAVEDIFF_DEBUG.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # file names of any bytes
    forget_warnings()
    # threads that spin while they wait for one another take ten times as long beside other programs
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
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
        _discard_stdout()
        return 141
    except Exception as error:
        # torch's allocator raises a RuntimeError
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            print("error: there is not enough memory for this: give less at once", file=sys.stderr)
            return 2
        if isinstance(error, OSError) and error.errno in REFUSALS.keys() - OWN:
            _discard_stdout()
            place = "the output" if error.filename is None else shorten(error.filename)
            verb = "write" if error.errno in FULL else "use"
            print(f"error: cannot {verb} {place}: {REFUSALS[error.errno]}", file=sys.stderr)
            return 2
        if os.environ.get("WAVEDIFF_DEBUG"):
            raise
        print(
            f"error: unexpected {type(error).__name__}: {shorten(error, 200)} "
            "(set WAVEDIFF_DEBUG=1 for the traceback)",
            file=sys.stderr,
        )
        return 1
    return code


def _discard_stdout() -> None:
    """Python flushes stdout again at exit: give it somewhere to go."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: list[str] | None = None) -> int:
    """Run `wavediff COMMAND ...` and return its exit code. `argv` defaults to `sys.argv[1:]`."""
    return run(_dispatch, argv)


def _dispatch(argv: list[str] | None) -> int:
    command, *rest = _parse(sys.argv[1:] if argv is None else argv)
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
