"""Exports of models that are kept, to be computed by onnxruntime."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from wavediff import __version__
from wavediff.errors import UserError
from wavediff.tasks.checkpoint import digest
from wavediff.tasks.onnx_runtime import open_session

if TYPE_CHECKING:
    from wavediff.tasks.enhancer import Enhancer


def cached_session(enhancer: Enhancer) -> tuple[Any, dict[str, Any]]:
    """(session, metadata) of a model, which is exported at its first use.

    The file lies below ``XDG_CACHE_HOME``, by default ~/.cache, in wavediff/onnx; its name depends
    on the weights, the configuration and the versions.

    Raises:
        UserError: see ``export``.
    """
    parts = (digest(enhancer.network.state_dict()), enhancer.config, __version__, torch.__version__)
    name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(root) / "wavediff" / "onnx" / f"{name}.onnx"
    threads = torch.get_num_threads()
    if path.is_file():
        try:
            return open_session(path, threads)
        except UserError as error:
            if not path.is_file() or isinstance(error.__cause__, ImportError):
                raise
    from wavediff.tasks.onnx_export import export  # loads the exporter

    print(f"exporting the model, once, to {path}", file=sys.stderr)
    export(enhancer, path)
    return open_session(path, threads)
