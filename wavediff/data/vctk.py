"""VCTK 0.92: 110 English speakers, 44 h at 48 kHz by two microphones (Yamagishi et al., 2019)."""

from pathlib import Path

from wavediff.data.audio import find_audio
from wavediff.data.download import fetch
from wavediff.data.source import Source, labelled
from wavediff.errors import UserError

AUDIO = "wav48_silence_trimmed"


def vctk(root: str, microphone: str = "mic2") -> Source:
    """``root`` is the dataset's folder (which holds wav48_silence_trimmed/), or the one in which
    VCTK-Corpus-0.92 lies or is to be downloaded to. Labels are the speakers, in the order of their
    names (p225, ..., s5).

    microphone: mic1 or mic2. There is no mic2 of p280 (so 109 speakers) and of a part of p362.
    """
    if microphone not in ("mic1", "mic2"):
        raise UserError(f"data.microphone={microphone} is not one of VCTK's: give mic1 or mic2")
    folder = Path(root).expanduser()
    if not (folder / AUDIO).is_dir():
        folder = fetch("VCTK_092", folder, "VCTK-Corpus-0.92", "11 GB", mic_id=microphone)
    files = [file for file in find_audio([folder / AUDIO]) if file.stem.endswith(f"_{microphone}")]
    return labelled(folder / AUDIO, files, [file.parent.name for file in files])
