"""`wavediff train`: train a model with a recipe."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from wavediff.cli import run
from wavediff.commands.composing import (
    checked_words,
    plain_values,
    sentence_of,
    with_recipe_file,
    write_config,
)
from wavediff.errors import UserError, shorten
from wavediff.files import conf_folder


def main(argv: list[str] | None = None) -> int:
    """Run `wavediff train ...`; several jobs with --multirun. Returns the worst exit code."""
    codes = [0]
    faults: list[Exception] = []
    here = os.getpid()

    def job(config: DictConfig) -> float | None:
        """Return the last validation's metric, which Hydra's sweepers ask for."""
        run_dir = Path(HydraConfig.get().runtime.output_dir)
        try:
            plain = plain_values(config)
            from wavediff.commands.training_run import run_training

            words = HydraConfig.get().overrides.task
            ended = run_training(plain, run_dir, partial(write_config, config, words, run_dir))
        except UserError as error:
            # printed here: Hydra continues with the other jobs of a sweep
            print(f"error: {error}", file=sys.stderr)
            codes.append(2)
            with suppress(OSError):  # Hydra has made it; it stays where there is a run in it
                run_dir.rmdir()
            if os.getpid() != here:  # a job on a cluster, whose launcher brings it home
                raise
            return None
        except Exception as error:  # raised below: Hydra prints all overrides first
            if os.getpid() != here:
                raise
            faults.append(error)
            return None
        codes.append(ended.code)
        if ended.code > 128:  # a signal ends the sweep too
            raise SystemExit(ended.code)
        return ended.score

    command = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="train")
    with _hydra_environment():
        try:
            sys.argv = ["wavediff train", *_arranged(sys.argv[1:] if argv is None else argv)]
            command(job)()
        except (HydraException, OmegaConfBaseException, TypeError, ValueError) as error:
            # before the job, in which none of them is left
            raise UserError(sentence_of(error)) from error
        except OSError as error:
            if error.filename is None:
                raise
            raise UserError(
                f"cannot use {error.filename}: {error.strerror}; choose another run_dir"
            ) from error
        except Exception as error:
            if not type(error).__module__.startswith("submitit."):
                raise
            raise UserError(
                f"a job of the cluster did not end well: {shorten(error, 400)}. Its log says why; "
                "the same command resumes"
            ) from error
        except SystemExit as stop:
            if not isinstance(stop.code, int) or stop.code <= 128:
                raise
    if faults:
        raise faults[0]
    return max(codes)


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
    argv = with_recipe_file(checked_words(argv))
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


if __name__ == "__main__":
    sys.exit(run(main))
