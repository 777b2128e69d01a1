"""What the lab draws for commands of the core: found by its name, for the core imports no lab."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from msinet_core.errors import ReidError


def show(name: str, flag: str) -> Callable[..., Path]:
    """What draws `name` (`report`, `comparison` or `answer`), from the entry points `msinet.shows`:
    a function of what is to be shown and a folder, which gives the page that it wrote there.
    """
    for point in entry_points(group="msinet.shows", name=name):
        drawing: Callable[..., Any] = point.load()
        return drawing
    raise ReidError(f"{flag} is drawn by the lab: pip install 'msinet-core[lab]'")
