"""What the names of checkpoints and samplers mean; nothing here waits for torch."""

from __future__ import annotations

from pathlib import Path

from wavediff.errors import UserError
from wavediff.files import conf_files

FILE_NAME = "model.safetensors"


def pretrained_folder() -> Path:
    """Where the bundled models lie."""
    return Path(__file__).resolve().parents[1] / "pretrained"


def bundled_names() -> list[str]:
    """Names of the bundled models."""
    return sorted(path.parent.name for path in pretrained_folder().glob(f"*/{FILE_NAME}"))


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The file behind the name of a bundled model, a run folder, or a file.

    Raises:
        UserError: where there is none.
    """
    path = Path(name_or_path)
    for candidate in (path, path / FILE_NAME, pretrained_folder() / str(path) / FILE_NAME):
        if candidate.is_file():
            return candidate
    if path.is_dir():
        raise UserError(
            f"{path} holds no {FILE_NAME}: give a run folder that has saved a checkpoint"
        )
    raise UserError(
        f"there is no checkpoint {str(name_or_path)!r}: give a run folder, a {FILE_NAME} file, "
        f"or a bundled model ({', '.join(bundled_names()) or 'none here'})"
    )


def sampler_names() -> list[str]:
    """Return the names of the samplers, one for each file of ``conf/sampler``."""
    return list(conf_files("sampler"))


def find_sampler(name: str) -> Path:
    """Return the file ``conf/sampler/<name>.yaml``.

    Raises:
        UserError: for a name that does not exist, with those that do.
    """
    files = conf_files("sampler")
    if name not in files:
        raise UserError(f"there is no sampler {name!r}; choose one of {', '.join(files)}")
    return files[name]
