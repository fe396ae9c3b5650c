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
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain, islice
from typing import TypeVar

import numpy as np

from wavediff.data import rooms
from wavediff.data.audio import BadAudio, read_audio
from wavediff.data.augment import (
    MIN_POWER,
    active_power,
    at_speed,
    coloured,
    cut,
    low_pass,
    noise_gain,
    unit_power,
)
from wavediff.data.folder import gather
from wavediff.data.mixing_settings import Mixing
from wavediff.data.noises import NOISES
from wavediff.data.source import Clip, scan
from wavediff.data.utterances import MAX_GAIN, Utterances
from wavediff.errors import UserError

Value = TypeVar("Value")

MAX_SECONDS = 30.0  # longer recordings of noise become several clips and are drawn more often
FADE_SECONDS = 0.05  # cross-fade where a short recording is repeated


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
        return unit_power(noise)

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
        return unit_power(noise - noise.mean())

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
