"""Who writes into a run folder: a lock on its file `pid`, held as long as the process lives."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import IO

PATIENCE = 0.2  # seconds; a reader that asks who writes holds the lock for less


def writer_of(path: Path) -> int | None:
    """The process that has the `pid` file at `path` locked for writing, or None."""
    try:
        with path.open("r") as file:
            try:  # shared, so that readers do not meet each other here
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read().strip() or 0) or None
            return None
    except (FileNotFoundError, PermissionError):
        return None


def lock_for_writing(file: IO[str]) -> bool:
    """Lock the open `pid` file; False where another process has it for longer than a look."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > end:
                return False
        time.sleep(0.01)
