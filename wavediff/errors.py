"""The error that the user can fix, how its message quotes input, and warnings given once."""

_given: set[object] = set()


class UserError(Exception):
    """Invalid input. The message says what was found, what is accepted and what to do.

    Commands print it without a traceback and exit with code 2 (``wavediff.cli.run``).
    """


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
