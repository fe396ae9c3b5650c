"""Files of checkpoints and samplers by name, found without loading torch."""

from __future__ import annotations

from pathlib import Path

from wavediff.errors import UserError, shorten
from wavediff.files import conf_files
from wavediff.inputs import expanded

FILE_NAME = "model.safetensors"


def pretrained_folder() -> Path:
    """Folder of the bundled models."""
    return Path(__file__).resolve().parents[1] / "pretrained"


def bundled_names() -> list[str]:
    """Names of the bundled models."""
    return sorted(path.parent.name for path in pretrained_folder().glob(f"*/{FILE_NAME}"))


def model_file(path: Path) -> Path:
    """The file of a model that is to be saved at ``path``.

    Raises:
        UserError: for the name of a file of another kind.
    """
    if str(path) == "-":
        raise UserError("a model cannot go to stdout (-): give a folder")
    if path.suffix and path.suffix != Path(FILE_NAME).suffix and not path.is_dir():
        raise UserError(
            f"cannot save a model as {shorten(path)}: give a folder, or a name ending in "
            f"{Path(FILE_NAME).suffix}"
        )
    return path if path.suffix == Path(FILE_NAME).suffix else path / FILE_NAME


def find_checkpoint(name_or_path: str | Path) -> Path:
    """Find the checkpoint file of a bundled model by name, of a run folder, or at a path.

    Raises:
        UserError: for a checkpoint that does not exist.
    """
    path = expanded(name_or_path)
    bundled = pretrained_folder() / str(name_or_path) / FILE_NAME
    try:
        for candidate in (path, path / FILE_NAME, bundled):
            if candidate.is_file():
                return candidate
        is_folder = path.is_dir()
    except OSError:  # a name that is too long
        is_folder = False
    if is_folder:
        raise UserError(f"{path} holds no {FILE_NAME}: give a run folder with a saved checkpoint")
    raise UserError(
        f"there is no checkpoint {shorten(name_or_path)!r}: give a run folder, a {FILE_NAME} file, "
        f"or a bundled model ({', '.join(bundled_names()) or 'none here'})"
    )


def sampler_names() -> list[str]:
    """Names of the samplers, one for each file of ``conf/sampler``."""
    return list(conf_files("sampler"))


def find_sampler(name: str) -> Path:
    """Find the file ``conf/sampler/<name>.yaml``.

    Raises:
        UserError: for an unknown name, with the known ones.
    """
    files = conf_files("sampler")
    if name not in files:
        raise UserError(f"there is no sampler {shorten(name)!r}; choose one of {', '.join(files)}")
    return files[name]
