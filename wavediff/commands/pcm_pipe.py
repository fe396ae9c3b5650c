"""`wavediff enhance --live - -o -`: from stdin to stdout, block by block."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, cast

from wavediff.commands.arguments import placed, require_model
from wavediff.commands.pipes import STDIN, STDOUT, require_no_terminal
from wavediff.errors import UserError

if TYPE_CHECKING:
    from wavediff.data.wav_stream import PCM, Source

RAW_FORMATS = {  # as soundfile names them, by the names that ffmpeg and pacat have
    "u8": "PCM_U8",
    "s16le": "PCM_16",
    "s24le": "PCM_24",
    "s32le": "PCM_32",
    "f32le": "FLOAT",
}
RAW_OPTIONS = ("rate", "channels")
FILE_OPTIONS = ("report", "bit_rate")  # that a stream does not have


def is_stream(arguments: argparse.Namespace) -> bool:
    """Whether --live is given with stdin and stdout.

    Raises:
        UserError: for options that do not go with what is given.
    """
    words = list(map(str, arguments.paths))
    piped = len(words) == 1 and words[0] in STDIN and str(arguments.output) in STDOUT
    stream = arguments.live and piped
    if arguments.raw is not None and not stream:
        raise UserError("--raw is for a stream: give --live - -o -")
    for name in RAW_OPTIONS:
        if getattr(arguments, name) is not None and arguments.raw is None:
            raise UserError(f"--{name} is for --raw: other audio has a header that tells it")
    if arguments.raw is not None and arguments.rate is None:
        raise UserError(
            "--raw has no header: give --rate too, in Hz, and --channels unless it is 1"
        )
    if stream:
        for name in FILE_OPTIONS:
            if getattr(arguments, name) is not None:
                option = name.replace("_", "-")
                raise UserError(f"--{option} does not go with --live - -o -: leave it out")
        if arguments.format not in (None, "wav"):
            raise UserError(
                f"--format {arguments.format} does not go with --live - -o -, which writes the "
                "format that it reads: leave it out"
            )
    return stream


def enhance_stream(arguments: argparse.Namespace) -> int:
    """Enhance what comes from stdin while it comes; the exit code."""
    require_no_terminal(True, True)
    require_model(arguments)
    from wavediff.data.wav_stream import PCM, PCMWriter, read_wav_header
    from wavediff.tasks.enhancer import Enhancer

    if arguments.threads is None:
        arguments.threads = 1  # more would wait for one another within a block
    # before anything is read: what comes meanwhile would stay as delay
    enhancer = placed(Enhancer.from_pretrained(arguments.checkpoint), arguments)
    source, name = cast("Source", sys.stdin.buffer), "stdin"
    if arguments.raw is None:
        pcm = read_wav_header(source, name)
    else:
        pcm = PCM(arguments.rate, arguments.channels or 1, RAW_FORMATS[arguments.raw])
    stream = enhancer.stream(
        pcm.sample_rate,
        pcm.channels,
        sampler=arguments.sampler,
        steps=arguments.steps,
        seed=arguments.seed,
        dry=arguments.dry,
        backend=arguments.backend,
    )
    _tell(pcm, stream.latency)
    writer = PCMWriter(pcm, sys.stdout.buffer, "stdout")
    count = 0
    for block in pcm.blocks(source):
        count += block.shape[1]
        writer.write(stream.push(block))
    if not count:
        raise UserError(f"{name} is empty: it holds no samples.")
    writer.write(stream.finish())
    writer.end()
    missing = 0 if pcm.length is None else pcm.length // pcm.frame - count
    if missing:
        print(f"{name}: {missing} samples that its header declares are missing", file=sys.stderr)
    return 0


def _tell(pcm: PCM, latency: float) -> None:
    print(
        f"{pcm.sample_rate} Hz, channels: {pcm.channels}, {pcm.subtype}, "
        f"latency: {1000 * latency:.0f} ms",
        file=sys.stderr,
    )
