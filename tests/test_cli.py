import os
import subprocess
import sys
import types
from importlib import metadata, util
from pathlib import Path

import pytest

import wavediff
from wavediff import cli
from wavediff.errors import UserError


def wavediff_command(*argv: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "wavediff", *argv], capture_output=True, text=True, **options
    )


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_its_module(command: str):
    module = f"wavediff.commands.{cli.module_of(command)}"
    assert util.find_spec(module), f"no module for `wavediff {command}`"


def test_every_module_is_a_command():
    folder = Path(wavediff.__file__).parent / "commands"
    found = {path.stem for path in folder.glob("*.py") if "def main(" in path.read_text()}
    assert found == {cli.module_of(command) for command in cli.COMMANDS}


@pytest.mark.parametrize("command", ["train", "forecast"])
def test_a_command_is_a_module_to_run(command: str, tmp_path: Path):
    words = [sys.executable, "-m", f"wavediff.{command}", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"wavediff {command}" in done.stdout


def test_a_command_gets_its_own_arguments(monkeypatch: pytest.MonkeyPatch):
    seen = []
    fake = types.ModuleType("wavediff.commands.vocode")
    fake.main = lambda argv: seen.append(argv) or 3
    monkeypatch.setitem(sys.modules, "wavediff.commands.vocode", fake)
    assert cli.main(["vocode", "in.wav", "--help", "-o", "out.wav"]) == 3
    assert seen == [["in.wav", "--help", "-o", "out.wav"]]


def test_the_console_script_is_installed():
    (script,) = metadata.entry_points(group="console_scripts", name="wavediff")
    assert script.load() is cli.main


def test_help_names_every_command(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(f"  {command}" in text for command in cli.COMMANDS)
    assert "examples:" in text


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        ([], "give a command"),
        (["vocod"], "did you mean 'vocode'"),
        (["zzz"], "choose from train"),
        (["--nonsense"], "--nonsense"),
        (["enhance", "a.wav", "-o", "b.wav", "--stpes=3"], "--stpes=3: did you mean --steps?"),
        (["enhance", "a.wav", "-o", "b.wav", "--zzz"], "unrecognized arguments: --zzz\n"),
    ],
)
def test_a_wrong_command_line(argv: list[str], hint: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == 2
    output = capsys.readouterr()
    assert hint in output.err
    assert output.out == ""


def test_a_user_error_is_one_sentence(capsys: pytest.CaptureFixture):
    def main(argv: list[str] | None) -> int:
        raise UserError(f"cannot read {argv[0]}: it is empty; give another file.")

    assert cli.run(main, ["a.wav"]) == 2
    output = capsys.readouterr()
    assert output.err == "error: cannot read a.wav: it is empty; give another file.\n"
    assert output.out == ""


def test_control_c(capsys: pytest.CaptureFixture):
    def main(argv: list[str] | None) -> int:
        raise KeyboardInterrupt

    assert cli.run(main, []) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_an_unforeseen_exception_is_one_line_and_a_code_of_its_own(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    def command(argv: list[str] | None) -> int:
        raise ZeroDivisionError("long " * 10_000)

    assert cli.run(command, []) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: unexpected ZeroDivisionError: long long")
    assert error.endswith("(set WAVEDIFF_DEBUG=1 for the traceback)")
    assert "\n" not in error
    assert len(error) < 300
    monkeypatch.setenv("WAVEDIFF_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.run(command, [])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "cannot write the output: the disk is full"),
        (OSError(27, "File too large", "a.wav"), "cannot write a.wav: the file is too large"),
        (OSError(122, "Disk quota exceeded"), "cannot write the output: the disk quota is used up"),
        (MemoryError(), "there is not enough memory"),
    ],
)
def test_a_full_machine_is_told(error: Exception, reason: str, capsys, monkeypatch):
    def command(argv: list[str] | None) -> int:
        raise error

    monkeypatch.setattr("wavediff.cli._discard_stdout", lambda: None)
    assert cli.run(command, []) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_behind_stdout_is_told():
    code = "import sys; from wavediff.cli import run; sys.exit(run(lambda argv: print('x' * 9)))"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "error: cannot write the output: the disk is full: free some space or choose another disk"
    )


def test_a_reader_that_leaves_ends_the_command_quietly():
    script = (
        "import sys; from wavediff.cli import run\n"
        "def main(argv):\n"
        "    for _ in range(100_000): print('x' * 100)\n"
        "    return 0\n"
        "sys.exit(run(main, []))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


def test_the_version_is_one(tmp_path: Path):
    result = wavediff_command("--version", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stdout == f"wavediff {wavediff.__version__}\n"
    assert metadata.version("wavediff") == wavediff.__version__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Nonsense"):
        _ = wavediff.Nonsense


def test_a_message_does_not_repeat_a_large_input(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    large = "x" * 50_000
    for words in (
        ["enhance", large, "-o", "a.wav"],
        ["enhance", "a.wav", "-o", large],
        ["enhance", "a.wav", "-o", "b.wav", "--checkpoint", large],
        ["forecast", large, "-o", "b.csv"],
        ["train", f"recipe={large}"],
        ["train", large],
        ["train", "recipe=tiny", f"trainer.device={large}"],
    ):
        assert cli.main(words) == 2
        assert len(capsys.readouterr().err) < 5000
    for words in (["enhance", "a.wav", "-o", "b.wav", "--steps", large], ["info", "--x", large]):
        with pytest.raises(SystemExit):
            cli.main(words)
        assert len(capsys.readouterr().err) < 5000


def test_nothing_is_replaced_that_is_no_output(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("time,y\n2024-01-01,1\n2024-01-02,2\n2024-01-03,1\n")
    Path("a.wav").write_bytes(b"sound")
    Path("old.safetensors").write_bytes(b"model")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    forecast = ["forecast", "a.csv", "-o", "b.csv", "--horizon", "1", "--save"]
    pair = ["evaluate", "--reference", "a.wav", "--estimate", "a.wav"]
    for words, expected in (
        ([*forecast, "a.csv"], "cannot save a model as a.csv"),
        ([*forecast, "b.csv"], "cannot save a model as b.csv"),
        ([*forecast, "a.wav"], "cannot save a model as a.wav"),
        ([*forecast, "old.safetensors"], "exists already"),
        ([*pair, "--csv", "a.wav"], "cannot write a table to a.wav"),
        ([*pair, "--json", "a.wav"], "cannot write a table to a.wav"),
        ([*pair, "--csv", "e.csv", "--json", "e.csv"], "give two names"),
        (["enhance", "", "-o", "b.wav"], "the path is empty"),
        (["enhance", "a.wav", "-o", ""], "the path is empty"),
    ):
        assert cli.main(words) == 2
        assert expected in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_threads_sleep_while_they_wait(monkeypatch):
    seen = []

    def main(argv):
        seen.append(os.environ["OMP_WAIT_POLICY"])
        return 0

    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    cli.run(main)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    cli.run(main)
    assert seen == ["PASSIVE", "ACTIVE"]
