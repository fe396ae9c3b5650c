"""The settings of ``conf/data/mixing.yaml`` and their checks."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from wavediff.data.loader import check, is_number, is_range
from wavediff.data.noises import NOISES
from wavediff.errors import UserError, shorten

KINDS = ("recorded", "babble", "procedural")
PROBABILITIES = (
    *("response", "second", "colour", "room_noise", "room", "simulated"),
    *("band", "clip", "clean", "silence"),
)
POSITIVE = ("speed", "noise_speed", "voices", "rt60")


@dataclass(frozen=True)
class Mixing:
    """The settings of ``conf/data/mixing.yaml``, which documents them.

    Raises:
        UserError: for an invalid value.
    """

    noise: str | Sequence[str] | None
    rooms: str | Sequence[str] | None
    speed: Sequence[float]
    response: float
    response_db: float
    noise_speed: Sequence[float]
    snr_db: Sequence[float]
    level_db: Sequence[float]
    kinds: Mapping[str, float]
    procedural: Mapping[str, float]
    voices: Sequence[int]
    second: float
    second_db: Sequence[float]
    colour: float
    colour_db: float
    room: float
    room_noise: float
    simulated: float
    rt60: Sequence[float]
    early: float
    band: float
    band_hz: Sequence[float]
    clip: float
    clip_db: Sequence[float]
    clean: float
    silence: float

    def __post_init__(self) -> None:
        for name, example in {
            "speed": "[0.9, 1.1]",
            "noise_speed": "[0.7, 1.4]",
            "snr_db": "[-5, 20]",
            "level_db": "[-40, 0]",
            "voices": "[3, 8]",
            "second_db": "[-10, 10]",
            "rt60": "[0.1, 0.8]",
            "clip_db": "[-8, -1]",
        }.items():
            value = getattr(self, name)
            good = is_range(value) and (name not in POSITIVE or value[0] > 0)
            check(f"mix.{name}", value, good, example)
        for name in PROBABILITIES:
            value = getattr(self, name)
            check(f"mix.{name}", value, is_number(value) and 0 <= value <= 1, "0.1, from 0 to 1")
        for name, example in {"response_db": "6", "colour_db": "8", "early": "0.05"}.items():
            value = getattr(self, name)
            check(f"mix.{name}", value, is_number(value) and value >= 0, example)
        edges = self.band_hz
        good = isinstance(edges, Sequence) and all(is_number(hz) and hz > 0 for hz in edges)
        check("mix.band_hz", edges, good and bool(edges), "[3400, 7000]")
        check("mix.voices", self.voices, all(type(n) is int for n in self.voices), "[3, 8]")
        check("mix.clip_db", self.clip_db, self.clip_db[1] <= 0, "[-8, -1]")
        check("mix.silence", self.silence, self.clean + self.silence <= 1, "0.02")
        _check_shares("kinds", self.kinds, KINDS)
        _check_shares("procedural", self.procedural, NOISES)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "Mixing":
        """Make settings from a configuration.

        Raises:
            UserError: for an unknown or missing key, or an invalid value.
        """
        known = [field.name for field in fields(cls)]
        _check_keys("mix", settings, known)
        absent = [name for name in known if name not in settings]
        if absent:
            raise UserError(
                f"data.mix lacks {', '.join(absent)}. Add mixing to the defaults of the data "
                "configuration, as conf/data/libri_noise.yaml does."
            )
        return cls(**settings)

    def for_validation(self) -> "Mixing":
        """Return settings with speech and noise in every item, and the speech unchanged.

        Metrics need both signals.
        """
        return replace(self, clean=0.0, silence=0.0, speed=(1.0, 1.0), response=0.0)


def _check_keys(name: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    for key in given:
        if key not in known:
            close = get_close_matches(str(key), list(known), n=1)
            names = ", ".join(known)
            hint = f"did you mean data.{name}.{close[0]}?" if close else f"use one of {names}."
            raise UserError(f"unknown key data.{name}.{shorten(key)}: {hint}")


def _check_shares(name: str, shares: Mapping[str, float], known: Collection[str]) -> None:
    example = f"{{{next(iter(known))}: 1}}"
    check(f"mix.{name}", shares, isinstance(shares, Mapping), example)
    _check_keys(f"mix.{name}", shares, known)
    good = all(is_number(share) and share >= 0 for share in shares.values())
    check(f"mix.{name}", shares, good and any(shares.values()), example)
