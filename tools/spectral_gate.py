"""Spectral gating of a folder of noisy audio: the classical baseline for an enhancer.

    pip install noisereduce
    python tools/spectral_gate.py set/noisy -o gated/
    wavediff evaluate --reference set/clean --noisy set/noisy --estimate gated/

The gate is that of the package noisereduce (Sainburg 2019): bins of the spectrogram that do not
exceed the noise are attenuated. The noise is estimated by slow averaging or, with --stationary,
from the mean spectrum of the file. Frames of 512 samples are its recommendation for speech; with
its default strength of 1, the metrics are worse than those of the noisy input. Files keep their
sample rate, channels and length.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from wavediff.cli import run
from wavediff.data.audio import read_audio, write_audio
from wavediff.errors import UserError
from wavediff.inputs import find_audio


def gate(
    noisy: np.ndarray,
    sample_rate: int,
    stationary: bool = False,
    strength: float = 0.8,
    n_fft: int = 512,
) -> np.ndarray:
    """Attenuate noise in [channels, time], float32. Raises UserError without noisereduce.

    strength: 0 to 1, the proportion of the amplitude that is removed from a bin of noise.
    """
    try:
        from noisereduce import reduce_noise
    except ImportError as error:
        raise UserError("noisereduce is missing: pip install noisereduce") from error
    length = noisy.shape[-1]
    with np.errstate(invalid="ignore"):  # digital silence becomes NaN
        gated = reduce_noise(
            np.pad(noisy, ((0, 0), (0, max(0, n_fft - length)))),  # one frame is the minimum
            sample_rate,
            stationary=stationary,
            prop_decrease=strength,
            n_fft=n_fft,
        )
    return np.nan_to_num(np.asarray(gated, dtype=np.float32)).reshape(len(noisy), -1)[:, :length]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("audio", type=Path, help="a file or a folder")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--stationary", action="store_true", help="one threshold for the file")
    parser.add_argument("--strength", type=float, default=0.8, help="0 to 1 (default: 0.8)")
    parser.add_argument("--n-fft", type=int, default=512, help="samples (default: 512)")
    options = parser.parse_args(argv)
    failures = []
    for path in tqdm(find_audio([options.audio]), desc="gate", unit="file", file=sys.stderr):
        name = path.relative_to(options.audio) if options.audio.is_dir() else Path(path.name)
        try:
            noisy, sample_rate = read_audio(path, mono=False)
            gated = gate(
                noisy.numpy(), sample_rate, options.stationary, options.strength, options.n_fft
            )
            output = (options.output / name).with_suffix(".wav")
            write_audio(output, torch.from_numpy(gated), sample_rate)
        except UserError as error:
            failures.append(f"{path}: {error}")
    print(*failures, sep="\n", end="\n" if failures else "", file=sys.stderr)
    return 2 if failures else 0


if __name__ == "__main__":
    sys.exit(run(main))
