"""LJSpeech-1.1: one US-English reader, 13,100 clips, 24 h at 22,050 Hz (Ito & Johnson, 2017)."""

from wavediff.data.download import fetch_archive
from wavediff.data.source import Source
from wavediff.inputs import expanded, find_audio

URL = "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2"
CHECKSUM = "be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5"


def ljspeech(root: str) -> Source:
    """LJSpeech-1.1, downloaded if it is absent.

    Args:
        root: the folder of the dataset (with wavs/), or the one that holds LJSpeech-1.1 or is to
            hold it.

    Raises:
        UserError: if the dataset is absent and cannot be downloaded.
    """
    folder = expanded(root)
    if not (folder / "wavs").is_dir():
        folder = fetch_archive(URL, folder, "LJSpeech-1.1", "2.6 GB", checksum=CHECKSUM)
    return Source(folder / "wavs", find_audio([folder / "wavs"]))
