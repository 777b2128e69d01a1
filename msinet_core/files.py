"""Files and folders whole on the disk, replaced only where they are ours; the one place for it.

A kill at any moment leaves the old or the new, and at most one unfinished piece beside it, which
the next writer takes away:

    .NAME.msinet-writing   what was just being written
    .NAME.msinet-old       a folder's old content, between the two renames of a swap
    .NAME.msinet-lock      held by the one that writes
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from msinet_core.errors import BeingWritten, ReidError
from msinet_core.locks import TAKEN, Lock, clear_lock, look

MARK, MARK_FORMAT = ".msinet", 1
LARGEST_JSON = 1 << 28  # bytes
LARGEST_FILE = 1 << 40  # bytes of a file that is mapped or streamed
PATIENCE = 10.0  # seconds that a file is waited for while another process writes it

# By kind of folder: the file that tells one from before there were marks ("": none does), and all
# that we put into one, by its path inside. Whatever else lies there is somebody's.
NETWORK = r"(checkpoint\.json|state\.pt|weights\.safetensors)"
OURS = {
    "store": ("store.json", r"store\.json|table\.jsonl|files\.jsonl|features-\d+\.npy"),
    "result": (
        "result.json",
        r"result\.json|features\.safetensors|scores\.safetensors|(query|gallery)\.jsonl",
    ),
    "index": ("index.json", r"index\.json|index\.faiss|labels\.jsonl"),
    "demo's pictures": ("alpha_heatmap.png", r"[a-z_]+\.png"),
    "diagnosis": ("verdicts.json", r"verdicts\.json|[a-z_]+\.csv|[a-z_]+\.png|trainings/.*"),
    "comparison": (
        "",
        r"comparison\.(csv|png)|cmc\.png|queries-\d+\.png|part-\d+\.(csv|png)",
    ),
    "answer": ("", r"answer\.csv|index\.html"),
    "matrix": ("", r"matrix\.(csv|png)"),
    "network": ("", NETWORK),
    "shared run": (
        "",
        r"(config|genotype|metrics)\.json|history\.jsonl|README\.md|checkpoints/last/" + NETWORK,
    ),
}
NOTHING = ("", r"(?!)")  # of what is never replaced once it is there
UNFINISHED = re.compile(r"\..+\.msinet-(writing|old|lock)")
LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}  # of the desktops that show a folder
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{p}{n}" for p in ("COM", "LPT") for n in range(10))}


# -- reading -------------------------------------------------------------------------------------


def read_bytes(path: Path, limit: int) -> bytes | None:
    """What a regular file holds, None where there is none; `ReidError` for anything else, and for
    more than `limit` bytes. Nothing is waited for: a pipe or device is never opened for good.
    """
    try:
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        _require_regular(path, os.stat(path), limit)
        with open(os.open(path, flags), "rb") as file:
            about = os.fstat(file.fileno())
            _require_regular(path, about, limit)
            return file.read(about.st_size)  # what is appended meanwhile is left for the next
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        if isinstance(error, ReidError):
            raise
        raise ReidError(f"cannot read {str(path)!r} ({_reason(error)})") from error


def read_json(path: Path) -> Any:
    """What a JSON file holds, None where there is no file; `ReidError` where it is no JSON."""
    content = read_bytes(path, LARGEST_JSON)
    try:
        return None if content is None else json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise ReidError(f"{str(path)!r} is not JSON: {error}") from error


def require_regular(path: Path, limit: int = LARGEST_FILE) -> None:
    """`ReidError` unless there is a regular file of at most `limit` bytes; opens nothing. For what
    a library is to open by its name: a pipe would be waited for, a device has no end.
    """
    try:
        _require_regular(path, os.stat(path), limit)
    except (OSError, ValueError) as error:
        if isinstance(error, ReidError):
            raise
        raise ReidError(f"cannot read {str(path)!r} ({_reason(error)})") from error


def there_is(path: Path) -> bool:
    """Whether there is a file; `ReidError` that says what it is where that is none, since "there
    is no such file" would be no true word of a pipe or a device.
    """
    if path.exists():
        require_regular(path)
        return True
    return False


def hash_file(path: Path) -> str | None:
    """32 hexadecimal digits of a regular file's bytes, None where it cannot be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
    except (OSError, ValueError):
        return None
    return digest.hexdigest()


def whole_folder(path: Path) -> Path:
    """Where a folder that `replacing_folder` makes is to be read: at `path`, or beside it where a
    writer was killed in the middle of its swap.
    """
    old, lock = _beside(path, "old"), _beside(path, "lock")
    end = time.monotonic() + 1.0
    while old.is_dir() and not os.path.lexists(path):
        given_up = look(lock) != TAKEN or time.monotonic() > end
        if given_up and not os.path.lexists(path):  # or the swap ended between the two looks
            return old
        time.sleep(0.002)  # it is just being swapped
    return Path(path)


def _require_regular(path: Path, about: os.stat_result, limit: int) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise ReidError(f"{str(path)!r} is {_kind(about.st_mode)}; a regular file is needed here")
    if about.st_size > limit:
        raise ReidError(
            f"{str(path)!r} has {about.st_size:,} bytes, more than the {limit:,} it may have here"
        )


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFLNK: "a link to nothing",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


# -- names ---------------------------------------------------------------------------------------


def safe_name(text: str) -> str:
    """`text` as the name of one file or folder on any system; names that must change for it get a
    few digits of a hash, so that different ones stay different.
    """
    clean = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]', "_", text)
    clean = re.sub(r"\.\.+", "_", clean).strip(" .")[:100]
    if clean.split(".")[0].upper() in RESERVED:
        clean = f"_{clean}"
    if clean == text != "":
        return text
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    return f"{clean}-{digest}".lstrip("-")


# -- writing -------------------------------------------------------------------------------------


def write_file(path: Path, content: bytes) -> None:
    """Write a file down to the disk."""
    with io.FileIO(path, "w") as file:
        write_all(file, content)
        os.fsync(file.fileno())


def write_all(file: io.FileIO, content: bytes) -> None:
    """All of it: the last write before a disk is full takes only a part, and says nothing."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) or 0 :]


def replace_file(path: Path, content: bytes | str) -> None:
    """Write a regular file whole or not at all; `ReidError` where something else lies there, or
    where there is no room.
    """
    target = _target(path)
    if os.path.lexists(target) and not target.is_file():  # before a lock is made beside a device
        kind = _kind(os.lstat(target).st_mode)
        raise ReidError(f"{str(path)!r} is {kind} and is not replaced; choose another name")
    with named_errors(target), _alone(target, PATIENCE):
        fresh = _beside(target, "writing")
        _remove(fresh)
        try:
            write_file(fresh, content.encode() if isinstance(content, str) else content)
            if target.exists():
                shutil.copymode(target, fresh)
            os.replace(fresh, target)
        finally:
            _remove(fresh)
        flush_folder(target.parent)


def open_to_append(path: Path) -> io.FileIO:
    """A regular file to add to, made where there is none; `ReidError` for anything else: a pipe
    would be waited for, a device takes all and keeps nothing.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
    except OSError as error:
        if path.exists() and not path.is_file():
            kind = _kind(os.stat(path).st_mode)
            raise ReidError(f"{str(path)!r} is {kind}; a regular file is needed here") from error
        raise
    file = io.FileIO(descriptor, "ab")
    try:
        _require_regular(path, os.fstat(descriptor), LARGEST_FILE)
    except ReidError:
        file.close()
        raise
    return file


def make_folder(path: Path, remedy: str = "make room, or choose another place") -> Path:
    """The folder at `path`, made with those above it; `ReidError` where it cannot be."""
    try:
        with named_errors(path, remedy):
            path.mkdir(parents=True, exist_ok=True)
    except ValueError as error:
        if isinstance(error, ReidError):
            for place in (path, *path.parents):
                if os.path.lexists(place) and not place.is_dir():
                    raise _in_the_way(place) from error
            raise
        raise ReidError(f"{str(path)!r} cannot be a path ({error})") from error
    return path


def own_folder(path: Path, kind: str) -> Path:
    """A folder of this `kind`, made and marked where it is absent or empty, whose files may then
    be replaced one by one; `ReidError` where it holds other things. For folders that grow;
    `replacing_folder` is for those that are made at once.
    """
    target = _target(path)
    require_own(target, kind)
    with named_errors(target):
        target.mkdir(exist_ok=True)
        if read_json(target / MARK) is None:
            replace_file(target / MARK, _mark(kind))
        clear_lock(_beside(target / MARK, "lock"))
    return Path(path)


@contextmanager
def replacing_folder(path: Path, kind: str, *, flush: bool = True) -> Iterator[Path]:
    """A fresh folder to write into, which takes the place of `path` at the end, or never, if
    anything fails.

    `ReidError` unless `path` is absent, empty, or a folder of this very `kind` that this function
    made (its file `.msinet` says so; what older versions made is told by its files). `flush` each
    file to the disk first, so that a power cut spares it too; not worth it for thousands of files
    that can be drawn again.
    """
    target = _target(path)
    fresh, old = _beside(target, "writing"), _beside(target, "old")
    with named_errors(target), _alone(target, 0.2):
        if old.is_dir() and not os.path.lexists(target):
            old.rename(target)  # a swap was killed between its two renames
        require_own(target, kind)
        for leftover in (old, fresh):
            _remove(leftover)
        fresh.mkdir()
        try:
            yield fresh
            (fresh / MARK).write_text(_mark(kind), encoding="utf-8")
            if flush:
                _flush_files(fresh)
            require_own(target, kind)  # writing may have taken hours
            _swap(fresh, target, old)
        finally:
            _remove(fresh)


def clear_leftovers(path: Path) -> None:
    """Take away what a killed `replacing_folder` left beside a folder that is whole and taken as it
    is; nothing while another process writes it.
    """
    target = _behind_links(path)
    leftovers = [_beside(target, what) for what in ("writing", "old")]
    if target.is_dir() and any(map(os.path.lexists, [*leftovers, _beside(target, "lock")])):
        with suppress(OSError, ReidError), _alone(target, 0.0):
            for leftover in leftovers:
                _remove(leftover)


def wait_for_writer(path: Path, pause: float = 0.2) -> None:
    """Come back when no other process writes the folder at `path`: it has finished, or ended."""
    while look(_beside(path, "lock")) == TAKEN:
        time.sleep(pause)


def require_own(path: Path, kind: str) -> None:
    """`ReidError` unless a folder is absent, empty, or one of this kind that we made and that holds
    nothing else.
    """
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise _in_the_way(path)
    names = set(_files_in(path))
    mark = read_json(path / MARK)
    found = mark.get("kind") if isinstance(mark, dict) else None
    tells, known = OURS.get(kind, NOTHING)
    others = sorted(name for name in names if not re.fullmatch(known, name))
    ours = found == kind or (mark is None and tells in names) or (mark is None and not names)
    if not ours or others:
        holds = _a(found) if found and found != kind else "other things"
        some = ", ".join((others or sorted(names))[:3])
        raise ReidError(
            f"{str(path)!r} holds {holds} ({some}) and is not replaced by {_a(kind)}; choose "
            "another folder, or empty this one yourself"
        )


def _in_the_way(path: Path) -> ReidError:
    """That something lies at `path` that is no folder."""
    mode = os.stat(path).st_mode if path.exists() else os.lstat(path).st_mode
    what = "a file" if stat.S_ISREG(mode) else _kind(mode)
    return ReidError(f"{str(path)!r} is {what}, where a folder is to be; choose another name")


def _files_in(folder: Path) -> Iterator[str]:
    """What lies in a folder, as paths below it: files at any depth, and folders without any."""
    for parent, inside, names in os.walk(folder, onerror=_raise):
        below = Path(parent).relative_to(folder)
        kept = {*names} - LITTER
        if below == Path():
            kept = {name for name in kept - {MARK} if not UNFINISHED.fullmatch(name)}
            inside[:] = (name for name in inside if not UNFINISHED.fullmatch(name))
        links = [name for name in inside if os.path.islink(os.path.join(parent, name))]
        for name in (*kept, *links):
            yield (below / name).as_posix()
        if not names and not inside and below != Path():
            yield f"{below.as_posix()}/"


def _raise(error: OSError) -> None:
    raise error


def _a(kind: str) -> str:
    return f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind}"


@contextmanager
def named_errors(path: Path, remedy: str = "make room, or choose another place") -> Iterator[None]:
    """Turn a full or read-only disk under `path` into a `ReidError` that names it."""
    try:
        yield
    except OSError as error:
        if isinstance(error.filename, str | os.PathLike) and not _lies_in(
            Path(error.filename), path.parent
        ):
            raise  # of something that was read elsewhere
        place = mount_point(path)
        free = shutil.disk_usage(place).free / 1e6
        raise ReidError(
            f"cannot write {str(path)!r} ({_reason(error)}); {free:.1f} MB are free on the disk "
            f"mounted at {str(place)!r}. {remedy[0].upper()}{remedy[1:]}"
        ) from error


def flush_folder(path: Path) -> None:
    """Make renames in a folder last; some file systems cannot, and need not."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def mount_point(path: Path) -> Path:
    """Where the disk that holds `path` is mounted."""
    path = path.absolute()
    while not os.path.ismount(path) and path != path.parent:
        path = path.parent
    return path


# -- how -----------------------------------------------------------------------------------------


def _target(path: Path) -> Path:
    """Where the thing itself lies that `path` names, behind links; its folder is made."""
    target = _behind_links(path)
    make_folder(target.parent)
    return target


def _behind_links(path: Path) -> Path:
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError) as error:
        raise ReidError(f"{str(path)!r} cannot be a path ({_reason(error)})") from error


def _beside(path: Path, what: str) -> Path:
    path = _behind_links(path)
    return path.with_name(f".{path.name}.msinet-{what}")


def _mark(kind: str) -> str:
    return json.dumps({"kind": kind, "format": MARK_FORMAT})


@contextmanager
def _alone(target: Path, patience: float) -> Iterator[None]:
    lock = Lock(_beside(target, "lock"))
    if not lock.acquire(patience):
        raise BeingWritten(
            f"{str(target)!r} is being written by another process; wait for it, or choose "
            "another place"
        )
    try:
        yield
    finally:
        lock.release(remove=True)


def _lies_in(path: Path, folder: Path) -> bool:
    return path.absolute().is_relative_to(folder.absolute())


def _swap(fresh: Path, target: Path, old: Path) -> None:
    """`fresh` to `target`; what was there goes beside for the moment, and away at the end."""
    if not os.path.lexists(target):
        fresh.rename(target)
    elif not os.listdir(target):
        target.rmdir()
        fresh.rename(target)
    else:
        target.rename(old)
        try:
            fresh.rename(target)
        except OSError:
            old.rename(target)
            raise
    flush_folder(target.parent)
    _remove(old)


def _flush_files(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(parent, name), "rb+") as file:
                os.fsync(file.fileno())
        flush_folder(Path(parent))


def _remove(path: Path) -> None:
    """What we left at one of our own names."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            path.unlink()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOENT:
        return "there is no such folder"
    return str(getattr(error, "strerror", None) or error)
