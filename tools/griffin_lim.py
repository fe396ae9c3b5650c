"""Griffin-Lim reconstructions of a folder of audio from its mels: the baseline for a vocoder.

    python tools/griffin_lim.py recordings/ -o griffin-lim/ --front-end tacotron
    wavediff evaluate --reference recordings/ --estimate griffin-lim/

Each file is read as mono at the front-end's rate and converted to its mel. The filter bank is
inverted by non-negative least squares, which reproduces the mel, or by the pseudo-inverse with
negative values set to zero, which is faster and clearly worse. librosa's fast Griffin-Lim
(Perraudin et al. 2013, momentum 0.99) estimates the phases from a seeded random initialisation.
`--inverse projection` is a vocoder's `mel_iterations` without its network: noise in the mel's
envelope, projected towards the signals with this mel. The results are 16-bit WAV files of the same
lengths and names as the originals.
"""

import argparse
import sys
from pathlib import Path

import librosa
import numpy as np
import torch
from tqdm import tqdm

from wavediff.cli import run
from wavediff.data.audio import read_audio, write_audio
from wavediff.diffusion.noise import PositionNoise
from wavediff.errors import UserError
from wavediff.inputs import find_audio
from wavediff.representations.mel import MelFrontEnd, mel_front_end
from wavediff.representations.mel_projection import MelProjection
from wavediff.representations.whitened import WhitenedSTFT


def invert_filters(linear: np.ndarray, front_end: MelFrontEnd, inverse: str) -> np.ndarray:
    """Invert bands [n_mels, frames] to a spectrum >= 0, [n_fft // 2 + 1, frames]."""
    filters = front_end.filters.double().numpy()
    if inverse == "pinv":
        return np.maximum(np.linalg.pinv(filters) @ linear, 0)
    # librosa starts from the pseudo-inverse and has absolute tolerances: with the small values of a
    # mel it would stop immediately, so both sides are scaled to a peak of 1000
    filter_scale = 1e3 / filters.max()
    scale = 1e3 / linear.max()
    return librosa.util.nnls(filter_scale * filters, scale * linear) * filter_scale / scale


def griffin_lim(
    mel: np.ndarray, front_end: MelFrontEnd, length: int, iterations: int, inverse: str, seed: int
) -> np.ndarray:
    """Mel [n_mels, frames] to audio [length]. inverse: "nnls" or "pinv"."""
    linear = front_end.band_magnitude(torch.from_numpy(mel)).double().numpy() ** front_end.power
    spectrum = invert_filters(linear, front_end, inverse)
    magnitude = spectrum ** (1 / front_end.power)
    if front_end.normalized:
        magnitude = magnitude * front_end.window_norm
    # a front-end that is not centred has padded the audio by this much on either side
    padding = 0 if front_end.center else (front_end.n_fft - front_end.hop_length) // 2
    audio = librosa.griffinlim(
        magnitude,
        n_iter=iterations,
        n_fft=front_end.n_fft,
        hop_length=front_end.hop_length,
        win_length=front_end.win_length,
        center=front_end.center,
        length=length + 2 * padding,
        random_state=seed,
    )
    return audio[padding : padding + length]


def without_network(
    mel: np.ndarray, front_end: MelFrontEnd, length: int, iterations: int, seed: int
) -> np.ndarray:
    """Mel [n_mels, frames] to audio [length]: `MelProjection` from noise in the mel's envelope."""
    whitened = WhitenedSTFT(front_end.n_fft, front_end.hop_length, mel=front_end)
    noise = PositionNoise(seed)(torch.empty(1, whitened.channels, whitened.frames(length)), -1)
    bands = torch.from_numpy(mel)[None]
    audio = whitened.decode(noise, length, bands)
    return MelProjection(front_end, iterations)(audio, bands)[0, 0].numpy()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("audio", nargs="+", help="files, folders or globs")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--front-end", default="tacotron", help="name of a mel front-end")
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--inverse", default="nnls", choices=("nnls", "pinv", "projection"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    front_end = mel_front_end(args.front_end)
    failures = []
    for root in args.audio:
        for path in tqdm(find_audio([root]), desc="griffin-lim", unit="file", file=sys.stderr):
            name = path.relative_to(root) if Path(root).is_dir() else Path(path.name)
            try:
                audio, sample_rate = read_audio(path, front_end.sample_rate)
                mel = front_end(audio[None])[0].numpy()
                length, iterations = audio.shape[-1], args.iterations
                if args.inverse == "projection":
                    result = without_network(mel, front_end, length, iterations, args.seed)
                else:
                    result = griffin_lim(
                        mel, front_end, length, iterations, args.inverse, args.seed
                    )
                output = (args.output / name).with_suffix(".wav")
                write_audio(output, torch.from_numpy(result).float(), sample_rate)
            except UserError as error:
                failures.append(str(error))
    print(*failures, sep="\n", end="\n" if failures else "", file=sys.stderr)
    return 2 if failures else 0


if __name__ == "__main__":
    sys.exit(run(main))
