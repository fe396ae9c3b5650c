"""Run the step model of GTCRN (Rong et al. 2024), a file of its repository, in onnxruntime."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import frames
import numpy as np
import onnxruntime

SAMPLE_RATE, HOP = 16_000, 256
PARAMETERS = 48_228  # with those of its fixed ERB filters
WINDOW = np.sqrt(np.hanning(2 * HOP + 1)[:-1]).astype(np.float32)
STATES = {  # name -> shape
    "conv_cache": (2, 1, 16, 16, 33),
    "tra_cache": (2, 3, 1, 1, 16),
    "inter_cache": (2, 1, 33, 16),
}


def session(model: str) -> onnxruntime.InferenceSession:
    """The model on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@contextmanager
def start(step: onnxruntime.InferenceSession) -> Iterator[frames.Process]:
    states = [np.zeros(shape, np.float32) for shape in STATES.values()]
    past, tail = np.zeros(HOP, np.float32), np.zeros(HOP, np.float32)

    def process(x: np.ndarray) -> np.ndarray:
        nonlocal past, tail, states
        spectrum = np.fft.rfft(WINDOW * np.concatenate([past, x]))
        mix = np.stack([spectrum.real, spectrum.imag], axis=-1).astype(np.float32)
        inputs = {"mix": mix[None, :, None]} | dict(zip(STATES, states, strict=True))
        enhanced, *states = step.run(None, inputs)
        frame = np.fft.irfft(enhanced[0, :, 0, 0] + 1j * enhanced[0, :, 0, 1])
        frame = WINDOW * frame.astype(np.float32)
        out = tail + frame[:HOP]
        past, tail = x, frame[HOP:]
        return out

    yield process


if __name__ == "__main__":
    step = session(sys.argv[3])
    frames.run(lambda: start(step), sample_rate=SAMPLE_RATE, frame=HOP, parameters=PARAMETERS)
