"""Who writes into a run folder: a lock on its file `.lock`, and the process's number in `pid`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from msinet_core.errors import ReidError
from msinet_core.files import read_bytes, replace_file
from msinet_core.locks import FREE, TAKEN, Lock, look

LOCK, PID = ".lock", "pid"
PATIENCE = 0.2  # seconds; a reader that asks who writes holds the lock for less


def writer_of(folder: Path) -> int | None:
    """The process that writes into `folder`, or None.

    Where the file system has no locks: the process that last began to, unless it ended in order.
    """
    # Older versions locked the file `pid` itself.
    if look(folder / LOCK) == FREE and look(folder / PID) == FREE:
        return None
    with suppress(ReidError, ValueError):
        return max(0, int(read_bytes(folder / PID, 32) or 0)) or None
    return None


@contextmanager
def claim(folder: Path) -> Iterator[Lock]:
    """Lock the folder and leave our number in it, for the time inside; `ReidError` where another
    process has it.
    """
    lock = Lock(folder / LOCK)
    if look(folder / PID) == TAKEN or not lock.acquire(PATIENCE):
        raise ReidError(
            f"run folder {str(folder)!r} is in use by process {writer_of(folder)}; "
            "stop that process, or choose another folder with --run"
        )
    try:
        replace_file(folder / PID, str(os.getpid()))
        yield lock
    finally:
        if lock.lies_there:
            (folder / PID).unlink(missing_ok=True)
        lock.release()
