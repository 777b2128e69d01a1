"""Files whole on the disk, or the caller hears that they are not."""

from __future__ import annotations

import io
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from msinet_core.errors import ReidError


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


def read_json(path: Path) -> Any:
    """What a JSON file holds, None where there is no file; `ReidError` where it is no JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise ReidError(f"{str(path)!r} is not JSON: {error}") from error


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
    while not path.is_mount() and path != path.parent:
        path = path.parent
    return path
