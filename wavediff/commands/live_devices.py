"""The microphone and the loudspeaker of ``wavediff live``: by index or name, and their settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from wavediff.errors import UserError, listed, shorten

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS = ("input", "output")
USUAL_RATES = (48_000, 44_100)  # Hz, tried after the devices' own
MOST_CANDIDATES = 12

Callback = Callable[["NDArray[np.float32]", "NDArray[np.float32]", bool, bool], None]


@dataclass(frozen=True)
class Device:
    """What the audio system knows of a device; ``rate`` in Hz, channels that it has at most."""

    index: int
    name: str
    host: str
    inputs: int
    outputs: int
    rate: int

    def channels(self, kind: str) -> int:
        """The most channels as an ``"input"`` or ``"output"``."""
        return self.inputs if kind == "input" else self.outputs

    def __str__(self) -> str:
        return f"{self.index} {self.name} ({self.host})"


@dataclass(frozen=True)
class Setup:
    """What is opened: mono is played on all ``output_channels``; ``latency`` is low or high."""

    input: Device
    output: Device
    sample_rate: int
    channels: int
    output_channels: int
    latency: str = "low"


class OpenAudio(Protocol):
    """Devices that run: ``latency`` is theirs in seconds, both together."""

    latency: float

    @property
    def active(self) -> bool: ...


class Audio(Protocol):
    """An audio system: ``PortAudio``, or a simulated one."""

    def devices(self) -> list[Device]: ...

    def default(self, kind: str) -> int:
        """Index of the default device, or -1."""
        ...

    def refusal(self, setup: Setup) -> str | None:
        """Why the devices do not take the rate and channels, or None if they do."""
        ...

    def open(
        self, setup: Setup, block: int, callback: Callback
    ) -> AbstractContextManager[OpenAudio]:
        """Run the devices within the context.

        Args:
            setup: the devices.
            block: samples of each call.
            callback: called with the input ``[block, channels]``, the output ``[block,
                output_channels]`` to be filled, and whether input or output was lost before.
        """
        ...


def device_table(audio: Audio) -> str:
    """A line for each device; > marks the default input, < the default output."""
    devices = audio.devices()
    if not devices:
        return NO_DEVICES
    defaults = [audio.default(kind) for kind in KINDS]
    width = max(len(device.name) for device in devices)
    return "\n".join(
        f"{'>' if device.index == defaults[0] else ' '}"
        f"{'<' if device.index == defaults[1] else ' '} "
        f"{device.index:3d}  {device.name:{width}}  {device.host}: {device.inputs} in, "
        f"{device.outputs} out, {device.rate} Hz"
        for device in devices
    )


NO_DEVICES = (
    "PortAudio finds no audio device: on Linux with PulseAudio or PipeWire install "
    "libasound2-plugins (or pipewire-alsa)"
)


def find_device(audio: Audio, kind: str, wanted: str | None) -> Device:
    """The device of --input or --output.

    Args:
        audio: the audio system.
        kind: ``"input"`` or ``"output"``.
        wanted: an index, a name or a part of one, in any case; None is the default device.

    Raises:
        UserError: where there is none or more than one, with the candidates.
    """
    devices = [device for device in audio.devices() if device.channels(kind)]
    if not devices:
        raise UserError(f"there is no {kind} device. {NO_DEVICES}")
    if wanted is None:
        default = audio.default(kind)
        found = [device for device in devices if device.index == default]
        if not found:
            raise UserError(f"there is no default {kind}: give --{kind} {_candidates(devices)}")
    elif wanted.isdecimal():
        found = [device for device in devices if device.index == int(wanted)]
    else:
        low = wanted.lower()
        found = [device for device in devices if device.name.lower() == low]
        found = found or [device for device in devices if low in device.name.lower()]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(
            f"--{kind} {shorten(wanted)}: there is no such {kind}; give {_candidates(devices)}"
        )
    raise UserError(
        f"--{kind} {shorten(wanted)} is ambiguous: give the index of one of {_candidates(found)}"
    )


def _candidates(devices: Sequence[Device]) -> str:
    return listed(devices, MOST_CANDIDATES)


def plan(
    audio: Audio,
    input: str | None,
    output: str | None,
    rate: int | None,
    channels: int,
    latency: str = "low",
) -> Setup:
    """Choose devices, rate and channels that go together.

    Args:
        audio: the audio system.
        input, output: see ``find_device``.
        rate: in Hz; None takes the first that both devices have of the input's own, the output's
            own and the usual ones.
        channels: that are recorded and played; one is played on two where the output has them.
        latency: of the devices, "low" or "high".

    Raises:
        UserError: for devices that there are not, or settings that they do not have.
    """
    source, sink = find_device(audio, "input", input), find_device(audio, "output", output)
    for kind, device in zip(KINDS, (source, sink), strict=True):
        if device.channels(kind) < channels:
            raise UserError(
                f"--channels {channels}: {kind} {device} has {device.channels(kind)} at most"
            )
    out = channels if channels > 1 else min(2, sink.outputs)
    rates = [rate] if rate is not None else _distinct([source.rate, sink.rate, *USUAL_RATES])
    reasons = {}
    for candidate in rates:
        setup = Setup(source, sink, candidate, channels, out, latency)
        reason = audio.refusal(setup)
        if reason is None:
            return setup
        reasons[candidate] = reason
    tried = "; ".join(f"{candidate} Hz: {reason}" for candidate, reason in reasons.items())
    raise UserError(
        f"input {source} and output {sink} do not run together ({tried}): give another --rate, "
        "--channels, --input or --output"
    )


def _distinct(rates: Iterable[int]) -> list[int]:
    return list(dict.fromkeys(rates))
