"""Progress bars, shown on stderr once a second has passed."""

from typing import Any

from tqdm import tqdm


class Bar(tqdm):
    """A bar that ``tqdm.write`` does not show before its time, and that always ends its line."""

    def display(self, *args: Any, **options: Any) -> None:
        now = self._time()
        if now >= getattr(self, "start_t", now) + self.delay:  # shown before it starts without one
            self.last_print_t = now  # by which close knows that there is a line to end
            super().display(*args, **options)


def audio_bar(command: str, seconds: float) -> tqdm:
    """A bar over seconds of audio."""
    return Bar(
        total=seconds,
        desc=command,
        unit="s",
        delay=1,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} s of audio "
        "[{elapsed}<{remaining}{postfix}]",
    )


def no_bar() -> tqdm:
    """A bar that is never shown."""
    return tqdm(total=0, disable=True)


def share_bar(command: str, total: float = 1.0) -> tqdm:
    """A bar over a share of the work, in per cent."""
    form = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"
    return Bar(total=total, desc=command, delay=1, bar_format=form)


def move(bar: tqdm, to: float) -> None:
    """Set a bar to a position, at most its end."""
    bar.update(min(to, bar.total) - bar.n)
