import json

import pytest

from wavediff.data.folder import folder
from wavediff.errors import UserError


def test_a_folder_is_all_the_audio_below_it_in_order(tmp_path, make_wav):
    files = [make_wav(tmp_path / name) for name in ["a/2.wav", "a/10.wav", "b.flac"]]
    source = folder(str(tmp_path))
    assert source.files == [files[1], files[0], files[2]]
    assert (source.labels, source.label_names) == (None, None)


def test_folders_can_be_labels(tmp_path, make_wav):
    for name in ["zoe/x/1.wav", "amy/1.wav", "zoe/2.wav"]:
        make_wav(tmp_path / name)
    source = folder(str(tmp_path), labels=True)
    assert source.label_names == ["amy", "zoe"]
    assert source.labels == [0, 1, 1]
    make_wav(tmp_path / "loose.wav")
    with pytest.raises(UserError, match=r"loose\.wav"):
        folder(str(tmp_path), labels=True)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", 'path,label,text\nx/1.wav,b,"one, two\nthree"\n2.wav,a,\n'),
        ("m.tsv", "\ufeffpath\tspeaker\ttext\nx/1.wav\tb\thi, there\n2.wav\ta\t\n"),
        ("m.txt", "path|label\nx/1.wav|b\n2.wav|a\n"),
        ("m.jsonl", '{"path": "x/1.wav", "speaker": "b"}\n\n{"path": "2.wav", "label": "a"}\n'),
    ],
)
def test_a_manifest_gives_files_in_its_order_and_labels(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    source = folder(str(tmp_path / name))
    assert source.files == [tmp_path / "x/1.wav", tmp_path / "2.wav"]
    assert source.label_names == ["a", "b"]
    assert source.labels == [1, 0]


def test_a_manifest_needs_no_labels_and_may_have_absolute_paths(tmp_path):
    (tmp_path / "m.jsonl").write_text(json.dumps({"path": "/far/away.wav"}) + "\n")
    source = folder(str(tmp_path / "m.jsonl"))
    assert [str(file) for file in source.files] == ["/far/away.wav"]
    assert source.labels is None


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("m.csv", "file,label\n1.wav,a\n", "line 2: column path is missing"),
        ("m.csv", "path\n", "lists no files"),
        ("m.csv", "path,label\n1.wav,a\n2.wav,\n", r"2\.wav has none"),
        ("m.jsonl", '{"path": "1.wav"}\n{"path": \n', "line 2 is not JSON"),
        ("m.jsonl", '{"path": "1.wav"}\n[1]\n', "line 2: "),
        ("m.jsonl", '{"path": 3}\n', "line 1: "),
        ("m.csv", "path\n\x00\xff", None),
    ],
)
def test_a_manifest_that_cannot_be_understood_is_refused(tmp_path, name, text, words):
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=words):
        folder(str(tmp_path / name))


def test_several_folders_follow_each_other(tmp_path, make_wav):
    files = [make_wav(tmp_path / name) for name in ["z/2.wav", "a/x/1.wav", "a/y/1.wav"]]
    source = folder([str(tmp_path / "z"), str(tmp_path / "a")])
    assert source.files == files
    assert source.root == tmp_path
    with pytest.raises(UserError, match="is not in a subfolder"):
        folder([str(tmp_path / "a"), str(tmp_path / "z")], labels=True)
    make_wav(tmp_path / "z/y/1.wav")
    (tmp_path / "z/2.wav").unlink()
    source = folder([str(tmp_path / "z"), str(tmp_path / "a")], labels=True)
    assert (source.labels, source.label_names) == ([1, 0, 1], ["x", "y"])
    (tmp_path / "m.csv").write_text("path\nz/y/1.wav\n")
    with pytest.raises(UserError, match=r"m\.csv has no labels, but others have"):
        folder([str(tmp_path / "a"), str(tmp_path / "m.csv")], labels=True)
    with pytest.raises(UserError, match=r"data\.root is empty"):
        folder([])


def test_noisy_recordings_have_the_names_of_the_clean_ones(tmp_path, make_wav):
    for name in ["clean/a/1.wav", "clean/2.wav", "noisy/a/1.wav", "noisy/2.wav", "noisy/3.wav"]:
        make_wav(tmp_path / name)
    clean, noisy = str(tmp_path / "clean"), str(tmp_path / "noisy")
    source = folder(clean, noisy=noisy)
    assert source.noisy == [tmp_path / "noisy/2.wav", tmp_path / "noisy/a/1.wav"]
    both = folder([clean, noisy], noisy=[noisy, clean.replace("clean", "noisy")])
    assert both.noisy[:2] == source.noisy
    assert len(both.files) == len(both.noisy) == 5
    with pytest.raises(UserError, match=r"1 of 3 files have no noisy .* the first is 3\.wav"):
        folder(noisy, noisy=clean)
    with pytest.raises(UserError, match=r"nowhere does not exist\. Give the folder of the noisy"):
        folder(clean, noisy=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"data\.noisy has 1 folders and data\.root has 2"):
        folder([clean, noisy], noisy=noisy)


def test_a_manifest_may_name_noisy_recordings(tmp_path):
    (tmp_path / "m.csv").write_text("path,noisy,label\nc/1.wav,n/x.wav,a\nc/2.wav,/far/y.wav,b\n")
    source = folder(str(tmp_path / "m.csv"))
    assert [str(file) for file in source.noisy] == [str(tmp_path / "n/x.wav"), "/far/y.wav"]
    assert source.label_names == ["a", "b"]
    (tmp_path / "m.csv").write_text("path,noisy\n1.wav,2.wav\n3.wav,\n")
    with pytest.raises(UserError, match=r"noisy recording to some files only: .*3\.wav has none"):
        folder(str(tmp_path / "m.csv"))


def test_no_folder_and_no_audio_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"data\.root=.*nowhere does not exist"):
        folder(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="no files ending in"):
        folder(str(tmp_path))
