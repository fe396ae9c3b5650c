"""`wavediff live`: enhance speech from a microphone while it is spoken."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from wavediff.cli import run
from wavediff.commands.arguments import (
    ANY_MODEL,
    LIVE_MODEL,
    Parser,
    device,
    dry_share,
    path,
    positive_float,
    require_model,
    whole,
)
from wavediff.commands.live_devices import Audio, Setup, device_table, plan
from wavediff.commands.outputs import interruptible, real, require_new, require_suffix
from wavediff.errors import UserError, shorten

if TYPE_CHECKING:
    from wavediff.tasks.enhancer import Enhancer
    from wavediff.tasks.live import LiveStream

MOST_CHANNELS = 64
MOST_BUFFER = 64

DESCRIPTION = """\
Denoise speech while it is spoken: from a microphone to a loudspeaker, headphones or a virtual cable
that other programs record from.
"""

EXAMPLES = """\
examples:
  wavediff live --list-devices
  wavediff live
  wavediff live --input "USB" --output 4 --strength 20
  wavediff live --seconds 30 --record before.wav after.wav
  PULSE_SINK=wavediff wavediff live --output pulse

Use headphones: a microphone that hears the loudspeaker feeds back. The last line is for a virtual
microphone of PulseAudio or PipeWire; docs/live.md tells how to make one.

Keys: b or space plays the input instead (bypass), q or Ctrl-C ends. On a terminal a line shows the
levels before and after, late blocks, samples that the devices lost, and the median and the 99.9th
percentile of the time that a block takes. A block that is computed too late is replaced by silence;
the delay stays as it was. Where blocks are late, give --buffer 2 or end other programs.

The model works at the device's own rate. The delay is two blocks for the model, --buffer blocks for
computing, and that of the devices. It needs PortAudio and pip install "wavediff[live]".
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 2 when a recording was not written to its end."""
    arguments = parse(argv)
    if arguments.list_devices:
        print(device_table(audio_system()))
        return 0
    check_record(arguments)
    require_model(arguments)
    audio = audio_system()
    setup = plan(
        audio,
        arguments.input,
        arguments.output,
        arguments.rate,
        arguments.channels,
        arguments.latency,
    )
    with interruptible():
        return live(audio, setup, arguments)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("live", DESCRIPTION, EXAMPLES)
    add = parser.add_option
    parser.add_argument("--list-devices", action="store_true", help="print the devices and end")
    which = "index or part of the name (default: the system's own)"
    add("--input", str, "DEVICE", f"microphone: {which}")
    add("--output", str, "DEVICE", f"loudspeaker or virtual cable: {which}")
    add("--rate", whole(1000, 768_000), "HZ", "sample rate (default: the device's own)")
    what = "channels; one is played on both sides"
    add("--channels", whole(1, MOST_CHANNELS), "N", what, default=1)
    parser.add_checkpoint(ANY_MODEL, default=LIVE_MODEL)
    parser.add_strength()
    parser.add_backend()
    what = "blocks of time for computing: more for a slow or busy machine"
    add("--buffer", whole(1, MOST_BUFFER), "BLOCKS", what, default=1)
    parser.add_argument(
        "--latency",
        choices=["low", "high"],
        default="low",
        help="of the devices: high where they lose samples (default: low)",
    )
    add("--seconds", positive_float, "N", "end by itself (default: when it is stopped)")
    parser.add_argument(
        "--record",
        nargs=2,
        type=path,
        metavar=("BEFORE", "AFTER"),
        help="write what came in and what was played for it, aligned, as .wav or .flac",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace recordings that exist")
    parser.add_device("cpu", 1)
    return parser.parse_args(argv)


def audio_system() -> Audio:
    """PortAudio. Raises UserError where it is missing."""
    from wavediff.commands.live_portaudio import PortAudio

    return PortAudio()


def check_record(arguments: argparse.Namespace) -> None:
    """See that the files of --record can be written. Raises UserError where they cannot."""
    if arguments.record is None:
        return
    for file in arguments.record:
        require_new(file, arguments.overwrite)
        require_suffix(file, (".wav", ".flac"))
    before, after = map(real, arguments.record)
    if before == after:
        raise UserError(f"--record {before.name} twice: give two names")


def live(audio: Audio, setup: Setup, arguments: argparse.Namespace) -> int:
    """Load the model and play, until it is stopped; the exit code."""
    from wavediff.commands.live_keys import keys
    from wavediff.commands.live_loop import Session, play, stopped_by_signals, warm_up
    from wavediff.commands.live_meter import StatusLine
    from wavediff.commands.live_record import recording
    from wavediff.tasks.enhancer import Enhancer

    line = StatusLine()
    enhancer = Enhancer.from_pretrained(arguments.checkpoint).to(device(arguments))
    rate, dry = setup.sample_rate, dry_share(arguments.strength)
    options = {"channels": setup.channels, "dry": dry, "backend": arguments.backend}
    stream = begin(enhancer, arguments.checkpoint, rate, **options)
    time = warm_up(begin(enhancer, arguments.checkpoint, rate, **options))
    block = f"{1000 * stream.hop / rate:.1f} ms"
    line.tell(f"input: {setup.input}, output: {setup.output}")
    line.tell(f"{rate} Hz, channels: {setup.channels}, blocks of {stream.hop} samples ({block})")
    if time > stream.hop / rate:
        line.tell(f"a block of {block} takes {1000 * time:.1f} ms here: many will be late")
    record = None if arguments.record is None else tuple(arguments.record)
    with (
        stopped_by_signals() as stop,
        recording(record, rate, setup.channels, line.tell) as files,
        keys() as pressed,
    ):
        session = Session(pressed, line, files, dry, arguments.seconds, arguments.buffer, stop)
        play(stream, audio, setup, session)
    for file in arguments.record or ():
        print(file)
    return 0 if files.fault is None else 2


def begin(enhancer: Enhancer, name: str, rate: int, **options: Any) -> LiveStream:
    """A stream without more delay than its frames. Raises UserError for a model with more."""
    from wavediff.tasks.live import LiveStream

    stream = enhancer.stream(rate, **options)
    if isinstance(stream, LiveStream):
        return stream
    raise UserError(
        f"{shorten(name)} waits {stream.latency:.1f} s for more of the signal: give a causal "
        f"model, {LIVE_MODEL} or a run of recipe=libri_noise_live"
    )


if __name__ == "__main__":
    sys.exit(run(main))
