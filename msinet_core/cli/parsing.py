"""From words to a call: a command is one typed function whose parameters tyro turns into flags."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

Command = Callable[[str, list[str]], None]  # takes its own name and the words behind it
Run = Annotated[Path, tyro.conf.arg(help="The run folder.")]


def call(function: Callable[..., None], name: str, words: list[str]) -> None:
    """Read the words as the function's parameters and call it; bad words end the program with
    status 2.
    """
    tyro.cli(function, prog=name, args=words, config=(tyro.conf.OmitArgPrefixes,))


def plain(function: Callable[..., None]) -> Command:
    """A command whose flags are a function's parameters."""
    return lambda name, words: call(function, name, words)
