"""`wavediff search`, as a user types it."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from wavediff.cli import run
from wavediff.commands.search import main
from wavediff.commands.search_study import counted
from wavediff.commands.train import main as train

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:Heartbeat of storage"),
]

SMALL = [
    "data.count=4",
    "data.seconds=0.6",
    "data.split={every: 4, test: null, validation: 3}",
    "task.crop_frames=4",
    "network.width=8",
    "network.layers=2",
    "trainer.batch_size=2",
    "trainer.max_steps=9",
    "trainer.threads=1",
    "trainer.measures=[mr_stft]",
    "trainer.validate_seconds=0.5",
]


@pytest.fixture
def words(tmp_path: Path) -> Callable[..., list[str]]:
    """words(space, word, ...): a search of a few steps a trial, its space given as YAML."""

    def make(space: str, *more: str) -> list[str]:
        (tmp_path / "space.yaml").write_text(space)
        places = [f"data.root={tmp_path / 'data'}", f"space={tmp_path / 'space.yaml'}"]
        out = [] if "-o" in more else ["-o", str(tmp_path / "out")]
        return ["recipe=tiny", *SMALL, *places, *out, *more]

    return make


def study_of(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'study.db'}")


def results(folder: Path) -> list[tuple]:
    """(overrides, state, value) of each trial in the order in which they were drawn."""
    trials = counted(study_of(folder))
    trials.sort(key=lambda t: t.system_attrs.get("failed_trial", t.number))
    return [(t.user_attrs["overrides"], t.state.name, t.value) for t in trials]


RATES = "optimizer.lr: {choices: [1.0e-3, 1.0e-9, 4.0e-3]}\n"


@pytest.mark.slow
def test_the_better_of_settings_is_found_reported_and_a_recipe(words, tmp_path, capsys):
    assert run(main, words(RATES, "--trials", "5", "--pruner", "none", "trainer.max_steps=30")) == 0
    out = tmp_path / "out"
    names = ["report.md", "trials.csv", "best.yaml", "curves.png", "importance.png", "parallel.png"]
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [str(out / name) for name in names]
    assert all((out / name).stat().st_size > 5000 for name in names if name.endswith(".png"))
    assert "trial 0 (1 of 3): the recipe as it is" in captured.err

    trials = counted(study_of(out))
    assert len(trials) == 3  # there are no others
    assert trials[0].params == {"optimizer.lr": "0.001"}
    values = {trial.params["optimizer.lr"]: trial.value for trial in trials}
    assert min(values, key=values.get) == "0.004"  # in so few steps
    assert values["1e-09"] > values["0.001"]

    page = (out / "report.md").read_text()
    assert f"Best: MR-STFT {values['0.004']:.4g}, trial" in page
    assert f"The recipe: {values['0.001']:.4g}." in page
    rows = list(csv.DictReader((out / "trials.csv").open()))
    assert [row["optimizer.lr"] for row in rows] == [t.params["optimizer.lr"] for t in trials]
    assert float(rows[0]["mr_stft"]) == values["0.001"]
    assert {row["steps"] for row in rows} == {"30"}

    # the recipe trains what the trial has trained
    (best,) = {t.user_attrs["place"] for t in trials if t.value == values["0.004"]}
    again = [f"recipe={out / 'best.yaml'}", f"run_dir={tmp_path / 'again'}"]
    assert run(train, [*again, "trainer.validate_every=0", "trainer.progress=false"]) == 0
    one, two = (
        load_file(d / "model.safetensors") for d in (tmp_path / "again", out / "trials" / best)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
    kept = OmegaConf.load(tmp_path / "again" / ".hydra" / "overrides.yaml")
    assert kept[0] == again[0]

    capsys.readouterr()
    assert run(main, words(RATES, "--trials", "5", "--pruner", "none", "trainer.max_steps=30")) == 0
    assert "trial" not in capsys.readouterr().err  # nothing is left to do
    assert run(main, words(RATES, "--trials", "6", "--seed", "1")) == 2
    assert "has other settings, overrides (" in capsys.readouterr().err


SPACE = """\
optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
trainer.ema_decay: {low: 0.5, high: 0.9}
"""
SLOW = ["--trials", "3", "trainer.max_steps=45", "trainer.checkpoint_every=3"]


@pytest.mark.slow
def test_a_search_that_is_killed_ends_as_one_that_was_not(words, tmp_path, capsys):
    assert run(main, words(SPACE, *SLOW, "-o", str(tmp_path / "whole"))) == 0
    command = [sys.executable, "-m", "wavediff", "search"]
    killed = [*words(SPACE, *SLOW, "-o", str(tmp_path / "killed"))]
    process = subprocess.Popen([*command, *killed], stderr=subprocess.PIPE, text=True)
    folder = tmp_path / "killed" / "trials" / "0001" / "checkpoints"
    try:
        while not any(p.name >= "step-000000006.pt" for p in folder.glob("step*.pt")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    states = [trial.state.name for trial in study_of(tmp_path / "killed").trials]
    assert states in (["COMPLETE", "RUNNING"], ["COMPLETE", "COMPLETE"])
    capsys.readouterr()
    assert run(main, killed) == 0
    told = capsys.readouterr().err
    assert "trial 0 " not in told
    if states[-1] == "RUNNING":
        assert "trial 1 (2 of 3): optimizer.lr=" in told
        assert "resuming from step" in (tmp_path / "killed" / "logs" / "0001.log").read_text()
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    assert len(results(tmp_path / "whole")) == 3
    assert len(list((tmp_path / "killed" / "trials").iterdir())) == 3
    assert not list((tmp_path / "killed" / ".workers").iterdir())


@pytest.mark.slow
def test_two_processes_share_a_study(words, tmp_path):
    given = words(SPACE, "--trials", "6", "--pruner", "none")
    command = [sys.executable, "-m", "wavediff", "search", *given]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        _, told = process.communicate()
        assert process.returncode == 0, told
    trials = counted(study_of(tmp_path / "out"))
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6
    assert len({trial.user_attrs["worker"] for trial in trials}) == 2
    assert len({tuple(trial.user_attrs["overrides"]) for trial in trials}) == 6
    assert (tmp_path / "out" / "report.md").read_text().count("| finished |") == 6


@pytest.mark.slow
def test_a_stop_saves_the_trial_first(words, tmp_path):
    given = words(SPACE, "--trials", "1", "trainer.max_steps=3000")
    command = [sys.executable, "-m", "wavediff", "search", *given]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "out" / "logs" / "0000.log"
    while not (log.exists() and "train: starting in" in log.read_text()):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    time.sleep(0.3)
    process.terminate()
    _, told = process.communicate()
    assert process.returncode == 143, told
    assert "saved after SIGTERM" in log.read_text()
    assert list((tmp_path / "out" / "trials" / "0000" / "checkpoints").glob("*.pt"))
    states = [trial.state.name for trial in study_of(tmp_path / "out").trials]
    assert states == ["FAIL", "WAITING"]
    assert (tmp_path / "out" / "report.md").exists()


LIST = """\
overrides: [trainer.max_minutes=0.01, trainer.best=mr_stft]
list:
  base: []
  narrow: [network.width=4]
  wrong: [network.wdth=8]
  bad: [optimizer.lr=-1]
"""


@pytest.mark.slow
def test_a_list_is_trained_for_equal_time_past_what_cannot_be(words, tmp_path, capsys):
    given = words(LIST, "--budget", "seconds")
    assert run(main, given) == 2
    told = capsys.readouterr().err
    assert "failed: wrong: unknown key network.wdth: did you mean network.width?" in told
    assert "failed: bad: optimizer: torch.optim.AdamW does not take" in told
    trials = counted(study_of(tmp_path / "out"))
    assert [trial.user_attrs["place"] for trial in trials] == ["base", "narrow"]
    for trial in trials:
        *_, last = trial.user_attrs["standings"]
        assert last["seconds"] == pytest.approx(0.6, abs=0.3)
        state = torch.load(
            next((tmp_path / "out" / "trials" / trial.user_attrs["place"]).glob("*/*.pt")),
            weights_only=True,
        )
        assert state["counters"]["seconds"] == last["seconds"]
        assert state["step"] == last["step"]
    page = (tmp_path / "out" / "report.md").read_text()
    assert "| narrow | `network.width=4` | finished | 0.0" in page
    assert "- wrong cannot be trained: unknown key network.wdth" in page
    best = OmegaConf.load(tmp_path / "out" / "best.yaml")
    assert best.trainer.max_steps in [trial.user_attrs["standings"][-1]["step"] for trial in trials]
    assert best.trainer.max_minutes is None

    # mended, only what was wrong is trained
    assert (
        run(main, words(LIST.replace("wdth", "width"), "--budget", "seconds", "--only=wrong")) == 0
    )
    assert "wrong (3): network.width=8" in capsys.readouterr().err
    assert run(main, words(LIST, "--budget", "seconds", "--only=nrrow")) == 2
    assert "the list has no nrrow: give --only of base, narrow" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ("", "is not a space: it must be a mapping"),
        ("- a\n", "is not a space: it must be a mapping"),
        ("a: [\n", ", line 2: not valid YAML"),
        (
            "optimizer.lrr: {low: 1, high: 2}",
            "unknown key optimizer.lrr: did you mean optimizer.lr?",
        ),
        ("optimizer.lr: 1", "optimizer.lr is '1': a space is a mapping of overrides to"),
        ("optimizer.lr: {low: 1}", "has low 1 and high None: give two numbers"),
        ("optimizer.lr: {low: 2, high: 1}", "has low 2 and high 1: give two numbers"),
        ("optimizer.lr: {low: .nan, high: 1}", "has low nan and high 1: give two numbers"),
        ("optimizer.lr: {low: 0, high: 1, log: true}", "low must be above 0"),
        ("optimizer.lr: {low: 0, high: 1, log: 1}", "log is '1': give true or false"),
        ("optimizer.lr: {low: 0, high: 1, step: 2}", "has step 2: give a number above 0, up to"),
        ("optimizer.lr: {low: 1, high: 9, step: 2, log: true}", "step, which does not go with log"),
        ("optimizer.lr: {low: 0, high: 1, lgo: 1}", "unknown key lgo: use low, high, log, step"),
        ("optimizer.lr: {choices: [1]}", "has 1 choice: give two or more"),
        ("optimizer.lr: {choices: [1, 1]}", "has a choice twice: 1, 1"),
        ("optimizer.lr: {choices: 1}", "has choices '1': give [A, B] or"),
        ("schedule: {choices: [vp, vpp]}", "Could not find 'schedule/vpp': choose from"),
        ("schedule: {choices: {a: [schedule], b: []}}", "a: cannot read 'schedule': write KEY="),
        ("schedule: {choices: {a: vp, b: []}}", "a must be a list of KEY=VALUE"),
        ("prediction: {choices: [v, eps], relative: true}", "its choices must be factors above 0"),
        ("prediction: {choices: [1, 2], relative: true}", "the recipe's own value (eps) is not a"),
        ("run_dir: {choices: [a, b]}", "run_dir cannot be searched"),
        ("trainer.max_steps: {low: 1, high: 9}", "trainer.max_steps cannot be searched"),
        ("~adversarial: {choices: [a, b]}", "~adversarial cannot be searched"),
        ("hydra.run.dir: {choices: [a, b]}", "hydra.run.dir cannot be searched"),
        ("data.count: {low: 1, high: 2}", "data.count is in space="),
        ("trainer.accumulate: {low: 0, high: 2}", "trainer.accumulate 0 cannot be trained: "),
        ("prediction: {choices: [v, velosity]}", "prediction velosity cannot be trained: there"),
        ("list: [a]", "list must be {NAME: [KEY=VALUE, ...], ...}"),
        ("list: {../a: []}", "a run cannot be called '../a'"),
        (
            "list: {a: [trainer.max_steps=3]}",
            "trainer.max_steps=3: the search sets trainer.max_steps",
        ),
        ("list: {a: []}\nruns: 1", "unknown key runs: use list, overrides"),
        ("list: {a: [network.wdth=1]}\noverrides: [trainer.bst=1]", "unknown key trainer.bst"),
    ],
)
def test_a_space_that_makes_no_sense_is_told(words, tmp_path, capsys, space, sentence):
    assert run(main, words(space)) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("error: ")
    assert sentence in told
    assert not list(tmp_path.glob("out/trials"))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["space=width"], "give recipe=NAME"),
        (["recipe=tiny"], "give space=NAME"),
        (["recipe=tiny", "space=wdth"], "there is no space 'wdth': choose from batch_size, "),
        (["recipe=tiny", "space=[width,"], "cannot read space=[width,: give space=NAME"),
        (["recipe=tiny", "space=no.yaml"], "cannot read no.yaml (No such file or directory)"),
        (["recipe=tiny", "space=width", "seed"], "cannot read 'seed': write KEY=VALUE"),
        (["recipe=tiny", "space=width", "run_dir=a"], "run_dir=a: the search sets run_dir"),
        (["recipe=no.yaml", "space=width"], "cannot read no.yaml (No such file or directory)"),
        (["recipe=tiny", "space=widths"], "widths: network.widths is relative, and the recipe's"),
        (["recipe=tiny", "space=width", "--budget", "seconds"], "add trainer.max_minutes=M"),
        (["recipe=tiny", "space=width", "--only", "a"], "--only is for a list of settings"),
        (["recipe=tiny", "space=width", "data=folder"], "data.root has no value"),
        (["recipe=tiny", "space=width", "--storage", "mine.db"], "cannot use --storage mine.db ("),
        (["recipe=tiny", "space=width", "--storage", "sqlite:///no/a.db"], "unable to open"),
        (["recipe=tiny", "space=width", "--storage", "sqlite:///text.db"], "not a database"),
        (["recipe=tiny", "space=width", "-o", "text.db"], "it is a file, not a folder"),
        (["recipe=tiny", "space=width", "trainer.best=mcd"], "trainer.best=mcd is not among"),
    ],
)
def test_a_command_that_makes_no_sense_is_told(tmp_path, capsys, monkeypatch, given, sentence):
    monkeypatch.chdir(tmp_path)
    Path("text.db").write_text("text, " * 1000)
    assert run(main, given) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("error: ")
    assert sentence in told
    assert not list(tmp_path.glob("runs/search/*/trials"))


def test_without_optuna_one_sentence_says_so(words, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(main, words(RATES)) == 2
    told = capsys.readouterr().err
    assert told == "error: Optuna is not installed: pip install 'wavediff[search]'\n"


@pytest.mark.slow
def test_a_search_whose_trials_all_fail_ends(words, capsys, tmp_path):
    (tmp_path / "data").write_text("not a folder")
    assert run(main, words(RATES, "--trials", "9")) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("error: the first 3 trials failed, the last one: trial 2: ")
    assert sum(" failed: " in line for line in told) == 3


SWEEPER = """\
import json, os
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.core.config_store import ConfigStore

class Recorder(Sweeper):
    def setup(self, *, hydra_context, task_function, config):
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments):
        jobs = [[*arguments, f"optimizer.lr={rate}"] for rate in (1e-3, -1)]
        found = [job.return_value for job in self.launcher.launch(jobs, initial_job_idx=0)]
        with open(os.environ["FOUND"], "w") as file:
            json.dump(found, file)

ConfigStore.instance().store(
    group="hydra/sweeper", name="recorder", node={"_target_": f"{__name__}.Recorder"})
"""


@pytest.mark.slow
def test_a_sweeper_of_hydra_gets_the_metric(words, tmp_path):
    plugin = tmp_path / "plugins" / "hydra_plugins" / "recorder" / "__init__.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(SWEEPER)
    given = [word for word in words(RATES) if not word.startswith(("space=", "-o", str(tmp_path)))]
    command = [sys.executable, "-m", "wavediff", "train", "--multirun", "hydra/sweeper=recorder"]
    places = [f"run_dir={tmp_path / 'swept'}", "trainer.validate_every=9"]
    path = os.pathsep.join([str(tmp_path / "plugins"), *sys.path])
    environment = os.environ | {"PYTHONPATH": path, "FOUND": str(tmp_path / "found.json")}
    done = subprocess.run(
        [*command, *given, *places], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr  # of the second job
    score, missing = OmegaConf.load(tmp_path / "found.json")
    assert missing is None
    assert f"step 9: MR-STFT {score:.4g}" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_what_is_found_for_the_toy_recipe_is_better_on_other_seeds(tmp_path, capfd):
    """Ten minutes on an idle core are more than it takes."""
    common = [f"data.root={tmp_path / 'data'}", "trainer.threads=1"]
    given = ["recipe=tiny", "space=[learning_rate,batch_size,width]", "--trials", "20"]
    assert run(main, [*given, *common, "-o", str(tmp_path / "out")]) == 0
    for seed in (1, 2, 3):
        scores = []
        for recipe in ("tiny", tmp_path / "out" / "best.yaml"):
            folder = tmp_path / f"{Path(recipe).stem}-{seed}"
            words = [f"recipe={recipe}", f"seed={seed}", f"run_dir={folder}", *common]
            assert run(train, [*words, "trainer.progress=false"]) == 0
            newest = max((folder / "checkpoints").glob("*.pt"))
            scores.append(torch.load(newest, weights_only=True)["counters"]["score"])
        assert scores[1] < scores[0]
