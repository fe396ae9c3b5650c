"""`wavediff info`: describe a checkpoint, or list the bundled models."""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavediff.cli import run
from wavediff.commands.arguments import Parser
from wavediff.errors import UserError
from wavediff.inputs import expanded
from wavediff.tasks.names import FILE_NAME, bundled_names, find_checkpoint, pretrained_folder

if TYPE_CHECKING:
    from torch import nn

DESCRIPTION = "Describe a checkpoint, or list the bundled models."

EXAMPLES = """\
examples:
  wavediff info                          the bundled models
  wavediff info vocoder-en-22k           one of them, with its model card
  wavediff info runs/ljspeech            the checkpoint of a run
  wavediff info runs/ljspeech --json
  wavediff info diffwave-ljspeech.pt     a checkpoint that `wavediff import` can convert
"""

WIDTH = 16  # of the column of names


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    arguments = parse(argv)
    if arguments.checkpoint is None:
        models = [bundled(name) for name in bundled_names()]
        if arguments.json:
            print(json.dumps(models, indent=2))
        elif not models:
            print("no models are bundled with this installation", file=sys.stderr)
        for model in () if arguments.json else models:
            print(f"{model['name']}  {model['parameters']:,} parameters  {model['summary']}")
        return 0
    facts = describe(arguments.checkpoint)
    card = card_of(facts)
    if arguments.json:
        print(json.dumps(facts | ({"card": card} if card else {}), indent=2))
        return 0
    for name, value in lines(facts):
        print(f"{name:{WIDTH}}{printable(value)}")
    if card:
        print(f"\n{card}")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("info", DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "checkpoint", nargs="?", help="a bundled model's name, a run folder, or a file"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser.parse_args(argv)


def describe(name_or_path: str) -> dict[str, Any]:
    """Return the facts about a checkpoint, ours or a foreign one, as for JSON.

    Raises:
        UserError: where there is none, or it is damaged, or not safe to open.
    """
    if not expanded(name_or_path).exists():
        find_checkpoint(name_or_path)
    from wavediff.notation import in_full
    from wavediff.tasks.build import build_task
    from wavediff.tasks.checkpoint import load_task
    from wavediff.tasks.importers import foreign_file, read_foreign

    foreign = foreign_file(name_or_path)
    if foreign is not None:
        model = read_foreign(foreign)
        task, path, extra = build_task(model.config), foreign, dict(model.extra)
        command = shlex.join(["wavediff", "import", str(path), "-o", path.stem])
        origin = {"origin": model.origin, "import": command}
    else:
        path = find_checkpoint(name_or_path)
        task = load_task(path)
        extra, origin = dict(task.extra), {}
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        **origin,
        "task": type(task).__name__,
        "parameters": count(task.network),
        **{group: short(value) for group, value in in_full(task.config).items() if group != "task"},
        **task.summary(),
        "extra": extra,
    }


def bundled(name: str) -> dict[str, Any]:
    """Return a bundled model in a line, from the header of its file alone.

    Raises:
        UserError: for a damaged file.
    """
    path = pretrained_folder() / name / FILE_NAME
    try:
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        config = json.loads(header.pop("__metadata__")["config"])
        parameters = sum(math.prod(tensor["shape"]) for tensor in header.values())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: install wavediff again") from error
    prose = [
        line for line in (card_of({"file": path}) or "").splitlines() if line and line[0] != "#"
    ]
    task = config["task"]["_target_"].rpartition(".")[2]
    summary = prose[0] if prose else f"{task}, {mel_line(config['mel'])}"
    return {"name": name, "parameters": parameters, "summary": summary}


def card_of(facts: Mapping[str, Any]) -> str | None:
    """Return the model card of a bundled model, if it has one."""
    folder = Path(facts["file"]).parent
    if folder.parent != pretrained_folder() or not (folder / "README.md").is_file():
        return None
    return (folder / "README.md").read_text(encoding="utf-8").strip()


def count(network: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def short(value: Any) -> Any:
    """A group of the configuration with the last word of its target as ``name``."""
    if isinstance(value, Mapping):
        target = value.get("_target_")
        name = {} if target is None else {"name": target.rpartition(".")[2]}
        rest = {key: short(part) for key, part in value.items() if not key.startswith("_")}
        return name | rest
    return value


def lines(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of each line of the text."""
    from wavediff.tasks.checkpoint import effort, is_effort

    found = [("checkpoint", f"{facts['file']} ({size(facts['bytes'])})")]
    if "origin" in facts:
        found += [("origin", facts["origin"]), ("to import it", facts["import"])]
    found += [
        ("task", facts["task"]),
        *([("front-end", mel_line(facts["mel"]))] if "mel" in facts else []),
        *([("latency", f"{1000 * facts['latency']:.0f} ms")] if "latency" in facts else []),
        *([("window", facts["window"])] if "window" in facts else []),
        *groups(facts, "representation", "network"),
        ("parameters", f"{facts['parameters']:,}"),
        *groups(facts, "schedule", "prediction", "objective"),
    ]
    if "sampler" in facts:
        method, steps = dict(facts["sampler"]), facts["steps"]
        times = f"{steps} step{'s' * (steps != 1)}: {group_line(method.pop('times'))}"
        found.append(("sampler", f"{group_line(method)}; {times}"))
    if "compression" in facts:
        hop, factor = facts["hop_length"], facts["compression"]
        found.append(("latent", f"a frame for {hop} samples, compression {factor:g}"))
    if "mel_iterations" in facts:
        found.append(("mel iterations", f"{facts['mel_iterations']}"))
    for name, value in facts["extra"].items():
        if name == "scales":  # numbers for synthesis, hundreds of them
            continue
        if name == "seconds" and is_effort(value):
            found.append(("trained for", f"{value / 3600:.2f} hours"))
        elif name == "before" and isinstance(value, Mapping):
            earlier = effort(value)
            steps, hours = earlier.get("step", 0), earlier.get("seconds", 0) / 3600
            found.append(("before that", f"{steps:,.0f} steps, {hours:.2f} hours"))
        else:
            found.append((name.replace("_", " "), value_text(value)))
    return found


def groups(facts: Mapping[str, Any], *names: str) -> list[tuple[str, str]]:
    """A line for each of these groups that the task has."""
    return [(name, group_line(facts[name])) for name in names if name in facts]


def mel_line(mel: Mapping[str, Any]) -> str:
    """The front-end in words."""
    top = mel["sample_rate"] / 2 if mel.get("f_max") is None else mel["f_max"]
    return (
        f"{mel['name']}: {mel['sample_rate']:,} Hz, {mel['n_mels']} bands from "
        f"{mel.get('f_min', 0):,g} to {top:,g} Hz, hop {mel['hop_length']}, n_fft {mel['n_fft']}"
    )


def group_line(group: Mapping[str, Any]) -> str:
    """A group as its name and options."""
    options = [f"{key} {value_text(value)}" for key, value in group.items() if key != "name"]
    return group["name"] + (f" ({', '.join(options)})" if options else "")


def value_text(value: Any) -> str:
    """Return the text of a value of JSON; of long lists the ends alone."""
    if isinstance(value, list):
        words = [value_text(part) for part in value]
        if len(words) > 12:
            words = [*words[:3], "...", *words[-3:]]
        return ", ".join(words)
    if isinstance(value, Mapping) and "name" in value:
        return group_line(value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def printable(text: str) -> str:
    """Without what a file of unknown origin could do to a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def size(number: int) -> str:
    """Bytes in words."""
    return f"{number / 1e6:,.1f} MB" if number >= 1e5 else f"{number:,} bytes"


if __name__ == "__main__":
    sys.exit(run(main))
