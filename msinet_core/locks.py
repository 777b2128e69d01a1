"""Locks between processes: one file each, held as long as the process lives."""

from __future__ import annotations

import errno
import os
import time
import warnings
from contextlib import suppress
from pathlib import Path

from filelock import lock_descriptor

from msinet_core.errors import ReidError

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
A_LOOK = 0.02  # seconds; who looks whether a lock is free holds it for far less
TAKEN, FREE, UNKNOWN = "taken", "free", "unknown"


class Lock:
    """An exclusive lock on the file at `path`, which it creates and which holds nothing.

    On a file system that knows no locks it is `protected = False`, with one warning.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.protected = True
        self._descriptor: int | None = None

    def acquire(self, patience: float) -> bool:
        """Take the lock; False where another holds it for `patience` seconds. OSError where the
        file cannot be made.
        """
        end = time.monotonic() + patience
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o666)
            try:
                if self._lock(descriptor) and _lies_at(self.path, descriptor):
                    self._descriptor = descriptor
                    return True
            finally:
                if self._descriptor is None:
                    os.close(descriptor)
            if time.monotonic() > end:
                return False
            time.sleep(0.005)

    def _lock(self, descriptor: int) -> bool:
        try:
            return lock_descriptor(descriptor, blocking=False)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            self.protected = False
            _warn_once(self.path.parent, error)
            return True

    @property
    def lies_there(self) -> bool:
        """Whether the lock is held and is the one that lies at its path."""
        return self._descriptor is not None and _lies_at(self.path, self._descriptor)

    def check(self) -> None:
        """`ReidError` unless the lock that is held is the one that lies there."""
        if not self.lies_there:
            raise ReidError(
                f"{str(self.path.parent)!r} was moved, deleted or begun anew while this process "
                "wrote into it; nothing more was written. Let one process at a time use a folder"
            )

    def release(self, remove: bool = False) -> None:
        """Give the lock back. remove: take its file away too, so that nothing is left; where that
        fails an empty file stays, which `clear_lock` takes away later. Another's file that has come
        to lie there stays.
        """
        if self._descriptor is None:
            return
        remove = remove and self.lies_there
        descriptor, self._descriptor = self._descriptor, None
        # An open file can be removed by its holder (who then leaves nothing to wait for), but on
        # Windows only once it is closed.
        if os.name == "nt":
            os.close(descriptor)
        for _ in range(2 if remove else 0):  # what is refused once is often granted at once after
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
                break
        if os.name != "nt":
            os.close(descriptor)


def clear_lock(path: Path) -> None:
    """Take away the file of a lock that its holder could not remove; one that is held stays."""
    if os.path.lexists(path):
        lock = Lock(path)
        with suppress(OSError):
            if lock.acquire(0.0):
                lock.release(remove=lock.protected)


def look(path: Path) -> str:
    """Whether the lock at `path` is `TAKEN` or `FREE` (also where there is none); `UNKNOWN` where
    that cannot be found out. Never fails, never waits, leaves nothing.
    """
    try:
        writable = os.access(path, os.W_OK)
        descriptor = os.open(path, (os.O_RDWR if writable else os.O_RDONLY) | _FLAGS)
    except FileNotFoundError:
        return FREE
    except OSError:
        return UNKNOWN
    try:
        end = time.monotonic() + A_LOOK
        while not lock_descriptor(descriptor, blocking=False):
            if time.monotonic() > end:  # no other look
                return TAKEN
            time.sleep(0.002)
        return FREE
    except OSError:
        return UNKNOWN
    finally:
        os.close(descriptor)


_warned: set[Path] = set()


def _warn_once(folder: Path, error: OSError) -> None:
    if folder not in _warned:
        _warned.add(folder)
        warnings.warn(
            f"the file system of {str(folder)!r} has no locks ({error.strerror}): nothing keeps a "
            "second process from writing there at the same time; see to it that there is none",
            stacklevel=5,
        )


# Not handed on to programs that are started, and a pipe is not waited for.
_FLAGS = sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NOINHERIT", "O_NONBLOCK"))


def _lies_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except OSError:
        return False
