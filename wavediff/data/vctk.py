"""VCTK 0.92: 110 English speakers, 44 h at 48 kHz by two microphones (Yamagishi et al., 2019)."""

from wavediff.data.download import fetch_archive
from wavediff.data.source import Source, labelled
from wavediff.errors import UserError
from wavediff.inputs import expanded, find_audio

URL = "https://datashare.is.ed.ac.uk/bitstream/handle/10283/3443/VCTK-Corpus-0.92.zip"
CHECKSUM = "f96258be9fdc2cbff6559541aae7ea4f59df3fcaf5cf963aae5ca647357e359c"
AUDIO = "wav48_silence_trimmed"


def vctk(root: str, microphone: str = "mic2") -> Source:
    """VCTK 0.92, downloaded if it is absent; labels are the speakers, by name (p225, ..., s5).

    Args:
        root: the folder of the dataset (with wav48_silence_trimmed/), or the one that holds
            VCTK-Corpus-0.92 or is to hold it.
        microphone: mic1 or mic2. mic2 lacks p280 (so 109 speakers) and part of p362.

    Raises:
        UserError: for another microphone, or if the dataset is absent and cannot be downloaded.
    """
    if microphone not in ("mic1", "mic2"):
        raise UserError(f"data.microphone={microphone} is invalid. Use mic1 or mic2.")
    folder = expanded(root)
    if not (folder / AUDIO).is_dir():
        folder = fetch_archive(
            URL, folder, "VCTK-Corpus-0.92", "11 GB", checksum=CHECKSUM, packed="."
        )
    files = [file for file in find_audio([folder / AUDIO]) if file.stem.endswith(f"_{microphone}")]
    return labelled(folder / AUDIO, files, [file.parent.name for file in files])
