"""`wavediff app`: a page to try things."""

import argparse
import dataclasses
import sys
from functools import partial

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

    from wavediff.commands import app_server

    with app_server.listening(arguments.host, arguments.port) as socket, interruptible():
        app_server.require_gradio()
        try:
            serve(arguments, chosen, socket)
        except (KeyboardInterrupt, SystemExit):
            print("ended", file=sys.stderr)
    return 0


def serve(arguments: argparse.Namespace, chosen: list[str], socket) -> None:
    """Start the worker, load what was chosen, and serve the page."""
    from wavediff.commands import app_server
    from wavediff.commands.app_sound import Setting, check_models
    from wavediff.commands.app_worker import Worker

    names = {name: getattr(arguments, name) or default for name, default in MODELS.items()}
    setting = Setting(
        **names,
        seconds=arguments.max_duration,
        device=arguments.device,
        threads=arguments.threads,
    )
    worker = Worker()
    try:
        checked = worker.run(partial(check_models, chosen, setting), START_SECONDS)
        next(checked)
        with app_server.upload_folder():
            from wavediff.commands.app_page import Limits, Page, head, style

            bundled = finished(checked)
            if setting.generator is None:
                setting = dataclasses.replace(setting, generator=bundled)
            limits = Limits(arguments.max_size, arguments.max_time, arguments.max_queue)
            page = Page(worker, setting, limits, setting.generator is not None)
            app = app_server.application(page.blocks(), style(), head(), arguments.max_size)
            host = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
            print(f"http://{host}:{socket.getsockname()[1]}/", flush=True)
            print("Ctrl-C ends", file=sys.stderr)
            app_server.serve(app, socket)
    finally:
        worker.close()


def finished(running):
    """Wait for a job of the worker, and return its result."""
    while True:
        try:
            next(running)
        except StopIteration as end:
            return end.value


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
