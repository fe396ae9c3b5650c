"""VoiceBank-DEMAND: read English with noise added, at 48 kHz (Valentini-Botinhao, 2017).

The training sets have 28 or 56 speakers at SNRs of 0 to 15 dB; the test set has two other speakers
(824 utterances) at 2.5 to 17.5 dB. Source: Edinburgh DataShare 10283/2791.
"""

from wavediff.data.download import fetch_archive
from wavediff.data.source import Source, paired
from wavediff.errors import UserError
from wavediff.inputs import expanded, find_audio

ADDRESS = "https://datashare.ed.ac.uk/bitstream/handle/10283/2791"
PARTS = {"trainset_28spk": "2.6 GB", "trainset_56spk": "5 GB", "testset": "0.2 GB"}


def voicebank_demand(root: str, part: str = "trainset_28spk") -> Source:
    """One part of VoiceBank-DEMAND, downloaded if it is absent.

    Args:
        root: the folder of the unpacked archives, as clean_trainset_28spk_wav/ and
            noisy_trainset_28spk_wav/.
        part: trainset_28spk, trainset_56spk or testset.

    Raises:
        UserError: for another part, or if the dataset is absent and cannot be downloaded.
    """
    if part not in PARTS:
        raise UserError(
            f"data.part={part} is not in VoiceBank-DEMAND. Use one of {', '.join(PARTS)}."
        )
    folder = expanded(root)
    clean, noisy = (
        fetch_archive(f"{ADDRESS}/{name}.zip", folder, name, PARTS[part])
        for name in (f"clean_{part}_wav", f"noisy_{part}_wav")
    )
    return paired(Source(clean, find_audio([clean])), str(noisy))
