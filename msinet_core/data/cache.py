"""The cache of decoded images on disk: one memory-mapped file, made once, shared by every process.

The file's name is a hash of the images' *bytes* in row order, and of the size. Bytes, not paths and
times of change: data that is unpacked anew into a job's own folder then finds the old cache, and an
image that was replaced never meets a stale one, whatever its time says. Reading the files once to
hash them costs a small part of what decoding costs.

The file holds N x 3 x H x W bytes of pixels, then N bytes that are 1 where the image could be read.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from msinet_core.data.threads import ahead
from msinet_core.errors import ReidError

FORMAT = b"msinet images 1"  # change it when decoding or resizing changes
Shape = tuple[int, int, int, int]


def default_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "msinet"


def usable_cores() -> int:
    """Cores that this process may use (a cluster may give it fewer than the machine has)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose(shape: Shape, cache_dir: str | os.PathLike[str] | None) -> str:
    """What `cache="auto"` means for images of this N x 3 x H x W: memory, disk or none."""
    size = int(np.prod(shape))
    if size <= free_memory() // 2:
        return "memory"
    folder = Path(cache_dir or default_dir())
    while not folder.exists():
        folder = folder.parent
    room = os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 1.1 * size
    return "disk" if room else "none"


def free_memory() -> int:
    """Bytes of memory that can be had without swapping; 4 GB where the system does not say."""
    with suppress(OSError, StopIteration):
        with open("/proc/meminfo") as file:
            line = next(line for line in file if line.startswith("MemAvailable"))
        return int(line.split()[1]) * 1024
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 4 << 30


def load_or_make(
    files: Sequence[Path],
    shape: Shape,
    fill: Callable[[np.ndarray], dict[int, str]],
    cache_dir: str | os.PathLike[str] | None,
    workers: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (uint8, N x 3 x H x W, mapped) and which images are good (bool, N).

    fill: decodes into the array it is given and returns the positions that failed; called only
    where the cache is not there yet. Where it raises, nothing is left behind.
    """
    folder = Path(cache_dir or default_dir()).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{content_key(files, shape, workers)}-{shape[2]}x{shape[3]}.u8"
        if not _is_whole(target, shape):  # a whole one is read without a lock, by any user
            with _one_at_a_time(target) as alone:
                if alone:
                    _clear_unfinished(target)
                if not _is_whole(target, shape):  # another process may just have made it
                    _make(target, shape, fill)
    except OSError as error:
        raise ReidError(
            f"the image cache cannot be written in {folder} ({error}); pass another cache_dir, "
            "or cache='memory' or 'none'"
        ) from error
    # Mode "c": a write into the array stays in this process, never in the file.
    raw = np.memmap(target, np.uint8, "c")
    size = int(np.prod(shape))
    return raw[:size].reshape(shape), np.asarray(raw[size:]) == 1


def content_key(files: Sequence[Path], shape: Shape, workers: int) -> str:
    """32 hexadecimal digits of the files' bytes, in order, and of the images' size."""

    def digest(file: Path) -> bytes:
        try:
            return hashlib.blake2b(file.read_bytes(), digest_size=16).digest()
        except OSError:
            return b"unreadable".ljust(16)

    def digests(start: int) -> bytes:
        return b"".join(map(digest, files[start : start + 256]))

    total = hashlib.blake2b(FORMAT + repr(shape).encode(), digest_size=16)
    for part in ahead(digests, range(0, len(files), 256), workers):
        total.update(part)
    return total.hexdigest()


def _is_whole(target: Path, shape: Shape) -> bool:
    return target.is_file() and target.stat().st_size == int(np.prod(shape)) + shape[0]


def _make(target: Path, shape: Shape, fill: Callable[[np.ndarray], dict[int, str]]) -> None:
    """Write beside, then rename: a reader sees the whole file or none, whatever is killed when."""
    size = int(np.prod(shape))
    if shutil.disk_usage(target.parent).free < size:
        raise ReidError(
            f"{target.parent} has no room for {size / 1e9:.1f} GB of images; pass another cache_dir, "
            "or cache='none'"
        )
    name = target.with_name(f"{target.stem}-{uuid.uuid4().hex}.part")
    try:
        raw = np.memmap(name, np.uint8, "w+", shape=(size + shape[0],))
        bad = fill(raw[:size].reshape(shape))
        raw[size:] = 1
        raw[size + np.array(list(bad), dtype=np.int64)] = 0
        raw.flush()
        del raw
        os.replace(name, target)
    finally:
        name.unlink(missing_ok=True)


def _clear_unfinished(target: Path) -> None:
    """Remove what a killed process left of this file."""
    for part in target.parent.glob(f"{target.stem}*.part"):
        part.unlink(missing_ok=True)


@contextmanager
def _one_at_a_time(target: Path) -> Iterator[bool]:
    """Let a second process wait for the first instead of doing the same work. Yields whether it is
    certain that nobody else is at it. Only a courtesy: where the file system has no locks, both
    make the file, and both files are the same.
    """
    if sys.platform == "win32":
        yield False
        return
    import fcntl

    with open(target.with_suffix(".lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
