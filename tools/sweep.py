"""Ablations at equal training time, with quality against training time and network calls.

A list (YAML) names the recipe of a vocoder or an enhancer, and runs that differ from the first of
them, the base, by one change each:

    recipe: kathleen
    minutes: 20                          # of training per run
    overrides: [data.gain_db=null]       # of every run (default: none)
    curve: [0.125, 0.25, 0.5, 0.75, 1]   # fractions of the time at which quality is measured
    measure:
      files: 16                          # of the recipe's validation files
      seconds: 10                        # of each; null for all
      steps: [1, 2, 4, 8, 16]            # of sampling, at the end; before, the first only
      measures: [pesq_wb, estoi]         # metrics; the first is plotted
      ways: {as shipped: [], network alone: [--mel-iterations, 0]}   # options of vocode or enhance
    runs:
      base: []
      loss-l1: [objective=l1]            # names with the same first part share a colour

Training time is the sum of the seconds of the steps that led to a run's weights, as recorded in its
checkpoints. Startup, reading of data, writing and evaluation do not count, nor do steps lost in an
interruption, so interruptions do not change the comparison. As the number of steps that fit is
unknown in advance, each run is trained in stages, one per fraction in `curve`. In the first stage,
the learning rate does not decay; before every later stage, trainer.max_steps is set to the number
that fits at the run's speed so far, so that the decay ends with the time. The last stage ends by
its number of steps, and the table reports the minutes. Runs are trained one after the other: other
processes on the machine would distort the comparison.

Quality is that of the EMA weights, by `wavediff vocode` or `enhance` and `wavediff evaluate`, on
validation files (OUT/audio, the same for all runs); test files are not used. Each run has a folder
OUT/NAME, with its results in OUT/NAME/sweep.json and its output in OUT/logs/NAME.log. table.md,
sweep_time.png and sweep_calls.png are updated after every run.

After an interruption, the same command resumes. A failed run is listed, the others continue, and
the exit code is 2; the next call tries it again.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from sweep_list import (
    AUDIO,
    LOGS,
    Record,
    Sweep,
    read_list,
    read_record,
    slug,
    unmeasured,
    write_record,
)
from sweep_results import FILES, write_results

from wavediff.cli import run
from wavediff.commands.arguments import (
    name_list,
    non_negative_int,
    positive_float,
    positive_int,
)
from wavediff.commands.outputs import interruptible, require_writable
from wavediff.data.audio import write_audio
from wavediff.data.build import build_data
from wavediff.errors import UserError
from wavediff.evaluation.metrics import METRICS
from wavediff.files import atomic_path, conf_folder
from wavediff.tasks.build import build_task, completed
from wavediff.tasks.checkpoint import load_task
from wavediff.training.checkpoint import RunCheckpoints, locked
from wavediff.training.config import trainer_config

EXAMPLES = """\
examples:
  python tools/sweep.py recipes/kathleen/sweep.yaml -o runs/sweep data.root=data/kathleen-22k
  python tools/sweep.py recipes/kathleen/sweep.yaml -o runs/sweep --only base,loss-l1 --threads 1
  python tools/sweep.py my-list.yaml -o runs/mine --minutes 5 --dry-run
"""
INPUTS = {"vocode": "reference", "enhance": "noisy"}  # folder of the input files, by command
OPEN_END = 1_000_000_000  # steps: never reached, so the learning rate does not decay
NEAR = 0.01  # of the time: too little for another stage


def main(argv: list[str] | None = None) -> int:
    args = _parse(argv)
    sweep = read_list(args.list, args.out, args.overrides, args.minutes, args.seed, args.threads)
    chosen = args.only or list(sweep.runs)
    unknown = [name for name in chosen if name not in sweep.runs]
    if unknown:
        raise UserError(
            f"the list has no run {', '.join(unknown)}: give --only of {', '.join(sweep.runs)}"
        )
    require_writable(sweep.out)
    for name in sweep.measure.measures:
        METRICS[name].require()
    commands, failures = checked(sweep, chosen)
    if args.dry_run:
        for name, command in commands.items():
            for words in planned(sweep, name, command):
                print(shlex.join(["python", *words[1:]]))
        return 2 if failures else 0
    with interruptible(), _alone(sweep.out):
        _keep_settings(sweep)
        make_audio(sweep)
        print(f"logs: {sweep.out / LOGS}", file=sys.stderr, flush=True)
        for number, (name, command) in enumerate(commands.items(), 1):
            print(f"{name} ({number} of {len(commands)})", file=sys.stderr, flush=True)
            try:
                train_and_measure(sweep, name, command)
            except UserError as error:
                failures[name] = str(error)
                print(f"{name} failed: {error}", file=sys.stderr, flush=True)
                # for the tables of later calls without this run
                write_record(sweep, name, read_record(sweep, name) | {"failed": str(error)})
            write_results(sweep, failures, _typed(args))
    for name, reason in failures.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    for path in FILES:
        if (sweep.out / path).exists():
            print(sweep.out / path)
    return 2 if failures else 0


def checked(sweep: Sweep, chosen: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Check all runs before hours of training: ({name: command of its model}, {name: error}).

    Raises UserError if all runs have the same error.
    """
    commands, failures = {}, {}
    print(f"checking {len(chosen)} configurations", file=sys.stderr)
    for name in chosen:
        try:
            commands[name] = build(sweep, name)[1].command
            read_record(sweep, name)
        except UserError as error:
            commands.pop(name, None)
            failures[name] = str(error)
    if not commands and len(set(failures.values())) == 1:
        raise UserError(failures[chosen[0]])
    for name, reason in failures.items():
        print(f"{name} cannot be trained: {reason}", file=sys.stderr)
    return commands, failures


def build(sweep: Sweep, name: str) -> tuple[dict, Any]:
    """(plain configuration, task with initial weights) of a run.

    Raises UserError for an invalid configuration, or a model that cannot be measured.
    """
    try:
        with initialize_config_dir(str(conf_folder().resolve()), version_base=None):
            config = compose("train", sweep.overrides_of(name))
        missing = sorted(OmegaConf.missing_keys(config))
        plain = OmegaConf.to_container(config, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        first = re.sub(r"^In '.*?': ", "", first).rstrip(".")
        raise UserError(
            f"{first}: `wavediff train recipe={sweep.recipe} --cfg job` shows all keys, and --help "
            "all choices"
        ) from error
    if missing:
        raise UserError(f"{missing[0]} has no value: add {missing[0]}=VALUE to the command")
    plain = dict(completed(plain))
    trainer_config(plain["trainer"])
    task = build_task(plain)
    if task.command not in INPUTS:
        raise UserError(
            f"recipe={sweep.recipe} is for `wavediff {task.command}`: a sweep measures vocoders "
            "and enhancers"
        )
    for steps in sweep.measure.steps:
        task.with_sampler(None, steps)
    return plain, task


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(out))
        except UserError as error:
            raise UserError(
                f"another sweep is running in {out}: wait for it, or give another folder"
            ) from error
        yield


def _keep_settings(sweep: Sweep) -> None:
    """Write the settings. Raises UserError if the folder has runs with other settings."""
    path, new = sweep.out / "sweep.json", sweep.settings()
    try:
        old = json.loads(path.read_text())
    except (OSError, ValueError):
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(new, indent=1) + "\n")
        return
    found = [f"{key} ({old.get(key)} -> {new[key]})" for key in new if old.get(key) != new[key]]
    if found:
        raise UserError(
            f"{sweep.out} holds a sweep with other settings, {', '.join(found)}: give another "
            "folder, because the runs would not be comparable"
        )


def make_audio(sweep: Sweep) -> None:
    """Write the evaluation files to OUT/audio, atomically."""
    folder = sweep.out / AUDIO
    if folder.exists():
        return
    config, task = build(sweep, sweep.base)
    data = {**config["data"], "cache": False}
    _, held_out = build_data(data, task.crop_length, task.sample_rate)
    if not len(held_out):
        raise UserError("the data has nothing held out to measure on: set data.split")
    files = min(sweep.measure.files, len(held_out))
    temporary = sweep.out / f".tmp-{AUDIO}"
    shutil.rmtree(temporary, ignore_errors=True)
    seconds = sweep.measure.seconds
    stop = None if seconds is None else round(seconds * task.sample_rate)
    for number in range(files):
        item = held_out[number * len(held_out) // files]
        for key, part in (("audio", "reference"), ("noisy", "noisy")):
            if key in item:
                path = temporary / part / f"{number:04d}-{item['name']}.wav"
                write_audio(path, item[key][..., :stop], task.sample_rate, "FLOAT")
    temporary.rename(folder)


def train_and_measure(sweep: Sweep, name: str, command: str) -> None:
    """Do what remains to be done for a run. Raises UserError if it fails."""
    record = read_record(sweep, name)
    record.pop("failed", None)
    for share in sweep.curve:
        missing = unmeasured(sweep, record, share)
        if not missing:
            continue
        train_until(sweep, name, record, share)
        facts, calls = describe(sweep.out / name, sweep.measure.steps)
        print(f"  measuring at step {facts['step']}", file=sys.stderr, flush=True)
        for way, steps in missing:
            made, evaluated = measuring(sweep, name, command, way, steps)
            call(made, sweep, name)
            call(evaluated, sweep, name)
            record["parameters"] = facts["parameters"]
            record["measured"].append(
                {
                    "share": share, "step": facts["step"], "seconds": facts["seconds"],
                    "way": way, "steps": steps, "calls": calls[steps],
                    **_means(sweep, Path(evaluated[-1])),
                }
            )  # fmt: skip
            write_record(sweep, name, record)


def train_until(sweep: Sweep, name: str, record: Record, share: float) -> None:
    """Train a run up to a fraction of the time; the last stage ends by its number of steps."""
    folder, total = sweep.out / name, 60 * sweep.minutes
    _wait_for_training(folder)
    step, seconds = reached(folder)
    key = f"{share:g}"
    if key not in record["max_steps"]:  # unchanged by an interruption
        record["max_steps"][key] = steps_that_fit(step, seconds, total)
        write_record(sweep, name, record)
    max_steps, left = record["max_steps"][key], share * total - seconds
    if step >= max_steps or (share < 1 and left < NEAR * total):
        return
    print(
        f"  training from {seconds / 60:.3g} to {share * sweep.minutes:.3g} minutes, since "
        f"{time.strftime('%H:%M')}",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    call(training(sweep, name, max_steps, left / 60 if share < 1 else None), sweep, name)


def steps_that_fit(step: int, seconds: float, total: float) -> int:
    """Number of steps in `total` seconds at the speed of `step` steps in `seconds`."""
    return max(step + 1, round(step * total / seconds)) if step else OPEN_END


def reached(folder: Path) -> tuple[int, float]:
    """(steps, seconds of training) from which a run resumes."""
    state = RunCheckpoints(folder, 1).load()
    return (0, 0.0) if state is None else (state["step"], state["counters"]["seconds"])


def describe(folder: Path, steps: Sequence[int]) -> tuple[dict[str, int], dict[int, int]]:
    """(step, seconds and parameters of a run's model, network calls by sampling steps)."""
    task = load_task(folder)
    facts = {key: task.extra[key] for key in ("step", "seconds")}
    facts["parameters"] = sum(p.numel() for p in task.network.parameters())
    schedule = task.denoiser.schedule
    return facts, {n: task.with_sampler(None, n).calls(schedule) for n in steps}


def _wait_for_training(folder: Path) -> None:
    """Wait for the training of a killed sweep, which continues to the end of its stage."""
    for attempt in count():
        try:
            with locked(folder):
                return
        except UserError:
            if not attempt:
                print(f"  waiting for another training in {folder}", file=sys.stderr, flush=True)
            time.sleep(1)


def training(
    sweep: Sweep, name: str, max_steps: int | str, minutes: float | str | None
) -> list[str]:
    """Command that trains a run."""
    words = [*sweep.overrides_of(name), f"seed={sweep.seed}", f"trainer.max_steps={max_steps}"]
    if minutes is not None:
        words.append(f"trainer.max_minutes={minutes}")
    if sweep.threads is not None:
        words.append(f"trainer.threads={sweep.threads}")
    words += ["trainer.validate_every=0", f"run_dir={sweep.out / name}"]
    return [sys.executable, "-m", "wavediff.train", *words]


def measuring(
    sweep: Sweep, name: str, command: str, way: str, steps: int
) -> tuple[list[str], list[str]]:
    """Commands that compute the estimates and evaluate them; the second ends with a JSON file."""
    audio, estimates = sweep.out / AUDIO, sweep.out / name / "estimates" / f"{slug(way)}-{steps}"
    threads = [] if sweep.threads is None else ["--threads", str(sweep.threads)]
    jobs = [] if sweep.threads is None else ["--jobs", str(sweep.threads)]
    made = [
        sys.executable, "-m", f"wavediff.{command}", str(audio / INPUTS[command]),
        "-o", str(estimates), "--checkpoint", str(sweep.out / name), "--steps", str(steps),
        "--overwrite", *threads, *sweep.measure.ways[way],
    ]  # fmt: skip
    evaluated = [
        sys.executable, "-m", "wavediff.evaluate", "--reference", str(audio / "reference"),
        "--estimate", str(estimates), "--metrics", ",".join(sweep.measure.measures), *jobs,
        "--json", f"{estimates}.json",
    ]  # fmt: skip
    return made, evaluated


def _means(sweep: Sweep, path: Path) -> dict[str, Any]:
    """Output of `wavediff evaluate`: means of all metrics, and values of the first by file."""
    found = json.loads(path.read_text())
    first = sweep.measure.measures[0]
    return {
        "means": {name: found["measures"][name]["mean"] for name in sweep.measure.measures},
        "files": {
            file["name"]: file["values"][first]
            for file in found["files"]
            if first in file["values"]
        },
    }


def planned(sweep: Sweep, name: str, command: str) -> Iterator[list[str]]:
    """Remaining commands, with STEPS for numbers that are not yet known."""
    record, (_, seconds) = read_record(sweep, name), reached(sweep.out / name)
    total = 60 * sweep.minutes
    for share in sweep.curve:
        missing = unmeasured(sweep, record, share)
        if not missing:
            continue
        max_steps = record["max_steps"].get(f"{share:g}", "STEPS" if seconds else OPEN_END)
        left = share * total - seconds
        if left >= NEAR * total or share == 1:
            yield training(sweep, name, max_steps, left / 60 if share < 1 else None)
            seconds = share * total
        for way, steps in missing:
            yield from measuring(sweep, name, command, way, steps)


def call(words: list[str], sweep: Sweep, name: str) -> None:
    """Run a command with its output in the log of a run; it is terminated with this process.

    Raises UserError with the last line of the output if it fails.
    """
    log = sweep.out / LOGS / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    env = dict(os.environ)
    if sweep.threads is not None:
        env["OMP_NUM_THREADS"] = str(sweep.threads)
    with open(log, "ab") as file:
        file.write(f"\n$ {shlex.join(['python', *words[1:]])}\n".encode())
        file.flush()
        begin = file.tell()
        child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=env
        )
        try:
            code = child.wait()
        except BaseException:
            child.terminate()
            child.wait()  # training saves a checkpoint first
            raise
    if code:
        raise UserError(f"{_reason(log, begin, code)} (see {log})")


def _reason(log: Path, begin: int, code: int) -> str:
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    said = log.read_bytes()[begin:].decode(errors="replace")
    lines = [line.strip() for line in re.split(r"[\r\n]+", said) if line.strip()]
    return re.sub(r"^(error|failed): ", "", lines[-1]) if lines else f"exit code {code}"


def _typed(args: argparse.Namespace) -> str:
    """The command, without options that do not change the results."""
    words = ["python", "tools/sweep.py", str(args.list), "-o", str(args.out)]
    for option in ("minutes", "threads"):
        value = getattr(args, option)
        words += [] if value is None else [f"--{option}", f"{value:g}"]
    words += ["--seed", str(args.seed)] if args.seed else []
    return shlex.join([*words, *args.overrides])


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s LIST -o OUT [options] [KEY=VALUE ...]",
    )
    add = parser.add_argument
    add("list", type=Path, metavar="LIST", help="a YAML file as above")
    add("overrides", nargs="*", metavar="KEY=VALUE", help="overrides for every run")
    add("-o", "--out", type=Path, required=True, metavar="OUT", help="folder of all results")
    add("--only", type=name_list, metavar="NAME,NAME", help="runs of the list (default: all)")
    add("--minutes", type=positive_float, metavar="M", help="training time (default: the list's)")
    add("--seed", type=non_negative_int, default=0, metavar="N", help="of every run (default: 0)")
    add("--threads", type=positive_int, metavar="N", help="CPU threads (default: PyTorch's choice)")
    add("--dry-run", action="store_true", help="print the commands without running them")
    args = parser.parse_intermixed_args(argv)
    args.out = args.out.expanduser()
    return args


if __name__ == "__main__":
    sys.exit(run(main))
