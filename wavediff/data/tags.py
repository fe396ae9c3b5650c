"""Tags and covers from one audio file to another, by mutagen."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mutagen.flac import Picture

# Names of Vorbis comments, and the names of the same in other kinds of tags.
ID3 = {
    "title": "TIT2", "artist": "TPE1", "album": "TALB", "albumartist": "TPE2", "date": "TDRC",
    "tracknumber": "TRCK", "discnumber": "TPOS", "genre": "TCON", "composer": "TCOM",
    "conductor": "TPE3", "lyricist": "TEXT", "copyright": "TCOP", "organization": "TPUB",
    "isrc": "TSRC", "language": "TLAN", "bpm": "TBPM", "grouping": "TIT1", "subtitle": "TIT3",
    "encoded-by": "TENC",
}  # fmt: skip
MP4 = {
    "\xa9nam": "title", "\xa9ART": "artist", "\xa9alb": "album", "aART": "albumartist",
    "\xa9day": "date", "trkn": "tracknumber", "disk": "discnumber", "\xa9gen": "genre",
    "\xa9wrt": "composer", "cprt": "copyright", "\xa9cmt": "comment", "\xa9lyr": "lyrics",
    "\xa9grp": "grouping", "tmpo": "bpm", "desc": "description",
}  # fmt: skip
OTHER = {  # of ASF, APEv2 and what ffmpeg calls them, in lower case
    "author": "artist", "wm/albumtitle": "album", "wm/albumartist": "albumartist",
    "wm/year": "date", "wm/genre": "genre", "wm/tracknumber": "tracknumber",
    "wm/composer": "composer", "description": "comment", "album_artist": "albumartist",
    "track": "tracknumber", "year": "date", "disc": "discnumber",
}  # fmt: skip
PICTURE = "metadata_block_picture"


@dataclass
class Tags:
    """What a file says of itself.

    Attributes:
        comments: (name, value) as in Vorbis comments, names in lower case.
        pictures: covers.
        native: the tags as mutagen has them, for a file of the same kind; None without.
        blocks: of a FLAC file, others than these.
        frames: names of those of ID3.
        chapters: whether an MP4 file has chapters.
    """

    comments: list[tuple[str, str]] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    native: Any = None
    blocks: list[Any] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)
    chapters: bool = False

    def __bool__(self) -> bool:
        return bool(self.comments or self.pictures or self.native or self.blocks)


def read_tags(path: Path, container: str, strings: Mapping[str, str]) -> Tags:
    """Read the tags of a file.

    Args:
        path: the file, whatever its suffix.
        container: as named by soundfile.
        strings: what its decoder tells, for a file that mutagen does not know: name -> value.

    Raises:
        Exception: of any kind, for damaged tags.
    """
    from mutagen.flac import FLAC, Picture
    from mutagen.id3 import ID3 as Frames
    from mutagen.mp4 import MP4Tags

    file = _open(path, container)
    native = None if file is None else file.tags
    tags = Tags(native=native)
    if isinstance(native, Frames):
        tags.frames = [frame.FrameID for frame in native.values()]
        _read_id3(native, tags)
    elif isinstance(native, MP4Tags):
        tags.chapters = bool(getattr(file, "chapters", None))
        _read_mp4(native, tags)
    elif native is not None:
        for name, value in native.items() if hasattr(native, "items") else native:
            for one in value if isinstance(value, list) else [value]:
                if name.lower() == PICTURE:
                    tags.pictures.append(Picture(base64.b64decode(str(one))))
                elif "picture" not in name.lower() and "cover art" not in name.lower():
                    tags.comments.append((OTHER.get(name.lower(), name.lower()), str(one)))
    if isinstance(file, FLAC):
        tags.pictures += file.pictures
        tags.blocks = [block for block in file.metadata_blocks if block.code in (2, 5)]
    known = {name for name, _ in tags.comments}
    for name, value in strings.items():
        key = OTHER.get(name.lower(), name.lower())
        if value and key not in known:
            tags.comments.append((key, value))
    return tags


def _open(path: Path, container: str) -> Any:
    """Return the file as mutagen has it; None for one of a kind that it does not know."""
    import mutagen
    from mutagen.aiff import AIFF
    from mutagen.flac import FLAC
    from mutagen.mp3 import MP3
    from mutagen.wave import WAVE

    if container in ("WAV", "WAVEX", "RF64"):
        with open(path, "rb") as file:
            if file.read(4) != b"RIFF":  # RIFX, RF64, BW64
                return None
    kinds: dict[str, Any] = {"FLAC": FLAC, "MP3": MP3, "AIFF": AIFF, "WAV": WAVE, "WAVEX": WAVE}
    return kinds.get(container, mutagen.File)(path)


def write_tags(path: Path, container: str, subtype: str, tags: Tags, same_rate: bool) -> None:
    """Write tags to a file whose kind can hold them.

    Args:
        path: the file.
        container: as named by soundfile.
        subtype: as named by soundfile.
        tags: what to write.
        same_rate: whether blocks that count samples are still true.

    Raises:
        Exception: of any kind, for tags that cannot be written.
    """
    match container, subtype:
        case "FLAC", _:
            from mutagen.flac import FLAC

            flac = FLAC(path)
            flac.metadata_blocks += [b for b in tags.blocks if same_rate or b.code == 2]
            _write_comments(flac, tags)
            for picture in tags.pictures:
                flac.add_picture(picture)
            flac.save()
        case "OGG", ("VORBIS" | "OPUS"):
            from mutagen.oggopus import OggOpus
            from mutagen.oggvorbis import OggVorbis

            ogg = (OggVorbis if subtype == "VORBIS" else OggOpus)(path)
            _write_comments(ogg, tags)
            if tags.pictures:
                ogg[PICTURE] = [base64.b64encode(p.write()).decode() for p in tags.pictures]
            ogg.save()
        case (("MP3" | "WAV" | "WAVEX" | "AIFF"), _):
            from mutagen.aiff import AIFF
            from mutagen.mp3 import MP3
            from mutagen.wave import WAVE

            kinds: dict[str, Any] = {"MP3": MP3, "AIFF": AIFF}
            file = kinds.get(container, WAVE)(path)
            if file.tags is None:
                file.add_tags()
            for frame in _frames(tags):
                file.tags.add(frame)
            file.save()


def _write_comments(file: Any, tags: Tags) -> None:
    if file.tags is None:
        file.add_tags()
    values: dict[str, list[str]] = {}
    for name, value in tags.comments:
        if name and all(" " <= letter <= "}" and letter != "=" for letter in name):
            values.setdefault(name, []).append(value)
    for name, several in values.items():
        file[name] = several


def _read_id3(frames: Any, tags: Tags) -> None:
    from mutagen.flac import Picture

    names = {frame: name for name, frame in ID3.items()}
    for frame in frames.values():
        texts = [str(text) for text in getattr(frame, "text", []) if str(text)]
        match frame.FrameID:
            case "APIC":
                picture = Picture()
                picture.data, picture.type = frame.data, int(frame.type)
                picture.mime, picture.desc = frame.mime, frame.desc
                tags.pictures.append(picture)
            case "COMM":
                tags.comments += [("comment", text) for text in texts]
            case "USLT":
                tags.comments.append(("lyrics", str(frame.text)))
            case "TXXX":
                tags.comments += [(frame.desc.lower(), text) for text in texts]
            case "TCON":
                tags.comments += [("genre", genre) for genre in frame.genres]
            case known if known in names:
                tags.comments += [(names[known], text) for text in texts]


def _read_mp4(atoms: Any, tags: Tags) -> None:
    from mutagen.flac import Picture
    from mutagen.mp4 import MP4Cover

    for name, values in atoms.items():
        if name == "covr":
            for cover in values:
                picture = Picture()
                picture.data, picture.type = bytes(cover), 3
                png = cover.imageformat == MP4Cover.FORMAT_PNG
                picture.mime = "image/png" if png else "image/jpeg"
                tags.pictures.append(picture)
        elif name in MP4 or name.startswith("----:"):
            key = MP4.get(name, name.rpartition(":")[2].lower())
            for value in values if isinstance(values, list) else [values]:
                tags.comments.append((key, _mp4_text(value)))


def _mp4_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, tuple):  # a number and how many there are
        return "/".join(str(part) for part in value if part)
    return str(value)


def _frames(tags: Tags) -> Iterable[Any]:
    """ID3 frames: those of the source where it has some."""
    from mutagen import id3

    if isinstance(tags.native, id3.ID3):
        return list(tags.native.values())
    values: dict[str, list[str]] = {}
    for name, value in tags.comments:
        values.setdefault(name, []).append(value)
    frames: list[Any] = []
    for name, several in values.items():
        if name in ID3:
            frames.append(getattr(id3, ID3[name])(encoding=3, text=several))
        elif name == "comment":
            frames.append(id3.COMM(encoding=3, lang="und", desc="", text=several))
        elif name == "lyrics":
            frames.append(id3.USLT(encoding=3, lang="und", desc="", text="\n".join(several)))
        else:
            frames.append(id3.TXXX(encoding=3, desc=name, text=several))
    for number, cover in enumerate(tags.pictures):
        desc = cover.desc or (str(number) if number else "")
        frames.append(
            id3.APIC(encoding=3, mime=cover.mime, type=cover.type, desc=desc, data=cover.data)
        )
    return frames
