"""Configurations of runs as Hydra composes them: their words, their values, and what is wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from wavediff.errors import UserError, shorten
from wavediff.files import atomic_path, conf_files, conf_folder
from wavediff.moved import CHOICES

CODE = re.compile(
    r"[+~]*hydra[./](callbacks|.*(_target_|\(\)))"
)  # what Hydra would import and call
NO_CHOICE = re.compile(r"[\[{(]|(?:null|true|false|[-+.\d]+)$", re.IGNORECASE)
RECIPE_FILE = re.compile(r"recipe=([^,]+\.ya?ml)$")
_named: dict[str, str] = {}  # recipe=FILE by the choice that stands for it


def composed(words: Sequence[str]) -> DictConfig:
    """Compose the configuration of ``wavediff train`` with these overrides.

    Raises:
        UserError: for words that are no overrides, unknown keys and unknown choices.
    """
    words = with_recipe_file(checked_words(words))
    try:
        with initialize_config_dir(str(conf_folder().resolve()), version_base="1.3"):
            return compose("train", words)
    except (HydraException, OmegaConfBaseException, TypeError, ValueError) as error:
        raise UserError(sentence_of(error)) from error


def checked_words(words: Sequence[str]) -> list[str]:
    """See that no override has Hydra run code, or gives a group what is no choice.

    Raises:
        UserError: where one does.
    """
    for word in words:
        if CODE.match(word):
            raise UserError(f"{shorten(word)} would have Hydra run code and is not supported")
        key, _, value = word.partition("=")
        if NO_CHOICE.match(value) and (conf_folder() / key).is_dir() and key.isidentifier():
            choices = ", ".join(conf_files(key))
            raise UserError(f"{shorten(word)} is not a choice: give {key}= one of {choices}")
    return list(words)


def with_recipe_file(words: Sequence[str]) -> list[str]:
    """Make the file of ``recipe=FILE.yaml`` a choice of Hydra's, and return the words with it.

    Raises:
        UserError: for a file that cannot be read, or is no mapping.
    """
    return [_stored(found[1]) if (found := RECIPE_FILE.match(w)) else w for w in words]


def _stored(name: str) -> str:
    path = Path(name.strip("'\"")).expanduser()
    choice = f"file_{re.sub(r'[^A-Za-z0-9_]', '_', str(path.with_suffix('')))}"
    _named[f"recipe={choice}"] = f"recipe={name}"
    ConfigStore.instance().store(
        name=choice, group="recipe", package="_global_", node=read_mapping(path, "a recipe")
    )
    return f"recipe={choice}"


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """Read a YAML file.

    Args:
        path: the file.
        what: it is meant to be, for messages: "a recipe".

    Raises:
        UserError: for a file that cannot be read, or is no mapping.
    """
    try:
        config = OmegaConf.load(path)
        values = OmegaConf.to_container(config, resolve=False)
    except OSError as error:
        raise UserError(
            f"cannot read {shorten(path)} ({error.strerror}): give {what}, a YAML file"
        ) from error
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise UserError(
            f"{path}{line}: not valid YAML ({shorten(problem, 200)}): give {what}"
        ) from error
    if not isinstance(values, dict) or not values:
        raise UserError(f"{path} is not {what}: it must be a mapping of keys to values")
    return {str(key): value for key, value in values.items()}


def plain_values(config: DictConfig) -> dict[str, Any]:
    """Resolved, as plain dictionaries. Raises `UserError` for a value that is still missing."""
    try:
        missing = sorted(OmegaConf.missing_keys(config))
    except OmegaConfBaseException as error:
        raise UserError(sentence_of(error)) from error
    if missing:
        have = "has" if len(missing) == 1 else "have"
        values = " ".join(f"{key}=VALUE" for key in missing)
        raise UserError(f"{', '.join(missing)} {have} no value: add {values} to the command")
    try:
        return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise UserError(sentence_of(error)) from error


def write_config(config: DictConfig, overrides: Sequence[str], run_dir: Path) -> None:
    """What Hydra would write, had it not to wait until the run is known to be this one."""
    given = OmegaConf.create([_named.get(word, word) for word in overrides])
    for name, content in (("config.yaml", config), ("overrides.yaml", given)):
        with atomic_path(run_dir / ".hydra" / name) as temporary:
            OmegaConf.save(content, temporary)


def sentence_of(error: Exception) -> str:
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
        return "prediction is a value, not a group: write it as `prediction: NAME` in the recipe"
    if re.search("Could not find 'hydra/launcher/submitit_(slurm|local)'", first):
        return 'Slurm needs hydra-submitit-launcher: pip install "wavediff[slurm]"'
    absent = re.search(r"Could not find '(\w+/\w+)'", first)
    choice = absent[1].replace("/", "=") if absent else None
    if choice in CHOICES:
        return f"{choice} is now {CHOICES[choice]}"
    options = re.search(r"Available options.*?:\n((?:\t.*\n?)+)", text)
    if options:
        return f"{first.split(', e.g')[0]}: choose from {', '.join(options[1].split())}"
    return first


def as_recipe(recipe: str, words: Sequence[str]) -> dict[str, Any]:
    """Return a recipe that says what another recipe with these overrides does.

    Args:
        recipe: its name, or its file.
        words: overrides, each key once; none of them deletes.
    """
    base: dict[str, Any] = {"defaults": [recipe]}
    if RECIPE_FILE.match(f"recipe={recipe}"):
        base = read_mapping(Path(recipe).expanduser(), "a recipe")
    defaults = list(base.get("defaults", []))
    values = OmegaConf.create({key: value for key, value in base.items() if key != "defaults"})
    parsed = OverridesParser.create().parse_overrides(list(words))
    added, replaced = [], {}
    for override in parsed:
        key = override.key_or_group
        if not (conf_folder() / key).is_dir():
            OmegaConf.update(values, key, override.value(), force_add=True)
        elif override.is_add():
            added.append({f"/{key}": override.value()})
        else:
            replaced[f"override /{key}"] = override.value()
    kept = [d for d in defaults if not (isinstance(d, dict) and next(iter(d)) in replaced)]
    first = [d for d in kept if not _is_override(d)]
    last = [d for d in kept if _is_override(d)] + [{key: value} for key, value in replaced.items()]
    plain: Any = OmegaConf.to_container(values, resolve=False)
    name = plain.pop("name", Path(recipe).stem)
    return {"defaults": [*first, *added, *last], "name": f"{name}_best", **plain}


def _is_override(default: Any) -> bool:
    return isinstance(default, dict) and str(next(iter(default))).startswith("override ")
