"""Recordings for listening tests, the tests that are made of them, and simulated listeners."""

import json
from pathlib import Path

import numpy as np
import soundfile

from wavediff.cli import run
from wavediff.commands import listen
from wavediff.evaluation.listening.plan import Plan, Stimulus, Trial, decode, identity

RATE = 16_000
TONES = {"clean": 500, "ours": 1000, "theirs": 2000}  # Hz, by which the sounds are told apart


def tone(frequency: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """A tone in a little noise, of which every anchor takes something away."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal(len(time))
    return 0.2 * np.sin(2 * np.pi * frequency * time) + 0.02 * noise


def write_set(folder: Path, items: int = 3, seconds: float = 1.0) -> Path:
    """Folders clean, ours and theirs with recordings that differ in their tone."""
    for name, frequency in TONES.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(items):
            soundfile.write(folder / name / f"r{i}.wav", tone(frequency, seconds), RATE)
    return folder


def words(folder: Path, *options: str, reference: bool = True) -> list[str]:
    """The command line that makes a test of ``write_set`` in the folder test."""
    given = ["--reference", f"{folder}/clean"] if reference else []
    systems = [f"--system={name}={folder}/{name}" for name in ("ours", "theirs")]
    return ["make", *given, *systems, "-o", f"{folder}/test", *options]


def made(folder: Path, *options: str, reference: bool = True) -> Plan:
    """Make a test, and return its plan."""
    assert run(listen.main, words(folder, *options, reference=reference)) == 0
    return decode((folder / "test" / "manifest.json").read_bytes(), folder)


def plan(method: str, trials: int, systems=("ours", "theirs"), checks: int = 0) -> Plan:
    """A plan without sounds, for ``simulated``."""
    made = []
    for n in range(trials + checks):
        shown = {
            "mushra": ["reference", "low anchor", "mid anchor", *systems],
            "mos": [["reference", *systems][n % (1 + len(systems))]],
            "ab": list(systems),
            "abx": ["reference", systems[0]],
        }[method]
        if n >= trials:
            shown = ["low anchor"] if method == "mos" else ["reference", "low anchor"]
        stimuli = [Stimulus(f"t{n}s{k}", c, f"sound{n}{k}") for k, c in enumerate(shown)]
        made.append(Trial(f"t{n}", f"item{n}", n >= trials, None, tuple(stimuli)))
    return Plan(method, "Test", "Well?", 0, RATE, -23.0, tuple(systems), made[0], tuple(made))


def simulated(plan: Plan, name: str, answer, rng: np.random.Generator) -> dict:
    """The JSON of a listener, as the page exports it.

    Args:
        answer: gives the rating of a condition, or of (two conditions, x) the index of the choice.
        rng: of the order of the trials and stimuli.
    """
    answers = []
    for trial in rng.permutation(np.array(plan.trials, dtype=object)):
        order = list(rng.permutation([s.id for s in trial.stimuli]))
        found = {"trial": trial.id, "order": [str(o) for o in order], "seconds": 12.5}
        conditions = [trial.condition(stimulus) for stimulus in order]
        if plan.method in ("mushra", "mos"):
            found["ratings"] = {
                str(o): int(answer(c)) for o, c in zip(order, conditions, strict=True)
            }
        else:
            x = int(rng.integers(2)) if plan.method == "abx" else None
            found["choice"] = str(order[answer(conditions, x)])
            if x is not None:
                found["x"] = str(order[x])
        answers.append(found)
    return {
        "format": "wavediff-listening-answers",
        "version": 1,
        "test": identity(plan.encoded()),
        "session": rng.bytes(16).hex(),
        "listener": name,
        "device": "headphones",
        "started": "2026-01-31T12:00:00Z",
        "finished": "2026-01-31T12:30:00Z",
        "comment": "",
        "answers": answers,
    }


def save(folder: Path, plan: Plan, sessions: list[dict]) -> Path:
    """Write the files that listeners would have saved."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, session in enumerate(sessions):
        text = json.dumps({**session, "manifest": plan.base64()})
        (folder / f"answers-{number}.json").write_text(text)
    return folder
