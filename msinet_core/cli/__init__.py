"""The command line: thin functions over the packages, their parameters the flags."""

from msinet_core.cli.main import main

__all__ = ["main"]
