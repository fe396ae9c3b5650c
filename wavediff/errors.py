"""The one error that is the user's to mend."""


class UserError(Exception):
    """Bad input. The message is one clear sentence that says what is wrong and what to do.

    Commands print it without a traceback and exit with code 2 (`wavediff.cli.run`).
    """
