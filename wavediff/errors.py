"""The error that the user can fix, how its message quotes input, and warnings given once."""

_given: set[object] = set()

LONGEST = 2000  # characters of a message


class UserError(Exception):
    """Invalid input. The message says what was found, what is accepted and what to do.

    Commands print it without a traceback and exit with code 2 (``wavediff.cli.run``). It is cut to
    ``LONGEST`` characters, whatever input it quotes.
    """

    def __str__(self) -> str:
        text = super().__str__()
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def shorten(value: object, length: int = 60) -> str:
    """Return the text of ``value`` on one line, cut to ``length`` characters, for a message."""
    text = " ".join(str(value).split())
    return text if len(text) <= length else f"{text[: length - 3]}..."


def first_time(warning: object) -> bool:
    """Return whether a warning was not given yet in this command; then it counts as given."""
    new = warning not in _given
    _given.add(warning)
    return new


def forget_warnings() -> None:
    """Begin a command, in which every warning is given anew."""
    _given.clear()
