"""LibriTTS: 2,456 English readers, 585 hours at 24 kHz in seven parts (Zen et al., 2019)."""

from collections.abc import Sequence
from pathlib import Path

from wavediff.data.audio import find_audio
from wavediff.data.download import fetch
from wavediff.data.source import Source, labelled
from wavediff.errors import UserError

PARTS = {
    "dev-clean": "1.2 GB",
    "dev-other": "0.9 GB",
    "test-clean": "1.2 GB",
    "test-other": "1.0 GB",
    "train-clean-100": "7.7 GB",
    "train-clean-360": "27 GB",
    "train-other-500": "44 GB",
}


def libritts(root: str, parts: Sequence[str] = ("train-clean-100",)) -> Source:
    """`root` is the folder LibriTTS, which holds the parts, or the one in which LibriTTS lies or is
    to be downloaded to. Labels are the speakers of all the parts, in the order of their numbers."""
    unknown = set(parts) - set(PARTS)
    if unknown or not parts:
        wrong = ", ".join(sorted(unknown)) or "nothing"
        raise UserError(f"data.parts names {wrong}: LibriTTS has {', '.join(PARTS)}")
    folder = Path(root).expanduser()
    if not any((folder / part).is_dir() for part in PARTS):
        for part in parts:
            fetch("LIBRITTS", folder, f"LibriTTS/{part}", PARTS[part], url=part)
        folder = folder / "LibriTTS"
    files = find_audio([folder / part for part in parts])
    speakers = [file.relative_to(folder).parts[1] for file in files]
    return labelled(folder, files, speakers, order=int)
