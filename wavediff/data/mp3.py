"""The length of an mp3 file: declared in a first frame without sound, or counted."""

from pathlib import Path
from typing import BinaryIO, NamedTuple

# kbit/s of layer III by index, for MPEG-1 and for the lower sample rates of MPEG-2 and 2.5
HIGH = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
LOW = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
DECLARING = (b"Xing", b"Info", b"VBRI")
TAGS = (b"TAG", b"APETAGEX", b"LYRICS", b"ID3")


class _Frame(NamedTuple):
    size: int  # bytes
    side: int  # bytes of side information, after the header of 4
    samples: int  # per channel


def declares_length(path: Path) -> bool:
    """Whether the file has a header with its length, which is estimated otherwise."""
    with open(path, "rb") as file:
        file.seek(_start(file))
        frame = file.read(2048)
    return any(mark in frame for mark in DECLARING)


def length_frame(path: Path, estimate: int) -> tuple[int, bytes] | None:
    """Return a frame that declares the length of a file that does not, and where it belongs.

    Args:
        path: the file.
        estimate: of the samples per channel by libsndfile, from the first frames; at a variable
            bit rate it is wrong, and what is beyond it would not be read.

    Returns:
        (offset, bytes), or None for a file that declares its length, is as long as estimated or
        has frames of another kind.
    """
    if declares_length(path):
        return None
    with open(path, "rb") as file:
        start = at = _start(file)
        file.seek(at)
        first = file.read(4)
        count = 0
        while (frame := _frame(file, at)) is not None:
            count, at = count + 1, at + frame.size
        file.seek(at)
        rest = file.read(8)
        if not count or (len(rest) == 8 and not rest.startswith(TAGS) and any(rest)):
            return None
    # at a higher bit rate, so that there is room
    bare = bytes([first[0], first[1] | 1, (first[2] & 0x0F) | 0x90, first[3]])
    shape = parsed(bare)
    if shape is None or abs(count * shape.samples - estimate) <= 2 * shape.samples:
        return None
    content = bytes(shape.side) + b"Info" + (1).to_bytes(4, "big") + count.to_bytes(4, "big")
    return start, bare + content + bytes(shape.size - 4 - len(content))


def _start(file: BinaryIO) -> int:
    """Return where the first frame is, after a tag."""
    file.seek(0)
    return tag_size(file.read(10))


def tag_size(head: bytes) -> int:
    """The size of the ID3 tag that begins with 10 bytes; 0 for other bytes."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum((b & 0x7F) << shift for b, shift in zip(head[6:], (21, 14, 7, 0), strict=True))


def _frame(file: BinaryIO, at: int) -> _Frame | None:
    file.seek(at)
    return parsed(file.read(4))


def parsed(head: bytes) -> _Frame | None:
    """Read the header of a frame of layer III; None for other bytes."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, index, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version not in RATES or rate == 3 or not 0 < index < 15:
        return None
    first = version == 3
    kilobits, mono = (HIGH if first else LOW)[index], head[3] >> 6 == 3
    size = (144_000 if first else 72_000) * kilobits // RATES[version][rate] + (head[2] >> 1 & 1)
    side = (17 if mono else 32) if first else (9 if mono else 17)
    return _Frame(size, side, 1152 if first else 576)
