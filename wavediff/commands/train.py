"""`wavediff train`: train a model by a recipe."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from torch import nn

from wavediff.cli import run
from wavediff.errors import UserError
from wavediff.evaluation.metrics import Metric
from wavediff.files import conf_folder
from wavediff.memory import keep_freed
from wavediff.moved import CHOICES
from wavediff.tasks import build_task, load_task, save_task
from wavediff.tasks.build import completed, make
from wavediff.tasks.checkpoint import effort
from wavediff.tasks.latent import embedded, named_autoencoder, with_autoencoder
from wavediff.training.adversary import Adversary
from wavediff.training.checkpoint import RunCheckpoints, locked, resume
from wavediff.training.config import TrainerConfig, trainer_config
from wavediff.training.distributed import World, joined
from wavediff.training.learner import Learner
from wavediff.training.loop import train
from wavediff.training.optim import configured_optimizer
from wavediff.training.validation import Validation, choose_metrics

FIT_CROPS = 64  # training crops over which a latent is standardised


def main(argv: list[str] | None = None) -> int:
    """Run `wavediff train ...`; several jobs with --multirun. Returns the worst exit code."""
    codes = [0]

    def job(config: DictConfig) -> None:
        run_dir = Path(HydraConfig.get().runtime.output_dir)
        try:
            code = _job(config, run_dir)
        except UserError as error:
            # told here: Hydra goes on with the other jobs of a sweep
            print(f"error: {error}", file=sys.stderr)
            code = 2
            with suppress(OSError):  # Hydra has made it; it stays where there is a run in it
                run_dir.rmdir()
        codes.append(code)
        if code > 128:  # a signal ends the sweep too
            raise SystemExit(code)

    command = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="train")
    with _hydra_environment():
        try:
            sys.argv = ["wavediff train", *_arranged(sys.argv[1:] if argv is None else argv)]
            command(job)()
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(_sentence(error)) from error
        except OSError as error:
            if error.filename is None:
                raise
            raise UserError(
                f"cannot use {error.filename}: {error.strerror}; choose another run_dir"
            ) from error
        except SystemExit as stop:
            if not isinstance(stop.code, int) or stop.code <= 128:
                raise
    return max(codes)


def _job(config: DictConfig, run_dir: Path) -> int:
    """One run, begun or continued. Returns the exit code."""
    plain = completed(_plain(config))
    trainer = trainer_config(plain["trainer"])
    measures = choose_metrics(trainer.measures)
    if measures and trainer.best not in measures:
        raise UserError(f"trainer.best={trainer.best} is not among trainer.measures")
    seed = plain["seed"]
    with joined(trainer.device) as world:
        _set_up(trainer, world)
        with locked(run_dir, world.main):
            state = resume(
                RunCheckpoints(run_dir, trainer.keep_last),
                plain,
                trainer.restart,
                trainer.accept_changes,
                world,
            )
            if state is not None and state["step"] >= trainer.max_steps:
                _say(world, f"{run_dir} has its {state['step']} steps: raise trainer.max_steps")
                return 0
            torch.manual_seed(seed)
            task, pretrained = _task(plain, state)
            before = {} if state is None else state["fixed"].get("before", {})
            if plain["init_from"] is not None and state is None:
                before = _initialise(task.network, plain["init_from"])
                _say(world, f"train: the weights of {plain['init_from']} to begin with")
            _give_teacher(task, plain["teacher"], world.device)
            adversary = _adversary(task, plain.get("adversarial"), trainer, world, seed)
            optimizer = partial(configured_optimizer, plain["optimizer"])
            learner = Learner(task, trainer, world, optimizer, seed, adversary)
            _say(world, f"train: recipe {plain['name']}, reading its data")
            with world.main_first():
                data, held_out = task.read(plain["data"], seed)
            if pretrained is not None:
                _fit(task, pretrained, data)
            if world.main:
                _write_config(config, run_dir)
            if len(held_out):
                number = len(data)
                what = f"{number} example{'s' * (number != 1)} in an epoch"
                _say(world, f"train: {what}, {len(held_out)} held out")
            begin = "beginning" if state is None else f"going on from step {state['step']}"
            size = sum(p.numel() for p in learner.parameters) / 1e6
            where = world.device.type + (f" x {world.size}" if world.size > 1 else "")
            _say(world, f"train: {begin} in {run_dir}, {size:.2f} M parameters, on {where}")
            outcome = train(
                learner,
                data,
                run_dir=run_dir,
                run_config=plain,
                save=partial(_save, task, plain, data.label_names, before),
                fixed=_fixed(task) | {"before": before},
                validate=_validation(task, held_out, trainer, measures, world),
                state=state,
                workers=plain["data"]["workers"],
            )
            if outcome.step >= trainer.max_steps:
                use = f"{task.command} --checkpoint {run_dir} ..."
                use = f"info {run_dir}" if task.command == "info" else use
                _say(world, f"train: done; now wavediff {use}")
    return 128 + outcome.signum if outcome.signum else 0


def _plain(config: DictConfig) -> dict[str, Any]:
    """Resolved, as plain dictionaries. Raises `UserError` for a value that is still missing."""
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        have = "has" if len(missing) == 1 else "have"
        values = " ".join(f"{key}=VALUE" for key in missing)
        raise UserError(f"{', '.join(missing)} {have} no value: add {values} to the command")
    try:
        return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise UserError(_sentence(error)) from error


def _set_up(trainer: TrainerConfig, world: World) -> None:
    if world.device.type == "cpu":
        keep_freed()
    if trainer.threads is not None:
        torch.set_num_threads(trainer.threads)
    if trainer.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(trainer.deterministic)
    torch.backends.cudnn.benchmark = world.device.type == "cuda" and not trainer.deterministic


def _write_config(config: DictConfig, run_dir: Path) -> None:
    """What Hydra would write, had it not to wait until the run is known to be this one."""
    folder = run_dir / ".hydra"
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / "config.yaml")
    OmegaConf.save(HydraConfig.get().overrides.task, folder / "overrides.yaml")


def _initialise(network: nn.Module, name_or_path: str) -> dict[str, float]:
    """Take these weights. Returns how long they were trained, see ``effort``."""
    source = load_task(name_or_path)
    try:
        network.load_state_dict(source.network.state_dict())
    except RuntimeError as error:
        raise UserError(
            f"the weights of init_from={name_or_path} do not fit the network that is configured: "
            "choose the recipe that they were trained by"
        ) from error
    return effort(source.extra)


def _task(
    config: Mapping[str, Any], state: Mapping[str, Any] | None
) -> tuple[Any, Mapping[str, torch.Tensor] | None]:
    """(the task, the weights of the autoencoder that it is to begin in where one is named).

    A run that goes on has its own copy, and does not ask for the autoencoder's run again.
    """
    name = named_autoencoder(config)
    if name is None:
        task, weights = build_task(config), None
    elif state is None:
        config, weights = with_autoencoder(config, name)
        task = build_task(config)
    else:
        task, weights = build_task(embedded(config, state["fixed"]["autoencoder"])), None
    if state is not None and task.fixed_state():
        task.load_fixed(state["fixed"]["state"])
    return task, weights


def _validation(
    task: Any, held_out: Any, trainer: TrainerConfig, measures: Mapping[str, Metric], world: World
) -> Callable[[], Validation] | None:
    """How the task is judged now and then; None where nothing is held out."""
    if not len(held_out):
        return None
    return partial(task.judge, held_out, trainer, measures, world)


def _fit(task: Any, weights: Mapping[str, torch.Tensor], data: Any) -> None:
    """Put the trained autoencoder in, and standardise its latents by the first crops."""
    task.representation.autoencoder.load_state_dict(weights)
    task.representation.fit(data[i]["audio"] for i in range(FIT_CROPS))


def _fixed(task: Any) -> dict[str, Any]:
    """What a run's checkpoint keeps besides what is learnt; empty for most tasks."""
    state = task.fixed_state()
    if not state:
        return {}
    return {"state": state, "autoencoder": task.config["representation"].get("autoencoder")}


def _give_teacher(task: Any, name_or_path: str | None, device: torch.device) -> None:
    """The denoiser of another run to the objective that learns from one; it is not saved."""
    if name_or_path is not None:
        task.set_teacher(load_task(name_or_path).to(device))
    elif task.needs_teacher:
        raise UserError("this objective learns from a trained model: add teacher=RUN")


def _adversary(
    task: Any, config: Mapping[str, Any] | None, trainer: TrainerConfig, world: World, seed: int
) -> Adversary | None:
    """The discriminators that the run trains against, where it does."""
    if not config:
        return None
    if not task.adversarial:
        raise UserError(
            "adversarial training compares estimates with true signals, and this model "
            f"({type(task).__name__}) makes none: leave adversarial out, or use a recipe of a "
            "vocoder or an enhancer"
        )
    task.with_sampler()  # which it learns by: refused here if it does not fit
    options = dict(config)
    optimizer = partial(
        configured_optimizer, options.pop("optimizer", {}), name="adversarial.optimizer"
    )
    with torch.random.fork_rng(devices=[]):  # the network draws what it draws without them
        torch.manual_seed(seed)
        adversary = Adversary(make(options), trainer, world, optimizer)
    calls = task.sampler.calls(task.denoiser.schedule)
    size = sum(p.numel() for p in adversary.parameters) / 1e6
    _say(
        world,
        f"train: discriminators of {size:.2f} M parameters are shown what the sampler makes in "
        + ("1 network call" if calls == 1 else f"up to {calls} network calls"),
    )
    return adversary


def _save(
    task: Any,
    config: Mapping[str, Any],
    label_names: Sequence[str] | None,
    before: Mapping[str, float],
    path: Path,
    weights: Mapping[str, torch.Tensor],
    facts: Mapping[str, Any],
) -> None:
    """The averaged weights as a checkpoint that every other command reads."""
    extra = {"recipe": config["name"], "seed": config["seed"], **facts}
    extra |= task.facts
    if before:
        extra["before"] = dict(before)
    if label_names is not None:
        extra["label_names"] = list(label_names)
    save_task(path, task.config, task.fixed_state() | dict(weights), extra)


def _say(world: World, sentence: str) -> None:
    if world.main:
        print(sentence, file=sys.stderr)


def _arranged(argv: Sequence[str]) -> list[str]:
    """As Hydra's parser wants it: --multirun before the overrides, and a recipe even for --help.

    The folder of a job of a sweep is named after the keys that are swept, not after all.
    """
    sweep = [word for word in argv if word in ("-m", "--multirun")]
    rest = [word for word in argv if word not in sweep]
    if {"-h", "--help"} & set(argv) and not any(word.startswith("recipe=") for word in argv):
        rest.append("recipe=ljspeech")
    if sweep:
        words = [word for word in rest if not word.startswith("-")]
        overrides = OverridesParser.create().parse_overrides(words)
        swept = {o.key_or_group for o in overrides if o.is_sweep_override()}
        fixed = sorted({o.key_or_group for o in overrides} - swept)
        rest.append(f"hydra.job.config.override_dirname.exclude_keys=[{','.join(fixed)}]")
    return sweep + rest


@contextmanager
def _hydra_environment() -> Iterator[None]:
    """Hydra reads `sys.argv`, and tells of errors by itself unless this variable is set."""
    before = sys.argv
    full = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = before
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full


def _sentence(error: Exception) -> str:
    """Hydra's and OmegaConf's messages, of several lines, as one sentence that says what to do."""
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        known = [str(key) for key in cause.parent_node or ()]
        close = get_close_matches(str(cause.key), known, n=1)
        prefix = cause.full_key.removesuffix(str(cause.key))
        hint = f"did you mean {prefix}{close[0]}?" if close else "--cfg job shows all there are"
        if prefix == "prediction.":
            hint = f"give prediction={{name: NAME, {cause.key}: VALUE}}"
        return f"unknown key {cause.full_key}: {hint}"
    text = str(error).strip()
    if isinstance(error, OverrideParseException):
        return (
            f"cannot read {error.override!r}: write KEY=VALUE, in quotes where the shell needs it"
        )
    if isinstance(cause, OmegaConfBaseException) and cause is not error:
        text = f"{text.splitlines()[0]} {str(cause).splitlines()[0]}" if text else str(cause)
    first = text.splitlines()[0].strip() if text else type(error).__name__
    first = re.sub(r"^In '.*?': ", "", first)
    if first.startswith("Could not override 'prediction'"):
        return "prediction is no group but a value: write it as `prediction: NAME` in the recipe"
    absent = re.search(r"Could not find '(\w+/\w+)'", first)
    choice = absent[1].replace("/", "=") if absent else None
    if choice in CHOICES:
        return f"{choice} is now {CHOICES[choice]}"
    options = re.search(r"Available options.*?:\n((?:\t.*\n?)+)", text)
    if options:
        return f"{first.split(', e.g')[0]}: choose from {', '.join(options[1].split())}"
    return first


if __name__ == "__main__":
    sys.exit(run(main))
