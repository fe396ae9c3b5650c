"""What the runners share: a folder of recordings through an enhancer that takes frames.

    python tools/peers/PEER.py IN_FOLDER OUT_FOLDER [MODEL]

A runner needs the peer's packages, numpy and soundfile, and nothing of wavediff. It reads mono wav
files at the peer's sample rate and writes their output under the same names, as late as the peer
is. stdout is one JSON object: parameters, frame_seconds, and real_time_factor, the CPU seconds of
the frames per second of audio (on one thread, and undisturbed: seconds), without reading, writing
and loading the model.
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import soundfile

Process = Callable[[np.ndarray], np.ndarray]  # float32 [frame] -> [frame], full scale 1


def run(
    start: Callable[[], AbstractContextManager[Process]],
    *,
    sample_rate: int,
    frame: int,
    parameters: int,
) -> None:
    """Run the command line above.

    Args:
        start: begins a recording; within the context its frames are processed in order.
        sample_rate: of the peer, in Hz.
        frame: samples that it takes and returns at once.
        parameters: of its network.
    """
    source, target = map(Path, sys.argv[1:3])
    target.mkdir(exist_ok=True)
    audio_seconds = cpu_seconds = 0.0
    with start() as process:
        process(np.zeros(frame, np.float32))  # what is slow the first time
    for path in sorted(source.glob("*.wav")):
        audio, rate = soundfile.read(path, dtype="float32")
        if rate != sample_rate or audio.ndim != 1:
            sys.exit(f"{path} has {rate} Hz and shape {audio.shape}, not {sample_rate} Hz, mono")
        frames = np.pad(audio, (0, -len(audio) % frame)).reshape(-1, frame)
        with start() as process:
            began = time.process_time()
            output = np.concatenate([process(x) for x in frames])
            cpu_seconds += time.process_time() - began
        audio_seconds += len(audio) / sample_rate
        soundfile.write(target / path.name, output[: len(audio)], sample_rate, subtype="FLOAT")
    result = {
        "parameters": parameters,
        "frame_seconds": frame / sample_rate,
        "real_time_factor": cpu_seconds / audio_seconds,
    }
    print(json.dumps(result))
