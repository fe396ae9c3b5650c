"""`wavediff pack`: pack audio files into shards."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from wavediff.cli import run
from wavediff.commands.arguments import Parser, positive_int
from wavediff.commands.outputs import interruptible, report_failures, require_writable
from wavediff.errors import UserError, shorten
from wavediff.inputs import expanded

if TYPE_CHECKING:
    from wavediff.data.packing import Recording
    from wavediff.data.shard_manifest import Manifest, ShardRow

DESCRIPTION = "Pack audio files into shards: tar files of the WebDataset layout."

EXAMPLES = """\
examples:
  wavediff pack recordings/ -o shards/
  wavediff pack speakers/ -o shards/ --labels --size 1G
  wavediff pack clean/ --noisy noisy/ -o shards/
  wavediff pack --check shards/
  wavediff train recipe=folder data=webdataset data.root=shards/

A clip is KEY.flac and KEY.json (path, sample rate, seconds, label), with KEY.txt where a text lies
beside the recording. Uncompressed audio becomes FLAC, sample for sample; other files are copied.
shards.json has the SHA-256, clips and seconds of every shard; SHARD.jsonl where its clips are. The
same command resumes after a stop, even by kill -9, to the same bytes.
"""

MANIFEST = "shards.json"
UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
SMALLEST = 10_000  # bytes of a shard
THREADS = 4
DIGITS = 6  # of the number of a shard


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 2 when a file failed, or a shard is damaged."""
    arguments = parse(argv)
    if arguments.check:
        return check(arguments)
    if arguments.output is None:
        raise UserError("give -o DIR, the folder of the shards")
    if not arguments.paths:
        raise UserError("give the folder of the audio files")
    with interruptible():
        return pack_all(arguments)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("pack", DESCRIPTION, EXAMPLES)
    what = "folder of audio files, or a manifest that lists them (CSV, JSON lines)"
    parser.add_argument("paths", nargs="*", metavar="PATH", help=what)
    parser.add_argument("-o", "--output", type=expanded, metavar="DIR", help="folder of the shards")
    parser.add_argument("--overwrite", action="store_true", help="begin anew: remove its shards")
    parser.add_argument("--check", action="store_true", help="compare shards with their checksums")
    parser.add_option("--size", size, "BYTES", "most bytes of a shard (default: 500M)")
    parser.add_option("--clips", positive_int, "N", "most clips of a shard (default: no limit)")
    parser.add_argument(
        "--labels", action="store_true", help="the first folder below PATH is the label of a file"
    )
    parser.add_argument("--noisy", metavar="DIR", help="folder of noisy recordings of each file")
    parser.add_argument(
        "--keep-order",
        action="store_true",
        help="pack in the order of the paths (default: a random one, so that a shard is a sample "
        "of the corpus)",
    )
    arguments = parser.parse_args(argv)
    arguments.size = arguments.size or size("500M")
    return arguments


def size(text: str) -> int:
    """An argparse type: a number of bytes, such as 500M."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", text.strip().upper())
    if match is None:
        raise argparse.ArgumentTypeError(f"{shorten(text)!r} is not a size: give one such as 500M")
    number = int(float(match[1]) * UNITS[match[2]])
    if not SMALLEST <= number < 1 << 62:
        raise argparse.ArgumentTypeError(f"{shorten(text)!r} is out of range (10K or more)")
    return number


def check(arguments: argparse.Namespace) -> int:
    """Compare the shards with their manifest; the exit code."""
    given = list(arguments.paths) + ([] if arguments.output is None else [arguments.output])
    if len(given) != 1:
        raise UserError("--check takes one folder of shards")
    folder = expanded(given[0])
    if not (folder / MANIFEST).exists():
        raise UserError(f"{folder} has no {MANIFEST}: give a folder that `wavediff pack` wrote")

    from wavediff.data.shard_manifest import check_shard, read_manifest

    manifest = read_manifest(folder)
    assert manifest is not None
    found = [(row, check_shard(folder, row)) for row in manifest.shards]
    failures = [f"{folder / row.shard} {problem}" for row, problem in found if problem]
    if not manifest.complete:
        failures.append(f"{folder} is not complete: run the same `wavediff pack` again")
    good = sum(not problem for _, problem in found)
    print(f"{folder}: {good} of {_summary(manifest)} as packed")
    return report_failures(failures)


def pack_all(arguments: argparse.Namespace) -> int:
    """Pack the inputs; the exit code."""
    folder = arguments.output
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give the name of a folder")
    require_writable(folder)
    for path in filter(None, (*arguments.paths, arguments.noisy)):
        if not expanded(path).exists():
            raise UserError(f"{path} does not exist: give a folder of audio files")

    from wavediff.data.folder import gather
    from wavediff.data.shard_manifest import Manifest, read_manifest, source_digest
    from wavediff.files import remove_left_over

    source = gather(arguments.paths, arguments.labels, "PATH", arguments.noisy)
    if source.labels is None:
        names: Sequence[str | None] = [None] * len(source.files)
    else:
        names = [(source.label_names or ())[label] for label in source.labels]
    recordings = _recordings(source.files, source.root, names, source.noisy)
    if not arguments.keep_order:
        recordings = _shuffled(recordings)
    inputs = [(r.name, r.label, *_state(r.path), *_state(r.noisy)) for r in recordings]
    options = {key: getattr(arguments, key) for key in ("size", "clips", "keep_order")}
    digest = source_digest(inputs, options)
    manifest = read_manifest(folder)
    if manifest is not None and arguments.overwrite:
        _remove(folder, manifest)
        manifest = None
    if manifest is None:
        if folder.is_dir() and any(folder.glob("*.tar")):
            raise UserError(f"{folder} has other tar files: give an empty folder")
        manifest = Manifest(digest)
        manifest.write(folder)  # by which the first shard is known after a kill
    elif manifest.source != digest:
        raise UserError(
            f"{folder} has shards of other inputs or options: give another folder, or --overwrite "
            "to begin anew"
        )
    remove_left_over(folder)
    done = sum(row.files for row in manifest.shards)
    if manifest.complete:
        print(f"{folder} is complete: give --overwrite to pack anew", file=sys.stderr)
    else:
        if done:
            print(f"resuming after {len(manifest.shards)} shards", file=sys.stderr)
        for row in pack_shards(recordings, folder, manifest, arguments.size, arguments.clips):
            print(folder / row.shard, flush=True)
    if not manifest.shards:
        failures = [row["reason"] for row in manifest.skipped]
        (folder / MANIFEST).unlink()
        with suppress(OSError):
            folder.rmdir()
        raise UserError(f"no file could be packed; the first: {failures[0]}")
    print(f"{folder}: {_summary(manifest)}", file=sys.stderr)
    return report_failures([row["reason"] for row in manifest.skipped])


def pack_shards(
    recordings: Sequence[Recording],
    folder: Path,
    manifest: Manifest,
    most_bytes: int,
    most_clips: int | None,
) -> Iterator[ShardRow]:
    """Pack what the manifest does not have yet, and yield each shard once it is on the disk."""
    from wavediff.commands.progress import Bar
    from wavediff.data.audio import BadAudio
    from wavediff.data.packing import Packed, ShardWriter, in_order, pack
    from wavediff.data.shard_index import write_index
    from wavediff.data.shard_manifest import ShardRow, file_sha256
    from wavediff.files import atomic_path

    done = sum(row.files for row in manifest.shards)
    rest = recordings[done:]
    bar = Bar(total=len(recordings), initial=done, unit="file", delay=1)
    waiting: Packed | None = None  # did not fit into the shard before
    results = in_order(pack, rest, THREADS)
    files = 0  # inputs that are decided, of the current shard
    ended = False
    with bar:
        while not ended:
            name = f"shard-{len(manifest.shards):0{DIGITS}d}.tar"
            skipped: list[dict[str, str]] = []
            with atomic_path(folder / name) as temporary, open(temporary, "wb") as file:
                writer = ShardWriter(file)
                if waiting is not None:
                    writer.add(waiting)
                    files, waiting = 1, None
                else:
                    files = 0
                ended = True
                for recording, result in results:
                    bar.update()
                    try:
                        packed = result.result()
                    except BadAudio as error:
                        skipped.append({"path": recording.name, "reason": str(error)})
                        files += 1
                        continue
                    full = writer.size + packed.size > most_bytes
                    if writer.entries and (full or len(writer.entries) == most_clips):
                        waiting, ended = packed, False
                        break
                    writer.add(packed)
                    files += 1
                checksum = writer.close()
            if not writer.entries:
                (folder / name).unlink()
                manifest.skipped += skipped
                break
            index = (folder / name).with_suffix(".jsonl")
            write_index(index, name, writer.size, writer.index)
            row = ShardRow(
                name,
                checksum,
                writer.size,
                len(writer.entries),
                round(writer.seconds, 3),
                files,
                file_sha256(index),
            )
            manifest.shards.append(row)
            manifest.skipped += skipped
            manifest.complete = ended
            manifest.write(folder)
            yield row
    if manifest.shards and not manifest.complete:
        manifest.complete = True
        manifest.write(folder)


def _recordings(
    files: Sequence[Path],
    root: Path,
    labels: Sequence[str | None],
    noisy: Sequence[Path] | None,
) -> list[Recording]:
    """The inputs with keys that differ, which have no dot."""
    from wavediff.data.packing import Recording

    pairs: Sequence[Path | None] = noisy if noisy is not None else [None] * len(files)
    taken: set[str] = set()
    found = []
    for file, label, pair in zip(files, labels, pairs, strict=True):
        name = file.relative_to(root) if file.is_relative_to(root) else Path(file.name)
        base = str(name.with_suffix("")).replace(".", "_").lstrip("/")
        key, number = base, 1
        while key in taken:
            number += 1
            key = f"{base}-{number}"
        taken.add(key)
        found.append(Recording(key, file, str(name), label, pair))
    return found


def _shuffled(recordings: Sequence[Recording]) -> list[Recording]:
    """In an order that depends on their number alone."""
    import numpy as np

    order = np.random.default_rng(0).permutation(len(recordings))
    return [recordings[number] for number in order]


def _state(path: Path | None) -> tuple[int, ...]:
    """The size and time of a file, by which a change is known."""
    if path is None:
        return ()
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0)
    return found.st_size, found.st_mtime_ns


def _remove(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST).unlink()
    for row in manifest.shards:
        for path in (folder / row.shard, (folder / row.shard).with_suffix(".jsonl")):
            path.unlink(missing_ok=True)


def _summary(manifest: Manifest) -> str:
    hours = sum(row.seconds for row in manifest.shards) / 3600
    clips = sum(row.clips for row in manifest.shards)
    count = len(manifest.shards)
    return f"{count} shard{'s' * (count != 1)}, {clips} clips, {hours:.3g} h"


if __name__ == "__main__":
    sys.exit(run(main))
