"""What a file says of itself besides the samples, from a source to its restored version."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import soundfile

from wavediff.data.chunk_copy import copy_chunks
from wavediff.data.reading import AudioReader, brief
from wavediff.data.tags import Tags, read_tags, write_tags
from wavediff.errors import named

# What libsndfile writes into a LIST chunk and the like, by the name of the Vorbis comment.
STRINGS = (
    "title", "artist", "album", "comment", "copyright", "date", "genre", "license", "tracknumber",
)  # fmt: skip


class Carried:
    """Tags, cover and chunks of a source, as far as the new file can hold them.

    Tags that are damaged are left out with a sentence on stderr: the samples are worth more.
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
        if self.tags:
            try:
                write_tags(path, container, subtype, self.tags, ratio == 1)
            except Exception as error:
                cause = error.args[0] if error.args else None
                if isinstance(cause, OSError):
                    raise cause from error
                self._report(error)

    def _report(self, error: Exception) -> None:
        print(f"{named(self.source.path)}: its tags are not kept ({brief(error)})", file=sys.stderr)
