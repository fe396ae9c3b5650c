import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wavediff import files
from wavediff.errors import UserError
from wavediff.files import atomic_path, path_component


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("snare", "snare"),
        ("a b.c", "a b.c"),
        ("../../x", ".._.._x"),
        ("/tmp", "_tmp"),
        ("a\\b\0c", "a_b_c"),
        ("..", "__"),
        ("", "_"),
    ],
)
def test_a_name_becomes_one_component_of_a_path(name: str, component: str):
    assert path_component(name) == component
    assert len((Path("out") / component).parts) == 2


def test_the_file_appears_whole_in_folders_made_for_it(tmp_path: Path):
    target = tmp_path / "a" / "b" / "sound.wav"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".wav"
        temporary.write_bytes(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert os.listdir(target.parent) == ["sound.wav"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, UserError])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type):
    target = tmp_path / "mel.npy"
    target.write_bytes(b"old")

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"half")
            raise error("stop")

    with pytest.raises(error, match="stop"):
        fail()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["mel.npy"]


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
    ],
)
def test_an_error_of_the_disk_is_one_clear_sentence(tmp_path: Path, code: int, hint: str):
    target = tmp_path / "sound.wav"
    with (
        pytest.raises(UserError, match=hint) as caught,
        atomic_path(target) as temporary,
    ):
        raise OSError(code, os.strerror(code), str(temporary))
    assert str(target) in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_seen_behind_a_library_error(tmp_path: Path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)  # nothing is imported meanwhile
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(UserError, match="too large"), atomic_path(tmp_path / "x.wav"):
            raise RuntimeError("System error.")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_a_library_error_on_a_healthy_disk_is_not_hidden(tmp_path: Path):
    with pytest.raises(RuntimeError, match="bug"), atomic_path(tmp_path / "x.wav"):
        raise RuntimeError("bug")


def test_an_unreadable_input_is_not_blamed_on_the_output(tmp_path: Path):
    with pytest.raises(PermissionError), atomic_path(tmp_path / "x.wav"):
        raise PermissionError(errno.EACCES, "denied", str(tmp_path / "elsewhere" / "input.wav"))


def test_a_folder_that_cannot_be_written_to(tmp_path: Path):
    tmp_path.chmod(0o555)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write to read-only folders")
        with (
            pytest.raises(UserError, match="permission denied"),
            atomic_path(tmp_path / "x.wav"),
        ):
            pytest.fail("the block must not run")
    finally:
        tmp_path.chmod(0o755)


def test_a_file_in_the_place_of_a_folder(tmp_path: Path):
    (tmp_path / "audio").write_text("a file")
    with pytest.raises(UserError, match="not a folder"), atomic_path(tmp_path / "audio" / "x.wav"):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("target", ["", os.devnull])
def test_a_folder_or_device_is_not_replaced(tmp_path: Path, target: str):
    with pytest.raises(UserError, match="cannot write"), atomic_path(tmp_path / target):
        pytest.fail("the block must not run")


def test_the_usual_permissions(tmp_path: Path):
    with atomic_path(tmp_path / "x.wav") as temporary:
        temporary.write_bytes(b"x")
    (tmp_path / "y.wav").write_bytes(b"y")
    assert (tmp_path / "x.wav").stat().st_mode == (tmp_path / "y.wav").stat().st_mode


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "mkdir", fail)
    with (
        pytest.raises(UserError, match=r"its folder cannot be created \(Input/output error\)"),
        atomic_path(tmp_path / "new" / "a.wav"),
    ):
        pass


def test_what_a_killed_process_left_is_removed_at_the_next_start(tmp_path: Path):
    code = (
        "import sys, time; from wavediff.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path:\n"
        "    path.write_bytes(b'half'); print('open', flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", code]
    killed, alive = (
        subprocess.Popen([*words, str(tmp_path / name)], stdout=subprocess.PIPE, text=True)
        for name in ("a.wav", "b.wav")
    )
    try:
        for process in (killed, alive):
            assert process.stdout.readline() == "open\n"
        left = sorted(tmp_path.iterdir())
        assert len(left) == 2
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        done = subprocess.run(
            [*words[:2], code.replace("time.sleep(60)", "0"), str(tmp_path / "c.wav")], check=True
        )
        assert done.returncode == 0
        found = sorted(path.name for path in tmp_path.iterdir())
        assert len(found) == 2  # c.wav, and what is being written to b.wav
        assert found[1] == "c.wav"
        assert alive.poll() is None
    finally:
        for process in (killed, alive):
            process.kill()
            process.wait()
            process.stdout.close()


def test_a_file_taken_for_an_orphan_before_it_is_held_is_made_again(tmp_path, monkeypatch):
    real, calls = files.fcntl.flock, []

    def flock(handle, operation):
        if not calls:  # another process has just started
            calls.append(operation)
            for path in tmp_path.iterdir():
                files._remove_orphan(path)
        real(handle, operation)

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with atomic_path(tmp_path / "a.wav") as temporary:
        temporary.write_bytes(b"whole")
    assert calls
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
    assert (tmp_path / "a.wav").read_bytes() == b"whole"
