"""Containers and codecs that are written: what each can hold, and which one suits a source."""

from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile

from wavediff.errors import UserError
from wavediff.inputs import CONTAINERS

PCM_BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
FLOATS = {"FLOAT": np.float32, "DOUBLE": np.float64}
SUBTYPES = {".wav": ("PCM_16", "PCM_24", "PCM_32", "FLOAT"), ".flac": ("PCM_16", "PCM_24")}

LOSSY = {"VORBIS": "OGG", "OPUS": "OGG", "MPEG_LAYER_III": "MP3"}  # subtype -> container
EXACT = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
CODECS: dict[str, tuple[int | tuple[int, ...], int]] = {  # sample rates, channels
    "VORBIS": (200_000, 255),
    "OPUS": ((8000, 12000, 16000, 24000, 48000), 255),
    "MPEG_LAYER_III": (MP3_RATES, 2),
    "FLAC": (655_350, 8),
}
FINE = ("PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAC_20", "ALAC_24", "ALAC_32")  # above 16 bits
WAV_BYTES = 4_290_000_000  # a wav file stores its size in 32 bits


class Format(Protocol):
    """What ``kept_format`` knows of a source: see ``AudioReader``."""

    container: str
    subtype: str
    frames: int
    channels: int


def kept_format(suffix: str, source: Format) -> tuple[str, str]:
    """Choose the format of a file ending in ``suffix`` for audio like ``source``.

    It is the source's if the suffix allows, else the subtype with the least loss (24 bits for more
    than that, 16 bits for a lossy source). A wav file above 4 GB becomes RF64.

    Returns:
        (container, subtype) as named by soundfile.

    Raises:
        UserError: for an unknown suffix.
    """
    containers = CONTAINERS.get(suffix.lower())
    if containers is None:
        raise UserError(
            f"cannot write a file ending in {suffix!r}: use one of {', '.join(CONTAINERS)}."
        )
    container = source.container if source.container in containers else containers[0]
    subtype = source.subtype
    if suffix.lower() == ".opus":
        subtype = "OPUS"
    elif LOSSY.get(subtype) != container and not (
        subtype in EXACT and soundfile.check_format(container, subtype)
    ):
        fine = subtype in FINE
        subtype = soundfile.default_subtype(container)
        if fine and soundfile.check_format(container, "PCM_24"):
            subtype = "PCM_24"
    width = {"DOUBLE": 8, "FLOAT": 4}.get(subtype, PCM_BITS.get(subtype, 16) // 8)
    if container in ("WAV", "WAVEX") and source.frames * source.channels * width > WAV_BYTES:
        container = "RF64"
    return container, subtype


def check_codec(path: Path, container: str, subtype: str, rate: int, channels: int) -> None:
    """Refuse what a codec cannot hold, before it is opened: libvorbis crashes at some rates.

    Raises:
        UserError: for a sample rate or number of channels that it cannot hold.
    """
    codec = subtype if subtype in CODECS else container
    if codec not in CODECS:
        return
    rates, most = CODECS[codec]
    fits = rate in rates if isinstance(rates, tuple) else rate <= rates
    if fits and channels <= most:
        return
    allowed = f"up to {rates} Hz" if isinstance(rates, int) else f"{', '.join(map(str, rates))} Hz"
    raise UserError(
        f"cannot write {path} with {channels} channel{'s' * (channels != 1)} at {rate} Hz: the "
        f"codec {codec} holds {allowed} and up to {most} channels. Use a name ending in .wav."
    )


def to_integers(samples: np.ndarray, bits: int) -> np.ndarray:
    """Round [-1, 1] to the nearest of 2^bits steps.

    libsndfile scales by 2^(bits-1) - 1 when writing and by 2^(bits-1) when reading, and so would
    not reproduce the samples that it read.
    """
    full_scale = 2.0 ** (bits - 1)
    integers = np.clip(np.round(samples * full_scale), -full_scale, full_scale - 1)
    if bits <= 16:
        return integers.astype(np.int16) << (16 - bits)
    return integers.astype(np.int32) << (32 - bits)
