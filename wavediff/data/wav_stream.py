"""Uncompressed audio as it comes through a pipe: a wav header of unknown length, and raw PCM."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from wavediff.data.audio import AudioWriter
from wavediff.errors import UserError

SUBTYPES = {  # by the format tag and the bits of a sample in a wav header
    (1, 8): "PCM_U8",
    (1, 16): "PCM_16",
    (1, 24): "PCM_24",
    (1, 32): "PCM_32",
    (3, 32): "FLOAT",
    (3, 64): "DOUBLE",
    (6, 8): "ALAW",
    (7, 8): "ULAW",
}
WIDTHS = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}  # bytes; others have 1
EXTENSIBLE = 0xFFFE
ENDLESS = range(0x7FFF_F000, 0x8000_0001)  # of sox and arecord; 0 and 0xFFFFFFFF of others
UNKNOWN, MOST = 0xFFFF_F000, 0xFFFF_FFFF  # sizes from here on are not sizes either
AT_ONCE = 1 << 16  # bytes
CONVERT = "give wav or, with --raw, PCM (ffmpeg -i - -f wav -), or leave out --live"


class Source(Protocol):
    """A binary file, of which ``read1`` returns what is there."""

    def read(self, size: int, /) -> bytes: ...

    def read1(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class PCM:
    """Samples in a row, interleaved.

    Attributes:
        sample_rate: in Hz.
        subtype: as soundfile names it.
        length: bytes of samples that a header declares; None for all that come.
        header: that goes before the samples.
    """

    sample_rate: int
    channels: int
    subtype: str
    length: int | None = None
    header: bytes = b""

    @property
    def frame(self) -> int:
        """Bytes of a sample of all channels."""
        return self.channels * WIDTHS.get(self.subtype, 1)

    def blocks(self, source: Source) -> Iterator[NDArray[np.float64]]:
        """Yield the samples ``[channels, n]`` as they come, without waiting for more."""
        left, rest = self.length, b""
        while left != 0 and (data := source.read1(min(left or AT_ONCE, AT_ONCE))):
            left = None if left is None else left - len(data)
            data = rest + data
            whole = len(data) // self.frame * self.frame
            data, rest = data[:whole], data[whole:]
            if data:
                yield self._decoded(data)
        if rest and left is None:
            print(
                f"the last {len(rest)} bytes are left out: a sample of all channels has "
                f"{self.frame}",
                file=sys.stderr,
            )

    def _decoded(self, data: bytes) -> NDArray[np.float64]:
        samples, _ = soundfile.read(
            io.BytesIO(data),
            samplerate=self.sample_rate,
            channels=self.channels,
            subtype=self.subtype,
            endian="LITTLE",
            format="RAW",
            always_2d=True,
        )
        return samples.T


class PCMWriter:
    """Writes samples, and each block at once.

    Args:
        pcm: the form; its header is written first.
        sink: a binary file.
        name: of the output, for messages.
    """

    def __init__(self, pcm: PCM, sink: BinaryIO, name: str) -> None:
        self._sink, self._buffer = sink, io.BytesIO()
        self._file = soundfile.SoundFile(
            self._buffer,
            "w",
            pcm.sample_rate,
            pcm.channels,
            pcm.subtype,
            "LITTLE",
            "RAW",
        )
        self._writer = AudioWriter(Path(name), self._file)
        self._pad = b"\0" * ((pcm.length or 0) % 2)
        self._send(pcm.header)

    def write(self, block: NDArray | Tensor) -> None:
        """Write ``[channels, n]``."""
        self._writer.write(torch.as_tensor(block))
        self._file.flush()
        self._send(self._buffer.getvalue())
        self._buffer.seek(0)
        self._buffer.truncate()

    def end(self) -> None:
        """Write what a wav file has after an odd number of bytes."""
        self._send(self._pad)

    def _send(self, data: bytes) -> None:
        if data:
            self._sink.write(data)
            self._sink.flush()


def read_wav_header(source: Source, name: str) -> PCM:
    """Read up to the samples.

    A length of 0 or close to 2 or 4 GB, as programs write it that do not know the length yet, is
    none: all that comes is samples. It stands in the new header again.

    Args:
        source: at its beginning.
        name: of the input, for messages.

    Raises:
        UserError: for what is not wav, or a sample format that is not uncompressed.
    """
    head = source.read(12)
    if not head:
        raise UserError(f"{name} is empty: it has no bytes.")
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        raise UserError(f"{name} is not wav: {CONVERT}")
    fmt, real = b"", 0
    while True:
        kind, size = _chunk(source.read(8), name)
        if kind == b"data":
            break
        chunk = _skipped(source, size + size % 2)
        if kind == b"fmt ":
            fmt = chunk
        elif kind == b"ds64" and len(chunk) >= 16:
            real = struct.unpack("<Q", chunk[8:16])[0]
    rate, channels, subtype = _described(fmt, name)
    pcm = PCM(rate, channels, subtype)
    if head[:4] == b"RF64" and real:
        size = real
    if size == 0 or size in ENDLESS or UNKNOWN <= size <= MOST:
        return replace(pcm, header=_header(struct.unpack("<I", head[4:8])[0], fmt, size))
    size -= size % pcm.frame
    whole = size + size % 2 + len(fmt) + 20  # bytes after those of the first size
    return replace(
        pcm,
        length=size,
        header=_header(whole, fmt, size) if whole <= MOST else _header(MOST, fmt, MOST),
    )


def _chunk(start: bytes, name: str) -> tuple[bytes, int]:
    """(kind, size) of a chunk."""
    if len(start) < 8:
        raise UserError(f"{name} ends within its wav header: {CONVERT}")
    kind, size = struct.unpack("<4sI", start)
    return kind, size


def _skipped(source: Source, size: int) -> bytes:
    """Read past ``size`` bytes; what is longer than a description is not kept."""
    first = source.read(min(size, AT_ONCE))
    left = size - len(first)
    while left and (data := source.read(min(left, AT_ONCE))):
        left -= len(data)
    return first


def _header(whole: int, fmt: bytes, size: int) -> bytes:
    return struct.pack("<4sI4s4sI", b"RIFF", whole, b"WAVE", b"fmt ", len(fmt)) + (
        fmt + struct.pack("<4sI", b"data", size)
    )


def _described(fmt: bytes, name: str) -> tuple[int, int, str]:
    """(rate, channels, subtype) of a chunk "fmt "."""
    if len(fmt) < 16:
        raise UserError(f"{name} has no chunk 'fmt ' before its samples: {CONVERT}")
    tag, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", fmt[:16])
    if tag == EXTENSIBLE and len(fmt) >= 26:
        tag = struct.unpack("<H", fmt[24:26])[0]
    subtype = SUBTYPES.get((tag, bits))
    if subtype is None or frame != channels * WIDTHS.get(subtype, 1) or not frame:
        raise UserError(
            f"{name} holds samples of wav format {tag} with {bits} bits in {channels} channels of "
            f"{frame} bytes, which is not uncompressed audio that --live reads: {CONVERT}"
        )
    return rate, channels, subtype
