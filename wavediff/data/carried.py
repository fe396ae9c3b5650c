"""What a file says of itself besides the samples, from a source to its restored version."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import soundfile

from wavediff.data.chunk_copy import copy_chunks
from wavediff.data.reading import AudioReader, brief
from wavediff.data.tags import Tags, read_tags, write_tags
from wavediff.errors import listed, named

# What libsndfile writes into a LIST chunk and the like, by the name of the Vorbis comment.
STRINGS = (
    "title", "artist", "album", "comment", "copyright", "date", "genre", "license", "tracknumber",
)  # fmt: skip
# Chunks that only a file of the same kind can hold, by the first four bytes of their names.
CHUNKS = {
    b"bext": "bext", b"cue ": "cue points", b"MARK": "markers", b"mark": "markers",
    b"regn": "regions", b"plst": "play list", b"smpl": "loops", b"INST": "loops", b"inst": "inst",
    b"iXML": "iXML", b"axml": "axml", b"aXML": "axml", b"chna": "chna", b"cart": "cart",
    b"_PMX": "XMP",
}  # fmt: skip
FRAMES = {  # of ID3, that only ID3 has
    "CHAP": "chapters", "CTOC": "chapters", "SYLT": "timed lyrics", "GEOB": "attached files",
}  # fmt: skip
CUE_SHEET = 5  # of the blocks of a FLAC file
WITH_ID3 = ("MP3", "WAV", "WAVEX", "AIFF")
WITH_TAGS = (*WITH_ID3, "FLAC", "OGG")
WITH_STRINGS = (*WITH_TAGS, "RF64", "CAF")


class Carried:
    """Tags, cover and chunks of a source, as far as the new file can hold them.

    Tags that are damaged, and what the new file cannot hold, are left out with a sentence on
    stderr: the samples are worth more.
    """

    def __init__(self, source: AudioReader) -> None:
        self.source = source
        self.tags = Tags()
        try:
            self.tags = read_tags(source.path, source.container, source.strings)
        except Exception as error:  # mutagen raises any kind of error for damaged tags
            self._report(error)

    def write_strings(self, file: Any) -> None:
        """Give an open ``SoundFile`` those that a container without tags can hold."""
        layout = self.source.layout
        if file.format in ("FLAC", "OGG", "MP3") or (
            layout is not None and layout.kind == "WAV" and file.format in ("WAV", "WAVEX", "RF64")
        ):
            return  # tags or chunks are written once the samples are
        for name, value in reversed(self.tags.comments):
            if name in STRINGS:
                with suppress(soundfile.SoundFileError):  # au and w64 have no strings
                    setattr(file, name, value)

    def write(self, path: Path, container: str, subtype: str, sample_rate: int) -> None:
        """Complete a file that is written."""
        source = self.source
        ratio = sample_rate / source.sample_rate
        if source.layout is not None and copy_chunks(source.path, source.layout, path, ratio):
            return
        if lost := self._lost(container, ratio):
            what = f"not kept, as {container} has no place for it: {listed(lost)}"
            print(f"{named(source.path)}: {what}", file=sys.stderr)
        if self.tags:
            try:
                write_tags(path, container, subtype, self.tags, ratio == 1)
            except Exception as error:
                cause = error.args[0] if error.args else None
                if isinstance(cause, OSError):
                    raise cause from error
                self._report(error)

    def _lost(self, container: str, ratio: float) -> list[str]:
        """What the new file, of another kind, cannot hold."""
        tags, layout = self.tags, self.source.layout
        found = [] if layout is None else [CHUNKS.get(c.name[:4], "") for c in layout.chunks]
        if container not in WITH_ID3:
            found += [FRAMES.get(frame, "") for frame in tags.frames]
        found += ["chapters"] * tags.chapters
        if any(block.code == CUE_SHEET for block in tags.blocks) and (
            container != "FLAC" or ratio != 1
        ):
            found.append("cue sheet")
        if container not in WITH_STRINGS and tags.comments:
            found.append("tags")
        if container not in WITH_TAGS and tags.pictures:
            found.append("cover")
        return list(dict.fromkeys(filter(None, found)))

    def _report(self, error: Exception) -> None:
        print(f"{named(self.source.path)}: its tags are not kept ({brief(error)})", file=sys.stderr)
