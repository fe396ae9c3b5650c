"""`wavediff app`: a page to try things."""

import argparse
import sys
from dataclasses import replace
from functools import partial
from socket import socket
from typing import Any

from wavediff.cli import run
from wavediff.commands.arguments import Parser, positive_float, positive_int, real_between, whole
from wavediff.commands.outputs import interruptible
from wavediff.tasks.names import find_checkpoint

MODELS = {  # the default of each kind
    "enhancer": "enhancer-16k",
    "vocoder": "vocoder-en-22k",
    "generator": None,
    "forecaster": "forecaster",
}
START_SECONDS = 300.0

DESCRIPTION = """\
Serve a page to try things: denoise a recording, vocode it, restore it, forecast a table. Recordings
come from a file or the microphone; before and after are played in step, beside their spectrograms.
"""

EXAMPLES = """\
examples:
  wavediff app
  wavediff app --port 8000 --generator runs/kathleen_prior
  wavediff app --host 0.0.0.0 --max-duration 60 --max-time 120

The address is printed on stdout; Ctrl-C ends. Everything is computed on this machine, one job at a
time, and nothing is loaded from or sent to another. Uploads and results are removed after an hour,
and at the end. There is no TLS and no login: for the internet put a proxy in front, for a local
network give --host 0.0.0.0. It needs the package gradio: pip install "wavediff[app]"."""


def main(argv: list[str] | None = None) -> int:
    """Run the command until Ctrl-C or SIGTERM."""
    arguments = parse(argv)
    chosen = [name for name in MODELS if getattr(arguments, name) is not None]
    for name in chosen:
        find_checkpoint(getattr(arguments, name))

    from wavediff.commands.app_server import listening, require_gradio, upload_folder

    with listening(arguments.host, arguments.port) as place, interruptible():
        try:
            with upload_folder():
                require_gradio()
                serve(arguments, chosen, place)
        except (KeyboardInterrupt, SystemExit):
            pass
        print("ended", file=sys.stderr)
    return 0


def serve(arguments: argparse.Namespace, chosen: list[str], place: socket) -> None:
    """Load the models that were chosen, and serve the page."""
    from wavediff.commands import app_server
    from wavediff.commands.app_models import Setting, check_models
    from wavediff.commands.app_worker import Worker, finished

    given: dict[str, Any] = {
        name: getattr(arguments, name) or default for name, default in MODELS.items()
    }
    setting = Setting(
        given["enhancer"],
        given["vocoder"],
        given["generator"],
        given["forecaster"],
        arguments.max_duration,
        arguments.device,
        arguments.threads,
    )
    worker = Worker()
    try:
        checked = worker.run(partial(check_models, chosen, setting), START_SECONDS)
        next(checked)  # while Gradio is imported

        from wavediff.commands.app_page import Limits, Page, head, style

        bundled = finished(checked)
        setting = replace(setting, generator=setting.generator or bundled)
        limits = Limits(arguments.max_size, arguments.max_time, arguments.max_queue)
        page = Page(worker, setting, limits).blocks()
        app = app_server.application(page, style(), head(), arguments.max_size)
        host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
        print(f"http://{host}:{place.getsockname()[1]}/", flush=True)
        print("Ctrl-C ends", file=sys.stderr)
        app_server.serve(app, place)
    finally:
        worker.close()


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("app", DESCRIPTION, EXAMPLES)
    add = parser.add_option
    add("--host", str, "HOST", "address (default: this machine only)", default="127.0.0.1")
    add("--port", whole(0, 65_535), "N", "0 chooses one", default=7860)
    for name, default in MODELS.items():
        add(f"--{name}", str, "MODEL", f"(default: {default or 'a bundled one, if there is one'})")
    add("--max-size", real_between(0.1, 10_000), "MB", "of a file", default=50)
    add("--max-duration", positive_float, "SECONDS", "of a recording", default=120)
    add("--max-time", positive_float, "SECONDS", "that a job may take", default=300)
    add("--max-queue", positive_int, "N", "jobs that wait", default=20)
    parser.add_device()
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(main))
