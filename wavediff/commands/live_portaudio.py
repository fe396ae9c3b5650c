"""PortAudio, by the package sounddevice: the only module that imports it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from wavediff.commands.live_devices import Callback, Device, OpenAudio, Setup
from wavediff.errors import UserError

DTYPE = "float32"


class PortAudio:
    """The audio devices of this machine, see ``Audio``.

    Raises:
        UserError: where sounddevice or PortAudio is not installed.
    """

    def __init__(self) -> None:
        try:
            import sounddevice
        except ImportError as error:
            raise UserError(
                'wavediff live needs the package sounddevice: pip install "wavediff[live]"'
            ) from error
        except OSError as error:  # a wheel without the library, as those for Linux are
            raise UserError(
                "wavediff live needs the library PortAudio: apt install libportaudio2 (Debian, "
                "Ubuntu), dnf install portaudio (Fedora) or pacman -S portaudio (Arch)"
            ) from error
        self._sd: Any = sounddevice

    def devices(self) -> list[Device]:
        """All devices."""
        hosts = [host["name"] for host in self._sd.query_hostapis()]
        return [
            Device(
                index=found["index"],
                name=found["name"],
                host=hosts[found["hostapi"]],
                inputs=found["max_input_channels"],
                outputs=found["max_output_channels"],
                rate=round(found["default_samplerate"]),
            )
            for found in self._sd.query_devices()
        ]

    def default(self, kind: str) -> int:
        """Index of the default ``"input"`` or ``"output"``, or -1."""
        return int(self._sd.default.device[kind == "output"])

    def refusal(self, setup: Setup) -> str | None:
        """Why the devices do not take the rate and channels, or None if they do."""
        rate = setup.sample_rate
        try:
            self._sd.check_input_settings(setup.input.index, setup.channels, DTYPE, None, rate)
            self._sd.check_output_settings(
                setup.output.index, setup.output_channels, DTYPE, None, rate
            )
        except (self._sd.PortAudioError, ValueError) as error:
            return _reason(error)
        return None

    @contextmanager
    def open(self, setup: Setup, block: int, callback: Callback) -> Iterator[OpenAudio]:
        """Run the devices within the context, see ``Audio``."""

        def call(indata: Any, outdata: Any, frames: int, time: object, status: Any) -> None:
            callback(indata, outdata, status.input_overflow, status.output_underflow)

        try:
            running = self._sd.Stream(
                samplerate=setup.sample_rate,
                blocksize=block,
                device=(setup.input.index, setup.output.index),
                channels=(setup.channels, setup.output_channels),
                dtype=DTYPE,
                latency=setup.latency,
                callback=call,
            )
            running.start()
        except self._sd.PortAudioError as error:
            raise UserError(
                f"cannot open input {setup.input} and output {setup.output}: {_reason(error)}"
            ) from error
        try:
            yield _Running(running)
        finally:
            running.abort(ignore_errors=True)
            running.close(ignore_errors=True)


class _Running:
    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.latency = float(sum(stream.latency))

    @property
    def active(self) -> bool:
        return bool(self._stream.active)


def _reason(error: Exception) -> str:
    """What PortAudio says, without its number and ours."""
    return str(error.args[0]).removeprefix("Error opening Stream: ").partition(" [PaError")[0]
