"""`wavediff train`: train a model with a recipe."""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from wavediff.cli import run
from wavediff.errors import UserError, shorten
from wavediff.files import atomic_path, conf_files, conf_folder
from wavediff.moved import CHOICES

CODE = re.compile(
    r"[+~]*hydra[./](callbacks|.*(_target_|\(\)))"
)  # what Hydra would import and call
NO_CHOICE = re.compile(r"[\[{(]|(?:null|true|false|[-+.\d]+)$", re.IGNORECASE)


def main(argv: list[str] | None = None) -> int:
    """Run `wavediff train ...`; several jobs with --multirun. Returns the worst exit code."""
    codes = [0]
    faults: list[Exception] = []

    def job(config: DictConfig) -> None:
        run_dir = Path(HydraConfig.get().runtime.output_dir)
        try:
            plain = _plain(config)
            from wavediff.commands.training_run import run_training

            code = run_training(plain, run_dir, partial(_write_config, config, run_dir))
        except UserError as error:
            # printed here: Hydra continues with the other jobs of a sweep
            print(f"error: {error}", file=sys.stderr)
            code = 2
            with suppress(OSError):  # Hydra has made it; it stays where there is a run in it
                run_dir.rmdir()
        except Exception as error:  # raised below: Hydra prints all overrides first
            faults.append(error)
            return
        codes.append(code)
        if code > 128:  # a signal ends the sweep too
            raise SystemExit(code)

    command = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="train")
    with _hydra_environment():
        try:
            sys.argv = ["wavediff train", *_arranged(sys.argv[1:] if argv is None else argv)]
            command(job)()
        except (HydraException, OmegaConfBaseException, TypeError, ValueError) as error:
            # before the job, in which none of them is left
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
    if faults:
        raise faults[0]
    return max(codes)


def _plain(config: DictConfig) -> dict[str, Any]:
    """Resolved, as plain dictionaries. Raises `UserError` for a value that is still missing."""
    try:
        missing = sorted(OmegaConf.missing_keys(config))
    except OmegaConfBaseException as error:
        raise UserError(_sentence(error)) from error
    if missing:
        have = "has" if len(missing) == 1 else "have"
        values = " ".join(f"{key}=VALUE" for key in missing)
        raise UserError(f"{', '.join(missing)} {have} no value: add {values} to the command")
    try:
        return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise UserError(_sentence(error)) from error


def _write_config(config: DictConfig, run_dir: Path) -> None:
    """What Hydra would write, had it not to wait until the run is known to be this one."""
    for name, content in (
        ("config.yaml", config),
        ("overrides.yaml", HydraConfig.get().overrides.task),
    ):
        with atomic_path(run_dir / ".hydra" / name) as temporary:
            OmegaConf.save(content, temporary)


def _arranged(argv: Sequence[str]) -> list[str]:
    """As Hydra's parser wants it: --multirun before the overrides, and a recipe even for --help.

    The folder of a job of a sweep is named after the keys that are swept, not after all.
    """
    for word in argv:
        flag = word.partition("=")[0]  # Hydra accepts abbreviations
        if flag.startswith("--e") and "--experimental-rerun".startswith(flag):
            raise UserError(
                f"{flag} would execute a pickle and is not supported: repeat the overrides of the "
                "run instead (.hydra/overrides.yaml)"
            )
        if CODE.match(word):
            raise UserError(f"{shorten(word)} would have Hydra run code and is not supported")
        key, _, value = word.partition("=")
        if NO_CHOICE.match(value) and (conf_folder() / key).is_dir() and key.isidentifier():
            choices = ", ".join(conf_files(key))
            raise UserError(f"{shorten(word)} is not a choice: give {key}= one of {choices}")
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
    """Hydra reads `sys.argv`, and reports errors itself unless this variable is set."""
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
        return "prediction is a value, not a group: write it as `prediction: NAME` in the recipe"
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
