"""`wavediff vocode`: convert mel spectrograms, or audio by copy synthesis, to audio."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wavediff.cli import run
from wavediff.commands.arguments import ANY_MODEL, Parser, placed, positive_int, require_model
from wavediff.commands.corpus import EXAMPLES as CORPUS
from wavediff.commands.corpus import Outcome, Work, add_corpus, require_corpus, shared
from wavediff.commands.manifest import Manifest
from wavediff.commands.outputs import (
    SUBTYPES,
    interruptible,
    missing_outputs,
    plan_outputs,
    report_failures,
    require_format,
    subtype,
)
from wavediff.commands.pipes import piped
from wavediff.commands.progress import audio_bar, no_bar
from wavediff.commands.vocode_jobs import MEL_SCALES, batches, jobs_of, vocode_timed
from wavediff.errors import UserError
from wavediff.inputs import AUDIO_SUFFIXES, MELS_READ, find_audio

if TYPE_CHECKING:
    from wavediff.tasks.vocoder import Vocoder

FORMATS = ("wav", "flac")
DESCRIPTION = """\
Convert mel spectrograms to audio with a trained vocoder. Audio files are analysed and synthesised
again (copy synthesis): resampled to the model's rate, several channels averaged to one.
"""

EXAMPLES = (
    """\
examples:
  wavediff vocode mel.npy -o speech.wav
  wavediff vocode speech.wav -o again.wav
  wavediff vocode mels/ -o audio/ --checkpoint runs/ljspeech --steps 6
  wavediff vocode mels/ -o audio/ --ray auto --manifest results.jsonl
  wavediff vocode 'tts/*.npy' more.safetensors -o audio/ --format flac --bits 24

A mel is one array [n_mels, frames], in a .npy, .npz, .pt or .safetensors file, from the model's own
front-end (`wavediff mel` makes them).
Values on another scale are recognised where they can be, and refused; --mel-scale converts them:
  sym4, pos4, sym1, pos1    [-4, 4], [0, 4], [-1, 1], [0, 1] of Tacotron forks: 100 dB below 20
  ln, log10, db, linear     logarithms, 20 log10 and none, of magnitudes
  power, power-ln, power-db librosa's melspectrogram, its natural logarithm, and power_to_db
The model's own scale, given by name, is taken as it is, however loud.
A folder's structure is kept below OUT. Outputs that exist are kept, so the same command resumes a
folder that was interrupted; --overwrite replaces them. The same seed gives the same audio,
independent of the batch and the length of the input. Exit code 2: some input failed.

"""
    + CORPUS
)


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 2 when an input of several failed."""
    arguments = parse(argv)
    require_corpus(arguments)
    with piped(arguments, output=f".{arguments.format or 'wav'}"):
        return vocode_all(arguments)


def vocode_all(arguments: argparse.Namespace) -> int:
    """All inputs; the exit code."""
    files = find_audio(arguments.paths, suffixes=(*AUDIO_SUFFIXES, *MELS_READ))
    suffixes = sorted(
        (f".{f}" for f in FORMATS), key=lambda s: s != f".{arguments.format or 'wav'}"
    )
    targets = plan_outputs(files, arguments.paths, arguments.output, suffixes)
    require_format(arguments.format, targets)
    subtype(arguments.bits, targets)
    require_model(arguments)
    manifest = Manifest(arguments.manifest)
    manifest.require(files)
    targets = shared(targets, arguments.shard)
    missing = missing_outputs(targets, arguments.overwrite)
    manifest.begin(targets, missing)
    if not missing:
        return 0
    with interruptible():
        if arguments.ray is not None:
            from wavediff.commands.corpus_files import on_ray

            at_once = arguments.batch_size or 1
            failures = on_ray(arguments, worker, missing, manifest, at_once)
        else:
            failures = vocode_here(missing, arguments, manifest)
    if len(missing) == 1 and failures:
        raise UserError(*failures.values())
    if len(missing) > 1:
        done = len(missing) - len(failures)
        print(f"{done} of {len(missing)} files vocoded into {arguments.output}", file=sys.stderr)
    return report_failures(list(failures.values()))


def vocode_here(
    pairs: Sequence[tuple[Path, Path]], arguments: argparse.Namespace, manifest: Manifest
) -> dict[Path, str]:
    """Vocode in this process; returns a sentence for each target that failed."""
    vocoder, options = load_model(arguments)
    jobs, failures = jobs_of(pairs, vocoder)
    for source, target in pairs:
        if target in failures:
            manifest.add(source, target, Outcome(error=failures[target]))
    seconds = vocoder.mel.hop_length / vocoder.sample_rate
    total = sum(job.frames for job in jobs) * seconds
    with audio_bar("vocode", total) as progress:
        for batch in batches(jobs, options["batch_size"]):
            done = vocode_timed(vocoder, batch, options, progress)
            for job in batch:
                manifest.add(job.source, job.target, done[job.target])
            failures |= {target: d.error for target, d in done.items() if d.error is not None}
    return failures


def worker(arguments: argparse.Namespace) -> Work:
    """Load the model; what is returned vocodes files, those of one length together."""
    vocoder, options = load_model(arguments)

    def work(pairs: Sequence[tuple[Path, Path]]) -> dict[Path, Outcome]:
        jobs, failures = jobs_of(pairs, vocoder)
        done = {target: Outcome(error=sentence) for target, sentence in failures.items()}
        for batch in batches(jobs, options["batch_size"]):
            done |= vocode_timed(vocoder, batch, options, no_bar())
        return done

    return work


def load_model(arguments: argparse.Namespace) -> tuple[Vocoder, dict]:
    """The vocoder, and how it is used."""
    from wavediff.tasks.vocoder import Vocoder

    vocoder = placed(Vocoder.from_pretrained(arguments.checkpoint), arguments)
    if arguments.mel_iterations is not None:
        vocoder.mel_iterations = arguments.mel_iterations
    return vocoder, {
        "sampler": vocoder.with_sampler(arguments.sampler, arguments.steps),
        "seed": arguments.seed,
        "label": vocoder.label_number(arguments.label),
        "scale": arguments.mel_scale,
        "subtype": SUBTYPES[arguments.bits],
        "batch_size": arguments.batch_size or (8 if vocoder.device.type == "cuda" else 1),
    }


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser("vocode", DESCRIPTION, EXAMPLES)
    parser.add_paths("mels, audio files")
    parser.add_output("a .wav or .flac file or - (stdout) for one input, or a folder")
    parser.add_checkpoint(ANY_MODEL, default="vocoder-en-22k")
    parser.add_sampling()
    parser.add_precision()
    parser.add_mel_iterations()
    parser.add_argument(
        "--mel-scale",
        choices=MEL_SCALES,
        metavar="NAME",
        help=f"of the values of mels, see below: {', '.join(MEL_SCALES)} (default: the model's)",
    )
    parser.add_argument(
        "--label",
        "--speaker",
        metavar="NAME",
        help="number or name of the speaker or class, for a model that has several",
    )
    parser.add_option(
        "--batch-size",
        positive_int,
        "N",
        "mels of one length at a time (default: 8 on a GPU, 1 on a CPU)",
    )
    parser.add_argument("--format", choices=FORMATS, help="of the files in a folder (default: wav)")
    parser.add_bits()
    add_corpus(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(run(main))
