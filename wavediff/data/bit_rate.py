"""Bit rates of lossy audio: that of a source, and how an encoder is asked for one.

libsndfile takes a compression level from 0 to 1, which means something else for each codec.
"""

import io
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import soundfile

from wavediff.data.mp3 import HIGH, LOW
from wavediff.errors import UserError

VORBIS = b"\x01vorbis"  # the identification header, with the nominal bit rate
SEARCH = 12  # halvings of the range of quality


def bit_rate(path: Path, container: str, subtype: str, seconds: float) -> float | None:
    """Return the bit rate of a lossy file that libsndfile reads, in kbit/s, all channels together.

    Of Ogg Vorbis it is the nominal one, by which the quality is set; None if it is not known.
    """
    if container == "MP3":
        import mutagen.mp3

        try:
            info: Any = mutagen.mp3.MP3(path).info
            return info.bitrate / 1000
        except mutagen.MutagenError:
            return None
    if subtype not in ("VORBIS", "OPUS"):
        return None
    with open(path, "rb") as file:
        nominal = _nominal(file.read(1024)) if subtype == "VORBIS" else 0
        return nominal / 1000 or (8 * _ogg_bytes(file) / 1000 / seconds if seconds else None)


def encoder_options(
    subtype: str, rate: int, channels: int, kbit: float | None, exact: bool = False
) -> dict[str, Any]:
    """Return the options of ``soundfile.SoundFile`` for a bit rate; none where it is not known.

    Args:
        subtype: MPEG_LAYER_III, VORBIS or OPUS; others have no bit rate.
        rate: in Hz.
        channels: their number.
        kbit: bit rate of all channels together, in kbit/s; the nearest that the codec has is taken.
        exact: whether one out of its range is refused instead.

    Raises:
        UserError: for a bit rate that the codec does not have.
    """
    if kbit is None:
        return {}
    options: dict[str, Any] = {}
    if subtype == "MPEG_LAYER_III":
        low, high = (32, 320) if rate >= 32_000 else (8, 160) if rate >= 16_000 else (8, 64)
        near = min(HIGH if rate >= 32_000 else LOW, key=lambda one: abs(one - kbit))
        constant = abs(near - kbit) < 0.02 * kbit  # else one that is kept on average
        options["bitrate_mode"] = "CONSTANT" if constant else "AVERAGE"
        level = (high - (near if constant else kbit)) / (high - low)
    elif subtype == "OPUS":
        low, high = 6 * channels, 256 * channels
        level = (high - kbit) / (high - low)
    elif subtype == "VORBIS":
        low, high = (round(_vorbis(rate, channels, end) / 1000) for end in (1.0, 0.0))
        if not 0 < low < high:
            return {}
        level = _vorbis_level(rate, channels, kbit)
    else:
        return {}
    if exact and not low <= kbit <= high:
        raise UserError(
            f"a bit rate of {kbit:g} kbit/s is out of range ({low} to {high} for {channels} "
            f"channel{'s' * (channels != 1)} at {rate} Hz)"
        )
    return options | {"compression_level": min(max(level, 0.0), 0.999)}


@lru_cache
def _vorbis_level(rate: int, channels: int, kbit: float) -> float:
    """Find the level whose nominal bit rate is the wanted one."""
    low, high = 0.0, 1.0
    for _ in range(SEARCH):
        middle = (low + high) / 2
        if _vorbis(rate, channels, middle) > 1000 * kbit:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@lru_cache
def _vorbis(rate: int, channels: int, level: float) -> int:
    """Return the nominal bit rate of Vorbis at a level, in bit/s: that of an empty file."""
    buffer = io.BytesIO()
    kind = {"format": "OGG", "subtype": "VORBIS", "compression_level": level}
    with soundfile.SoundFile(buffer, "w", rate, channels, **kind):
        pass
    return _nominal(buffer.getvalue())


def _nominal(head: bytes) -> int:
    at = head.find(VORBIS)
    value = int.from_bytes(head[at + 20 : at + 24], "little", signed=True) if at >= 0 else 0
    return max(value, 0)


def _ogg_bytes(file: Any) -> int:
    """Count the bytes of the pages with audio, which have a position; covers can be large."""
    total = at = 0
    end = os.fstat(file.fileno()).st_size
    while at + 27 <= end:
        file.seek(at)
        head = file.read(27 + 255)
        if head[:4] != b"OggS":
            break
        size = 27 + head[26] + sum(head[27 : 27 + head[26]])
        if int.from_bytes(head[6:14], "little", signed=True) != 0:
            total += size
        at += size
    return total
