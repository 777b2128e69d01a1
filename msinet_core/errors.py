"""The one error that users are meant to read, two kinds of it, and a way to end that is none."""


class ReidError(ValueError):
    """Something the user gave cannot be used. The message names the thing and the remedy.

    The command line prints it as one line and exits with status 2; notebooks and scripts
    may catch it as a `ValueError`.
    """


class BeingWritten(ReidError):
    """Another process writes there just now; whoever can wait may try again."""


class Elsewhere(ReidError):
    """What the first of several processes failed at, in the others; it has said so itself."""


class Stopped(Exception):
    """The run was asked to stop and has saved itself; resume it to go on."""
