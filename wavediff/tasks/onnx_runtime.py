"""Exported models in onnxruntime, in the place of their network in torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wavediff.diffusion.sampler import Sampler
from wavediff.errors import UserError

METADATA = "wavediff"


def open_session(path: Path, threads: int = 1) -> tuple[Any, dict[str, Any]]:
    """(session, metadata) of a file that ``export`` wrote.

    Raises:
        UserError: without onnxruntime, or for a file that is none of ours.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError("onnxruntime is not installed: pip install 'wavediff[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        metadata = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
    except Exception as error:  # onnxruntime has errors of many kinds
        raise UserError(f"{path} is not a model that wavediff exported: export it anew") from error
    return session, metadata


class OnnxStep:
    """A ``LiveStep`` in onnxruntime."""

    def __init__(self, session: Any, metadata: dict[str, Any]) -> None:
        self._session, self._shapes = session, metadata["state"]
        self._state: dict[str, NDArray[np.float32]] = {}

    def __call__(self, spectra: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Enhance ``spectra [channels, n_fft / 2 + 1, frames]``, normalised by the level."""
        if not self._state:
            self._state = {
                name: np.zeros((len(spectra), *shape[1:]), np.float32)
                for name, shape in self._shapes.items()
            }
        parts = np.ascontiguousarray(spectra)[..., None].view(np.float32)
        enhanced, *state = self._session.run(None, {"spectrum": parts} | self._state)
        self._state = dict(zip(self._state, state, strict=True))
        return np.ascontiguousarray(enhanced).view(np.complex64)[..., 0]


class OnnxEnhancer:
    """What an ``EnhancerStream`` needs of an enhancer, with its network in onnxruntime.

    Args:
        session, metadata: see ``open_session``.
        enhance: that of the model itself, for signals that are shorter than the export takes.
    """

    device = torch.device("cpu")

    def __init__(
        self, session: Any, metadata: dict[str, Any], enhance: Callable[[Tensor], Tensor]
    ) -> None:
        self._session, self._enhance = session, enhance
        self._longer_than = metadata["longer_than"]
        self.sample_rate, self.hop_length = metadata["sample_rate"], metadata["grid"]
        self._reach = metadata["past"], metadata["ahead"]

    def reach(self, sampler: Sampler | None = None) -> tuple[int, int]:
        """Receptive field (past, ahead) of an output sample, in samples of the input."""
        return self._reach

    def enhance(
        self, noisy: Tensor, *, sampler: Sampler | None = None, seed: int = 0, offset: int = 0
    ) -> Tensor:
        """Enhance ``noisy [batch, 1, time]`` in one call; no noise is drawn."""
        if noisy.shape[-1] <= self._longer_than:
            return self._enhance(noisy)
        (enhanced,) = self._session.run(None, {"noisy": noisy.numpy()})
        return torch.from_numpy(enhanced)
