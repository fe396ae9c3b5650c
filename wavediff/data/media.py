"""Reading what libsndfile does not: m4a, mp4, mov, webm, wma and others, by PyAV or ffmpeg."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np

SIGNATURES = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"\x30\x26\xb2\x75",  # ASF: wma
    b"OggS", b"#!AMR", b"MAC ", b"wvpk", b"TTA1", b"MPCK", b"MP+", b".RMF", b"FLV", b"\x0b\x77",
    b"BW64", b"caff", b"\x00\x00\x01\xba", b"\x7f\xfe\x80\x01", b"DSD ", b"FRM8", b".ra\xfd",
    b"tBaK",
)  # fmt: skip
PLAIN = (b"\x01\0", b"\x03\0", b"\xfe\xff")  # PCM, floating point, extensible
EXACT = ("mov", "matroska", "asf")  # containers whose header declares the duration
LOSSLESS = ("alac", "flac", "ape", "wavpack", "tta", "truehd", "mlp", "wmalossless", "tak")
TECHNICAL = (  # what a container tells of itself
    "major_brand", "minor_version", "compatible_brands", "encoder", "handler_name", "vendor_id",
    "language", "creation_time", "duration", "timecode",
)  # fmt: skip
# What PyAV raises for a damaged file besides its own errors.
BROKEN = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
LONGEST_GAP = 600  # seconds of packets in a row that cannot be decoded
TOLERANCE = 0.25  # seconds by which a duration may be wrong in an intact file
INSTALL = 'pip install "wavediff[media]", or ffmpeg on the PATH'


class NoDecoder(Exception):
    """Neither PyAV nor ffmpeg is installed."""


class BadMedia(Exception):
    """A file that cannot be decoded."""


class _Source(io.BufferedReader):
    """A file for PyAV, which prints the traceback of a seek that fails."""

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return super().seek(offset, whence)
        except (OSError, ValueError):
            return -1


def is_media(path: str | Path) -> bool:
    """Whether the content of a file is of a container that PyAV or ffmpeg may read."""
    with open(path, "rb") as file:
        head = file.read(32)
    adts = len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
    avi = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    # a wav with a codec such as MP3; damaged PCM is refused
    coded = head[:4] == b"RIFF" and head[12:16] == b"fmt " and head[20:22] not in PLAIN
    atoms = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # QuickTime may lack the first
    return head.startswith(SIGNATURES) or head[4:8] in atoms or adts or avi or coded


class MediaFile:
    """The first audio track of a file, with the attributes and methods of ``SoundFile`` in use.

    Args:
        path: the file.

    Raises:
        NoDecoder: if neither PyAV nor ffmpeg is installed.
        BadMedia: if the file cannot be decoded or has no audio.
    """

    extra_info = ""

    def __init__(self, path: str | Path) -> None:
        self._close: Callable[[], None]
        self._blocks: Generator[np.ndarray, None, None]
        self.format = Path(os.fsdecode(path)).suffix[1:].upper() or "MEDIA"
        self.exact = False
        self._metadata: dict[str, str] = {}
        self._bits_per_second = 0.0
        self.damage: list[int] = []  # where samples are missing, while others follow
        self.limit: int | None = None
        self.frames = 0
        self._open(path)
        if not self.frames:  # a browser's recording, for example: counted
            count = sum(map(len, self._blocks))
            self._close()
            self.damage.clear()
            self._open(path)
            self.frames = max(1, count)
        lossy = self.subtype not in ("PCM_16", "PCM_24")
        self.bit_rate = (self._bits_per_second / 1000 or None) if lossy else None
        self._rest = np.zeros((0, self.channels), np.float32)
        self._position = 0

    def __enter__(self) -> MediaFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, and end what decodes it."""
        self._close()

    def copy_metadata(self) -> dict[str, str]:
        """Return what the container tells of the recording, as far as it is known."""
        return self._metadata

    def tell(self) -> int:
        """Return the number of the next sample."""
        return self._position

    def seek(self, frame: int) -> None:
        """Go forward to a sample, by decoding what comes before."""
        while self._position < frame:
            if not len(self.read(np.empty((min(frame - self._position, 1 << 18), self.channels)))):
                break

    def read(self, out: np.ndarray) -> np.ndarray:
        """Fill ``out [time, channels]``, and return the part that is filled: less at the end."""
        wanted = len(out)
        if self.limit is not None:
            wanted = min(wanted, self.limit - self._position)
        parts, have = [self._rest], len(self._rest)
        while have < wanted:
            block = next(self._blocks, None)
            if block is None:
                break
            parts.append(block)
            have += len(block)
        joined = np.concatenate(parts)
        self._rest, block = joined[wanted:], joined[:wanted]
        self._position += len(block)
        out[: len(block)] = block
        return out[: len(block)]

    def _open(self, path: str | Path) -> None:
        if _pyav() is not None:
            self._open_by_pyav(path)
        elif shutil.which("ffmpeg"):
            self._open_by_ffmpeg(path)
        else:
            raise NoDecoder

    def _open_by_pyav(self, path: str | Path) -> None:
        av = _pyav()
        file = _Source(io.FileIO(path))
        try:
            container = av.open(file)
            if not container.streams.audio:
                raise BadMedia("it has no audio track")
            stream = container.streams.audio[0]
            codec = stream.codec_context
            self.samplerate, self.channels = stream.rate, stream.channels
            if not self.samplerate or not self.channels:
                raise BadMedia("it has no sample rate or no channels")
            bits = getattr(codec.format, "bits", 16) or 16
            self.subtype = _subtype(codec.name, bits)
            length = 0.0
            if stream.duration:
                length = float(stream.duration * stream.time_base)
            elif container.duration:
                length = container.duration / av.time_base
            name = container.format.name
            self.exact = name.startswith(EXACT)
            self.frames = round(length * self.samplerate)
            if name.startswith("mov") and length:  # the last packet of AAC is filled up
                self.limit = self.frames
            self._bits_per_second = stream.bit_rate or container.bit_rate or 0
            both = {**container.metadata, **stream.metadata}
            self._metadata = {k: v for k, v in both.items() if k.lower() not in TECHNICAL}
            self._blocks = _pyav_blocks(av, container, stream, self.damage)
        except BadMedia:
            file.close()
            raise
        except (av.FFmpegError, *BROKEN) as error:
            file.close()
            raise BadMedia(str(error).split("\n")[0]) from error

        def close() -> None:
            self._blocks.close()
            container.close()
            file.close()

        self._close = close

    def _open_by_ffmpeg(self, path: str | Path) -> None:
        name = os.fsencode(os.path.abspath(path))
        words = ["ffmpeg", "-nostdin", "-hide_banner"]
        info = subprocess.run([*words, "-i", name], capture_output=True).stderr.decode(
            errors="replace"
        )
        audio = re.search(r"Audio: (\w+)", info)
        if audio is None:
            raise BadMedia("ffmpeg finds no audio in it")
        length = re.search(r"Duration: (\d+):(\d+):([\d.]+)", info)
        hours, minutes, seconds = map(float, length.groups()) if length else (0.0, 0.0, 0.0)
        kind = re.search(r"Input #0, ([\w,]+)", info)
        self.exact = bool(length) and kind is not None and kind[1].startswith(EXACT)
        bits = re.search(r"Audio: [^\n]* (\d+) kb/s", info)
        self._bits_per_second = 1000 * float(bits[1]) if bits else 0.0
        wide = re.search(r"Audio: [^\n]*(s32|24 bit|flt|dbl)", info)
        self.subtype = _subtype(audio[1], 32 if wide else 16)
        # au has the plainest header: it tells rate and channels, and has no length to be wrong
        form = ["-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
        process = subprocess.Popen(
            [*words, "-v", "error", "-i", name, *form],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        head = process.stdout.read(24)
        if head[:4] != b".snd":
            process.kill()
            process.wait()
            raise BadMedia("ffmpeg cannot decode it")
        process.stdout.read(int.from_bytes(head[4:8], "big") - 24)
        self.samplerate, self.channels = (
            int.from_bytes(head[at : at + 4], "big") for at in (16, 20)
        )
        self.frames = round((3600 * hours + 60 * minutes + seconds) * self.samplerate)

        def blocks() -> Generator[np.ndarray, None, None]:
            size = 4 * self.channels
            while raw := process.stdout.read(size << 14):  # type: ignore[union-attr]
                samples = np.frombuffer(raw[: len(raw) // size * size], ">f4")
                yield samples.astype(np.float32).reshape(-1, self.channels)

        def close() -> None:
            process.kill()
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]

        self._blocks, self._close = blocks(), close


def _pyav() -> Any:
    """PyAV, or None where it is not installed."""
    try:
        import av
    except ImportError:
        return None
    av.logging.set_level(av.logging.PANIC)
    return av


def _pyav_blocks(
    av: Any, container: Any, stream: Any, damage: list[int]
) -> Generator[np.ndarray, None, None]:
    """Yield float32 ``[time, channels]``, silence for packets that cannot be decoded in between.

    The sample at which each such gap begins is added to ``damage``.
    """
    resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
    count, failed, end = 0, False, None
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except (av.FFmpegError, *BROKEN):
                failed = True
                continue
            for frame in frames:
                if failed and count:
                    damage.append(count)
                    if end is not None and frame.time is not None:
                        gap = round((frame.time - end) * stream.rate)
                        if 0 < gap < LONGEST_GAP * stream.rate:
                            yield np.zeros((gap, stream.channels), np.float32)
                            count += gap
                failed = False
                end = None if frame.time is None else frame.time + frame.samples / frame.sample_rate
                for part in resampler.resample(frame):
                    block = np.ascontiguousarray(part.to_ndarray().T)
                    count += len(block)
                    yield block
        for part in resampler.resample(None):
            yield np.ascontiguousarray(part.to_ndarray().T)
    except (av.FFmpegError, *BROKEN):
        return


def _subtype(codec: str, bits: int) -> str:
    """A sample format as soundfile names it, for a lossless codec; else the codec's name."""
    if codec.startswith(("pcm_f", "pcm_s32")) or (codec in LOSSLESS and bits > 16):
        return "PCM_24"
    return "PCM_16" if codec in LOSSLESS or codec.startswith("pcm_") else codec.upper()
