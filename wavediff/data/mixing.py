"""Noisy recordings from clean speech, noise and rooms: noisy = clip(h * speech + g noise).

The target is the speech near the speaker, convolved with the direct sound and early reflections of
the room, at the bandwidth and level of the recording.

The signal-to-noise ratio is a simplified form of ITU-T P.56: the power of the speech, with
reverberation, is the mean over active frames of 20 ms, those within 40 dB of the loudest; that of
the noise is the mean over all time.
"""

import math
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from functools import lru_cache
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
import torch
from scipy import fft

from wavediff.data import rooms
from wavediff.data.audio import BadAudio, read_audio
from wavediff.data.folder import gather
from wavediff.data.loader import check, is_number, is_range
from wavediff.data.noises import NOISES
from wavediff.data.resampling import resample
from wavediff.data.source import Clip, scan
from wavediff.data.utterances import MAX_GAIN, Utterances
from wavediff.errors import UserError, shorten

Value = TypeVar("Value")

KINDS = ("recorded", "babble", "procedural")
PROBABILITIES = (
    *("response", "second", "colour", "room_noise", "room", "simulated"),
    *("band", "clip", "clean", "silence"),
)
POSITIVE = ("speed", "noise_speed", "voices", "rt60")
FRAME_SECONDS = 0.02  # of the detection of activity
ACTIVITY = 1e-4  # threshold relative to the power of the loudest frame: -40 dB
MIN_POWER = 1e-6  # floor for the power of speech, so that noise over silence has a level too
MAX_SECONDS = 30.0  # longer recordings of noise become several clips and are drawn more often
FADE_SECONDS = 0.05  # cross-fade where a short recording is repeated


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


class Mixer:
    """Adds noise and reverberation to clean speech.

    Args:
        settings: the settings.
        sample_rate: in Hz.
        voices: clean utterances for babble.
        numbers: of the utterances to draw from, possibly repeated; None for all.
        cache: keep the decoded noise in memory.

    Raises:
        UserError: if a folder of noises or rooms has no usable audio.
    """

    def __init__(
        self,
        settings: Mixing,
        sample_rate: int,
        voices: Utterances,
        numbers: Sequence[int] | np.ndarray | None = None,
        cache: bool = False,
    ):
        self.settings = settings
        self.sample_rate = sample_rate
        self.voices = voices
        self.numbers = np.arange(len(voices)) if numbers is None else np.asarray(numbers)
        folders = _scan("noise", settings.noise)
        self.noises = Utterances([*chain(*folders)], sample_rate, cache=cache)
        places = iter(range(len(self.noises)))
        self.noise_folders = [[*islice(places, len(clips))] for clips in folders]
        self.rooms = _scan("rooms", settings.rooms)
        self.kinds = dict(settings.kinds)
        if not self.noises.clips:
            self.kinds["recorded"] = 0
        if not any(self.kinds.values()):
            raise UserError(
                "data.mix.kinds allows recorded noise only, but data.mix.noise is not set. Set "
                "data.mix.noise to a folder."
            )

    def with_settings(self, settings: Mixing) -> "Mixer":
        """Return a mixer with other settings and the same recordings."""
        other = object.__new__(Mixer)
        other.__dict__.update(self.__dict__, settings=settings)
        return other

    def __call__(
        self,
        speech: np.ndarray,
        rng: np.random.Generator,
        label: int | None = None,
        length: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mix one item.

        Args:
            speech: clean speech, float32 ``[time]``.
            rng: the source of all randomness.
            label: the speaker, if known, who is left out of the babble.
            length: of the result, in samples; None for that of ``speech``. A changed speed needs
                more or less speech than that.

        Returns:
            (clean, noisy), float32 ``[length]`` each.
        """
        settings, rate = self.settings, self.sample_rate
        length = len(speech) if length is None else length
        speech = at_speed(speech, _uniform(settings.speed, rng), length, rate)
        if rng.random() < settings.response:
            speech = coloured(speech, settings.response_db, rate, rng)
        special = rng.random()
        if special < settings.silence:
            speech = np.zeros_like(speech)
        clean = speech
        if rng.random() < settings.room:
            speech, clean = self._room(rng).apply(speech, round(settings.early * rate))
        noise = np.zeros_like(speech)
        if not settings.silence <= special < settings.silence + settings.clean:
            noise = self._noise(len(speech), rng, label)
        if rng.random() < settings.band:
            edge = float(rng.choice(settings.band_hz))
            clean_is_speech = clean is speech
            speech, noise = low_pass(speech, edge, rate), low_pass(noise, edge, rate)
            clean = speech if clean_is_speech else low_pass(clean, edge, rate)
        noisy = speech + noise_gain(speech, noise, _uniform(settings.snr_db, rng), rate) * noise
        if rng.random() < settings.clip:
            limit = np.abs(noisy).max() * np.float32(10 ** (_uniform(settings.clip_db, rng) / 20))
            noisy = np.clip(noisy, -limit, limit)
        peak = float(np.abs(noisy).max())
        level = 10 ** (_uniform(settings.level_db, rng) / 20)
        gain = np.float32(min(level / max(peak, 1e-9), MAX_GAIN))
        return clean * gain, noisy * gain

    def _noise(self, length: int, rng: np.random.Generator, label: int | None) -> np.ndarray:
        """Draw noise, float32 ``[length]``, of power 1 or silent."""
        settings = self.settings
        noise = self._one_noise(length, rng, label)
        if rng.random() < settings.second:
            gain = np.float32(10 ** (_uniform(settings.second_db, rng) / 20))
            noise = noise + gain * self._one_noise(length, rng, label)
        if rng.random() < settings.colour:
            noise = coloured(noise, settings.colour_db, self.sample_rate, rng)
        if rng.random() < settings.room_noise:
            noise = self._room(rng).around(noise)
        return _unit(noise)

    def _one_noise(self, length: int, rng: np.random.Generator, label: int | None) -> np.ndarray:
        match _choose(self.kinds, rng):
            case "recorded":
                first = _one_of(_one_of(self.noise_folders, rng), rng)
                order = (*range(first, len(self.noises)), *range(first))
                audio = self.noises.read_first(order)[1][0].numpy()
                speed = _uniform(self.settings.noise_speed, rng)
                part = cut(
                    audio, math.ceil(speed * length), int(FADE_SECONDS * self.sample_rate), rng
                )
                noise = at_speed(part, speed, length, self.sample_rate)
            case "babble":
                noise = self._babble(length, rng, label)
            case _:
                make = NOISES[_choose(self.settings.procedural, rng)]
                noise = make(length, self.sample_rate, rng)
        return _unit(noise - noise.mean())

    def _babble(self, length: int, rng: np.random.Generator, label: int | None) -> np.ndarray:
        """Mix several voices, with levels within 5 dB and speeds within 15 % of the recorded."""
        low, high = self.settings.voices
        count = int(rng.integers(low, high + 1))
        drawn = rng.choice(self.numbers, size=4 * count)
        others = [n for n in drawn if label is None or self.voices.clips[n].label != label]
        out, fade = np.zeros(length, np.float32), int(FADE_SECONDS * self.sample_rate)
        for number in (others or drawn)[:count]:
            audio = self.voices.read_first(chain([number], self.numbers))[1][0].numpy()
            speed = rng.uniform(0.85, 1.15)
            voice = cut(audio, math.ceil(speed * length), fade, rng)
            gain = 10 ** (rng.uniform(-5, 5) / 20)
            gain /= np.sqrt(max(active_power(voice, self.sample_rate), MIN_POWER))
            out += np.float32(gain) * at_speed(voice, speed, length, self.sample_rate)
        return out

    def _room(self, rng: np.random.Generator) -> rooms.Room:
        settings = self.settings
        if self.rooms and rng.random() >= settings.simulated:
            room = _recorded_room(_one_of(_one_of(self.rooms, rng), rng), self.sample_rate)
            if room is not None:
                return room
        return rooms.simulated(self.sample_rate, _uniform(settings.rt60, rng), rng)


def active_power(speech: np.ndarray, sample_rate: int) -> float:
    """Return the mean square of ``[time]`` over frames of 20 ms within 40 dB of the loudest."""
    size = min(max(1, round(FRAME_SECONDS * sample_rate)), len(speech))
    frames = speech[: len(speech) // size * size].reshape(-1, size)
    power = np.einsum("ft,ft->f", frames, frames, dtype=np.float64) / size
    return float(power[power >= ACTIVITY * power.max()].mean())


def noise_gain(
    speech: np.ndarray, noise: np.ndarray, snr_db: float, sample_rate: int
) -> np.float32:
    """Return the gain of ``noise`` ``[time]`` for ``snr_db`` below the active speech ``[time]``.

    It is 0 for silent noise.
    """
    power = float(np.mean(np.square(noise, dtype=np.float64)))
    if power < 1e-12:
        return np.float32(0)
    wanted = max(active_power(speech, sample_rate), MIN_POWER) / 10 ** (snr_db / 10)
    return np.float32(np.sqrt(wanted / power))


def cut(audio: np.ndarray, length: int, fade: int, rng: np.random.Generator) -> np.ndarray:
    """Cut a random part ``[length]`` of ``[time]``.

    Short audio is repeated with cross-fades of ``fade`` samples.
    """
    if len(audio) >= length:
        start = int(rng.integers(len(audio) - length + 1))
        return audio[start : start + length]
    fade = min(fade, len(audio) // 2)
    period = audio[: len(audio) - fade].copy()
    if fade:
        angle = np.linspace(0, np.pi / 2, fade, dtype=np.float32)  # equal power
        period[:fade] = np.sin(angle) * audio[:fade] + np.cos(angle) * audio[-fade:]
    return np.resize(np.roll(period, -int(rng.integers(len(period)))), length)


def at_speed(audio: np.ndarray, speed: float, length: int, sample_rate: int) -> np.ndarray:
    """Play ``[time]`` at ``speed`` times its speed; cut or pad with zeros to ``[length]``."""
    if speed != 1:
        part = torch.tensor(audio[: math.ceil(speed * length)])
        # medium quality: its errors are inaudible here, and every item of a batch comes this way
        audio = resample(part, speed * sample_rate, sample_rate, "MQ").numpy()
    return np.pad(audio[:length], (0, max(0, length - len(audio))))


def coloured(
    audio: np.ndarray, max_db: float, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Filter ``[time]`` by a random smooth response, drawn per octave within +-``max_db``."""
    frequency = fft.rfftfreq(len(audio), 1 / sample_rate)
    octaves = 62.5 * 2.0 ** np.arange(max(int(np.log2(sample_rate / 62.5)), 2))
    gains = 10 ** (rng.uniform(-max_db, max_db, len(octaves)) / 20)
    gain = np.interp(frequency, octaves, gains).astype(np.float32)
    return fft.irfft(fft.rfft(audio) * gain, len(audio))


def low_pass(audio: np.ndarray, edge: float, sample_rate: int) -> np.ndarray:
    """Low-pass ``[time]`` at ``edge`` Hz (-6 dB), with zero phase."""
    if edge >= sample_rate / 2:
        return audio
    size = fft.next_fast_len(len(audio) + sample_rate // 16, real=True)
    frequency = fft.rfftfreq(size, 1 / sample_rate)
    place = np.clip((frequency / edge - 0.95) / 0.1, 0, 1)
    gain = (0.5 + 0.5 * np.cos(np.pi * place)).astype(np.float32)
    return fft.irfft(fft.rfft(audio, size) * gain, size)[: len(audio)]


def _scan(name: str, place: str | Sequence[str] | None) -> list[list[Clip]]:
    """Return the clips of each folder.

    Folders are drawn with equal probability, whatever the number of their recordings; one that is
    named twice, with twice the probability.
    """
    if place is None:
        return []
    folders: list[str | list[str]]
    folders = [place] if isinstance(place, str | os.PathLike) else [*place] or [[]]
    sources = [gather(folder, False, f"data.mix.{name}") for folder in folders]
    return [[clip for clip in scan(source, 0.01, MAX_SECONDS)[0] if clip] for source in sources]


def _one_of(values: Sequence[Value], rng: np.random.Generator) -> Value:
    return values[int(rng.integers(len(values)))]


def _uniform(limits: Sequence[float], rng: np.random.Generator) -> float:
    low, high = limits
    return rng.uniform(low, high)


@lru_cache(maxsize=1024)
def _recorded_room(clip: Clip, sample_rate: int) -> rooms.Room | None:
    """Read the response in the first channel; None with a warning if it cannot be decoded."""
    try:
        audio, _ = read_audio(clip.path, sample_rate, mono=False)
    except BadAudio as error:
        print(f"data: skipped while training: {error}", file=sys.stderr)
        return None
    return rooms.recorded(audio[0].numpy(), sample_rate)


def _choose(shares: Mapping[str, float], rng: np.random.Generator) -> str:
    place = rng.random() * sum(shares.values())
    chosen = [name for name, share in shares.items() if share > 0]
    for name in chosen:
        place -= shares[name]
        if place < 0:
            return name
    return chosen[-1]


def _unit(audio: np.ndarray) -> np.ndarray:
    """Scale to power 1, as float32; silence stays silent."""
    power = float(np.mean(np.square(audio, dtype=np.float64)))
    return (audio / max(np.sqrt(power), 1e-6)).astype(np.float32)


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
