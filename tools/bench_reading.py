"""Throughput of reading training data: shards beside a folder of flac files.

    python tools/bench_reading.py
    python tools/bench_reading.py --folder recordings --shards shards --workers 0

Without --folder, synthetic recordings are written to a temporary folder, and without --shards they
are packed by `wavediff pack`. Both are read as `wavediff train` does, one crop of every clip: cold,
after their pages were dropped from the page cache (posix_fadvise), and warm. `start` is the time
until the first batch, with the headers or indices that are read before it.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from machine import machine
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from wavediff.data.build import build_data
from wavediff.files import conf_folder

TARGETS = {"folder": "wavediff.data.folder.folder", "shards": "wavediff.data.webdataset.webdataset"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="flac files (default: synthetic ones)")
    parser.add_argument("--shards", type=Path, help="of the same files (default: packed for this)")
    parser.add_argument("--files", type=int, default=2000, help="synthetic recordings")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each")
    parser.add_argument("--rate", type=int, default=16000, help="in Hz")
    parser.add_argument("--size", default="50M", help="of a shard")
    parser.add_argument("--crop", type=float, default=1.0, help="seconds of an example")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=".") as temporary:
        folder, shards = arguments.folder, arguments.shards
        if folder is None:
            folder = Path(temporary) / "in"
            synthesise(folder, arguments.files, arguments.seconds, arguments.rate)
        if shards is None:
            shards = Path(temporary) / "shards"
            words = ["pack", str(folder), "-o", str(shards), "--size", arguments.size]
            subprocess.run([sys.executable, "-m", "wavediff", *words], check=True, stdout=2)
        places = {"folder": folder, "shards": shards}
        print(f"{machine(len(os.sched_getaffinity(0)))}\n")
        found: dict[tuple[str, str], list[tuple[float, float, float, float]]] = {}
        for _ in range(arguments.repeats):
            for cache in ("cold", "warm"):
                for kind, place in places.items():
                    if cache == "cold":
                        drop(place)
                    result = epoch(kind, place, arguments)
                    found.setdefault((kind, cache), []).append(result)
    print("| | cache | start (s) | epoch (s) | examples/s | MB/s |\n|---|---|---|---|---|---|")
    for (kind, cache), rows in found.items():
        columns = [statistics.median(column) for column in zip(*rows, strict=True)]
        start, seconds, rate, speed = columns
        print(f"| {kind} | {cache} | {start:.2f} | {seconds:.2f} | {rate:.0f} | {speed:.1f} |")


def synthesise(folder: Path, files: int, seconds: float, rate: int) -> None:
    """Write recordings of coloured noise, which FLAC compresses about as well as speech."""
    for number in range(files):
        rng = np.random.default_rng(number)
        noise = np.cumsum(rng.standard_normal(round(seconds * rate)))
        noise -= np.convolve(noise, np.ones(64) / 64, "same")
        path = folder / f"{number % 50:02d}" / f"{number:06d}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.3 * noise / np.abs(noise).max(), rate)


def files_of(place: Path) -> list[Path]:
    """All files below a folder."""
    return [path for path in place.rglob("*") if path.is_file()]


def drop(place: Path) -> None:
    """Drop the pages of all files below a folder from the page cache, as far as it is permitted."""
    if not hasattr(os, "posix_fadvise"):
        print("the page cache is not dropped on this system", file=sys.stderr)
        return
    for path in files_of(place):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def epoch(
    kind: str, place: Path, arguments: argparse.Namespace
) -> tuple[float, float, float, float]:
    """Read every clip once: (seconds to the first example, seconds, examples/s, MB/s)."""
    loader = OmegaConf.to_container(OmegaConf.load(conf_folder() / "data" / "loader.yaml"))
    config = {**loader, "_target_": TARGETS[kind], "root": str(place), "split": None}
    began = time.perf_counter()
    crops, _ = build_data(config, round(arguments.crop * arguments.rate), arguments.rate)
    total = sum(path.stat().st_size for path in files_of(place) if path.suffix != ".jsonl")
    count = len(crops) if kind == "folder" else crops.order.count_all()
    feed = DataLoader(crops, batch_size=16, sampler=range(count), num_workers=arguments.workers)
    first = 0.0
    for _ in feed:
        first = first or time.perf_counter() - began
    seconds = time.perf_counter() - began
    return first, seconds, count / seconds, total / 1e6 / seconds


if __name__ == "__main__":
    main()
