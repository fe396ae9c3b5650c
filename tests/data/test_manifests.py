"""Kaldi folders and Lhotse manifests."""

import gzip
import json

import numpy as np
import pytest
import soundfile
import torch

from wavediff.data.kaldi import kaldi
from wavediff.data.lhotse import lhotse
from wavediff.data.source import scan
from wavediff.data.utterances import Utterances
from wavediff.errors import UserError

RATE = 8000


@pytest.fixture
def ramps(tmp_path):
    """Two recordings whose samples tell their place, the second one of two channels."""
    ramp = np.arange(2 * RATE, dtype=np.float32) / 32768
    soundfile.write(tmp_path / "a.wav", ramp, RATE)
    soundfile.write(tmp_path / "b.wav", np.stack([ramp, -ramp], 1), RATE)
    return tmp_path


def read(source):
    """name -> the samples, as integers."""
    clips = [clip for clip in scan(source, 0.01, 30)[0] if clip]
    return {
        item["name"]: (item["audio"][0] * 32768).round().int().tolist()
        for item in Utterances(clips, RATE)
    }


def test_a_kaldi_folder_without_segments_has_whole_recordings(ramps):
    (ramps / "wav.scp").write_text(f"one {ramps}/a.wav\ntwo b.wav\n")
    found = read(kaldi(str(ramps)))
    assert found["one"] == list(range(2 * RATE))
    assert set(found["two"]) == {0}  # the mean of the channels


def test_segments_channels_and_speakers_of_a_kaldi_folder(ramps):
    (ramps / "wav.scp").write_text("one a.wav\ntwo b.wav\n")
    segments = "x-1 one 0.5 1.0\nx-2 two 1.5 2.2 1\ny-1 two 1 -1 0\n\n"
    (ramps / "segments").write_text(segments)
    (ramps / "utt2spk").write_text("x-1 X\nx-2 X\ny-1 Y\n")
    source = kaldi(str(ramps), labels=True)
    assert source.label_names == ["X", "Y"]
    assert source.labels == [0, 0, 1]
    found = read(source)
    assert found["x-1"] == list(range(4000, 8000))
    assert found["x-2"] == [-i for i in range(12000, 16000)]  # it ends with the file
    assert found["y-1"] == list(range(8000, 16000))


def test_a_segment_that_is_not_in_its_file_is_skipped_and_counted(ramps, capsys):
    (ramps / "wav.scp").write_text("one a.wav\n")
    (ramps / "segments").write_text("x one 0 1\ny one 5 6\nz one 0 1 3\n")
    clips, skipped = scan(kaldi(str(ramps)), 0.01, 30)
    assert skipped == {"beyond the end": 1}
    assert "y in" in capsys.readouterr().err
    with pytest.raises(UserError, match="has no channel 3"):
        Utterances([clip for clip in clips if clip], RATE)[1]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "has no wav.scp"),
        ({"wav.scp": "one sox a.wav -t wav - |\n"}, "line 1: 'sox a.wav -t wav - |' is a command"),
        ({"wav.scp": "one foo.ark:17\n"}, "is in a Kaldi archive"),
        ({"wav.scp": "one\n"}, "is a name only"),
        ({"wav.scp": "a x.wav\na y.wav\n"}, "line 2: 'a' is on line 1 too"),
        ({"wav.scp": "\n"}, "lists no utterances"),
        ({"wav.scp": "a a.wav\n", "segments": "x b 0 1\n"}, "segments, line 1: 'b' is not in"),
        ({"wav.scp": "a a.wav\n", "segments": "x a 2 1\n"}, "is not RECORDING START END"),
        ({"wav.scp": "a a.wav\n", "segments": "x a nan 1\n"}, "is not RECORDING START END"),
        ({"wav.scp": "a a.wav\n", "segments": "x a\n"}, "is not RECORDING START END"),
        ({"wav.scp": "a a.wav\nb b.wav\n", "utt2spk": "a X\n"}, "no speaker of 1 of 2 utterances"),
        ({"wav.scp": "a a.wav\n"}, "has no utt2spk"),
    ],
)
def test_faults_of_a_kaldi_folder(tmp_path, files, words):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as raised:
        kaldi(str(tmp_path), labels=True)
    assert words in str(raised.value)


def recording(path, channels=(0,), **more):
    sources = [{"type": "file", "channels": list(channels), "source": str(path)}]
    about = {"sampling_rate": RATE, "num_samples": 2 * RATE, "duration": 2.0}
    return {"id": path.stem, "sources": sources, **about, **more}


def write(path, *rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt") as file:
        file.write(text)
    return str(path)


def test_recordings_supervisions_and_cuts_of_lhotse(ramps):
    a, b = recording(ramps / "a.wav"), recording(ramps / "b.wav", (0, 1))
    recordings = write(ramps / "recordings.jsonl.gz", a, b)
    assert set(read(lhotse(recordings))) == {"a", "b"}
    supervision = {"id": "s", "recording_id": "b", "start": 0.25, "duration": 0.5, "channel": 1}
    segments = write(ramps / "supervisions.jsonl", {**supervision, "speaker": "X"})
    source = lhotse(recordings, segments, labels=True)
    assert source.label_names == ["X"]
    assert read(source) == {"s": [-i for i in range(2000, 6000)]}
    cut = {"id": "c", "start": 1.0, "duration": 0.5, "channel": 0, "type": "MonoCut"}
    cuts = write(ramps / "cuts.jsonl.gz", {**cut, "recording": a, "supervisions": []})
    assert read(lhotse(cuts)) == {"c": list(range(8000, 12000))}


@pytest.mark.slow
def test_manifests_that_lhotse_writes(ramps):
    """Its own reading is the oracle."""
    library = pytest.importorskip("lhotse")
    recordings = [library.Recording.from_file(ramps / name) for name in ("a.wav", "b.wav")]
    cuts = [
        library.MonoCut("x", 0.5, 0.75, 0, recording=recordings[0]),
        library.MonoCut("y", 1.25, 0.5, 1, recording=recordings[1]),
    ]
    path = ramps / "cuts.jsonl.gz"
    library.CutSet.from_cuts(cuts).to_file(path)
    found = read(lhotse(str(path)))
    for cut in cuts:
        expected = torch.from_numpy(cut.load_audio()[0] * 32768).round().int().tolist()
        assert found[cut.id] == expected
    whole = ramps / "recordings.jsonl"
    library.RecordingSet.from_recordings(recordings).to_file(whole)
    assert set(read(lhotse(str(whole)))) == {"a", "b"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": "x", "type": "MixedCut", "recording": {}}, "a MixedCut is not a part of one"),
        ({"id": "x", "recording": {"transforms": [{"name": "Speed"}]}}, "is to be transformed"),
        ({"id": "x", "recording": {"sources": []}}, "0 sources"),
        (
            {"id": "x", "recording": {"sources": [{"type": "command", "source": "touch x"}]}},
            "of type 'command'",
        ),
        (
            {"id": "x", "start": -1, "recording": {"sources": [{"type": "file", "source": "a"}]}},
            "start -1",
        ),
        (
            {"id": "x", "start": "0", "recording": {"sources": [{"type": "file", "source": "a"}]}},
            "start is not a number",
        ),
        (
            {
                "id": "x",
                "channel": 3,
                "recording": {"sources": [{"type": "file", "channels": [0, 1], "source": "a"}]},
            },
            "channel 3 is not among those of the recording",
        ),
    ],
)
def test_faults_of_a_lhotse_manifest(tmp_path, row, words):
    with pytest.raises(UserError) as raised:
        lhotse(write(tmp_path / "cuts.jsonl", row))
    assert "cuts.jsonl, line 1: " in str(raised.value)
    assert words in str(raised.value)


def test_lhotse_manifests_that_cannot_be_read(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}\nnot json\n")
    (tmp_path / "b.jsonl.gz").write_bytes(b"not gzip")
    (tmp_path / "c.jsonl").write_text("")
    for name, words in (
        ("a.jsonl", "line 2 is not JSON"),
        ("b.jsonl.gz", "cannot be read"),
        ("c.jsonl", "is empty"),
        ("none.jsonl", "does not exist"),
    ):
        with pytest.raises(UserError, match=words):
            lhotse(str(tmp_path / name))
