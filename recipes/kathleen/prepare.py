"""Makes the dataset of the recipe `kathleen` from a clone of rhasspy/dataset-voice-kathleen.

Of each prompt the last take (the reader repeated a sentence until she was content), mixed to mono
and resampled to 22,050 Hz, as 16-bit FLAC; metadata.csv holds `id|text`.
"""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from wavediff.cli import run
from wavediff.data.audio import read_audio, write_audio
from wavediff.files import atomic_path
from wavediff.inputs import find_audio

SAMPLE_RATE = 22_050


def last_takes(folder: Path) -> dict[str, Path]:
    """Prompt -> file, sorted, from names like arctic_a0001_1592748574.wav (PROMPT_TIME)."""
    return {file.stem.rpartition("_")[0]: file for file in find_audio([folder])}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the clone (which holds data/)")
    parser.add_argument("-o", "--output", type=Path, default=Path("data/kathleen-22k"))
    options = parser.parse_args(argv)
    lines = []
    for prompt, file in tqdm(last_takes(options.source / "data").items(), unit="file"):
        audio, _ = read_audio(file, SAMPLE_RATE)
        write_audio(options.output / f"{prompt}.flac", audio, SAMPLE_RATE)
        lines.append(f"{prompt}|{file.with_suffix('.txt').read_text().strip()}\n")
    with atomic_path(options.output / "metadata.csv") as temporary:
        temporary.write_text("".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
