import threading

import numpy as np
import pytest
import soundfile

from wavediff.data.folder import folder
from wavediff.data.source import Source, labelled, paired, scan
from wavediff.errors import UserError


def test_scan_skips_counts_and_tells_without_moving_the_numbers(tmp_path, make_wav, spoil, capsys):
    make_wav(tmp_path / "aa.wav")
    make_wav(tmp_path / "zz.wav")
    spoil(tmp_path)
    (tmp_path / "nan.wav").unlink()  # its header is sound: found out when decoded
    clips, skipped = scan(folder(tmp_path), min_seconds=0.5, max_seconds=30)
    assert dict(skipped) == {"empty": 2, "unreadable": 2, "too short": 1}
    assert [clip and clip.name for clip in clips] == ["aa", None, None, None, None, None, "zz"]
    err = capsys.readouterr().err
    assert "5 of 7 files" in err
    assert "2 empty, 1 too short, 2 unreadable" in err
    assert "bytes.wav" in err
    assert err.count("\n") == 1


def test_long_files_become_equal_clips_without_gap_or_overlap(tmp_path, make_wav):
    make_wav(tmp_path / "long.wav", seconds=2.5, rate=8000)
    make_wav(tmp_path / "one.wav", seconds=1.0, rate=8000)
    clips, _ = scan(folder(tmp_path), min_seconds=0.1, max_seconds=1.0)
    assert [clip.name for clip in clips] == ["long-0000", "long-0001", "long-0002", "one"]
    ends = [0, *(clip.start + clip.frames for clip in clips[:3])]
    assert [clip.start for clip in clips[:3]] == ends[:3]
    assert ends[3] == 20000
    assert max(clip.frames for clip in clips) <= 8000


def test_nothing_usable_is_an_error_that_says_why(tmp_path, spoil):
    spoil(tmp_path)
    (tmp_path / "nan.wav").unlink()
    with pytest.raises(UserError, match=r"no usable audio.*2 empty.*bytes\.wav"):
        scan(folder(tmp_path), min_seconds=0.5, max_seconds=30)
    with pytest.raises(UserError, match="it has no files"):
        scan(Source(tmp_path, []), min_seconds=0.5, max_seconds=30)


def test_no_thread_outlives_a_scan(tmp_path, make_wav):
    make_wav(tmp_path / "a.wav")
    before = set(threading.enumerate())
    with pytest.raises(UserError) as kept:  # its traceback keeps what the frames hold
        scan(folder(tmp_path), min_seconds=50, max_seconds=60)
    scan(folder(tmp_path), min_seconds=0.1, max_seconds=60)
    assert set(threading.enumerate()) == before
    del kept


def test_a_pair_must_be_of_one_length_and_rate(tmp_path, make_wav, capsys):
    lengths = {"fits": (1, 16000), "long": (1.1, 16000), "rate": (0.5, 32000)}
    for name, (seconds, rate) in lengths.items():
        make_wav(tmp_path / "clean" / f"{name}.wav")
        make_wav(tmp_path / "noisy" / f"{name}.wav", seconds, rate)
    source = paired(folder(tmp_path / "clean"), str(tmp_path / "noisy"))
    clips, skipped = scan(source, 0.5, 0.6)
    assert [clip and clip.noisy.name for clip in clips] == ["fits.wav", "fits.wav", None, None]
    assert skipped == {"mismatched": 2}
    assert "long.wav differ in length or sample rate" in capsys.readouterr().err


def test_labels_follow_the_sorted_names(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    files = [tmp_path / "a.wav"] * 3
    source = labelled(tmp_path, files, ["10", "9", "10"])
    assert (source.labels, source.label_names) == ([0, 1, 0], ["10", "9"])
    assert [clip.label for clip in scan(source, 0.5, 30)[0]] == [0, 1, 0]
