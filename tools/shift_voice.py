"""Copies a folder of speech with another pitch or level, as unseen voices for a model.

    python tools/shift_voice.py speech/ -o higher/ --semitones 3
    python tools/shift_voice.py speech/ -o quieter/ --gain-db -20

The duration is unchanged. Formants shift with the pitch, as for a smaller or larger speaker.
"""

import argparse
import sys
from pathlib import Path

import librosa
import torch
from tqdm import tqdm

from wavediff.cli import run
from wavediff.data.audio import read_audio, write_audio
from wavediff.errors import UserError
from wavediff.inputs import find_audio


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("speech", type=Path, help="folder of audio")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the copies")
    parser.add_argument("--semitones", type=float, default=0.0, metavar="N", help="pitch shift")
    parser.add_argument("--gain-db", type=float, default=0.0, metavar="DB")
    options = parser.parse_args(argv)
    if not options.speech.is_dir():
        raise UserError(f"{options.speech} is not a folder: give a folder of audio files")
    if options.output.exists() and any(options.output.iterdir()):
        raise UserError(f"{options.output} is not empty: remove it, or give another folder")
    for path in tqdm(find_audio([options.speech]), unit="file", file=sys.stderr):
        audio, rate = read_audio(path)
        shifted = audio.numpy()
        if options.semitones:
            shifted = librosa.effects.pitch_shift(shifted, sr=rate, n_steps=options.semitones)
        shifted = torch.from_numpy(shifted) * 10 ** (options.gain_db / 20)
        output = options.output / path.relative_to(options.speech).with_suffix(".wav")
        write_audio(output, shifted, rate)
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
