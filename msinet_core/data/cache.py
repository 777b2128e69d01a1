"""The cache of decoded images on disk: one memory-mapped file, made once, shared by every process.

The file's name is a hash of the images' *bytes* in row order, and of the size. Bytes, not paths and
times of change: data that is unpacked anew into a job's own folder then finds the old cache, and an
image that was replaced never meets a stale one, whatever its time says. Reading the files once to
hash them costs a small part of what decoding costs.

The file holds N x 3 x H x W bytes of pixels, then N bytes that are 1 where the image could be read,
then 16 bytes of checksum, which every opening compares: a file that was cut short or altered is
made anew.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from msinet_core.data.decoding import Picture, Resize, require_file
from msinet_core.data.threads import ahead
from msinet_core.errors import ReidError
from msinet_core.locks import Lock, clear_lock

FORMAT = b"msinet images 2"  # change it when decoding, resizing or the file changes
BLOCK = 64 << 20  # bytes that are decoded, written and summed at once
Shape = tuple[int, int, int, int]
Fill = Callable[[np.ndarray, int], Sequence[int]]


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
    size = math.prod(shape)
    if size <= free_memory() // 2:
        return "memory"
    folder = Path(cache_dir or default_dir()).expanduser()
    while not folder.exists():
        folder = folder.parent
    room = os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 1.1 * size
    return "disk" if room else "none"


def free_memory() -> int:
    """Bytes of memory that can be had without swapping; 4 GB where the system does not say."""
    with suppress(Exception):  # psutil fails in its own ways where a system hides its figures
        import psutil

        return int(psutil.virtual_memory().available)
    return 4 << 30


def load_or_make(
    pictures: Sequence[Picture],
    resize: Resize,
    fill: Fill,
    cache_dir: str | os.PathLike[str] | None,
    workers: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (uint8, N x 3 x H x W, mapped) and which images are good (bool, N).

    fill(out, start): decodes images `start`, `start` + 1, ... into `out` and returns the rows, of
    all N, that failed; called only where the cache is not there yet. Where it raises, nothing is
    left behind.
    """
    folder = Path(cache_dir or default_dir()).expanduser()
    shape = len(pictures), 3, resize.height, resize.width
    try:
        folder.mkdir(parents=True, exist_ok=True)
        key = content_key(pictures, resize, workers)
        target = folder / f"{key}-{resize.height}x{resize.width}.u8"
        found = _load(target, shape, workers)  # a whole one is read without a lock, by any user
        if found is None:
            with _one_at_a_time(target) as alone:
                if alone:
                    _clear_unfinished(target)
                found = _load(target, shape, workers)  # another process may just have made it
                if found is None:
                    _make(target, shape, fill)
                    _require_same(key, content_key(pictures, resize, workers), target)
                    found = _load(target, shape, workers)
        else:
            clear_lock(_lock_of(target))
    except OSError as error:
        raise ReidError(
            f"the image cache cannot be written in {folder} ({error}); pass another cache_dir, "
            "or cache='memory' or 'none'"
        ) from error
    if found is None:
        raise ReidError(
            f"the image cache {target} is not what was just written; the disk may be failing: pass "
            "another cache_dir, or cache='memory' or 'none'"
        )
    return found


def _require_same(before: str, after: str, target: Path) -> None:
    """`ReidError`, and no cache, where the images were others when they had been decoded."""
    if before != after:
        target.unlink(missing_ok=True)
        raise ReidError(
            "images changed, or could not be read for a while, as they were decoded for the cache; "
            "see to the disk, and try again"
        )


def content_key(pictures: Sequence[Picture], resize: Resize, workers: int) -> str:
    """32 hexadecimal digits of the files' bytes and boxes, in order, and of the resizing."""

    def digest(path: Path) -> bytes:
        try:
            require_file(path)
            with open(path, "rb") as file:
                return hashlib.file_digest(file, _hash).digest()
        except (OSError, ReidError):
            return b"unreadable".ljust(16)

    def digests(start: int) -> bytes:
        return b"".join(digest(file) for file, _ in pictures[start : start + 256])

    shape = len(pictures), 3, resize.height, resize.width
    total = _hash(FORMAT + repr(shape).encode())
    if resize.interpolation != "bilinear":
        total.update(resize.interpolation.encode())
    if any(box for _, box in pictures):
        total.update(repr([box for _, box in pictures]).encode())
    for part in ahead(digests, range(0, len(pictures), 256), workers):
        total.update(part)
    return total.hexdigest()


def _hash(data: bytes | np.ndarray = b"") -> hashlib.blake2b:
    return hashlib.blake2b(data, digest_size=16)


def _rows_at_once(shape: Shape) -> int:
    return max(1, BLOCK // math.prod(shape[1:]))


def _load(target: Path, shape: Shape, workers: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Pixels and goodness, None where the file is not there or is not what was written."""
    size, count = math.prod(shape), shape[0]
    if not target.is_file() or target.stat().st_size != size + count + 16:
        return None
    # Mode "c": a write into the array stays in this process, never in the file.
    raw = np.memmap(target, np.uint8, "c")
    pixels, good = raw[:size].reshape(shape), raw[size : size + count]
    step = _rows_at_once(shape)
    total = _hash(target.name.encode())
    sums = ahead(
        lambda start: _hash(pixels[start : start + step]).digest(), range(0, count, step), workers
    )
    for part in sums:
        total.update(part)
    total.update(good)
    return (pixels, good == 1) if total.digest() == raw[size + count :].tobytes() else None


def _make(target: Path, shape: Shape, fill: Fill) -> None:
    """Write beside, then rename: a reader sees the whole file or none, whatever is killed when.

    Written, not mapped: a disk that is full is then an error and not the end of the process.
    """
    size, count, step = math.prod(shape), shape[0], _rows_at_once(shape)
    if shutil.disk_usage(target.parent).free < size:
        raise ReidError(
            f"{target.parent} has no room for {size / 1e9:.1f} GB of images; pass another "
            "cache_dir, or cache='none'"
        )
    part = target.with_name(f"{target.stem}-{uuid.uuid4().hex}.part")
    total, good = _hash(target.name.encode()), np.ones(count, np.uint8)
    try:
        with open(part, "wb") as file:
            for start in range(0, count, step):
                block = np.zeros((min(step, count - start), *shape[1:]), np.uint8)
                good[list(fill(block, start))] = 0
                total.update(_hash(block).digest())
                file.write(block)
            total.update(good)
            file.write(good.tobytes() + total.digest())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


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
    lock, alone = Lock(_lock_of(target)), False
    with warnings.catch_warnings(action="ignore"), suppress(OSError):
        alone = lock.acquire(math.inf) and lock.protected
    try:
        yield alone
    finally:
        lock.release(remove=True)


def _lock_of(target: Path) -> Path:
    return target.with_suffix(".lock")
