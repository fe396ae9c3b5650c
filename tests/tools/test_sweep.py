import importlib
import importlib.util
import json
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
import torch

from wavediff.cli import run
from wavediff.data.audio import read_audio
from wavediff.diffusion.noise import ItemNoise
from wavediff.training.checkpoint import RunCheckpoints, differences

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools"
sys.path.insert(0, str(TOOLS))
spec = importlib.util.spec_from_file_location("sweep", TOOLS / "sweep.py")
sweep = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sweep)
results = importlib.import_module("sweep_results")

SHIPPED = [ROOT / "recipes" / name / "sweep.yaml" for name in ("kathleen", "libri_noise")]
LISTED = [(path, name) for path in SHIPPED for name in sweep.read_list(path, Path("out")).runs]

LIST = """\
recipe: tiny
minutes: 10
curve: [0.25, 1]
measure: {files: 2, steps: [2, 4], measures: [mr_stft, si_sdr]}
runs:
  base: []
  narrow: [network.width=8]
"""


def write(folder: Path, text: str = LIST) -> Path:
    (folder / "list.yaml").write_text(text)
    return folder / "list.yaml"


def command(tmp_path: Path, *words: str) -> list[str]:
    return [str(write(tmp_path)), "-o", str(tmp_path / "out"), *words]


class StandIn:
    """In the place of the commands: trains at so many steps a second, and measures made-up values.

    `before` is called with the words of every command.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pace: float = 2.0) -> None:
        self.pace, self.calls, self.before = pace, [], lambda words: None
        monkeypatch.setattr(sweep, "call", self)
        monkeypatch.setattr(sweep, "describe", self.describe)
        monkeypatch.setattr(sweep, "make_audio", lambda sweep: None)
        monkeypatch.setattr(results, "draw", lambda path, *rest: path.write_text("drawn"))

    def __call__(self, words: list[str], settings: object, name: str) -> None:
        kind = words[2].removeprefix("wavediff.")
        options = dict(word.split("=", 1) for word in words if "=" in word)
        self.calls.append((kind, name, options if kind == "train" else words))
        self.before(words)
        if kind == "train":
            self.train(Path(options["run_dir"]), options)
        if kind == "evaluate":
            values = {"mr_stft": 1.5 if name == "base" else 1.25, "si_sdr": 3.0}
            found = {
                "measures": {key: {"mean": value} for key, value in values.items()},
                "files": [
                    {"name": f"{n}", "values": {"mr_stft": values["mr_stft"] + n}} for n in range(3)
                ],
            }
            path = Path(words[words.index("--json") + 1])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found))

    def train(self, folder: Path, options: dict[str, str]) -> None:
        step, seconds = sweep.reached(folder)
        most = int(options["trainer.max_steps"])
        if "trainer.max_minutes" in options:
            most = min(most, step + round(60 * float(options["trainer.max_minutes"]) * self.pace))
        self.save(folder, most, seconds + (most - step) / self.pace)

    def save(self, folder: Path, step: int, seconds: float) -> None:
        RunCheckpoints(folder, 1).save({"step": step, "counters": {"seconds": seconds}})

    def describe(self, folder: Path, steps: list[int]) -> tuple[dict, dict]:
        step, seconds = sweep.reached(folder)
        facts = {"step": step, "seconds": round(seconds), "parameters": 1_500_000}
        return facts, {n: n for n in steps}

    def trained(self, name: str) -> list[dict[str, str]]:
        return [
            options for kind, run_name, options in self.calls if (kind, run_name) == ("train", name)
        ]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_the_lists_have_enough_runs_for_every_part(path: Path):
    found = sweep.read_list(path, Path("out"))
    assert found.recipe == path.parent.name
    assert len(found.runs) >= 12
    parts = {name.partition("-")[0] for name in found.runs}
    wanted = "base representation path loss prior network times ema batch crop"
    assert parts >= set(wanted.split())


@cache
def listed(path: Path) -> sweep.Sweep:
    short = "task.crop_frames=16" if path.parent.name == "kathleen" else "task.crop_seconds=0.25"
    return sweep.read_list(path, Path("out"), [short])


@cache
def base_of(path: Path) -> dict:
    return sweep.build(listed(path), listed(path).base)[0]


@pytest.mark.parametrize(("path", "name"), LISTED, ids=lambda part: getattr(part, "stem", part))
def test_every_listed_run_can_be_built_and_is_another_than_the_base(path: Path, name: str):
    config, _ = sweep.build(listed(path), name)
    assert bool(differences(base_of(path), config)) == (name != listed(path).base)


@pytest.mark.slow
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_every_listed_run_has_a_loss(path: Path):
    for name in listed(path).runs:
        _, task = sweep.build(listed(path), name)
        audio = 0.1 * torch.randn(
            1, 1, task.crop_length, generator=torch.Generator().manual_seed(0)
        )
        batch = {"audio": audio, "noisy": audio + 0.01, "index": torch.tensor([0])}
        loss = task.loss(batch, ItemNoise(0, [0]))["loss"].sum()
        loss.backward()
        assert loss.isfinite(), name


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("minutes: 10", "", "lacks minutes"),
        ("minutes: 10", "minutes: 0", "minutes must be above 0"),
        ("minutes: 10", "minuts: 10", "unknown key minuts"),
        ("files: 2", "file: 2", "unknown key measure.file"),
        ("files: 2", "files: 0", "measure.files must be 1 or more"),
        ("steps: [2, 4]", "steps: []", "measure.steps must be a list"),
        ("mr_stft", "mr_stf", "measure.measures must be of pesq_wb"),
        ("[0.25, 1]", "[0.25]", "curve must be increasing fractions"),
        ("base: []", "base: [task=vocoder]", "the first run is the base"),
        ("narrow:", "../narrow:", "cannot be called '../narrow'"),
        ("narrow:", "logs:", "cannot be called 'logs'"),
        ("narrow:", "base:", "is not valid YAML"),
        ("[network.width=8]", "network.width=8", "narrow must be a list"),
        ("network.width=8", "network.width", "write KEY=VALUE"),
        ("network.width=8", "seed=1", "the sweep sets seed"),
        ("network.width=8", "trainer.max_steps=1", "the sweep sets trainer.max_steps"),
        (LIST, "- base", "is not a list of runs"),
        ("recipe: tiny", "recipe: tiny_generate", "a sweep measures vocoders and enhancers"),
    ],
)
def test_a_list_that_makes_no_sense_is_told(tmp_path: Path, capsys, old: str, new: str, told: str):
    path = write(tmp_path, LIST.replace(old, new))
    assert run(sweep.main, [str(path), "-o", str(tmp_path / "out"), "--dry-run"]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--only", "nrrow"], "no run nrrow: give --only of base, narrow"),
        (["data=folder"], "data.root has no value: add data.root=VALUE"),
        (["run_dir=elsewhere"], "the sweep sets run_dir"),
    ],
)
def test_a_command_that_makes_no_sense_is_told(tmp_path: Path, capsys, words: list[str], told: str):
    assert run(sweep.main, command(tmp_path, *words, "--dry-run")) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_prints_commands_and_does_nothing(tmp_path: Path, monkeypatch, capsys):
    StandIn(monkeypatch)
    words = command(tmp_path, "data.count=4", "--only=narrow", "--threads=1", "--dry-run")
    assert run(sweep.main, words) == 0
    lines = capsys.readouterr().out.splitlines()
    first, *_, last = lines
    assert first.startswith("python -m wavediff.train recipe=tiny ")
    assert " data.count=4 network.width=8 seed=0 " in first
    assert "trainer.max_minutes=2.5 trainer.threads=1" in first
    assert first.endswith(f"run_dir={tmp_path}/out/narrow")
    assert last.startswith("python -m wavediff.evaluate ")
    assert [line.split()[2].partition(".")[2] for line in lines] == [
        *("train", "vocode", "evaluate"),
        *("train", "vocode", "evaluate", "vocode", "evaluate"),
    ]
    assert "trainer.max_steps=STEPS" in lines[3]
    assert "max_minutes" not in lines[3]
    assert not (tmp_path / "out").exists()


def test_every_run_gets_the_same_time_and_the_decay_ends_with_it(
    tmp_path: Path, monkeypatch, capsys
):
    stand_in = StandIn(monkeypatch, pace=2.0)

    def slower(words: list[str]) -> None:
        stand_in.pace = 1.0 if any("narrow" in word for word in words) else 2.0

    stand_in.before = slower
    assert run(sweep.main, command(tmp_path, "--seed=3")) == 0
    for name, steps in (("base", 1200), ("narrow", 600)):
        first, last = stand_in.trained(name)
        assert float(first["trainer.max_minutes"]) == 2.5
        assert int(first["trainer.max_steps"]) == sweep.OPEN_END
        assert "trainer.max_minutes" not in last
        assert int(last["trainer.max_steps"]) == steps  # 10 minutes at its pace
        assert first["seed"] == last["seed"] == "3"
        assert sweep.reached(tmp_path / "out" / name) == (steps, 600.0)
    out = capsys.readouterr().out.splitlines()
    assert out == [str(tmp_path / "out" / name) for name in results.FILES]
    assert all((tmp_path / "out" / name).stat().st_size for name in results.FILES)


@pytest.mark.parametrize("stop_at", range(1, 9))  # of two trainings and three measurements
def test_after_a_stop_anywhere_the_same_command_goes_on(tmp_path: Path, monkeypatch, stop_at: int):
    stand_in = StandIn(monkeypatch)
    seen = 0

    def stop(words: list[str]) -> None:
        nonlocal seen
        seen += 1
        if seen == stop_at:
            if words[2] == "wavediff.train":  # a part of the stretch was kept
                folder = Path(words[-1].partition("=")[2])
                step, seconds = sweep.reached(folder)
                stand_in.save(folder, step + 60, seconds + 30)
            raise KeyboardInterrupt

    stand_in.before = stop
    monkeypatch.setattr(sweep, "checked", lambda sweep, chosen: ({"base": "vocode"}, {}))
    words = command(tmp_path, "--only=base")
    assert run(sweep.main, words) == 130
    stand_in.before = lambda words: None
    assert run(sweep.main, words) == 0
    assert sweep.reached(tmp_path / "out" / "base") == (1200, 600.0)
    record = json.loads((tmp_path / "out" / "base" / "sweep.json").read_text())
    assert [(m["share"], m["steps"]) for m in record["measured"]] == [(0.25, 2), (1, 2), (1, 4)]
    done = len(stand_in.calls)
    assert done <= 8 + 2  # what was begun is done again, estimates with their measures
    assert run(sweep.main, words) == 0
    assert len(stand_in.calls) == done


def test_a_plan_outlives_a_stop(tmp_path: Path, monkeypatch):
    """The last stretch goes on to the steps that it began with, whatever the pace is then."""
    stand_in = StandIn(monkeypatch)

    def stop(words: list[str]) -> None:
        if words[2] == "wavediff.train" and len(stand_in.trained("base")) == 2:
            stand_in.save(tmp_path / "out" / "base", 900, 500.0)
            raise KeyboardInterrupt

    stand_in.before = stop
    words = command(tmp_path, "--only=base")
    assert run(sweep.main, words) == 130
    stand_in.before = lambda words: None
    assert run(sweep.main, words) == 0
    assert stand_in.trained("base")[-1]["trainer.max_steps"] == "1200"


def test_a_run_that_fails_is_listed_and_the_others_go_on(tmp_path: Path, monkeypatch, capsys):
    text = LIST.replace(
        "  narrow:", "  wrong: [network.wdth=8]\n  diverging: [optimizer.lr=9]\n  narrow:"
    )
    stand_in = StandIn(monkeypatch)

    def fail(words: list[str]) -> None:
        if "optimizer.lr=9" in words:
            raise sweep.UserError("stopped at step 20: the loss is not finite")

    stand_in.before = fail
    words = [str(write(tmp_path, text)), "-o", str(tmp_path / "out")]
    assert run(sweep.main, words) == 2
    told = capsys.readouterr().err
    assert "failed: wrong: Could not override 'network.wdth'" in told
    assert "failed: diverging: stopped at step 20: the loss is not finite" in told
    page = (tmp_path / "out" / "table.md").read_text()
    assert "- diverging failed: stopped at step 20: the loss is not finite" in page
    assert "- wrong failed: Could not override 'network.wdth'" in page
    assert "| narrow | `network.width=8` | 10.0 | 1,200 | 1.50 |" in page
    # a call that leaves it out lists it all the same
    assert run(sweep.main, [*words, "--only=narrow"]) == 0
    page = (tmp_path / "out" / "table.md").read_text()
    assert "- diverging failed: stopped at step 20: the loss is not finite" in page
    # mended, it is trained; the others are not trained again
    done = len(stand_in.calls)
    stand_in.before = lambda words: None
    words = [str(write(tmp_path, text.replace("wdth", "width"))), *words[1:]]
    assert run(sweep.main, words) == 0
    assert {name for _, name, _ in stand_in.calls[done:]} == {"wrong", "diverging"}
    assert "failed" not in (tmp_path / "out" / "table.md").read_text()


def test_the_table_says_what_was_measured(tmp_path: Path, monkeypatch):
    drawing = results.draw
    StandIn(monkeypatch)
    monkeypatch.setattr(results, "draw", drawing)
    assert run(sweep.main, command(tmp_path, "data.count=9", "--seed=1", "--threads=1")) == 0
    for name in ("sweep_time.png", "sweep_calls.png"):
        assert (tmp_path / "out" / name).stat().st_size > 10_000
    page = (tmp_path / "out" / "table.md").read_text()
    typed = f"{tmp_path}/list.yaml -o {tmp_path}/out --threads 1 --seed 1 data.count=9"
    assert f"    python tools/sweep.py {typed}\n" in page
    assert "trained for 10 minutes, seed 1, on 1 core of" in page
    assert (
        "| run | change | minutes | steps | M parameters | MR-STFT | against base | SI-SDR (dB) |"
        in page
    )
    assert "| base |  | 10.0 | 1,200 | 1.50 | 1.500 |  | **3.00** |" in page
    difference = "-0.250 (-0.250 to -0.250)"  # the same in all files
    row = f"| narrow | `network.width=8` | 10.0 | 1,200 | 1.50 | **1.250** | {difference} |"
    assert row in page
    assert "| run | 2 | 4 |\n| --- | ---: | ---: |\n| base | 1.500 | 1.500 |" in page
    assert "    wavediff train recipe=tiny data.count=9 seed=1 trainer.max_steps=1200\n" in page


def test_runs_of_other_settings_are_not_mixed(tmp_path: Path, monkeypatch, capsys):
    StandIn(monkeypatch)
    assert run(sweep.main, command(tmp_path)) == 0
    assert run(sweep.main, command(tmp_path, "--minutes=5")) == 2
    assert "holds a sweep with other settings, minutes (10.0 -> 5.0)" in capsys.readouterr().err
    changed = write(tmp_path, LIST.replace("width=8", "width=4"))
    assert run(sweep.main, [str(changed), "-o", str(tmp_path / "out"), "--only=narrow"]) == 2
    assert "was trained with [network.width=8], and the list has changed" in capsys.readouterr().err


def test_two_sweeps_do_not_share_a_folder(tmp_path: Path, monkeypatch, capsys):
    StandIn(monkeypatch)
    (tmp_path / "out").mkdir()
    holder = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX);"
        "print(flush=True); input()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path / "out" / ".lock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    child.stdout.readline()
    try:
        assert run(sweep.main, command(tmp_path)) == 2
    finally:
        child.communicate(b"\n")
    assert "another sweep is running in" in capsys.readouterr().err


def test_the_last_line_of_a_command_is_the_reason(tmp_path: Path):
    settings = sweep.read_list(write(tmp_path), tmp_path / "out")
    code = "import sys; print('seen'); sys.exit('bar\\rerror: the disk is full')"
    with pytest.raises(sweep.UserError, match=r"^the disk is full \(see .*base\.log\)$"):
        sweep.call([sys.executable, "-c", code], settings, "base")
    code = "import os; os.kill(os.getpid(), 9)"
    with pytest.raises(sweep.UserError, match="ended by SIGKILL"):
        sweep.call([sys.executable, "-c", code], settings, "base")


def test_the_same_noisy_files_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch):
    text = LIST.replace("recipe: tiny", "recipe: tiny_enhance").replace(
        "files: 2", "files: 2, seconds: 0.5"
    )
    small = [f"data.root={tmp_path}/data", "data.count=8", "data.seconds=1"]
    split = "data.split={every: 4, test: 0, validation: 1}"
    settings = sweep.read_list(write(tmp_path, text), tmp_path / "out", [*small, split])
    written = []

    def failing(path: Path, *rest: object) -> None:
        written.append(path)
        if len(written) == 2:
            raise KeyboardInterrupt
        whole(path, *rest)

    whole = sweep.write_audio
    monkeypatch.setattr(sweep, "write_audio", failing)
    with pytest.raises(KeyboardInterrupt):
        sweep.make_audio(settings)
    assert not (tmp_path / "out" / "audio").exists()
    sweep.make_audio(settings)
    folder = tmp_path / "out" / "audio"
    found = {
        part: sorted(p.name for p in (folder / part).iterdir()) for part in ("noisy", "reference")
    }
    assert len(found["noisy"]) == 2
    assert found["noisy"] == found["reference"]
    audio, rate = read_audio(folder / "noisy" / found["noisy"][0])
    assert audio.shape[-1] == rate // 2
    sweep.shutil.rmtree(folder)
    sweep.make_audio(settings)
    assert torch.equal(read_audio(folder / "noisy" / found["noisy"][0])[0], audio)


REAL = """\
recipe: {recipe}
minutes: 0.1
overrides: [data.count=8, "data.split={{every: 4, test: 0, validation: 1}}", data.seconds=1]
curve: [0.5, 1]
measure: {{files: 2, seconds: 1, steps: [1, 2], measures: [mr_stft, si_sdr]}}
runs:
  base: []
  other: [trainer.ema_decay=0.5]
"""


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["tiny", "tiny_enhance"])
def test_one_command_trains_and_measures_and_goes_on_after_a_kill(tmp_path: Path, recipe: str):
    path = write(tmp_path, REAL.format(recipe=recipe))
    words = [sys.executable, str(TOOLS / "sweep.py"), str(path), "-o", str(tmp_path / "out")]
    words += [f"data.root={tmp_path}/data", "--threads=1"]
    child = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "out" / "logs" / "base.log"
    try:
        while not (log.exists() and "train: starting in" in log.read_text()):  # it trains
            assert child.poll() is None, child.stderr.read()
            time.sleep(0.05)
    finally:
        child.kill()  # what it has started goes on
        child.communicate()
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "out" / name) for name in results.FILES]
    for name in ("base", "other"):
        record = json.loads((tmp_path / "out" / name / "sweep.json").read_text())
        assert [(m["share"], m["calls"]) for m in record["measured"]] == [(0.5, 1), (1, 1), (1, 2)]
        half, whole, _ = record["measured"]
        assert 0 < half["step"] < whole["step"] == record["max_steps"]["1"]
        assert all(value is not None for value in whole["means"].values())
        assert whole["seconds"] == pytest.approx(6, abs=4)  # of a machine that does other work
    page = (tmp_path / "out" / "table.md").read_text()
    assert "| other | `trainer.ema_decay=0.5` |" in page
    logs = log.read_bytes()
    again = subprocess.run(words, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert log.read_bytes() == logs  # nothing was run
