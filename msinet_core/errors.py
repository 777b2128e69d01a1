"""The one error that users are meant to read."""


class ReidError(ValueError):
    """Something the user gave cannot be used. The message names the thing and the remedy.

    The command line prints it as one line and exits with status 2; notebooks and scripts
    may catch it as a `ValueError`.
    """
