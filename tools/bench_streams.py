"""Cost of ``Vocoder.stream`` and ``Enhancer.stream``, compared with the whole signal at once.

    python tools/bench_streams.py vocoder --threads 1
    python tools/bench_streams.py vocoder --threads 1 --mel-iterations 0 --chunk-seconds 2.5
    python tools/bench_streams.py enhancer --threads 1
    python tools/bench_streams.py enhancer --threads 1 --checkpoint LIVE --backend onnx

The model processes synthetic voice, whole and in blocks of several sizes, in turn. Prints
the least CPU seconds of --repeats rounds, of all threads together and so with little influence of
what else runs, the seconds per second of audio, the ratio to the whole, the stated latency in
seconds, and the largest difference from the whole.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from bench_enhance import recording

from wavediff.cli import run
from wavediff.data.synthetic import utterance
from wavediff.errors import UserError
from wavediff.tasks.enhancer import Enhancer
from wavediff.tasks.vocoder import Vocoder

FRAMES = (1, 5, 20, 80)  # of a block of mels
MILLISECONDS = (1, 10, 100)  # of a block of audio

Call = Callable[[], np.ndarray]


def streamed(stream: Any, signal: np.ndarray, size: int) -> np.ndarray:
    """The output for a signal ``[..., time]`` in blocks of ``size``."""
    parts = [
        stream.push(signal[..., start : start + size]) for start in range(0, signal.shape[-1], size)
    ]
    return np.concatenate([*parts, stream.finish()], axis=-1)


def vocoder_calls(options: argparse.Namespace) -> tuple[dict[str, Call], float]:
    """The calls to compare by name, the whole first, and the latency in seconds."""
    vocoder = Vocoder.from_pretrained(options.checkpoint or "vocoder-en-22k")
    if options.mel_iterations is not None:
        vocoder.mel_iterations = options.mel_iterations
    audio = utterance(options.seconds, vocoder.sample_rate, 0).float()
    mel = vocoder.analyse(audio.reshape(1, 1, -1))[0].numpy()
    chunk = {} if options.chunk_seconds is None else {"chunk_seconds": options.chunk_seconds}
    calls: dict[str, Call] = {"whole mel": lambda: np.asarray(vocoder(mel))}
    for size in FRAMES:
        name = f"blocks of {size} frame{'s' if size > 1 else ''}"
        calls[name] = lambda size=size: streamed(vocoder.stream(**chunk), mel, size)
    return calls, vocoder.stream(**chunk).latency


def enhancer_calls(options: argparse.Namespace) -> tuple[dict[str, Call], float]:
    """As ``vocoder_calls``."""
    enhancer = Enhancer.from_pretrained(options.checkpoint or "enhancer-16k")
    rate = enhancer.sample_rate
    audio = recording(options.seconds)
    chunk: dict[str, Any] = {"backend": options.backend}
    if options.chunk_seconds is not None:
        chunk["chunk_seconds"] = options.chunk_seconds
    calls: dict[str, Call] = {"whole file": lambda: np.asarray(enhancer(audio, rate))}
    for milliseconds in MILLISECONDS:
        calls[f"blocks of {milliseconds} ms"] = lambda size=rate * milliseconds // 1000: streamed(
            enhancer.stream(rate, **chunk), audio, size
        )
    return calls, enhancer.stream(rate, **chunk).latency


def compare(calls: dict[str, Call], latency: float, options: argparse.Namespace) -> None:
    """Time the calls in turn, after a round that is not counted, and print their lines."""
    seconds = dict.fromkeys(calls, float("inf"))
    outputs = {}
    for repeat in range(options.repeats + 1):
        for name, call in calls.items():
            began = time.process_time()
            outputs[name] = call()
            if repeat:
                seconds[name] = min(seconds[name], time.process_time() - began)
    whole = next(iter(calls))
    for name, least in seconds.items():
        line = f"{name:<22}{least:9.3f}{least / options.seconds:9.4f}"
        if name != whole:
            difference = np.abs(outputs[name] - outputs[whole]).max()
            line += f"{least / seconds[whole]:9.2f}{latency:9.2f}{difference:11.1e}"
        print(line, flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=("vocoder", "enhancer"))
    parser.add_argument("--checkpoint", help="a name or a path (default: the bundled one)")
    parser.add_argument("--mel-iterations", type=int, help="(default: the vocoder's)")
    parser.add_argument("--chunk-seconds", type=float, help="(default: that of the streams)")
    parser.add_argument(
        "--backend", choices=("torch", "onnx"), default="torch", help="of an enhancer's streams"
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="of audio (default: 30)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, help="(default: all cores)")
    options = parser.parse_args(argv)
    if options.seconds < 1 or options.repeats < 1:
        raise UserError("--seconds and --repeats must be 1 or more")
    if options.threads:
        torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} CPU threads")
    columns = "".join(f"{name:>9}" for name in ("CPU s", "per s", "ratio", "latency"))
    print(f"{'':<22}{columns}{'difference':>11}")
    calls = vocoder_calls if options.kind == "vocoder" else enhancer_calls
    compare(*calls(options), options)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
