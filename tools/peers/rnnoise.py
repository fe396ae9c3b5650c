"""Run RNNoise (Valin 2018; version 0.2 of its network) of the package pyrnnoise."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import frames
import numpy as np
from pyrnnoise.rnnoise import FRAME_SIZE, SAMPLE_RATE, create, destroy, lib

# The weights and biases that the library holds: two convolutions of 3 frames (65 -> 128 -> 384),
# three GRUs of 384 with a diagonal of their own, and the dense layers of 32 gains and of speech.
GRU = 2 * (3 * 384 * 384 + 3 * 384) + 3 * 384
PARAMETERS = (195 * 128 + 128) + (384 * 384 + 384) + 3 * GRU + 4 * 384 * 33 + 33
FULL_SCALE = 32768.0  # it takes floats in the range of 16-bit audio

FLOATS = ctypes.POINTER(ctypes.c_float)


@contextmanager
def start() -> Iterator[frames.Process]:
    # called directly: the package's own functions round to 16 bits, and wrap around beyond them
    state = create()

    def process(x: np.ndarray) -> np.ndarray:
        frame = x * np.float32(FULL_SCALE)
        pointer = frame.ctypes.data_as(FLOATS)
        lib.rnnoise_process_frame(state, pointer, pointer)
        return frame / FULL_SCALE

    yield process
    destroy(state)


if __name__ == "__main__":
    frames.run(start, sample_rate=SAMPLE_RATE, frame=FRAME_SIZE, parameters=PARAMETERS)
