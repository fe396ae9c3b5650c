"""The error that the user can fix, how its message quotes input, and warnings given once."""

from collections.abc import Iterable

_given: set[object] = set()
_called: dict[str, str] = {}

LONGEST = 1000  # characters of a message


class UserError(Exception):
    """Invalid input. The message says what was found, what is accepted and what to do.

    Commands print it without a traceback and exit with code 2 (``wavediff.cli.run``). It is on one
    line, and as short as ``sentence`` makes it whatever input it quotes.
    """

    def __str__(self) -> str:
        return sentence(super().__str__())


def sentence(message: object) -> str:
    """Return a message on one line; beyond ``LONGEST`` characters its middle is left out."""
    text = " ".join(named(message).split())
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} ... {text[-half:]}"


def call(path: object, name: str) -> None:
    """Call a temporary file by what it stands for, in the messages of this command."""
    _called[str(path)] = name


def named(text: object) -> str:
    """Return a text with temporary files called by what they stand for."""
    text = str(text)
    for path, name in _called.items():
        text = text.replace(path, name)
    return text


def shorten(value: object, length: int = 60) -> str:
    """Return the text of ``value`` on one line, cut to ``length`` characters, for a message."""
    text = " ".join(str(value).split())
    return text if len(text) <= length else f"{text[: length - 3]}..."


def listed(names: Iterable[object], most: int = 8) -> str:
    """Return the first of some names, each shortened, and how many more there are."""
    words = list(map(str, names))
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(shorten(word, 80) for word in words[:most]) + more


def first_time(warning: object) -> bool:
    """Return whether a warning was not given yet in this command; then it counts as given."""
    new = warning not in _given
    _given.add(warning)
    return new


def forget_warnings() -> None:
    """Begin a command, in which every warning is given anew, and no file has another name."""
    _given.clear()
    _called.clear()
