"""The error that the user can fix, and how its message quotes input."""

from collections.abc import Iterable

LENGTH = 1000  # characters of a message


class UserError(Exception):
    """Invalid input. The message says what was found, what is accepted and what to do.

    It is on one line, and short whatever it quotes. Commands print it without a traceback and exit
    with code 2 (``wavediff.cli.run``).
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(sentence(message))


def sentence(message: object, length: int = LENGTH) -> str:
    """Return a message on one line; beyond ``length`` characters its middle is left out."""
    text = " ".join(str(message).split())
    half = length // 2
    return text if len(text) <= length else f"{text[:half]} ... {text[-half:]}"


def shorten(value: object, length: int = 60) -> str:
    """Return the text of ``value`` on one line, cut to ``length`` characters, for a message."""
    text = " ".join(str(value).split())
    return text if len(text) <= length else f"{text[: length - 3]}..."


def listed(names: Iterable[object], most: int = 8) -> str:
    """Return the first of some names, each shortened, and how many more there are."""
    words = list(map(str, names))
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(shorten(word, 80) for word in words[:most]) + more
