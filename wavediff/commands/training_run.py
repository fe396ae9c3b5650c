"""A training run of a configuration: what `wavediff train` does once Hydra has composed it."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import length_hint
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wavediff.errors import UserError, shorten
from wavediff.evaluation.metrics import Metric
from wavediff.memory import keep_freed
from wavediff.tasks.build import build_task, completed, make
from wavediff.tasks.checkpoint import effort, load_task, save_task
from wavediff.tasks.labels import Labelled
from wavediff.tasks.latent import embedded, named_autoencoder, with_autoencoder
from wavediff.tasks.task import DiffusionTask
from wavediff.training.adversary import Adversary
from wavediff.training.checkpoint import RunCheckpoints, locked, resume
from wavediff.training.config import TrainerConfig, trainer_config
from wavediff.training.distributed import World, joined
from wavediff.training.learner import Learner
from wavediff.training.loop import is_exported, train
from wavediff.training.optim import configured_optimizer
from wavediff.training.trial import Trial
from wavediff.training.validation import Validation, choose_metrics

GROUPS = ("task", "network", "data", "optimizer", "trainer")
BUILT = ("task", "network", "optimizer")  # by their _target_
VALUES = ("name", "seed", "init_from", "teacher", "run_dir")
LARGEST_SEED = 2**32
FIT_CROPS = 64  # training crops over which a latent is standardised


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit code, 128 and more for a signal, and ``trainer.best`` if it has one."""

    code: int
    score: float | None


def run_training(
    config: Mapping[str, Any],
    run_dir: Path,
    write_config: Callable[[], None],
    trial: Trial | None = None,
) -> Ended:
    """Start a run, or resume it.

    Args:
        config: resolved, of plain dictionaries.
        write_config: writes it to the run, called once the data are read.
        trial: the run as a part of a search, which needs something held out.

    Raises:
        UserError: for a configuration that is invalid, or not that of the run.
    """
    plain, trainer, measures = checked(config)
    seed = plain["seed"]
    with joined(trainer.device) as world:
        _set_up(trainer, world)
        with locked(run_dir, world.main):
            world.barrier()  # the process that held the run before has written its last file
            state = resume(
                RunCheckpoints(run_dir, trainer.keep_last),
                plain,
                trainer.restart,
                trainer.accept_changes,
                world,
            )
            step = -1 if state is None else state["step"]
            if step >= trainer.max_steps and is_exported(run_dir, step):
                _say(world, f"{run_dir} has its {step} steps: raise trainer.max_steps")
                return Ended(0, None if state is None else state["counters"].get("score"))
            prepared = partial(_prepared, plain, state, trainer, world)
            task, pretrained, before, learner = prepared(_initial_labels(plain, state))
            _say(world, f"train: recipe {plain['name']}, reading its data")
            with world.main_first():
                data, held_out = task.read(plain["data"], seed)
            names = data.label_names
            count = _labels(task, names, state)
            if count != task.labels:
                _say(world, f"train: {count} labels, as the data have")
                task, pretrained, before, learner = prepared(count)
            elif names and _ignores_labels(task, plain["data"]):
                _say(world, f"train: the labels of the data are not used by {task.title}")
            if pretrained is not None:
                with learner.gathered_weights():
                    task.representation.fit(data[i]["audio"] for i in range(FIT_CROPS))
            if trial is not None and not len(held_out):
                raise UserError(
                    "the data have nothing held out to compare trials on: set data.split"
                )
            if world.main:
                write_config()
            if len(held_out):
                number = length_hint(data)  # 0 for a corpus that is not counted yet
                what = f"{number} example{'s' * (number != 1)} in an epoch"
                what = what if number else "examples are counted as they are read"
                _say(world, f"train: {what}, {len(held_out)} held out")
            begin = "starting" if state is None else f"resuming from step {state['step']}"
            size = sum(p.numel() for p in learner.parameters) / 1e6
            where = world.device.type + (f" x {world.size}" if world.size > 1 else "")
            _say(world, f"train: {begin} in {run_dir}, {size:.2f} M parameters, on {where}")
            outcome = train(
                learner,
                data,
                run_dir=run_dir,
                run_config=plain,
                save=partial(_save, task, plain, names, before),
                fixed=_fixed(task, names) | {"before": before},
                validate=_validation(task, held_out, trainer, measures, world),
                state=state,
                workers=plain["data"]["workers"],
                trial=trial,
            )
            if outcome.step >= trainer.max_steps:
                use = f"{task.command} --checkpoint {run_dir} ..."
                use = f"info {run_dir}" if task.command == "info" else use
                _say(world, f"train: done; now wavediff {use}")
    return Ended(128 + outcome.signum if outcome.signum else 0, outcome.score)


def checked(
    config: Mapping[str, Any],
) -> tuple[dict[str, Any], TrainerConfig, dict[str, Metric]]:
    """Return the configuration, complete, with its trainer and metrics.

    Raises:
        UserError: for a configuration that is invalid.
    """
    check_groups(config)
    trainer = trainer_config(config["trainer"])
    plain = completed(config)
    measures = choose_metrics(trainer.measures)
    if measures and trainer.best not in measures:
        raise UserError(f"trainer.best={trainer.best} is not among trainer.measures")
    return dict(plain), trainer, measures


def check_training(config: Mapping[str, Any]) -> None:
    """Build what a run trains, without its data.

    Raises:
        UserError: for a configuration that is invalid.
    """
    plain, trainer, _ = checked(config)
    with joined(trainer.device) as world:
        _prepared(plain, None, trainer, world, _initial_labels(plain, None))


def check_groups(config: Mapping[str, Any]) -> None:
    """See that a run's configuration has what every run needs.

    Raises:
        UserError: where a part is missing or is no group, no text, or no number.
    """
    for key in (*GROUPS, *VALUES):
        lacks = key not in config
        if key in BUILT and isinstance(config.get(key), Mapping):
            lacks = "_target_" not in config[key]
        if lacks:
            raise UserError(f"the configuration lacks {key}: leave ~{key} out, or choose one")
    for key, value in config.items():
        if key in VALUES or key == "prediction":
            continue
        if not isinstance(value, Mapping) and not (value is None and key not in GROUPS):
            raise UserError(
                f"{key}={shorten(value)} is not a group: give {key}=CHOICE, one of the files of "
                f"conf/{key}, or {key}.KEY=VALUE"
            )
    seed = config["seed"]
    if type(seed) is not int or not 0 <= seed < LARGEST_SEED:
        raise UserError(f"seed={shorten(seed)} is no seed: give a whole number from 0 to 2^32 - 1")
    if not isinstance(config["name"], str):
        raise UserError(f"name={shorten(config['name'])} is not a name: give a text")
    if not isinstance(config["run_dir"], str) or not config["run_dir"].strip():
        raise UserError(f"run_dir={shorten(config['run_dir'])} is not a folder: give its name")
    for key in ("init_from", "teacher"):
        if not isinstance(config[key], str | None):
            raise UserError(f"{key}={shorten(config[key])} is not a model: give a run or null")


def _prepared(
    plain: Mapping[str, Any],
    state: Mapping[str, Any] | None,
    trainer: TrainerConfig,
    world: World,
    labels: int | None,
) -> tuple[Any, Mapping[str, torch.Tensor] | None, dict[str, float], Learner]:
    """What a run trains, by the configuration or with so many labels.

    Returns:
        The task, the weights of its autoencoder, how long the weights were trained before, and
        the learner.
    """
    seed = plain["seed"]
    torch.manual_seed(seed)
    network = {} if labels is None else {"network": {**plain["network"], "labels": labels}}
    task, pretrained = _task({**plain, **network}, state)
    if isinstance(task, DiffusionTask):
        task.with_sampler()  # refused here if it does not fit
    before = {} if state is None else state["fixed"].get("before", {})
    if plain["init_from"] is not None and state is None:
        before = _initialise(task.network, plain["init_from"])
        _say(world, f"train: initialised with the weights of {plain['init_from']}")
    if pretrained is not None:
        task.representation.autoencoder.load_state_dict(pretrained)
    if trainer.fused_gate:
        _fuse_gates(task.network)
    _give_teacher(task, plain["teacher"], world.device)
    adversary = _adversary(task, plain.get("adversarial"), trainer, world, seed)
    optimizer = partial(configured_optimizer, plain["optimizer"])
    learner = Learner(task, trainer, world, optimizer, seed, adversary)
    return task, pretrained, before, learner


def _initial_labels(plain: Mapping[str, Any], state: Mapping[str, Any] | None) -> int | None:
    """How many labels weights to begin with have, where the configuration leaves that open."""
    network = plain.get("network") or {}
    if plain["init_from"] is None or state is not None or network.get("labels") != 0:
        return None
    return load_task(plain["init_from"]).labels


def _set_up(trainer: TrainerConfig, world: World) -> None:
    if trainer.fused_gate and world.device.type != "cuda":
        raise UserError("trainer.fused_gate=true needs a CUDA GPU: leave it out on a CPU")
    if world.device.type == "cpu":
        keep_freed()
    if trainer.threads is not None:
        torch.set_num_threads(trainer.threads)
    if trainer.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(trainer.deterministic)
    if world.device.type == "cuda":
        torch.backends.cudnn.benchmark = not trainer.deterministic
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = trainer.tf32


def _fuse_gates(network: nn.Module) -> None:
    """Compute DiffWave's gates by one kernel each.

    Raises:
        UserError: without Triton, or for a network without gates.
    """
    try:
        from wavediff.networks.gate_triton import fuse_gates
    except ImportError as error:
        raise UserError("trainer.fused_gate=true needs the package triton: install it") from error
    if not fuse_gates(network):
        raise UserError("trainer.fused_gate=true is for DiffWave: this network has no gates")


def _initialise(network: nn.Module, name_or_path: str) -> dict[str, float]:
    """Take these weights. Returns how long they were trained, see ``effort``.

    A network with labels begins as one without: its embeddings of them are zero.
    """
    source = load_task(name_or_path)
    weights = source.network.state_dict()
    if not source.labels:
        new = {k: v for k, v in network.state_dict().items() if "label_embedding." in k}
        weights |= {name: torch.zeros_like(value) for name, value in new.items()}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"the weights of init_from={name_or_path} do not fit the network that is configured: "
            "choose the recipe that they were trained by, and data with as many labels"
        ) from error
    return effort(source.extra)


def _task(
    config: Mapping[str, Any], state: Mapping[str, Any] | None
) -> tuple[Any, Mapping[str, torch.Tensor] | None]:
    """(the task, the weights of the autoencoder that it is to begin in where one is named).

    A resumed run has its own copy and does not read the autoencoder's run again.
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


def _labels(task: Any, names: Sequence[str] | None, state: Mapping[str, Any] | None) -> int:
    """How many labels the network needs for the data, in a resumed run those it began with.

    Raises:
        UserError: where the network cannot have them, or the run has others.
    """
    if not isinstance(task, Labelled):
        return task.labels
    if state is None:
        return task.labels_for(names)
    before = state["fixed"].get("labels")
    if before is None:  # a run that began without
        return task.labels
    if list(names or ()) != before:
        raise UserError(
            f"the labels of the data have changed since the run began ({_few(before)} -> "
            f"{_few(names)}): restore the data, or use trainer.restart=true"
        )
    return task.labels_for(names)


def _ignores_labels(task: Any, data: Mapping[str, Any]) -> bool:
    """Whether a model of audio has no use for labels; mixing takes other voices for babble."""
    return bool(task.sample_rate) and not isinstance(task, Labelled) and data.get("mix") is None


def _few(names: Sequence[str] | None) -> str:
    return shorten(", ".join(names)) if names else "none"


def _validation(
    task: Any, held_out: Any, trainer: TrainerConfig, measures: Mapping[str, Metric], world: World
) -> Callable[[], Validation] | None:
    """How the task is judged now and then; None where nothing is held out."""
    if not len(held_out):
        return None
    return partial(task.judge, held_out, trainer, measures, world)


def _fixed(task: Any, names: Sequence[str] | None) -> dict[str, Any]:
    """What a run's checkpoint keeps besides what is learnt; empty for most tasks."""
    fixed: dict[str, Any] = {"labels": list(names)} if names and task.labels else {}
    if state := task.fixed_state():
        fixed["state"] = state
        fixed["autoencoder"] = task.config["representation"].get("autoencoder")
    return fixed


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
    objective = getattr(task, "objective", None)
    alone = objective is None or objective.alone
    if not config:
        if not alone:
            raise UserError(
                "this objective has no loss of its own: add adversarial="
                f"{'hifigan' if task.paired else 'wavegan'}, or choose another objective"
            )
        return None
    if not task.adversarial:
        raise UserError(
            "adversarial training compares audio with true signals, and this model "
            f"({type(task).__name__}) makes none: leave adversarial out, or use a recipe of a "
            "vocoder, an enhancer or a generator"
        )
    compared = [key for key in ("feature_weight", "mel_weight") if config.get(key)]
    weights = [name for name in task.estimate_weights if getattr(task, name)]
    if not alone and weights:
        raise UserError(
            f"objective=adversarial makes no estimate for the loss of task.{weights[0]}: give "
            f"{' '.join(f'task.{name}=0' for name in weights)}, or choose another objective"
        )
    if not alone and task.paired and not compared:
        raise UserError(
            f"{task.title} needs a loss that compares with the true signal: give "
            "adversarial=hifigan, or another objective"
        )
    if not task.paired and compared:
        raise UserError(
            f"features and mels are compared with those of true signals, and {task.title} makes "
            f"others: give adversarial.{compared[0]}=0, or adversarial=wavegan"
        )
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
