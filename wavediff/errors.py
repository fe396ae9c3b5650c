"""The error that the user can fix, and how its message quotes input."""


class UserError(Exception):
    """Invalid input. The message says what was found, what is accepted and what to do.

    Commands print it without a traceback and exit with code 2 (``wavediff.cli.run``).
    """


def shorten(value: object, length: int = 60) -> str:
    """Return the text of ``value`` on one line, cut to ``length`` characters, for a message."""
    text = " ".join(str(value).split())
    return text if len(text) <= length else f"{text[: length - 3]}..."
