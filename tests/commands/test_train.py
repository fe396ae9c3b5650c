"""`wavediff train`, as a user types it."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from wavediff.cli import run
from wavediff.commands.train import main
from wavediff.notation import PREDICTIONS
from wavediff.tasks.checkpoint import effort, load_task, read_checkpoint

SMALL = [
    "recipe=tiny",
    "data.count=4",
    "data.seconds=0.6",
    "data.split={every: 4, test: null, validation: 3}",
    "task.crop_frames=4",
    "network.width=8",
    "network.layers=2",
    "trainer.batch_size=2",
    "trainer.max_steps=6",
    "trainer.validate_every=0",
    "trainer.threads=1",
    "trainer.progress=false",
]


@pytest.fixture(autouse=True)
def _leave_torch_as_it_was():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def words(tmp_path: Path) -> Callable[..., list[str]]:
    """words(run_dir, override, ...): a command for a run of a few steps on made-up data."""

    def make(run_dir: str, *overrides: str) -> list[str]:
        places = [f"data.root={tmp_path / 'data'}", f"run_dir={tmp_path / run_dir}"]
        return [*SMALL, *places, *overrides]

    return make


def checkpoint(folder: Path) -> dict:
    return torch.load(sorted(folder.glob("checkpoints/*.pt"))[-1], weights_only=True)


def same(one: dict, other: dict) -> bool:
    """Whether weights, averaged weights, optimizers and step are equal, bit for bit."""

    def flat(value: object) -> list:
        if isinstance(value, dict):
            return [x for key in sorted(value, key=str) for x in flat(value[key])]
        return [value]

    keys = ("step", "network", "ema", "optimizer", "adversary")
    a, b = (flat({key: state.get(key) for key in keys}) for state in (one, other))
    return len(a) == len(b) and all(
        torch.equal(x, y) if torch.is_tensor(x) else x == y for x, y in zip(a, b, strict=True)
    )


def start(words: list[str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "wavediff.train", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], object], process: subprocess.Popen) -> None:
    end = time.monotonic() + 120
    try:
        while not condition():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < end
            time.sleep(0.005)
    except AssertionError:
        process.kill()
        raise


def test_a_run_folder_is_what_the_other_commands_take(words, tmp_path: Path, capsys):
    overrides = ["trainer.validate_every=3", "trainer.validate_seconds=0.5", "trainer.log_every=2"]
    assert run(main, words("run", *overrides)) == 0
    folder = tmp_path / "run"
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "step 6: PESQ-wb" in captured.err or "step 6: MR-STFT" in captured.err
    task = load_task(folder)
    assert task.extra["step"] == 6
    state = checkpoint(folder)
    for name, value in task.network.state_dict().items():
        assert torch.equal(value, state["ema"][f"module.{name}"])
    assert set(load_file(folder / "best.safetensors")) == set(task.network.state_dict())
    assert (folder / ".hydra" / "config.yaml").exists()
    assert "recipe=tiny" in (folder / ".hydra" / "overrides.yaml").read_text()

    assert run(main, words("run", *overrides)) == 0
    assert "has its 6 steps: raise trainer.max_steps" in capsys.readouterr().err


def test_kill_9_at_any_moment_then_the_same_command(words, tmp_path: Path):
    """Killed while it trains or writes, resumed, and as good as never stopped."""
    long = ["trainer.max_steps=15", "trainer.checkpoint_every=1", "trainer.keep_last=2"]
    workers = ["data.workers=1", "data.cache=false"]
    assert run(main, words("whole", *long)) == 0
    folder = tmp_path / "killed" / "checkpoints"
    process = start(words("killed", *long, *workers))
    wait_for(lambda: any(p.name >= "step-000000002.pt" for p in folder.glob("step*.pt")), process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert checkpoint(tmp_path / "killed")["step"] < 15
    assert run(main, words("killed", *long)) == 0
    assert same(checkpoint(tmp_path / "killed"), checkpoint(tmp_path / "whole"))
    killed, whole = (load_file(tmp_path / n / "model.safetensors") for n in ("killed", "whole"))
    assert all(torch.equal(killed[k], whole[k]) for k in whole)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_first(words, tmp_path: Path, signum: int, code: int, monkeypatch):
    from wavediff.training.learner import Learner

    learn = Learner.learn

    def shot_in_the_third(self, number: int, batches):
        if number == 2:
            os.kill(os.getpid(), signum)
        return learn(self, number, batches)

    monkeypatch.setattr(Learner, "learn", shot_in_the_third)
    assert run(main, words("stopped")) == code
    assert checkpoint(tmp_path / "stopped")["step"] == 3
    monkeypatch.undo()
    assert run(main, words("stopped")) == 0
    assert run(main, words("whole")) == 0
    assert same(checkpoint(tmp_path / "stopped"), checkpoint(tmp_path / "whole"))


@pytest.mark.slow
def test_two_processes_train_adversarially_as_one(words, tmp_path: Path):
    """Whole and sharded; in `generated`, the processes may call the network unequally often."""
    cut = ["trainer.batch_size=3", "trainer.max_steps=4", *ADVERSARIAL]  # shares of one and two
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    port = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    sweep = ["--multirun", "trainer.shard=false,true"]
    assert run(main, words("one", *cut)) == 0
    done = subprocess.run(
        [*command, *port, "-m", "wavediff.train", *words("two", *cut), *sweep],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    one = checkpoint(tmp_path / "one")
    for shard in (False, True):
        two = checkpoint(tmp_path / "two" / f"trainer.shard={shard}")
        assert two["step"] == 4
        for name, value in one["network"].items():
            torch.testing.assert_close(two["network"][name], value, rtol=1e-4, atol=1e-5)
        for name, value in one["adversary"]["discriminator"].items():
            found = two["adversary"]["discriminator"][name]
            torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-5)


def test_accumulation_gives_the_weights_of_one_big_batch(words, tmp_path: Path):
    # or Adam makes a step of rounding errors where the gradient is almost zero
    batch = ["trainer.batch_size=3", "+optimizer.eps=1e-5"]
    assert run(main, words("one", *batch)) == 0
    assert run(main, words("parts", *batch, "trainer.accumulate=2")) == 0
    one, parts = checkpoint(tmp_path / "one"), checkpoint(tmp_path / "parts")
    for name, value in one["network"].items():
        torch.testing.assert_close(parts["network"][name], value, rtol=1e-4, atol=1e-5)


def test_another_configuration_in_the_same_folder(words, tmp_path: Path, capsys):
    assert run(main, words("run", "trainer.max_steps=2")) == 0
    before = (tmp_path / "run" / ".hydra" / "config.yaml").read_text()
    capsys.readouterr()
    assert run(main, words("run", "network.width=16")) == 2
    told = capsys.readouterr().err.strip()
    assert "network.width (8 -> 16)" in told
    assert "run_dir" in told
    assert "trainer.restart=true" in told
    assert "\n" not in told
    assert (tmp_path / "run" / ".hydra" / "config.yaml").read_text() == before
    free = ["trainer.max_steps=3", "trainer.log_every=7", "data.workers=1", "trainer.threads=2"]
    assert run(main, words("run", *free)) == 0
    assert checkpoint(tmp_path / "run")["step"] == 3
    assert run(main, words("run", "network.width=16", "trainer.restart=true")) == 0
    assert (tmp_path / "run" / "before-restart-1" / "model.safetensors").exists()


def test_init_from_begins_with_the_averaged_weights_of_another_run(words, tmp_path: Path, capsys):
    assert run(main, words("first")) == 0
    tuned = ["trainer.max_steps=1", "optimizer.lr=0", f"init_from={tmp_path / 'first'}"]
    assert run(main, words("second", *tuned)) == 0
    first, second = (load_file(tmp_path / n / "model.safetensors") for n in ("first", "second"))
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert run(main, words("third", *tuned, "network.width=16")) == 2
    assert "do not fit the network" in capsys.readouterr().err


def test_a_run_remembers_how_long_its_first_weights_were_trained(words, tmp_path: Path):
    assert run(main, words("first", "trainer.max_steps=2")) == 0
    assert run(main, words("second", "trainer.max_steps=1", f"init_from={tmp_path / 'first'}")) == 0
    third = ["trainer.max_steps=1", f"init_from={tmp_path / 'second'}"]
    assert run(main, words("third", *third)) == 0
    third[0] = "trainer.max_steps=4"  # and goes on
    assert run(main, words("third", *third)) == 0
    first, second, last = (
        read_checkpoint(tmp_path / name / "model.safetensors")[1]
        for name in ("first", "second", "third")
    )
    assert "before" not in first
    assert second["before"] == effort(first)
    assert last["before"] == effort(second)
    assert (last["step"], last["before"]["step"]) == (4, 3)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("trainer.max_step=3", "unknown key trainer.max_step: did you mean trainer.max_steps?"),
        ("colour=red", "unknown key colour: --cfg job shows all there are"),
        ("+trainer.colour=red", "unknown key trainer.colour: use one of"),
        ("recipe=nope", "Could not find 'recipe/nope': choose from"),
        ("data=etth2", "data=etth2 is now data=ett data.name=ETTh2"),
        ("recipe=comparison_vp", "recipe=comparison_vp is now the list vp in recipes/comparison/"),
        ("prediction.data_std=2", "unknown key prediction.data_std: give prediction={name: NAME,"),
        ("prediction=velosity", "there is no prediction 'velosity'; choose one of combined_noise,"),
        ("trainer.max_steps=[", "cannot read 'trainer.max_steps=['"),
        ("trainer.max_steps=soon", "trainer.max_steps=soon is invalid. Use an integer"),
        ("data=folder", "data.root has no value: add data.root=VALUE to the command"),
        (
            "optimizer._target_=os.system",
            "optimizer._target_=os.system is not an optimizer of torch",
        ),
        (
            "optimizer.betas=3",
            "optimizer: torch.optim.AdamW does not take these options (a value has",
        ),
        ("optimizer.lr=-1", "optimizer: torch.optim.AdamW does not take these options (Invalid"),
        (
            "+optimizer.rate=1",
            "optimizer: torch.optim.AdamW does not take these options (unknown: r",
        ),
        ("trainer.device=quantum", "trainer.device=quantum is not a device"),
        pytest.param(
            "trainer.fused_gate=true",
            "trainer.fused_gate=true needs a CUDA GPU",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="for a CPU"),
        ),
        ("trainer.best=mcd", "trainer.best=mcd is not among trainer.measures"),
        ("init_from=nowhere", "there is no checkpoint 'nowhere'"),
        ("run_dir=/proc/nowhere/run", "cannot use /proc/nowhere"),
    ],
)
def test_mistakes_are_answered_by_one_sentence(words, tmp_path, capsys, override, sentence):
    given = words("run")
    if override.startswith("data="):
        given = [word for word in given if not word.startswith("data.")]
    assert run(main, [*given, override]) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith(f"error: {sentence}")
    assert "\n" not in told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flag", ["--experimental-rerun", "--experimental-r", "--exp", "--e"])
def test_a_pickle_is_not_executed(tmp_path, capsys, flag):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    (tmp_path / "evil.pickle").write_bytes(pickle.dumps(Evil()))
    for given in ([flag, str(tmp_path / "evil.pickle")], [f"{flag}={tmp_path / 'evil.pickle'}"]):
        assert run(main, ["recipe=tiny", *given]) == 2
        assert "would execute a pickle" in capsys.readouterr().err
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "given",
    [
        ["+hydra.callbacks.x._target_=runpy.run_path", "+hydra.callbacks.x.path_name=code.py"],
        ["hydra.callbacks={x: {_target_: runpy.run_path, path_name: code.py}}"],
        ["-m", "hydra.sweeper._target_=runpy.run_path", "seed=1,2"],
        ["-m", "hydra.launcher._target_=runpy.run_path", "seed=1,2"],
        ["+hydra.job_logging.formatters.x={'()': runpy.run_path, path_name: code.py}"],
    ],
)
def test_hydra_runs_no_code_that_an_override_names(words, tmp_path, capsys, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    Path("code.py").write_text("open('executed', 'w')")
    assert run(main, [*words("run"), *given]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert "run code and is not supported" in error
    assert not Path("executed").exists()


def test_a_recipe_in_an_older_notation_is_answered_by_one_sentence(tmp_path, capsys):
    recipe = tmp_path / "recipe" / "mine.yaml"
    recipe.parent.mkdir()
    defaults = "defaults: [tiny, override /prediction: v]"
    recipe.write_text(f"# @package _global_\n{defaults}\nname: mine\n")
    assert run(main, ["--config-dir", str(tmp_path), "recipe=mine", "--cfg", "job"]) == 2
    assert "error: prediction is a value, not a group" in capsys.readouterr().err


def test_a_recipe_must_be_chosen(capsys):
    assert run(main, []) == 2
    told = capsys.readouterr().err
    assert "You must specify 'recipe': choose from " in told
    assert " ljspeech, ljspeech_large, " in told


def test_the_configuration_is_shown_and_nothing_is_done(words, tmp_path: Path, capsys):
    assert run(main, words("run", "--cfg", "job")) == 0
    assert "max_steps: 6" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


COMPARISON = Path(__file__).parents[2] / "recipes" / "comparison" / "methods.yaml"


def test_what_a_run_begins_from_may_be_where_its_teacher_is(capsys):
    words = OmegaConf.to_container(OmegaConf.load(COMPARISON))["consistency"]
    assert run(main, [*words, "name=comparison_consistency", "--cfg", "job"]) == 0
    told = capsys.readouterr().out
    assert "teacher: runs/comparison_edm" in told
    assert "name: comparison_consistency" in told


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "wavediff train recipe=ljspeech data.root=" in out
    assert "recipe: " in out
    assert f"prediction: {', '.join(PREDICTIONS)}\n" in out


def test_a_sweep_has_a_folder_for_each_job_and_goes_on_past_a_bad_one(words, tmp_path, capsys):
    swept = words("sweep", "--multirun", "optimizer.lr=-1,1e-3,1e-4", "trainer.max_steps=1")
    assert run(main, swept) == 2
    made = sorted(path.parent.name for path in tmp_path.glob("sweep/*/model.safetensors"))
    assert made == ["optimizer.lr=0.0001", "optimizer.lr=0.001"]
    assert capsys.readouterr().err.count("error:") == 1


ADVERSARIAL = [
    "adversarial=mrsd_small",
    "adversarial.discriminator.width=2",
    "sampler=one_step",
    "sampler.times.steps=2",
]


def test_adversarial_training_goes_on_after_kill_9_and_exports_the_network_alone(
    words, tmp_path: Path
):
    long = [*ADVERSARIAL, "trainer.max_steps=8", "trainer.checkpoint_every=1"]
    assert run(main, words("whole", *long)) == 0
    folder = tmp_path / "killed" / "checkpoints"
    process = start(words("killed", *long))
    wait_for(lambda: any(p.name >= "step-000000002.pt" for p in folder.glob("step*.pt")), process)
    process.kill()
    process.communicate()
    assert checkpoint(tmp_path / "killed")["step"] < 8
    assert run(main, words("killed", *long)) == 0
    whole = checkpoint(tmp_path / "whole")
    assert same(checkpoint(tmp_path / "killed"), whole)
    assert whole["adversary"]["discriminator"]

    exported = load_file(tmp_path / "whole" / "model.safetensors")
    task = load_task(tmp_path / "whole")
    assert set(exported) == set(task.network.state_dict())
    assert "adversarial" not in task.config
    assert task.sampler.calls(task.denoiser.schedule) == 2


def test_a_run_is_fine_tuned_to_few_calls_and_not_by_another_sampler(words, tmp_path, capsys):
    assert run(main, words("first", "trainer.max_steps=1")) == 0
    tuned = [*ADVERSARIAL, "trainer.max_steps=1", f"init_from={tmp_path / 'first'}"]
    assert run(main, words("tuned", *tuned)) == 0
    one, other = (load_file(tmp_path / n / "model.safetensors") for n in ("first", "tuned"))
    assert not all(torch.equal(one[name], other[name]) for name in one)
    capsys.readouterr()
    more = [*tuned, "trainer.max_steps=2"]
    assert run(main, words("tuned", *more, "sampler.times.steps=1")) == 2
    assert "sampler.times.steps (2 -> 1)" in capsys.readouterr().err
    assert run(main, words("first", *ADVERSARIAL, "trainer.max_steps=2")) == 2
    assert "adversarial.weight (absent -> 1.0)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["recipe=tiny_generate"], "features and mels are compared with those of true signals"),
        (
            ["recipe=tiny", "objective=adversarial", "task.mr_stft_weight=1", "task.mel_weight=2"],
            "objective=adversarial makes no estimate for the loss of task.mr_stft_weight: give "
            "task.mr_stft_weight=0 task.mel_weight=0",
        ),
        (
            ["recipe=tiny", "objective=adversarial", "adversarial.feature_weight=0"],
            "a vocoder needs a loss that compares with the true signal",
        ),
        (["recipe=tiny_autoencoder"], "adversarial training compares audio with true signals"),
        (["recipe=sunspots"], "adversarial training compares audio with true signals"),
        (["recipe=tiny", "adversarial.weight=-1"], "cannot build wavediff.diffusion.adversarial"),
        (["recipe=tiny", "+adversarial.colour=1"], "cannot build wavediff.diffusion.adversarial"),
        (
            ["recipe=tiny", "adversarial.optimizer.betas=3"],
            "adversarial.optimizer: torch.optim.AdamW does not take",
        ),
        (
            ["recipe=tiny", "adversarial.optimizer._target_=os.system"],
            "adversarial.optimizer._target_=os.system is not an optimizer",
        ),
        (
            ["recipe=tiny", "schedule=rectified_flow", "sampler=one_step"],
            "this sampler does not fit the model",
        ),
    ],
)
def test_what_adversarial_training_does_not_fit_is_told(tmp_path, capsys, overrides, sentence):
    rest = [*overrides[1:], "trainer.max_steps=1", f"run_dir={tmp_path / 'run'}"]
    assert run(main, [overrides[0], "adversarial=mrsd_small", *rest]) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith(f"error: {sentence}")
    assert "\n" not in told


NOTES = [
    "recipe=comparison",
    "data.count=40",
    "network.widths=[8,8]",
    "representation.representation.bands=16",
    "trainer.max_steps=4",
    "trainer.batch_size=2",
    "trainer.progress=false",
]
DISTILL = ["objective=consistency_distillation", "prediction=consistency"]


@pytest.fixture
def notes(tmp_path: Path) -> Callable[..., list[str]]:
    """notes(run_dir, override, ...): a command for a small model of made-up notes."""

    def make(run_dir: str, *overrides: str) -> list[str]:
        places = [f"data.root={tmp_path / 'notes'}", f"run_dir={tmp_path / run_dir}"]
        return [*NOTES, *places, *overrides]

    return make


GAN = ["objective=adversarial", "adversarial=wavegan", "prediction=x0", "schedule=rectified_flow"]
GAN += ["sampler=ddim", "sampler.times.steps=1", "adversarial.discriminator.width=2"]


def test_a_generator_learns_from_a_critic_alone_and_resumes_bit_by_bit(notes, tmp_path, capsys):
    split = ["trainer.checkpoint_every=2", "trainer.keep_last=9"]
    assert run(main, notes("whole", *GAN, *split)) == 0
    assert "are shown what the sampler makes in 1 network call" in capsys.readouterr().err
    first, last = (
        torch.load(tmp_path / "whole" / "checkpoints" / f"step-{step:09}.pt", weights_only=True)
        for step in (2, 4)
    )
    for part in ("network", "adversary"):
        assert not same({part: first[part]}, {part: last[part]})
    checkpoints = tmp_path / "again" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(first, checkpoints / "step-000000002.pt")
    assert run(main, [*notes("again", *GAN), "trainer.accept_changes=true"]) == 0
    assert same(checkpoint(tmp_path / "again"), checkpoint(tmp_path / "whole"))

    task = load_task(tmp_path / "whole")
    assert task.sampler.calls(task.denoiser.schedule) == 1
    sounds = task.generate(2, label="flute")
    assert sounds.isfinite().all()
    assert not torch.equal(sounds[0], sounds[1])


def test_a_gan_without_a_critic_is_refused(notes, capsys):
    assert run(main, notes("run", "objective=adversarial")) == 2
    assert "add adversarial=wavegan" in capsys.readouterr().err


HIFIGAN = ["objective=adversarial", "adversarial=hifigan_small", "prediction=x0"]
HIFIGAN += ["schedule=rectified_flow", "sampler=one_step", "adversarial.discriminator.scales=1"]


def test_a_vocoder_learns_by_hifigan_s_losses_alone_and_resumes_bit_by_bit(words, tmp_path, capsys):
    split = [*HIFIGAN, "trainer.checkpoint_every=2", "trainer.keep_last=9", "trainer.max_steps=4"]
    assert run(main, words("whole", *split)) == 0
    assert "are shown what the sampler makes in 1 network call" in capsys.readouterr().err
    first, last = (
        torch.load(tmp_path / "whole" / "checkpoints" / f"step-{step:09}.pt", weights_only=True)
        for step in (2, 4)
    )
    for part in ("network", "adversary"):
        assert not same({part: first[part]}, {part: last[part]})
    checkpoints = tmp_path / "again" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(first, checkpoints / "step-000000002.pt")
    assert run(main, words("again", *split, "trainer.accept_changes=true")) == 0
    assert same(checkpoint(tmp_path / "again"), checkpoint(tmp_path / "whole"))
    task = load_task(tmp_path / "whole")
    audio = task(torch.full((80, 8), -4.0), mel_scale="ln")
    assert audio.isfinite().all()
    assert audio.std() > 0


def test_a_vocoder_without_a_discriminator_is_told_of_hifigan_s(words, capsys):
    assert run(main, words("run", "objective=adversarial")) == 2
    assert "add adversarial=hifigan" in capsys.readouterr().err


def test_a_student_learns_from_a_teacher_and_resumes_bit_by_bit(notes, tmp_path: Path, capsys):
    teacher = tmp_path / "teacher"
    assert run(main, notes("teacher")) == 0
    student = [*DISTILL, "objective.first=2", "objective.last=8", f"teacher={teacher}"]
    student += [f"init_from={teacher}", "trainer.checkpoint_every=2", "trainer.keep_last=9"]
    assert run(main, notes("whole", *student)) == 0
    assert "the weights of" in capsys.readouterr().err

    # from the second step on again
    checkpoints = tmp_path / "again" / "checkpoints"
    checkpoints.mkdir(parents=True)
    name = "step-000000002.pt"
    (checkpoints / name).write_bytes((tmp_path / "whole" / "checkpoints" / name).read_bytes())
    assert run(main, [*notes("again", *student), "trainer.accept_changes=true"]) == 0
    assert "resuming from step 2" in capsys.readouterr().err
    assert same(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "again"))
    # nothing of the teacher is kept
    names = set(load_task(teacher).network.state_dict())
    assert set(load_file(tmp_path / "whole" / "model.safetensors")) == names


def test_a_teacher_that_is_missing_or_of_no_use_is_told(notes, tmp_path: Path, capsys):
    assert run(main, notes("none", *DISTILL)) == 2
    assert "add teacher=RUN" in capsys.readouterr().err
    assert run(main, notes("teacher", "trainer.max_steps=1")) == 0
    teacher = f"teacher={tmp_path / 'teacher'}"
    assert run(main, notes("plain", teacher)) == 2
    assert "without a teacher" in capsys.readouterr().err
    assert (
        run(main, notes("other", *DISTILL, teacher, "representation.representation.bands=32")) == 2
    )
    assert "another representation" in capsys.readouterr().err


def test_the_objective_is_told_how_far_training_is(notes, monkeypatch):
    from wavediff.diffusion.consistency_models import ConsistencyTraining

    seen = []
    monkeypatch.setattr(ConsistencyTraining, "steps", lambda self: seen.append(self.progress) or 4)
    overrides = ["objective=consistency_training", "prediction=consistency"]
    assert run(main, notes("run", *overrides)) == 0
    assert seen == [0, 0.25, 0.5, 0.75]


def test_a_flipped_bit_in_the_newest_checkpoint_changes_nothing(words, tmp_path, capsys):
    every = ["trainer.checkpoint_every=1", "trainer.keep_last=3"]
    assert run(main, words("whole", *every, "trainer.max_steps=3")) == 0
    assert run(main, words("run", *every, "trainer.max_steps=2")) == 0
    newest = sorted((tmp_path / "run" / "checkpoints").glob("*.pt"))[-1]
    for place in (0.3, 0.6, 0.9):
        data = bytearray(newest.read_bytes())
        data[round(place * len(data))] ^= 4
        newest.write_bytes(bytes(data))
    capsys.readouterr()
    assert run(main, words("run", *every, "trainer.max_steps=3")) == 0
    told = capsys.readouterr().err
    assert told.count(f"{newest.name} is damaged") == 1
    assert same(checkpoint(tmp_path / "run"), checkpoint(tmp_path / "whole"))


def test_a_folder_named_as_a_checkpoint_gives_way(words, tmp_path, capsys):
    every = ["trainer.checkpoint_every=1", "trainer.keep_last=2"]
    assert run(main, words("whole", *every, "trainer.max_steps=3")) == 0
    assert run(main, words("run", *every, "trainer.max_steps=1")) == 0
    checkpoints = tmp_path / "run" / "checkpoints"
    for name in ("step-000000000.pt", "step-000000002.pt", "step-000000040.pt"):
        (checkpoints / name).mkdir()
    (checkpoints / "step-000000002.pt" / "mine").touch()
    capsys.readouterr()
    assert run(main, words("run", *every, "trainer.max_steps=3")) == 0
    told = capsys.readouterr().err
    assert told.count("step-000000040.pt is not a file: it is left out") == 1
    assert list(checkpoints.glob("step-000000002.pt-*/mine"))
    assert (checkpoints / "step-000000000.pt").is_dir()
    for path in [*checkpoints.iterdir()]:
        if path.is_dir():
            (path / "mine").unlink(missing_ok=True)
            path.rmdir()
    assert same(checkpoint(tmp_path / "run"), checkpoint(tmp_path / "whole"))


def test_a_run_that_was_killed_before_its_export_is_exported(words, tmp_path):
    model = tmp_path / "run" / "model.safetensors"
    assert run(main, words("run", "trainer.max_steps=1")) == 0
    older = model.read_bytes()
    assert run(main, words("run", "trainer.max_steps=2")) == 0
    whole = load_file(model)
    for left in (older, older[:100], None):
        model.unlink()
        if left is not None:
            model.write_bytes(left)
        assert run(main, words("run", "trainer.max_steps=2")) == 0
        again = load_file(model)
        assert all(torch.equal(again[name], value) for name, value in whole.items())


def test_what_a_killed_run_left_is_removed_by_the_same_command(words, tmp_path):
    code = (
        "import sys, time; from wavediff.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path: print(1, flush=True); time.sleep(60)"
    )
    assert run(main, words("run", "trainer.max_steps=1")) == 0
    folders = [tmp_path / "run" / "checkpoints", tmp_path / "run"]
    for folder, name in zip(folders, ("a.pt", "b.safetensors"), strict=True):
        command = [sys.executable, "-c", code, str(folder / name)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            process.kill()
        assert len(list(folder.glob(".tmp-*"))) == 1
    again = [sys.executable, "-m", "wavediff", "train", *words("run", "trainer.max_steps=2")]
    subprocess.run(again, check=True, capture_output=True)
    assert not [path for folder in folders for path in folder.glob(".tmp-*")]
