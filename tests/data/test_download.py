"""The downloads against a server on this machine that holds archives of the real layout."""

import hashlib
import http.server
import importlib
import io
import os
import shutil
import tarfile
import threading
import time
import zipfile
from functools import partial

import numpy as np
import pytest
import soundfile
import torch

from wavediff.data import voicebank
from wavediff.data.ljspeech import ljspeech
from wavediff.data.vctk import vctk
from wavediff.data.voicebank import voicebank_demand
from wavediff.errors import UserError


def sound() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(2205), 22050, format="wav")
    return buffer.getvalue()


def tarball(path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:" + path.suffix[1:]) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))


@pytest.fixture
def served(tmp_path):
    """A folder that a web server shows, and the server's address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def redirected(served, monkeypatch):
    """redirected(module): what `wavediff.data.module` downloads comes from the folder; the returned
    list collects the addresses that it asked for."""
    folder, address = served

    def redirect(name: str, right_checksum: bool = True, seconds: float = 0) -> list[str]:
        module = importlib.import_module(f"wavediff.data.{name}")
        original, asked = torch.hub.download_url_to_file, []
        file = module.URL.rsplit("/", 1)[-1]
        assert len(module.CHECKSUM) == 64
        if right_checksum:
            right = hashlib.sha256((folder / file).read_bytes()).hexdigest()
            monkeypatch.setattr(module, "CHECKSUM", right)

        def local(url, place, hash_prefix=None, progress=True):
            asked.append(url)
            time.sleep(seconds)
            original(f"{address}/{file}", place, hash_prefix=hash_prefix, progress=False)

        monkeypatch.setattr(torch.hub, "download_url_to_file", local)
        return asked

    return redirect


@pytest.fixture
def lj_archive(served):
    names = [f"LJSpeech-1.1/wavs/LJ001-{i:04d}.wav" for i in range(1, 4)]
    files = {"LJSpeech-1.1/metadata.csv": b"LJ001-0001|a|a\n", **dict.fromkeys(names, sound())}
    tarball(served[0] / "LJSpeech-1.1.tar.bz2", files)


def test_ljspeech_is_downloaded_once_and_leaves_nothing_else(
    tmp_path, lj_archive, redirected, capsys
):
    asked = redirected("ljspeech")
    source = ljspeech(str(tmp_path / "root"))
    assert asked == ["https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2"]
    assert [file.name for file in source.files] == [f"LJ001-{i:04d}.wav" for i in range(1, 4)]
    assert source.labels is None
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["LJSpeech-1.1"]
    assert "downloading LJSpeech-1.1 (2.6 GB)" in capsys.readouterr().err

    assert ljspeech(str(tmp_path / "root")) == source
    assert ljspeech(str(tmp_path / "root" / "LJSpeech-1.1")) == source
    (tmp_path / "root" / "LJSpeech-1.1").rename(tmp_path / "lj")  # under any name
    assert len(ljspeech(str(tmp_path / "lj")).files) == 3
    assert len(asked) == 1


def test_an_archive_with_another_checksum_is_refused(tmp_path, lj_archive, redirected):
    redirected("ljspeech", right_checksum=False)
    with pytest.raises(UserError, match=r"could not be downloaded \(invalid hash value"):
        ljspeech(str(tmp_path / "root"))
    assert list((tmp_path / "root").iterdir()) == []


def test_an_interrupted_unpacking_starts_again_from_the_archive(
    tmp_path, lj_archive, redirected, monkeypatch
):
    asked = redirected("ljspeech")
    copy = shutil.copyfileobj
    copied = []

    def stop_at_the_third(source, target):
        copied.append(target)
        if len(copied) == 3:
            raise KeyboardInterrupt
        copy(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            ljspeech(str(tmp_path / "root"))
    assert not (tmp_path / "root" / "LJSpeech-1.1").exists()
    assert len(ljspeech(str(tmp_path / "root")).files) == 3
    assert len(asked) == 1
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["LJSpeech-1.1"]


def test_an_archive_that_lies_there_is_taken_if_its_checksum_is_right(
    tmp_path, served, lj_archive, redirected
):
    asked = redirected("ljspeech")
    root = tmp_path / "root"
    root.mkdir()
    archive = root / "LJSpeech-1.1.tar.bz2"
    whole = (served[0] / archive.name).read_bytes()
    archive.write_bytes(whole[:-9] + b"damaged!!")
    with pytest.raises(UserError, match=r"SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}: remove it"):
        ljspeech(str(root))
    assert list(root.iterdir()) == [archive]
    archive.write_bytes(whole)
    assert len(ljspeech(str(root)).files) == 3
    assert archive.exists()
    assert not asked


def test_a_damaged_archive_of_an_earlier_download_is_not_unpacked(
    tmp_path, served, lj_archive, redirected
):
    redirected("ljspeech")
    staging = tmp_path / "root" / ".download"
    staging.mkdir(parents=True)
    (staging / "LJSpeech-1.1.tar.bz2").write_bytes(b"anything")
    with pytest.raises(UserError, match="SHA-256"):
        ljspeech(str(tmp_path / "root"))
    assert len(ljspeech(str(tmp_path / "root")).files) == 3


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "LJSpeech-1.1/../../escaped"])
@pytest.mark.parametrize("suffix", ["tar.bz2", "zip"])
def test_nothing_is_unpacked_outside_the_folder(tmp_path, served, redirected, name, suffix):
    files = {"LJSpeech-1.1/wavs/a.wav": sound(), name: b"x"}
    path = served[0] / "LJSpeech-1.1.tar.bz2"
    if suffix == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for entry, content in files.items():
                archive.writestr(entry, content)
    else:
        tarball(path, files)
    redirected("ljspeech")
    with pytest.raises(UserError, match="escaped' outside its folder"):
        ljspeech(str(tmp_path / "root"))
    assert not list(tmp_path.rglob("escaped"))


def test_links_of_an_archive_are_left_out(tmp_path, served, redirected):
    with tarfile.open(served[0] / "LJSpeech-1.1.tar.bz2", "w:bz2") as tar:
        for name, kind in (("wavs/b.wav", tarfile.SYMTYPE), ("wavs/c.wav", tarfile.LNKTYPE)):
            entry = tarfile.TarInfo(f"LJSpeech-1.1/{name}")
            entry.type, entry.linkname = kind, "/etc/passwd"
            tar.addfile(entry)
        entry = tarfile.TarInfo("LJSpeech-1.1/wavs/a.wav")
        entry.size = len(sound())
        tar.addfile(entry, io.BytesIO(sound()))
    redirected("ljspeech")
    assert [file.name for file in ljspeech(str(tmp_path / "root")).files] == ["a.wav"]
    assert os.listdir(tmp_path / "root" / "LJSpeech-1.1" / "wavs") == ["a.wav"]


def test_whoever_comes_second_waits_for_the_first(tmp_path, lj_archive, redirected):
    asked = redirected("ljspeech", seconds=0.2)
    sources = []
    threads = [
        threading.Thread(target=lambda: sources.append(ljspeech(str(tmp_path / "root"))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1
    assert [len(source.files) for source in sources] == [3, 3, 3]


def test_without_a_network_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("wavediff.data.ljspeech.URL", "http://127.0.0.1:9/LJSpeech-1.1.tar.bz2")
    with pytest.raises(
        UserError, match=r"LJSpeech-1.1 \(2.6 GB\).*refused.*set data\.root"
    ) as caught:
        ljspeech(str(tmp_path / "root"))
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "root").iterdir()) == []


def test_a_root_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="could not be downloaded"):
        ljspeech(str(tmp_path / "file" / "root"))


def test_vctk_has_its_speakers_as_labels(tmp_path, served, redirected):
    with zipfile.ZipFile(served[0] / "VCTK-Corpus-0.92.zip", "w") as archive:
        for speaker in ["p226", "p225", "s5"]:
            for i in (1, 2):
                archive.writestr(f"txt/{speaker}/{speaker}_{i:03d}.txt", "words")
                for mic in ("mic1", "mic2"):
                    name = f"wav48_silence_trimmed/{speaker}/{speaker}_{i:03d}_{mic}.flac"
                    archive.writestr(name, b"")
        archive.writestr("wav48_silence_trimmed/p280/p280_001_mic1.flac", b"")
        archive.writestr("txt/p280/p280_001.txt", "words")
    asked = redirected("vctk")
    source = vctk(str(tmp_path / "root"))
    assert source.label_names == ["p225", "p226", "s5"]
    assert source.labels == [0, 0, 1, 1, 2, 2]
    assert source.files[0].name == "p225_001_mic2.flac"
    folder = tmp_path / "root" / "VCTK-Corpus-0.92"
    assert vctk(str(folder), microphone="mic1").label_names == ["p225", "p226", "p280", "s5"]
    assert len(asked) == 1
    with pytest.raises(UserError, match="mic1 or mic2"):
        vctk(str(folder), microphone="mic3")


@pytest.fixture
def voicebank_archives(served, monkeypatch):
    """The archives, as they are called and packed, where `voicebank_demand` looks for them."""
    folder, address = served
    monkeypatch.setattr(voicebank, "ADDRESS", address)
    for kind in ("clean", "noisy"):
        for part in ("trainset_28spk", "testset"):
            name = f"{kind}_{part}_wav"
            with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
                for i in (1, 2):
                    archive.writestr(f"{name}/p226_{i:03d}.wav", sound())
    return folder


def test_voicebank_is_downloaded_once_and_comes_in_pairs(tmp_path, voicebank_archives, capsys):
    root = tmp_path / "root"
    source = voicebank_demand(str(root))
    assert [file.relative_to(root).as_posix() for file in source.files] == [
        f"clean_trainset_28spk_wav/p226_{i:03d}.wav" for i in (1, 2)
    ]
    assert [file.relative_to(root).as_posix() for file in source.noisy] == [
        f"noisy_trainset_28spk_wav/p226_{i:03d}.wav" for i in (1, 2)
    ]
    names = ["clean_trainset_28spk_wav", "noisy_trainset_28spk_wav"]
    assert sorted(path.name for path in root.iterdir()) == names
    assert capsys.readouterr().err.count("downloading") == 2
    for archive in voicebank_archives.iterdir():
        if "train" in archive.name:
            archive.unlink()
    assert voicebank_demand(str(root)) == source
    assert len(voicebank_demand(str(root), part="testset").files) == 2
    with pytest.raises(UserError, match=r"data\.part=train is not in VoiceBank-DEMAND"):
        voicebank_demand(str(root), part="train")


def test_a_damaged_archive_is_not_kept(tmp_path, voicebank_archives):
    archive = voicebank_archives / "noisy_trainset_28spk_wav.zip"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:300])
    root = tmp_path / "root"
    with pytest.raises(UserError, match=r"noisy_trainset_28spk_wav \(2\.6 GB\).*not a zip file"):
        voicebank_demand(str(root))
    assert [path.name for path in root.iterdir()] == ["clean_trainset_28spk_wav"]
    archive.write_bytes(whole)
    assert len(voicebank_demand(str(root)).noisy) == 2


def test_without_a_network_voicebank_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(voicebank, "ADDRESS", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"clean_trainset_28spk_wav.*refused.*set data\.root") as e:
        voicebank_demand(str(tmp_path / "root"))
    assert "\n" not in str(e.value)
    assert list((tmp_path / "root").iterdir()) == []


def test_a_clean_file_without_its_noisy_one_is_told(tmp_path, voicebank_archives):
    source = voicebank_demand(str(tmp_path))
    source.noisy[1].unlink()
    with pytest.raises(UserError, match=r"1 of 2 files .* no noisy .* p226_002\.wav"):
        voicebank_demand(str(tmp_path))
