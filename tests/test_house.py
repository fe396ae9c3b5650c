"""Imports only point downward, and the project speaks of itself alone."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "wavediff"

# From the top of the house to its ground floor.
FLOORS = [
    "commands",
    "series",
    "tasks",
    "training",
    "evaluation",
    "data",
    "networks",
    "representations",
    "diffusion",
]
LEAVES = {"dense", "errors", "files", "inputs", "memory", "moved", "notation", "packages"}
ENTRY = {"__init__", "__main__", "cli"}
# The commands for tables, and what commands share.
FOR_SERIES = {
    "app_forecast", "app_page", "backtest", "forecast", "forecast_parts", "impute",
    "series_arguments", "synthesize",
}  # fmt: skip
SHARED = {
    "app_forecast", "app_jobs", "app_models", "app_page", "app_restore", "app_server",
    "app_sound", "app_worker", "arguments", "composing", "corpus", "corpus_files",
    "evaluate_arguments", "forecast_parts", "live_blocks", "live_devices", "live_keys",
    "live_loop", "live_meter", "live_portaudio", "live_record", "manifest", "outputs",
    "pcm_pipe", "pipes", "progress", "ray_workers", "restoration_arguments", "search_figures",
    "search_loop", "search_report", "search_setting", "search_space", "search_study",
    "search_trial", "series_arguments", "training_run", "vocode_jobs",
}  # fmt: skip

SOURCES = sorted(PACKAGE.rglob("*.py"))


def floor_of(module: str) -> str:
    """`wavediff.data.audio` -> data, `wavediff.files` -> leaf, `wavediff.Vocoder` -> nothing."""
    parts = module.split(".")
    name = parts[1] if len(parts) > 1 else "__init__"
    if name in FLOORS:
        return name
    if name in LEAVES:
        return "leaf"
    return "cli" if name in ENTRY else ""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(module: str, source: str, is_package: bool = False) -> set[str]:
    """Full names of the modules that `source` imports, those inside functions too."""
    names: set[str] = set()
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                kept = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*kept, base] if base else kept)
            # `from wavediff import data` names a module too.
            names.update({f"{base}.{alias.name}" for alias in node.names} if base else ())
    return names


def upward(module: str, source: str, is_package: bool = False) -> list[str]:
    """The imports in `source` that the house does not allow."""
    here = floor_of(module)
    wrong = []
    for name in imports_of(module, source, is_package):
        top = name.split(".")[0]
        if here == "diffusion" and top not in ALLOWED_IN_DIFFUSION:
            wrong.append(name)
        if top != "wavediff" or name == "wavediff.__version__":
            continue
        there = floor_of(name)
        if here == "commands":
            # A command may start from what they share, never from another command.
            ok = there in {"leaf", "cli", *FLOORS}
            ok &= there != "commands" or not SHARED.isdisjoint(name.split(".")[2:3])
            ok &= there != "series" or module.rpartition(".")[2] in FOR_SERIES
        elif here == "leaf":
            ok = there == "leaf"
        elif here == "cli":
            ok = module == "wavediff" or there in {"leaf", "cli"}
        elif here == "diffusion":
            ok = there == "diffusion"
        else:
            ok = there == "leaf" or (there in FLOORS and FLOORS.index(there) >= FLOORS.index(here))
        if not ok:
            wrong.append(name)
    return sorted(wrong)


STANDARD = {
    "collections", "contextlib", "copy", "dataclasses", "enum", "functools", "inspect", "itertools",
    "math", "numbers", "operator", "types", "typing", "warnings", "__future__",
}  # fmt: skip
ALLOWED_IN_DIFFUSION = STANDARD | {"torch", "torchdiffeq", "wavediff"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: module_of(path))
def test_imports_point_downward(path: Path):
    found = upward(module_of(path), path.read_text(), path.name == "__init__.py")
    assert not found, f"{module_of(path)} may not import {', '.join(found)}"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("wavediff.diffusion.schedule", "import numpy"),
        ("wavediff.diffusion.schedule", "from wavediff.errors import UserError"),
        ("wavediff.data.audio", "from wavediff.evaluation.spectral import mr_stft"),
        ("wavediff.data.audio", "def f():\n    import wavediff.tasks"),
        ("wavediff.data.audio", "from ..training import loop"),
        ("wavediff.data.audio", "from wavediff import cli"),
        ("wavediff.data.audio", "from wavediff import Vocoder"),
        ("wavediff.data.audio", "from wavediff.series.table import read_table"),
        ("wavediff.tasks.vocoder", "from wavediff.series import windows"),
        ("wavediff.tasks.vocoder", "from wavediff.commands.arguments import device"),
        ("wavediff.series.model", "from wavediff.commands import arguments"),
        ("wavediff.commands.vocode", "from wavediff.commands.mel import main"),
        ("wavediff.commands.vocode", "from wavediff.commands import mel"),
        ("wavediff.commands.vocode", "from wavediff.mel import main"),
        ("wavediff.commands.vocode", "from wavediff.series.table import read_table"),
        ("wavediff.files", "from wavediff.data.audio import read_audio"),
    ],
)
def test_an_import_that_points_upward_is_seen(module: str, source: str):
    assert upward(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("wavediff.diffusion.schedule", "import math\nimport torch.nn.functional as F"),
        ("wavediff.data.audio", "import soundfile\nfrom wavediff.errors import UserError"),
        ("wavediff.tasks.vocoder", "from wavediff.diffusion import schedule"),
        ("wavediff.data.crops", "from .audio import read_audio"),
        ("wavediff.commands.vocode", "from wavediff.cli import run\nimport wavediff.tasks.build"),
        ("wavediff.commands.vocode", "from wavediff.commands.arguments import device"),
        ("wavediff.commands.forecast", "from wavediff.series.table import read_table"),
        ("wavediff.series.model", "from wavediff.tasks import build\nimport wavediff.moved"),
    ],
)
def test_an_import_that_points_downward_is_allowed(module: str, source: str):
    assert not upward(module, source)


def test_every_folder_of_the_package_has_its_floor():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders <= set(FLOORS)


def test_nothing_names_a_path_of_one_machine():
    """No absolute path of somebody's home, work folder or temporary folder in anything shipped."""
    absolute = re.compile(r"(?<![\w.~:/-])/(?:work|home|root|Users|mnt|tmp|opt)/\w")
    outside = re.compile(r"(?<![\w/])(?:\.\./)*shared/(?:data|anchors|design)")
    folders = ["wavediff", "conf", "recipes", "tools", "tests", "docs", ".ci"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    files += [path for path in ROOT.glob("*") if path.is_file()]
    texts = {".py", ".yaml", ".yml", ".md", ".toml", ".sh", ".json", ".txt", ""}
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        if path.suffix in texts and path != Path(__file__) and "__pycache__" not in path.parts
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if absolute.search(line) or outside.search(line)
    ]
    assert not found, "\n".join(found)
