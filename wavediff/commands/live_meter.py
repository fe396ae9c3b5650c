"""The numbers of ``wavediff live``: times of blocks, levels before and after, and their lines."""

from __future__ import annotations

import shutil
import sys
from typing import TextIO

import numpy as np

from wavediff.commands.live_blocks import Block, Blocks

LEAST_SECONDS, STEPS_PER_DECADE, DECADES = 1e-5, 115, 7  # 2 % apart, to 100 s
LOWEST_DB = -99.0
BAR, BAR_DB = 10, 60.0  # characters of a level's bar, and its range below full scale
TOLD_EVERY = 10.0  # seconds, where the status line is not shown


class Durations:
    """Quantiles of any number of durations, to 2 %, in constant memory."""

    def __init__(self) -> None:
        self._counts = np.zeros(STEPS_PER_DECADE * DECADES + 1, np.int64)

    def add(self, seconds: float) -> None:
        """Count a duration."""
        place = STEPS_PER_DECADE * np.log10(max(seconds, LEAST_SECONDS) / LEAST_SECONDS)
        self._counts[min(round(place), len(self._counts) - 1)] += 1

    def quantile(self, share: float) -> float:
        """The duration in seconds that a share of all is not above; 0 where there are none."""
        cumulative = np.cumsum(self._counts)
        if not cumulative[-1]:
            return 0.0
        place = np.searchsorted(cumulative, share * cumulative[-1])
        return LEAST_SECONDS * 10.0 ** (float(place) / STEPS_PER_DECADE)


class Levels:
    """Levels of the blocks before and after, in dB below full scale, since the last reading."""

    def __init__(self) -> None:
        self._energies = np.zeros(2)
        self._samples = 0

    def add(self, before: Block, after: Block) -> None:
        """Add two blocks of one size."""
        self._energies += [float(np.square(x, dtype=np.float64).sum()) for x in (before, after)]
        self._samples += before.size

    def read(self) -> tuple[float, float]:
        """(before, after) in dB; begins anew."""
        power = self._energies / max(1, self._samples)
        self._energies, self._samples = np.zeros(2), 0
        before, after = 10 * np.log10(np.maximum(power, 10 ** (LOWEST_DB / 10)))
        return float(before), float(after)


def _bar(level: float) -> str:
    full = round(BAR * min(1.0, max(0.0, 1 + level / BAR_DB)))
    return "#" * full + "-" * (BAR - full)


def status(
    levels: tuple[float, float], blocks: Blocks, durations: Durations, seconds: float, bypass: bool
) -> str:
    """The line that is shown while it runs.

    Args:
        levels: before and after, in dB.
        blocks: the counters.
        durations: of the blocks.
        seconds: of a block.
        bypass: whether the input is played.
    """
    time = int(blocks.count * seconds)
    meters = "  ".join(
        f"{name} {_bar(level)} {level:3.0f} dB"
        for name, level in zip(("before", "after"), levels, strict=True)
    )
    median, most = (1000 * durations.quantile(share) for share in (0.5, 0.999))
    return (
        f"{'BYPASS  ' if bypass else ''}{meters}  {time // 60}:{time % 60:02d}  late {blocks.late}"
        f"  over/underflows {blocks.overflows}/{blocks.underflows}"
        f"  block {median:.1f} (99.9 %: {most:.1f}) of {1000 * seconds:.1f} ms"
    )


def summary(blocks: Blocks, durations: Durations, seconds: float) -> str:
    """The line at the end; arguments as of ``status``."""
    median, most = (1000 * durations.quantile(share) for share in (0.5, 0.999))
    share = f" ({100 * blocks.late / blocks.count:.2g} %)" if blocks.late else ""
    return (
        f"{blocks.count * seconds:.1f} s: {blocks.count} blocks of {1000 * seconds:.1f} ms, "
        f"{blocks.late} late{share}, {_counted(blocks.overflows, 'overflow')}, "
        f"{_counted(blocks.underflows, 'underflow')}; a block took {median:.1f} ms (median), "
        f"{most:.1f} ms (99.9 %)"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


class StatusLine:
    """One line of stderr that is written again and again, where stderr is a terminal.

    Elsewhere it is not shown, and late blocks are told by lines of their own.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = sys.stderr if file is None else file
        self.shown = self._file.isatty()
        self._told, self._next = 0, 0.0

    def show(self, line: str) -> None:
        """Replace the line; what a terminal has no room for is left out."""
        width = shutil.get_terminal_size().columns - 1
        self._file.write(f"\r{line[:width]}\x1b[K")
        self._file.flush()

    def tell(self, line: str) -> None:
        """Write a line that stays."""
        self._file.write(f"\r\x1b[K{line}\n" if self.shown else f"{line}\n")
        self._file.flush()

    def tell_late(self, late: int, block: float, now: float) -> None:
        """Tell of blocks that came late since the last time, at most every ten seconds.

        Args:
            late: number of blocks so far.
            block: seconds of one.
            now: seconds of a clock.
        """
        if late > self._told and now >= self._next:
            count = late - self._told
            self.tell(f"{_counted(count, 'late block')}: {1000 * count * block:.0f} ms were silent")
            self._told, self._next = late, now + TOLD_EVERY

    def end(self) -> None:
        """Remove the line."""
        if self.shown:
            self._file.write("\r\x1b[K")
            self._file.flush()
