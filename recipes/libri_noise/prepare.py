"""Makes two folders of noise of the recipe `libri_noise` from clones of public repositories.

    mkdir clones && cd clones
    git clone https://github.com/karolpiczak/ESC-50
    git clone https://github.com/rafaelmardojai/blanket
    git clone https://github.com/jtgsystems/modern-alarm-clock
    git clone https://github.com/hsbakshi/ambient-engine
    git clone https://github.com/IBM/MAX-Audio-Classifier
    cd .. && python recipes/libri_noise/prepare.py clones

Writes data/esc-10, the part of ESC-50 that is CC BY, without the silence at the ends of its clips,
and data/ambient, at most 90 s each of the recordings that recipes/libri_noise/SOUNDS.md names; as
FLAC at 16 kHz, mono.
"""

import argparse
import csv
import sys
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from wavediff.cli import run
from wavediff.data.audio import read_audio, write_audio
from wavediff.errors import UserError

SAMPLE_RATE = 16_000
LONGEST, SHORTEST = 90, 0.5  # seconds
PEAK = 0.7
SILENT = 1e-4  # of the peak

AMBIENT = {  # repository: (folder, ending, names)
    "blanket": (
        "data/resources/sounds",
        ".ogg",
        "birds boat city coffee-shop fireplace rain storm summer-night train waves wind",
    ),
    "modern-alarm-clock": ("public/sfx", ".mp3", "city fireplace forest rain thunder waves wind"),
    "ambient-engine": ("packages/web/public/assets", ".mp3", "bikes footsteps hum water wind1"),
    "MAX-Audio-Classifier": (
        "samples",
        ".wav",
        "applause birds1 car_engine crowd_cheering rain snoring thunder train typing",
    ),
}


def esc_10(clone: Path) -> list[Path]:
    """The clips of ESC-50 that its table says are of ESC-10."""
    table = clone / "meta" / "esc50.csv"
    if not table.is_file():
        raise UserError(f"{table} is not there: clone karolpiczak/ESC-50 into {clone.parent}")
    with open(table, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["esc10"] == "True"]
    return [clone / "audio" / row["filename"] for row in rows]


def ambient(clones: Path) -> list[tuple[Path, str]]:
    """(file, name) of the other recordings."""
    found = []
    for repository, (folder, ending, names) in AMBIENT.items():
        if not (clones / repository).is_dir():
            raise UserError(f"{clones / repository} is not there: clone it, as --help shows")
        place = clones / repository / folder
        found += [(place / f"{name}{ending}", f"{repository}-{name}") for name in names.split()]
    return found


def trimmed(audio: Tensor) -> Tensor:
    """[1, time] without the silence at both ends."""
    loud = (audio[0].abs() > SILENT * audio.abs().max()).nonzero()
    return audio[:, int(loud[0]) : int(loud[-1]) + 1] if len(loud) else audio[:, :0]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clones", type=Path, help="the folder of the clones")
    parser.add_argument("-o", "--output", type=Path, default=Path("data"))
    options = parser.parse_args(argv)
    clips = [(file, f"esc-10/{file.stem}") for file in esc_10(options.clones / "ESC-50")]
    clips += [(file, f"ambient/{name}") for file, name in ambient(options.clones)]
    for file, name in tqdm(clips, unit="file"):
        audio = trimmed(read_audio(file, SAMPLE_RATE)[0])[:, : LONGEST * SAMPLE_RATE]
        if audio.shape[-1] < SHORTEST * SAMPLE_RATE:
            tqdm.write(f"left out, under {SHORTEST} s: {file}", file=sys.stderr)
            continue
        audio = audio * (PEAK / audio.abs().max())
        write_audio(options.output / f"{name}.flac", audio, SAMPLE_RATE)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
