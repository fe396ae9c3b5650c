"""Tags, covers, chunks and bit rates of restored recordings, by the commands."""

import re
import struct
from pathlib import Path
from types import SimpleNamespace

import mutagen
import mutagen.aiff
import mutagen.flac
import mutagen.id3
import mutagen.mp3
import mutagen.mp4
import mutagen.oggopus
import mutagen.oggvorbis
import mutagen.wave
import numpy as np
import pytest
import soundfile
import torch

from wavediff.cli import run
from wavediff.commands import declip, enhance, extend, inpaint
from wavediff.data.chunks import layout
from wavediff.data.resampling import resample
from wavediff.tasks.enhancer import Enhancer

RATE = 16_000
COVER = b"\xff\xd8\xff\xe0 a cover" * 50


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Enhancer, "enhance", lambda self, noisy, **options: noisy)
    return tmp_path


def write(name, samples=8000, rate=RATE, channels=1, **kind):
    time = np.arange(samples)[:, None] / rate
    noise = np.random.default_rng(0).standard_normal((samples, channels))
    tone = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 12))
    with soundfile.SoundFile(name, "w", rate, channels, **kind) as file:
        file.write((0.1 * tone + 0.02 * noise).clip(-0.2, 0.2))


def enhanced(name, out, *options):
    assert run(enhance.main, [name, "-o", out, *options]) == 0


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


CUE = struct.pack("<I", 1) + struct.pack("<II4sIII", 7, 1000, b"data", 0, 0, 1000)
REGION = b"ltxt" + struct.pack("<III4s", 20, 7, 500, b"rgn ") + bytes(8)
LABELS = b"adtl" + b"labl" + struct.pack("<II", 8, 7) + b"two\0" + REGION
BEXT = b"A scene".ljust(338, b"\0") + struct.pack("<Q", 48_000) + bytes(256)
INFO = b"INFO" + b"INAM" + struct.pack("<I", 8) + b"A title\0"
SMPL = struct.pack("<9I", 0, 0, 62_500, 60, 0, 0, 0, 1, 0) + struct.pack("<6I", 1, 0, 10, 20, 0, 0)
CHUNKS = {b"bext": BEXT, b"cue ": CUE, b"LIST": LABELS, b"smpl": SMPL, b"iXML": b"<a>odd</a>"}


def with_chunks(name: str, chunks: dict[bytes, bytes], samples: int = 8001) -> None:
    """A wav file of 24 bits with chunks before and after the samples."""
    write("plain.wav", samples, subtype="PCM_24")
    data = Path("plain.wav").read_bytes()
    at = data.index(b"data")
    before = b"".join(chunk(key, value) for key, value in list(chunks.items())[:2])
    after = b"".join(chunk(key, value) for key, value in list(chunks.items())[2:])
    after += chunk(b"LIST", INFO)
    whole = data[:at] + before + data[at:] + bytes(len(data) % 2) + after
    Path(name).write_bytes(b"RIFF" + struct.pack("<I", len(whole) - 8) + whole[8:])


def chunks_of(name: str) -> list[tuple[bytes, bytes]]:
    data = Path(name).read_bytes()
    found = layout(name)
    assert found.declared == found.present
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    return [(c.name, data[c.start : c.start + c.size]) for c in found.chunks]


@pytest.mark.parametrize("command", ["enhance", "declip", "inpaint"])
def test_chunks_of_a_wav_file(here, monkeypatch, command):
    with_chunks("a.wav", CHUNKS)
    restored(monkeypatch)
    words = {
        "enhance": (enhance, []),
        "declip": (declip, ["--threshold", "0.1"]),
        "inpaint": (inpaint, ["--gap", "0.1:0.2"]),
    }
    module, options = words[command]
    assert run(module.main, ["a.wav", "-o", "b.wav", *options]) == 0
    given = [item for item in chunks_of("a.wav") if item[0] != b"fmt "]
    assert [item for item in chunks_of("b.wav") if item[0] != b"fmt "] == given
    assert len(given) == 6
    assert soundfile.info("b.wav").frames == 8001
    assert soundfile.SoundFile("b.wav").title == "A title"


def restored(monkeypatch) -> None:
    """Restoration that does nothing: the model is not what is tested."""
    task = SimpleNamespace(generator=SimpleNamespace(sample_rate=2 * RATE))
    for module in (declip, inpaint, extend):
        monkeypatch.setattr(module, "load_posterior", lambda arguments: task)

    def extended(posterior, blocks, old, new, *rest):
        yield resample(torch.cat(list(blocks), -1).float(), old, new)

    monkeypatch.setattr("wavediff.tasks.restoration.declip", lambda p, audio, *rest: audio)
    monkeypatch.setattr("wavediff.tasks.restoration.inpaint", lambda p, audio, *rest: audio)
    monkeypatch.setattr("wavediff.tasks.restoration.extend", extended)


def test_positions_are_those_of_the_new_rate(here, monkeypatch):
    with_chunks("a.wav", CHUNKS)
    restored(monkeypatch)
    assert run(extend.main, ["a.wav", "-o", "b.wav"]) == 0
    found = dict(chunks_of("b.wav"))
    assert struct.unpack("<II4sIII", found[b"cue "][4:]) == (7, 2000, b"data", 0, 0, 2000)
    assert struct.unpack_from("<Q", found[b"bext"], 338) == (96_000,)
    assert struct.unpack_from("<I", found[b"smpl"], 8) == (31_250,)
    assert struct.unpack_from("<II", found[b"smpl"], 44) == (20, 40)
    lists = [content for name, content in chunks_of("b.wav") if name == b"LIST"]
    assert struct.unpack_from("<I", lists[0], lists[0].index(b"ltxt") + 12) == (1000,)
    assert soundfile.info("b.wav").samplerate == 2 * RATE


def test_other_wav_files_keep_their_chunks(here):
    with_chunks("a.wav", CHUNKS)
    for name, kind in (("x.wav", "WAVEX"), ("y.rf64", "RF64")):
        write("plain.wav", 3001, format=kind, subtype="PCM_24")
        data = Path("plain.wav").read_bytes()
        data += bytes(len(data) % 2) + chunk(b"cue ", CUE)
        place, form = (20, "<Q") if kind == "RF64" else (4, "<I")
        size = struct.pack(form, len(data) - 8)
        Path(name).write_bytes(data[:place] + size + data[place + len(size) :])
        enhanced(name, f"out-{name}")
        assert (b"cue ", CUE) in [
            (c.name, Path(f"out-{name}").read_bytes()[c.start : c.start + c.size])
            for c in layout(f"out-{name}").chunks
        ]
        assert soundfile.info(f"out-{name}").frames == 3001


def test_chunks_of_an_aiff_file(here):
    write("a.aiff")
    marks = struct.pack(">HHIB", 1, 1, 1000, 3) + b"two"
    with open("a.aiff", "r+b") as file:
        file.seek(0, 2)
        file.write(b"MARK" + struct.pack(">I", len(marks)) + marks)
        size = file.tell() - 8
        file.seek(4)
        file.write(struct.pack(">I", size))
    tags = mutagen.aiff.AIFF("a.aiff")
    tags.add_tags()
    tags.tags.add(mutagen.id3.TIT2(encoding=3, text="A title"))
    tags.save()
    enhanced("a.aiff", "b.aiff")
    assert marks in Path("b.aiff").read_bytes()
    assert str(mutagen.aiff.AIFF("b.aiff").tags["TIT2"]) == "A title"
    assert soundfile.info("b.aiff").frames == 8000


def picture() -> mutagen.flac.Picture:
    made = mutagen.flac.Picture()
    made.data, made.type, made.mime, made.desc = COVER, 3, "image/jpeg", "front"
    return made


def tag(name: str, rate: int = 44_100) -> None:
    """A recording with a title, an artist, two values of one name, and a cover."""
    if name.endswith("m4a"):
        encode(name, rate)
        file = mutagen.mp4.MP4(name)
        file["\xa9nam"], file["\xa9ART"], file["trkn"] = ["A title"], ["Björk"], [(3, 9)]
        file["covr"] = [mutagen.mp4.MP4Cover(COVER, mutagen.mp4.MP4Cover.FORMAT_JPEG)]
        file.save()
        return
    opus = {"format": "OGG", "subtype": "OPUS"} if name.endswith("opus") else {}
    write(name, rate // 4, 48_000 if opus else rate, 2, **opus)
    file = mutagen.File(name)
    if file.tags is None:
        file.add_tags()
    if isinstance(file.tags, mutagen.id3.ID3):
        file.tags.add(mutagen.id3.TIT2(encoding=3, text="A title"))
        file.tags.add(mutagen.id3.TPE1(encoding=3, text="Björk"))
        file.tags.add(mutagen.id3.TRCK(encoding=3, text="3/9"))
        file.tags.add(mutagen.id3.TXXX(encoding=3, desc="MOOD", text="calm"))
        file.tags.add(mutagen.id3.APIC(3, "image/jpeg", 3, "front", COVER))
    else:
        file["title"], file["artist"], file["tracknumber"] = "A title", "Björk", "3/9"
        file["mood"] = "calm"
        if name.endswith("flac"):
            file.add_picture(picture())
        else:
            import base64

            file["metadata_block_picture"] = [base64.b64encode(picture().write()).decode()]
    file.save()


def encode(name: str, rate: int) -> None:
    av = pytest.importorskip("av")
    samples = np.random.default_rng(0).standard_normal((2, rate // 4)).astype(np.float32)
    with av.open(name, "w") as container:
        stream = container.add_stream("aac", rate=rate, layout="stereo")
        stream.bit_rate = 128_000
        frame = av.AudioFrame.from_ndarray(0.05 * samples, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def tags_of(name: str) -> tuple[dict[str, str], list[bytes]]:
    file = mutagen.File(name)
    if isinstance(file.tags, mutagen.id3.ID3):
        names = {"TIT2": "title", "TPE1": "artist", "TRCK": "tracknumber", "TXXX:MOOD": "mood",
                 "TXXX:mood": "mood"}  # fmt: skip
        found = {names[key]: str(frame) for key, frame in file.tags.items() if key in names}
        return found, [frame.data for frame in file.tags.getall("APIC")]
    found = {key: file[key][0] for key in ("title", "artist", "tracknumber", "mood") if key in file}
    if name.endswith("flac"):
        return found, [one.data for one in file.pictures]
    import base64

    pictures = file.get("metadata_block_picture", [])
    return found, [mutagen.flac.Picture(base64.b64decode(one)).data for one in pictures]


@pytest.mark.parametrize("suffix", ["mp3", "flac", "ogg", "wav"])
def test_tags_and_cover_are_kept_in_every_kind(here, suffix):
    kinds = ("mp3", "flac", "ogg", "opus", "wav", "m4a")
    (here / "in").mkdir()
    for kind in kinds:
        tag(f"in/{kind}.{kind}")
    enhanced("in", "out", "--format", suffix)
    for kind in kinds:
        words = {"title": "A title", "artist": "Björk", "tracknumber": "3/9", "mood": "calm"}
        if kind == "m4a":
            del words["mood"]
        name = f"out/{kind}.{suffix}"
        assert tags_of(name) == (words, [COVER])
        assert soundfile.info(name).frames >= 11_025
        if suffix == "wav" and kind != "wav":  # what reads no ID3 finds the title too
            assert soundfile.SoundFile(name).title == "A title"


def test_an_opus_keeps_its_tags(here):
    tag("a.opus")
    enhanced("a.opus", "b.opus")
    assert tags_of("b.opus")[1] == [COVER]


def test_the_blocks_of_a_flac_file(here):
    write("a.flac")
    file = mutagen.flac.FLAC("a.flac")
    sheet = mutagen.flac.CueSheet(None)
    sheet.tracks = [mutagen.flac.CueSheetTrack(1, 0), mutagen.flac.CueSheetTrack(170, 8000)]
    sheet.tracks[0].indexes = [mutagen.flac.CueSheetTrackIndex(1, 0)]
    file.metadata_blocks.append(sheet)
    file.save()
    enhanced("a.flac", "b.flac")
    found = mutagen.flac.FLAC("b.flac").cuesheet
    assert [track.start_offset for track in found.tracks] == [0, 8000]


def test_info_of_a_wav_becomes_comments(here):
    with_chunks("a.wav", {b"cue ": CUE})
    enhanced("a.wav", "b.flac")
    assert mutagen.flac.FLAC("b.flac")["title"] == ["A title"]


def test_what_another_container_cannot_hold_is_named(here, capsys):
    write("a.mp3")
    tags = mutagen.id3.ID3()
    tags.add(mutagen.id3.TIT2(encoding=3, text="A title"))
    for number in (1, 2):
        chapter = mutagen.id3.CHAP(element_id=f"c{number}", start_time=0, end_time=200)
        tags.add(chapter)
    tags.add(mutagen.id3.CTOC(element_id="toc", flags=3, child_element_ids=["c1", "c2"]))
    tags.save("a.mp3")
    for name, kept in (("b.mp3", True), ("b.wav", True), ("b.ogg", False), ("b.flac", False)):
        enhanced("a.mp3", name)
        said = capsys.readouterr().err
        assert bool(re.search("a.mp3: not kept, .* for it: chapters\n", said)) != kept, name
    assert len(mutagen.mp3.MP3("b.mp3").tags.getall("CHAP")) == 2

    with_chunks("c.wav", CHUNKS)
    for name in ("d.flac", "d.mp3", "d.w64"):
        enhanced("c.wav", name)
        said = capsys.readouterr().err
        assert re.search("c.wav: not kept, as .* for it: bext, cue points, loops", said), name
        assert ("tags" in said) == (name == "d.w64")
    enhanced("c.wav", "d.wav")
    assert "kept" not in capsys.readouterr().err
    with_chunks("e.wav", {b"JUNK": bytes(8)})
    enhanced("e.wav", "e.flac")
    assert "kept" not in capsys.readouterr().err


def test_damaged_tags_do_not_stop_the_work(here, capsys):
    tag("a.mp3")
    data = Path("a.mp3").read_bytes()
    Path("a.mp3").write_bytes(data[:3] + b"\x09\x09" + data[5:])  # a version that is not known
    enhanced("a.mp3", "b.flac")
    assert "a.mp3: its tags are not kept" in capsys.readouterr().err
    assert soundfile.info("b.flac").frames > 10_000


def kilobits(name: str) -> float:
    return 8 * Path(name).stat().st_size / 1000 / soundfile.info(name).duration


def mp3_kilobits(name: str) -> int:
    return round(mutagen.mp3.MP3(name).info.bitrate / 1000)


@pytest.mark.parametrize("wanted", [64, 128, 320])
def test_an_mp3_keeps_its_bit_rate(here, wanted):
    level = (320 - wanted) / 288
    write("a.mp3", 88_200, 44_100, 2, bitrate_mode="CONSTANT", compression_level=level)
    assert mp3_kilobits("a.mp3") == wanted
    enhanced("a.mp3", "b.mp3")
    assert mp3_kilobits("b.mp3") == wanted
    enhanced("a.mp3", "c.mp3", "--bit-rate", "192")
    assert mp3_kilobits("c.mp3") == 192


def test_an_mp3_of_variable_bit_rate_keeps_its_average(here):
    write("a.mp3", 132_300, 44_100, 2, bitrate_mode="VARIABLE", compression_level=0.3)
    enhanced("a.mp3", "b.mp3")
    assert mp3_kilobits("b.mp3") == pytest.approx(mp3_kilobits("a.mp3"), rel=0.15)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(("name", "rate"), [("a.ogg", 44_100), ("a.opus", 48_000)])
def test_ogg_and_opus_keep_theirs(here, name, rate, level):
    kind = {"format": "OGG", "subtype": "OPUS" if name == "a.opus" else "VORBIS"}
    write(name, 3 * rate, rate, 2, compression_level=level, **kind)
    enhanced(name, f"b{name[1:]}")
    assert kilobits(f"b{name[1:]}") == pytest.approx(kilobits(name), rel=0.1)


def test_another_lossy_codec_has_the_bit_rate_of_the_input(here):
    write("a.mp3", 132_300, 44_100, 2, bitrate_mode="CONSTANT", compression_level=0.0)
    enhanced("a.mp3", "b.ogg")
    assert mutagen.oggvorbis.OggVorbis("b.ogg").info.bitrate == pytest.approx(320_000, rel=0.02)
    encode("a.m4a", 44_100)
    enhanced("a.m4a", "c.mp3")
    assert mp3_kilobits("c.mp3") == pytest.approx(128, rel=0.15)


@pytest.mark.parametrize(
    ("output", "value", "words"),
    [
        ("b.wav", "128", "--bit-rate is for mp3, ogg and opus, and b.wav is lossless"),
        ("b.mp3", "1000", "a bit rate of 1000 kbit/s is out of range (8 to 160 for 1 channel"),
        ("b.ogg", "2", "a bit rate of 2 kbit/s is out of range"),
        ("b.opus", "600", "(6 to 256 for 1 channel at 16000 Hz)"),
    ],
)
def test_a_bit_rate_that_cannot_be_is_refused(here, capsys, output, value, words):
    write("a.wav")
    assert run(enhance.main, ["a.wav", "-o", output, "--bit-rate", value]) == 2
    assert words in capsys.readouterr().err
    assert not Path(output).exists()
