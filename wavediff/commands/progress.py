"""Progress bars, shown on stderr once a second has passed."""

from tqdm import tqdm


def audio_bar(command: str, seconds: float) -> tqdm:
    """A bar over seconds of audio."""
    return tqdm(
        total=seconds,
        desc=command,
        unit="s",
        delay=1,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} s of audio "
        "[{elapsed}<{remaining}{postfix}]",
    )


def share_bar(command: str, total: float = 1.0) -> tqdm:
    """A bar over a share of the work, in per cent."""
    form = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"
    return tqdm(total=total, desc=command, delay=1, bar_format=form)


def move(bar: tqdm, to: float) -> None:
    """Set a bar to a position, at most its end."""
    bar.update(min(to, bar.total) - bar.n)
