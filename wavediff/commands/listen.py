"""`wavediff listen`: make a listening test, collect its answers and analyse them."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from wavediff.cli import run
from wavediff.commands.arguments import (
    Parser,
    name_list,
    path,
    positive_int,
    real_between,
    whole,
)
from wavediff.commands.outputs import (
    interruptible,
    report_failures,
    require_file_or_new,
    require_new,
    require_writable,
)
from wavediff.errors import UserError, shorten
from wavediff.inputs import expanded

METHODS = {  # those of wavediff.evaluation.listening.plan
    "mushra": "rate all systems of a recording beside a reference, 0 to 100 (ITU-R BS.1534-3)",
    "abx": "tell each system from the reference: is X the same as A, or as B?",
    "ab": "prefer one of two systems",
    "mos": "rate one sound at a time, 1 to 5 (ITU-T P.800)",
}
ANCHORS = ("low", "mid")
REPORT = ("index.html", "results.json", "answers.csv", "figure.png")  # FILES of its report module
MOST_SYSTEMS = 20
MOST_TEXT = 300
MOST_REPEATS = 100
LISTED = 20  # lines on stderr per kind of trouble

MAKE = f"""\
Write a listening test as one page, DIR/index.html, which needs no network and no server: open it,
or send it by mail. Files are paired by their names, as `wavediff evaluate` does.

methods:
{chr(10).join(f"  {name:8} {what}" for name, what in METHODS.items())}

MUSHRA has the hidden reference and a low-pass anchor at 3.5 kHz in each trial. The other methods
have attention trials with the anchor, by which inattentive listeners are found. All sounds get the
same loudness (ITU-R BS.1770-4). A recording that is used for the training, if there is one to
spare, is not in the test. Orders are random, by --seed and listener.

DIR/manifest.json tells which stimulus is of which system: `wavediff listen serve` reads it.
Listening tests need the package pyloudnorm: pip install "wavediff[listen]"."""

MAKE_EXAMPLES = """\
examples:
  wavediff listen make --reference clean/ --system ours=a/ --system theirs=b/ -o test/
  wavediff listen make --method ab --system ours=a/ --system theirs=b/ --trials 20 -o test/
  wavediff listen make --method abx --reference a.wav --system mp3=b.wav --repeats 16 -o test/
"""

SERVE = """\
Serve a test that `wavediff listen make` wrote, and keep the answers of its listeners in one SQLite
file, which holds the test, too: a copy of it is a backup, and `wavediff listen analyse` reads it.
Answers that were acknowledged survive a kill or a power cut. Ctrl-C ends.

Every field of what is sent is checked against the test. There is no TLS and no login: for the
internet put a proxy in front, for a local network give --host 0.0.0.0."""

SERVE_EXAMPLES = """\
examples:
  wavediff listen serve test/ --answers answers.sqlite
  wavediff listen serve test/ --answers answers.sqlite --host 0.0.0.0 --port 80
"""

ANALYSE = """\
Analyse the answers to one listening test: post-screening, means with 95 % intervals and tests. The
tables are printed; DIR gets a page (index.html), results.json, answers.csv and figure.png.

mushra, mos  means over listeners with t intervals; Wilcoxon's signed-rank test of each pair of
             systems, and of each with the reference
ab, abx      shares with Clopper-Pearson intervals; the exact binomial test

p-values are adjusted by Holm's method. Excluded are: for MUSHRA, by ITU-R BS.1534-3, who rates the
hidden reference below 90, or the mid anchor above 90, in more than 15 % of the trials; for AB and
ABX, who misses more than 15 % of the attention trials; for MOS, who rates the anchor no worse than
the reference, or everything alike."""

ANALYSE_EXAMPLES = """\
examples:
  wavediff listen analyse answers.sqlite -o report/
  wavediff listen analyse exported/ more.json -o report/
"""

ACTIONS = {
    "make": "write the page of a test",
    "serve": "serve a test, and collect the answers of its listeners",
    "analyse": "post-screening, means, tests, a figure and a page",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 2 when a file could not be used."""
    words = sys.argv[1:] if argv is None else argv
    actions: dict[str, Callable[[list[str]], int]] = {
        "make": make,
        "serve": serve,
        "analyse": analyse,
    }
    if words and words[0] in actions:
        return actions[words[0]](words[1:])
    parser = Parser("listen", overview(), "`wavediff listen ACTION --help` explains the options.\n")
    parser.usage = "wavediff listen [-h] {make,serve,analyse} ..."
    if not words or words[0].startswith("-"):
        parser.parse_args(words)
        parser.error(f"give what to do: {', '.join(ACTIONS)}")
    close = difflib.get_close_matches(words[0], ACTIONS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(ACTIONS)}"
    parser.error(f"unknown action {shorten(words[0])!r}: {hint}")


def overview() -> str:
    """What the actions do, with their options."""
    lines = [f"  {name:8} {what}" for name, what in ACTIONS.items()]
    parsers = make_parser(), serve_parser(), analyse_parser()
    usages = [parser.format_usage().removeprefix("usage: ") for parser in parsers]
    return "Listening tests: MUSHRA, ABX, AB and MOS.\n\n" + "\n".join([*lines, "", *usages])


def make_parser() -> Parser:
    """The options of ``wavediff listen make``."""
    parser = Parser("listen make", MAKE, MAKE_EXAMPLES)
    add = parser.add_option
    add("--reference", path, "PATH", "originals: a folder, or one file (mos, ab: optional)")
    parser.add_argument(
        "--system",
        action="append",
        required=True,
        type=named_system,
        metavar="NAME=PATH",
        help="a system's output: a folder, or one file; once for each system",
    )
    parser.add_argument("--method", choices=METHODS, default="mushra", help="(default: mushra)")
    parser.add_argument(
        "--anchors",
        type=anchor_names,
        metavar="NAME,NAME",
        help="low (3.5 kHz), mid (7 kHz) or none (default: low where there is a reference)",
    )
    add("--trials", positive_int, "N", "a random choice of N trials (default: all)")
    what = "present each trial of abx and ab N times"
    add("--repeats", whole(1, MOST_REPEATS), "N", what, default=1)
    what = "attention trials of abx, ab and mos"
    add("--checks", whole(0, MOST_REPEATS), "N", what, default=4)
    parser.add_argument(
        "--loudness",
        type=loudness,
        default=-23.0,
        metavar="LUFS",
        help="of all sounds, lower where one would clip; keep leaves levels (default: -23)",
    )
    parser.add_seed("choice and order of the trials")
    add("--title", text, "TEXT", "heading of the page", default="Listening test")
    add("--question", text, "TEXT", "what listeners are asked (default: as the method has it)")
    parser.add_output("folder of the page", "DIR")
    return parser


def make(words: list[str]) -> int:
    """Write a test."""
    parser = make_parser()
    args = parser.parse_args(words)
    systems = dict(args.system)
    check_make(parser, args, systems)
    given = [args.reference, *systems.values()] if args.reference else [*systems.values()]
    for place in given:
        if not place.exists():
            raise UserError(f"{place} does not exist: give a folder, or an audio file")
    for name in ("index.html", "manifest.json"):
        require_new(args.output / name, args.overwrite)

    from wavediff.evaluation.listening.make import Request, make
    from wavediff.evaluation.listening.plan import identity

    request = Request(
        args.method,
        args.reference,
        systems,
        args.anchors,
        args.trials,
        args.repeats,
        args.checks,
        args.loudness,
        args.seed,
        args.title,
        args.question or "",
    )
    with (
        interruptible(),
        tqdm(desc="listen make", unit="item", delay=1, file=sys.stderr) as progress,
    ):
        made = make(request, args.output, lambda item: progress.update())
    plan = made.plan
    lines("left out, incomplete", made.incomplete)
    lines("left out, without a reference", list(map(str, made.unmatched)))
    lines("noted", made.notes)
    checks = sum(trial.check for trial in plan.trials)
    of_these = f", {checks} of them for attention" if checks else ""
    level = "levels kept" if plan.loudness is None else f"{plan.loudness:.1f} LUFS"
    size = f"{made.page_bytes / 1e6:.1f} MB"
    print(f"{plan.method}: {len(plan.trials)} trials{of_these}, {level}, {size}", file=sys.stderr)
    print(f"test {identity(plan.encoded())}", file=sys.stderr)
    if plan.loudness is not None and plan.loudness < args.loudness - 0.05:
        print(f"{args.loudness:g} LUFS would clip a sound: all are softer", file=sys.stderr)
    print(args.output / "index.html")
    return report_failures(made.failures)


def serve_parser() -> Parser:
    """The options of ``wavediff listen serve``."""
    parser = Parser("listen serve", SERVE, SERVE_EXAMPLES)
    add = parser.add_option
    parser.add_argument("test", type=path, metavar="DIR", help="folder of the test")
    add("--answers", path, "FILE", "SQLite file, continued if it exists", required=True)
    add("--host", str, "HOST", "address (default: this machine only)", default="127.0.0.1")
    add("--port", whole(0, 65_535), "N", "0 chooses one", default=8000)
    what = "listeners whose answers are taken"
    add("--most", whole(1, 1_000_000), "N", what, default=10_000)
    what = "requests a minute of one address: more behind a proxy"
    add("--rate", whole(1, 1_000_000), "N", what, default=60)
    return parser


def serve(words: list[str]) -> int:
    """Serve a test until Ctrl-C or SIGTERM."""
    args = serve_parser().parse_args(words)
    require_file_or_new(args.answers)

    from wavediff.evaluation.listening.serve import Server, read_test
    from wavediff.evaluation.listening.store import Store

    plan, page = read_test(args.test)
    require_writable(args.answers.parent)

    def tell(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    store = Store(args.answers, plan, args.most)
    try:
        address = args.host, args.port
        with Server(address, plan, page, store, args.rate, tell) as server, interruptible():
            host = f"[{args.host}]" if ":" in args.host else args.host
            print(f"http://{host}:{server.server_address[1]}/", flush=True)
            tell(f"{store.count()} answers in {args.answers}; Ctrl-C ends")
            try:
                server.serve_forever()
            except (KeyboardInterrupt, SystemExit):
                tell(f"ended: {store.count()} answers in {args.answers}")
    finally:
        store.close()
    return 0


def analyse_parser() -> Parser:
    """The options of ``wavediff listen analyse``."""
    parser = Parser("listen analyse", ANALYSE, ANALYSE_EXAMPLES)
    what = "SQLite file of serve, exported .json, or folder of them"
    parser.add_argument("answers", nargs="+", type=path, metavar="ANSWERS", help=what)
    parser.add_argument("--no-screening", action="store_true", help="exclude nobody")
    parser.add_output("folder of the report", "DIR")
    return parser


def analyse(words: list[str]) -> int:
    """Analyse answers, and write the report."""
    args = analyse_parser().parse_args(words)
    for place in args.answers:
        if not place.exists():
            raise UserError(f"{place} does not exist: give answers of a listening test")
    for name in REPORT:
        require_new(args.output / name, args.overwrite)

    from wavediff.evaluation.listening.analysis import analyse
    from wavediff.evaluation.listening.answers import read_answers
    from wavediff.evaluation.listening.report import (
        comparison_rows,
        condition_rows,
        explanation,
        write_report,
    )
    from wavediff.evaluation.text_table import text_table

    answers = read_answers(args.answers)
    analysis = analyse(answers.plan, answers.sessions, not args.no_screening)
    lines("answered again, of whom the first answers count", answers.repeated)
    lines("excluded", [f"{shorten(name)}: {why}" for name, why in analysis.excluded.items()])
    if not analysis.listeners:
        raise UserError(
            f"all {len(answers.sessions)} listeners are excluded by the post-screening: see why "
            "above, or give --no-screening"
        )
    with interruptible():
        write_report(args.output, analysis, answers)
    count = len(analysis.listeners)
    print(f"{answers.plan.method}: {count} listener{'s' * (count != 1)}", end="")
    print(f", {len(answers.plan.trials)} trials\n")
    if analysis.conditions:
        print(text_table(condition_rows(analysis)), end="\n\n")
    if analysis.comparisons:
        print(text_table(comparison_rows(analysis)), end="\n\n")
    print(explanation(analysis))
    print(args.output / "index.html", file=sys.stderr)
    return report_failures(answers.failures)


def check_make(parser: Parser, args: argparse.Namespace, systems: dict[str, Path]) -> None:
    """See that the options fit the method, and set their defaults."""
    if len(systems) < len(args.system):
        parser.error("--system: two systems have one name")
    if args.reference is None:
        if args.method in ("mushra", "abx"):
            parser.error(f"--method {args.method} needs --reference")
        if args.method == "ab" and len(systems) < 2:
            parser.error("--method ab compares two systems: give another --system, or --reference")
        if args.anchors:
            parser.error("--anchors are made from the --reference: give that too")
        args.checks = 0
    if args.anchors is None:
        args.anchors = ["low"] if args.reference else []
    if args.method != "mushra" and "mid" in args.anchors:
        parser.error("--anchors mid is for mushra: give low or none")
    if args.method in ("mushra", "mos") and args.repeats > 1:
        parser.error("--repeats is for abx and ab: leave it out")
    if args.method == "mushra" or not args.anchors:
        args.checks = 0


def named_system(text: str) -> tuple[str, Path]:
    """An argparse type: NAME=PATH."""
    name, equals, place = text.partition("=")
    name = name.strip()
    if not (name and equals and place):
        raise argparse.ArgumentTypeError(f"{shorten(text)!r} is not NAME=PATH")
    if name.lower() in ("reference", "low anchor", "mid anchor"):
        raise argparse.ArgumentTypeError(f"{name!r} stands for another condition: give a new name")
    if len(name) > 40 or not name.isprintable():
        raise argparse.ArgumentTypeError(f"{shorten(name)!r} is not a name of 1 to 40 characters")
    return name, expanded(place)


def anchor_names(text: str) -> list[str]:
    """An argparse type: anchors separated by commas, or none."""
    names = name_list(text)
    if names == ["none"]:
        return []
    unknown = [name for name in names if name not in ANCHORS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"there is no anchor {shorten(', '.join(unknown))}; choose from low, mid and none"
        )
    return names


def loudness(text: str) -> float | None:
    """An argparse type: LUFS, or keep."""
    return None if text == "keep" else real_between(-60, 0)(text)


def text(given: str) -> str:
    """An argparse type: a line of text."""
    line = " ".join(given.split())
    if not 0 < len(line) <= MOST_TEXT or not line.isprintable():
        raise argparse.ArgumentTypeError(f"give 1 to {MOST_TEXT} characters")
    return line


def lines(heading: str, found: list[str]) -> None:
    """Print lines under a heading on stderr, if there are any."""
    if found:
        print(f"{heading} ({len(found)}):", *found[:LISTED], sep="\n  ", file=sys.stderr)
        if len(found) > LISTED:
            print(f"  and {len(found) - LISTED} more", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run(main))
