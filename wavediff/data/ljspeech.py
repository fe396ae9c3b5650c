"""LJSpeech-1.1: one US-English reader, 13,100 clips, 24 h at 22,050 Hz (Ito & Johnson, 2017)."""

from pathlib import Path

from wavediff.data.audio import find_audio
from wavediff.data.download import fetch
from wavediff.data.source import Source


def ljspeech(root: str) -> Source:
    """``root`` is the dataset's folder (which holds wavs/), or the one in which LJSpeech-1.1 lies or
    is to be downloaded to."""
    folder = Path(root).expanduser()
    if not (folder / "wavs").is_dir():
        folder = fetch("LJSPEECH", folder, "LJSpeech-1.1", "2.6 GB")
    return Source(folder / "wavs", find_audio([folder / "wavs"]))
