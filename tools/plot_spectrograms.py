"""Plots the spectrograms of audio files above each other in one figure."""

import argparse
import sys
from pathlib import Path

import librosa
import matplotlib
import numpy as np

from wavediff.cli import run
from wavediff.data.audio import read_audio
from wavediff.files import atomic_path

matplotlib.use("Agg")
from matplotlib import pyplot as plt

N_FFT = 1024
HOP_LENGTH = 128
RANGE_DB = 80


def draw(files: list[Path], titles: list[str], output: Path) -> None:
    """Plot all files at the sample rate of the first, on a common scale of 80 dB."""
    _, sample_rate = read_audio(files[0])
    sounds = [read_audio(file, sample_rate)[0][0].numpy() for file in files]
    magnitudes = [np.abs(librosa.stft(s, n_fft=N_FFT, hop_length=HOP_LENGTH)) for s in sounds]
    loudest = max(m.max() for m in magnitudes)
    figure, axes = plt.subplots(
        len(files),
        1,
        figsize=(9, 2.6 * len(files)),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, magnitude, title in zip(axes[:, 0], magnitudes, titles, strict=True):
        picture = librosa.display.specshow(
            librosa.amplitude_to_db(magnitude, ref=max(loudest, 1e-9), top_db=None),
            sr=sample_rate,
            n_fft=N_FFT,
            hop_length=HOP_LENGTH,
            x_axis="time",
            y_axis="linear",
            cmap="magma",
            vmin=-RANGE_DB,
            vmax=0,
            ax=axis,
        )
        axis.set(title=title, ylabel="Hz", xlabel="")
    axes[-1, 0].set_xlabel("seconds")
    figure.colorbar(picture, ax=axes, format="%+d dB")
    with atomic_path(output) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="audio, from top to bottom")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a .png or .svg file")
    parser.add_argument("--titles", nargs="+", help="one for each file (default: the files' names)")
    options = parser.parse_args(argv)
    titles = options.titles or [file.stem for file in options.files]
    if len(titles) != len(options.files):
        parser.error(f"{len(titles)} titles for {len(options.files)} files")
    draw(options.files, titles, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
