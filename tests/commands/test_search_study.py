"""Which trials `wavediff search` makes, with a stand-in for the training."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from omegaconf import OmegaConf

from wavediff.cli import run
from wavediff.commands import search_loop, search_report, search_study, search_trial
from wavediff.commands.composing import as_recipe, composed, plain_values
from wavediff.commands.search import main
from wavediff.commands.search_space import merged, read_space
from wavediff.commands.search_study import counted
from wavediff.commands.training_run import check_training
from wavediff.files import conf_files
from wavediff.training.checkpoint import differences
from wavediff.training.trial import Standing

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:Heartbeat of storage"),
]

ROOT = Path(__file__).parents[2]
LISTS = [ROOT / "recipes" / name / "sweep.yaml" for name in ("kathleen", "libri_noise")]
RATE = "optimizer.lr: {low: 1.0e-4, high: 1.0e-2, log: true}\n"


class StandIn:
    """In the place of the training: the score is the distance of the rate from 4e-3, in octaves.

    ``before`` is called with each job.
    """

    def __init__(self) -> None:
        self.jobs: list[search_trial.Job] = []
        self.before = lambda job: None

    def __call__(self, job: search_trial.Job, judge) -> None:
        self.jobs.append(job)
        self.before(job)
        options = dict(word.split("=", 1) for word in job.words)
        distance = abs(math.log2(float(options.get("optimizer.lr", 1e-3)) / 4e-3))
        for rung, share in enumerate(job.shares):
            score = distance + 2 * (1 - share)
            step = round(90 * share)
            if not judge(Standing(rung, step, step / 10, 1000, score, {"mr_stft": score})):
                return


@pytest.fixture
def stand_in(monkeypatch) -> StandIn:
    made = StandIn()
    found = {"mr_stft": ("MR-STFT", False), "pesq_wb": ("PESQ-wb", True)}
    monkeypatch.setattr(search_loop, "train", made)
    monkeypatch.setattr(search_report, "draw", lambda study, setting, trials: {})
    monkeypatch.setattr(
        search_trial, "check", lambda words, log: search_trial.Checked([None] * len(words), found)
    )
    return made


@pytest.fixture
def search(stand_in, tmp_path, monkeypatch):
    """search(space, word, ...) -> exit code, of a search in out/ by this process."""
    monkeypatch.chdir(tmp_path)

    def call(space: str, *words: str) -> int:
        Path("space.yaml").write_text(space)
        out = [] if "-o" in words else ["-o", "out"]
        return run(main, ["recipe=tiny", "space=space.yaml", *out, *words])

    return call


def study(folder: str = "out") -> optuna.Study:
    return optuna.load_study(study_name=None, storage=f"sqlite:///{folder}/study.db")


def rates(folder: str = "out") -> list[float]:
    return [trial.params["optimizer.lr"] for trial in counted(study(folder))]


@pytest.mark.slow
def test_the_worse_two_thirds_are_pruned_and_the_best_is_close(search):
    assert search(RATE, "--trials", "40") == 0
    trials = counted(study())
    states = [trial.state.name for trial in trials]
    assert len(states) == 40
    assert 5 <= states.count("COMPLETE") <= 20
    assert states.count("COMPLETE") + states.count("PRUNED") == 40
    pruned = [t for t in trials if t.state.name == "PRUNED"]
    assert {len(t.user_attrs["standings"]) for t in pruned} == {1, 2}
    assert study().best_value < 0.1  # a fifteenth of an octave
    page = Path("out/report.md").read_text()
    assert page.count("| pruned after 1/9 |") == sum(
        len(t.user_attrs["standings"]) == 1 for t in pruned
    )
    order = [line.split(" | ")[0].strip("| *") for line in page.splitlines() if "finished" in line]
    done = [trial for trial in trials if trial.state.name == "COMPLETE"]
    best = [t.user_attrs["place"] for t in sorted(done, key=lambda t: t.value)]
    assert order[1:] == best  # after the sentence


@pytest.mark.parametrize("words", [["--pruner", "none"], ["--rungs", "1"], ["--pruner=hyperband"]])
def test_other_pruners(search, words):
    assert search(RATE, "--trials", "12", *words) == 0
    states = [trial.state.name for trial in counted(study())]
    if "--pruner=hyperband" in words:
        assert 0 < states.count("PRUNED") < 12
    else:
        assert states == ["COMPLETE"] * 12


def test_a_higher_metric_is_better_where_it_is(search, stand_in):
    assert search(RATE, "--trials", "9", "--pruner=none", "trainer.best=pesq_wb") == 0
    assert study().direction.name == "MAXIMIZE"
    assert study().best_value == max(trial.value for trial in counted(study()))


@pytest.mark.slow
def test_draws_depend_on_the_seed_and_the_trials_before_alone(search):
    assert search(RATE, "--trials", "12") == 0
    assert search(RATE, "--trials", "5", "-o", "parts") == 0
    assert search(RATE, "--trials", "12", "-o", "parts") == 0
    assert search(RATE, "--trials", "5", "--seed", "1", "-o", "other") == 0
    assert rates("parts") == rates()
    assert len(set(rates())) == 12
    assert not set(rates()[1:]) & set(rates("other")[1:])


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_trial_is_resumed_and_counts_once(search, stand_in, stop):
    assert search(RATE, "--trials", "8", "-o", "whole") == 0

    def interrupt(job):
        if job.run_dir.name == "0003" and stop:
            raise stop(143) if stop is SystemExit else stop

    stand_in.before = interrupt
    if stop is SystemExit:
        with pytest.raises(SystemExit):
            search(RATE, "--trials", "8")
    else:
        assert search(RATE, "--trials", "8") == 130
    assert [trial.state.name for trial in study().trials[3:]] == ["FAIL", "WAITING"]
    stand_in.before, stand_in.jobs = (lambda job: None), []
    assert search(RATE, "--trials", "8") == 0
    assert stand_in.jobs[0].run_dir.name == "0003"
    places = [trial.user_attrs["place"] for trial in counted(study())]
    assert len(places) == len(set(places)) == 8
    assert sorted(rates()) == sorted(rates("whole"))


def test_a_trial_of_a_dead_machine_is_taken_over(search, stand_in, monkeypatch):
    monkeypatch.setattr(search_study, "HEARTBEAT", 1)
    monkeypatch.setattr(search_study, "GRACE", 1)
    assert search(RATE, "--trials", "2") == 0
    # another machine began a third and was switched off
    storage = optuna.storages.RDBStorage("sqlite:///out/study.db", heartbeat_interval=1)
    other = optuna.load_study(study_name=None, storage=storage).ask()
    other.set_user_attr("worker", "elsewhere:/home/7-ab")
    value = other.suggest_float("optimizer.lr", 1e-4, 1e-2, log=True)
    storage.record_heartbeat(other._trial_id)
    stand_in.jobs = []
    assert search(RATE, "--trials", "3") == 0  # it may still live
    assert not stand_in.jobs
    time.sleep(2.5)
    assert search(RATE, "--trials", "3") == 0
    assert [job.run_dir.name for job in stand_in.jobs] == ["0002"]
    assert rates()[2] == value
    assert [trial.state.name for trial in study().trials][2] == "FAIL"


def test_what_others_do_meanwhile_counts(search, stand_in, monkeypatch):
    monkeypatch.setattr(search_study.Worker, "has_died", lambda self, name: False)

    def other(job):
        if job.run_dir.name == "0002":
            stand_in.before = lambda job: None
            assert search(RATE, "--trials", "4") == 0  # as another process: the fourth

    stand_in.before = other
    assert search(RATE, "--trials", "4") == 0
    assert [trial.user_attrs["place"] for trial in counted(study())] == [
        f"{number:04d}" for number in range(4)
    ]
    assert len(stand_in.jobs) == 4


@pytest.mark.parametrize("space", [RATE, "optimizer.lr: {choices: [1.0e-3, 2.0e-3, 4.0e-3]}"])
def test_no_trial_is_made_beyond_the_last(search, stand_in, monkeypatch, space):
    """Another process begins what is left, after this one has found it."""
    optimize, left = optuna.Study.optimize, [2]

    def then_others(self, *args, **options):
        left[0] -= 1
        if not left[0]:
            assert search(space, "--trials", "3") == 0
        return optimize(self, *args, **options)

    monkeypatch.setattr(optuna.Study, "optimize", then_others)
    assert search(space, "--trials", "3") == 0
    assert len(stand_in.jobs) == len(counted(study())) == 3
    assert len(study().trials) == 4
    assert len(set(rates())) == 3


def test_a_trial_that_was_taken_over_is_left_to_the_other(search, stand_in, capsys):
    """As of a machine that slept: the lock of one process does not hold off itself."""

    def other(job):
        if job.run_dir.name == "0002":
            stand_in.before = lambda job: None
            assert search(RATE, "--trials", "4") == 0

    stand_in.before = other
    assert search(RATE, "--trials", "4") == 0
    assert "another process has taken over trial 2" in capsys.readouterr().err
    assert len(counted(study())) == 4
    assert {trial.state.name for trial in counted(study())} <= {"COMPLETE", "PRUNED"}


def test_a_trial_that_fails_is_told_and_counts(search, stand_in, capsys):
    def fail(job):
        if job.run_dir.name == "0002":
            raise search_trial.TrialFailed("step 9: the loss is not finite (see the log)")

    stand_in.before = fail
    assert search(RATE, "--trials", "4") == 0
    told = capsys.readouterr().err
    assert "search: failed: trial 2: step 9: the loss is not finite (see the log)" in told
    page = Path("out/report.md").read_text()
    assert "- 0002 failed: step 9: the loss is not finite" in page
    assert len(counted(study())) == 4


def test_a_score_that_is_missing_is_a_failure(search, stand_in, monkeypatch, capsys):
    def silent(job, judge):
        why = {"mr_stft": "2 of 2 files: the estimate is not finite"}
        assert not judge(Standing(0, 9, 1.0, 10, None, {}, why))

    monkeypatch.setattr(search_loop, "train", silent)
    assert search(RATE, "--trials", "9") == 2
    told = capsys.readouterr().err
    assert "mr_stft has no value at step 9 (2 of 2 files: the estimate is not finite)" in told
    assert len(counted(study())) == 3


@pytest.mark.slow
def test_all_of_a_small_space_is_trained_once(search, stand_in):
    space = "optimizer.lr: {choices: [1.0e-3, 4.0e-3]}\nnetwork.layers: {low: 4, high: 8, step: 2}"
    assert search(space, "--trials", "50") == 0
    found = {tuple(sorted(trial.params.items())) for trial in counted(study())}
    assert len(found) == len(counted(study())) == len(stand_in.jobs) == 6
    first = counted(study())[0]
    assert first.params == {"optimizer.lr": "0.001", "network.layers": 8}
    assert first.user_attrs["recipe"]


def test_the_recipe_is_the_first_trial_also_outside_of_the_space(search, stand_in, capsys):
    space = "optimizer.lr: {low: 2.0e-3, high: 1.0e-2}"
    assert search(space, "--trials", "3") == 0
    assert "the recipe's own optimizer.lr is not in the space" in capsys.readouterr().err
    assert counted(study())[0].user_attrs["overrides"] == []
    assert not any(word.startswith("optimizer.lr") for word in stand_in.jobs[0].words)
    assert all(word for job in stand_in.jobs[1:] for word in job.words if "optimizer.lr=" in word)
    assert "The recipe: 2." in Path("out/report.md").read_text()


LIST = """\
overrides: [trainer.max_minutes=8]
list:
  base: []
  fast: [optimizer.lr=2e-3]
  faster: [optimizer.lr=5e-3]
"""


def test_a_list_is_compared_with_its_first_and_what_failed_is_tried_again(search, stand_in, capsys):
    def fail(job):
        if job.run_dir.name == "fast":
            raise search_trial.TrialFailed("the disk is full")

    stand_in.before = fail
    assert search(LIST, "--budget", "seconds") == 2
    assert "failed: fast: the disk is full" in capsys.readouterr().err
    job = stand_in.jobs[-1]
    assert job.seconds == 480
    assert "trainer.max_steps=1000000" in job.words
    assert "trainer.max_minutes=null" in job.words
    stand_in.before, stand_in.jobs = (lambda job: None), []
    assert search(LIST, "--budget", "seconds") == 0
    assert [job.run_dir.name for job in stand_in.jobs] == ["fast"]
    page = Path("out/report.md").read_text()
    assert "up to 8 minutes of training each: 3 finished, 0 pruned, 0 failed" in page
    assert "| MR-STFT | against base |" in page
    assert "| fast | `optimizer.lr=2e-3` | finished | 0.15 | 90 | 0.00 | 1 | -1 |" in page


def test_a_list_may_grow_and_not_change(search, stand_in, capsys):
    assert search(LIST, "--budget", "seconds") == 0
    stand_in.jobs = []
    assert search(f"{LIST}  more: [optimizer.lr=3e-3]\n", "--budget", "seconds") == 0
    assert [job.run_dir.name for job in stand_in.jobs] == ["more"]
    shorter = LIST.replace("  fast: [optimizer.lr=2e-3]\n", "")
    assert search(shorter, "--budget", "seconds") == 0
    assert Path("out/report.md").read_text().count("| finished |") == 4
    assert search(LIST.replace("2e-3", "9e-3"), "--budget", "seconds") == 2
    told = capsys.readouterr().err
    assert "fast was trained with [optimizer.lr=2e-3], and the list has changed" in told


@pytest.mark.parametrize("only", [["base"], ["faster", "base"]])
def test_a_part_of_a_list(search, stand_in, only):
    assert search(LIST, "--budget", "seconds", f"--only={','.join(only)}") == 0
    assert [job.run_dir.name for job in stand_in.jobs] == [
        n for n in ("base", "faster") if n in only
    ]


def test_other_settings_are_not_mixed(search, capsys):
    assert search(RATE, "--trials", "2") == 0
    for words in (["seed=1"], ["--budget", "seconds", "trainer.max_minutes=1"], ["--rungs", "2"]):
        assert search(RATE, "--trials", "2", *words) == 2
        assert "has other settings, " in capsys.readouterr().err
    assert search(RATE.replace("1.0e-4", "1.0e-5"), "--trials", "2") == 2
    told = capsys.readouterr().err
    assert "space (['optimizer.lr 0.0001 to 0.01 log'] -> ['optimizer.lr 1e-05 to" in told


@pytest.mark.parametrize("name", sorted(conf_files("space")))
def test_every_value_of_every_shipped_space_can_be_trained(name):
    recipe = {"widths": "comparison"}.get(name, "tiny")
    config = composed([f"recipe={recipe}"])
    for parameter in read_space(name).absolute(config).parameters:
        steps = ["sampler=ddim"] if name == "sampler_times" else []
        for overrides in parameter.cases().values():
            words = merged([f"recipe={recipe}", *steps, *overrides])
            check_training(plain_values(composed(words)))


def test_multiples_are_of_the_recipe():
    config = composed(["recipe=tiny"])
    width = read_space("width").absolute(config).parameters[0]
    assert list(width.cases()) == ["8", "16", "24", "32"]
    config = composed(["recipe=comparison"])
    widths = read_space("widths").absolute(config).parameters[0]
    assert list(widths.cases()) == ["[64,96]", "[128,192]", "[192,288]", "[256,384]"]


def test_every_space_is_documented():
    page = (ROOT / "docs" / "search.md").read_text()
    assert all(f"| `{name}` |" in page for name in conf_files("space"))


LISTED = [(path, name) for path in LISTS for name in read_space(str(path)).parameters[0].cases()]


def plain_of(path: Path, name: str) -> dict:
    space = read_space(str(path))
    short = "task.crop_frames=16" if path.parent.name == "kathleen" else "task.crop_seconds=0.25"
    words = [f"recipe={path.parent.name}", short, *space.common]
    return plain_values(composed(merged([*words, *space.parameters[0].cases()[name]])))


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.parent.name)
def test_the_lists_have_settings_for_every_part(path):
    space = read_space(str(path))
    names = list(space.parameters[0].cases())
    assert names[0] == "base"
    assert space.parameters[0].cases()["base"] == []
    wanted = "base representation path loss prior network times ema batch crop"
    assert {name.partition("-")[0] for name in names} >= set(wanted.split())
    assert "trainer.max_minutes=8" in space.common


@pytest.mark.parametrize(("path", "name"), LISTED, ids=lambda part: getattr(part, "stem", part))
def test_every_listed_run_can_be_trained_and_is_another_than_the_base(path, name):
    plain = plain_of(path, name)
    check_training(plain)
    assert bool(differences(plain_of(path, "base"), plain)) == (name != "base")


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer.lr=0.003", "network.width=24"],
        ["schedule=edm", "prediction=edm", "sampler=ddim", "+sampler/times=karras"],
        ["sampler=dpmpp_2m", "sampler.times.steps=4", "++sampler.eta=0.5"],
        ["data.split={every: 4, test: null, validation: 3}", "trainer.measures=[mr_stft]"],
        ["network=diffwave_frames_tiny", "representation=whitened"],
        ["name=mine", "trainer=gpu"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("base", ["tiny", "file"])
def test_a_recipe_of_overrides_is_what_they_are(tmp_path, words, base):
    if base == "file":
        path = tmp_path / "my recipe.yaml"
        text = (ROOT / "conf" / "recipe" / "tiny.yaml").read_text()
        path.write_text(text.replace("lr: 1.0e-3", "lr: 2.0e-3"))
        base = str(path)
    written = tmp_path / "best.yaml"
    OmegaConf.save(OmegaConf.create(json.loads(json.dumps(as_recipe(base, words)))), written)
    expected = plain_values(composed([f"recipe={base}", *words]))
    found = plain_values(composed([f"recipe={written}"]))
    assert found.pop("name") == f"{expected.pop('name')}_best"
    assert found.pop("run_dir") == f"{expected.pop('run_dir')}_best"
    assert found == expected


RACE = """
import sys
from wavediff.commands.search_study import errors_of, open_study
with errors_of(sys.argv[1]):
    print("ready", flush=True), sys.stdin.readline()
    open_study(sys.argv[1], "one", True, 0, "none", 3)
"""


@pytest.mark.slow
def test_processes_that_make_the_same_study_at_once(tmp_path):
    for number in range(4):
        url = f"sqlite:///{tmp_path}/{number}.db"
        command = [sys.executable, "-c", RACE, url]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        workers = [subprocess.Popen(command, text=True, **pipes) for _ in range(4)]
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            worker.stdin.write("\n")
            worker.stdin.flush()
        told = [worker.communicate()[1] for worker in workers]
        assert [worker.returncode for worker in workers] == [0] * 4, told
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{n}.db" for n in range(4)]
