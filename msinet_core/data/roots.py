"""Finding a data set's folder on disk, and saying precisely what is missing where it is not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from msinet_core.errors import ReidError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
MOST_SHOWN = 8


def find_root(
    root: str | os.PathLike[str], names: Sequence[str], needed: Sequence[str], layout: str
) -> Path:
    """The folder that holds all of `needed` (files or folders): `root` itself, or `root/name`.

    names: what the folder is called as distributed, tried in order below `root`.
    layout: one sentence on what is expected and where it comes from, for the error.
    """
    root = Path(root).expanduser()
    candidates = [root, *(root / name for name in names)]
    for folder in candidates:
        if all((folder / part).exists() for part in needed):
            return folder
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "does not exist"
        raise ReidError(f"{_absolute(root)} {what}. {layout}")
    partly = [folder for folder in candidates if any((folder / part).exists() for part in needed)]
    if partly:
        absent = [part for part in needed if not (partly[0] / part).exists()]
        raise ReidError(
            f"{_absolute(partly[0])} lacks {', '.join(absent)} (half-unpacked?); "
            f"it holds {listing(partly[0])}. {layout}"
        )
    looked = f"{', '.join(needed)} in {_absolute(root)}" + (
        f" or its {' or '.join(names)}" if names else ""
    )
    raise ReidError(f"looked for {looked}; the folder holds {listing(root)}. {layout}")


def listing(folder: Path) -> str:
    """The first few entries of a folder, for a message."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in os.scandir(folder))
    if not names:
        return "nothing"
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return ", ".join(names[:MOST_SHOWN]) + more


def image_files(folder: Path, root: Path) -> list[str]:
    """Paths, relative to `root` with forward slashes, of all images below `folder`.

    Sorted by code point, so that the same disk gives the same rows on any machine. Files that
    are no images by their suffix (Thumbs.db and the like) and hidden ones are passed over.
    """
    found = []
    for where, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        base = Path(where).relative_to(root).as_posix()
        found += [f"{base}/{name}" for name in files if is_image(name)]
    return sorted(found)


def refuse_escapes(paths: Iterable[str], source: Path, root: Path) -> None:
    """`ReidError` for a path, as the file `source` gives it, that is not below `root` by its name.

    Links below the root may lead anywhere: who made them could read the files anyway. A manifest
    may come from a stranger.
    """
    inside = _absolute(root)
    for path in paths:
        suspect = (
            ".." in path or os.path.isabs(path) or "\0" in path
        )  # most paths need no closer look
        if suspect and ("\0" in path or not _absolute(inside / path).is_relative_to(inside)):
            raise ReidError(
                f"{source} names {path!r}, which lies outside of {inside}; put the images below that folder "
                "(a link in it will do), and name them relative to it"
            )


def read_lines(file: Path) -> list[str]:
    """The lines of a text file that are not blank, stripped."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReidError(f"{file} is not UTF-8 text ({error}); convert it") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_list(file: Path) -> list[tuple[str, int | None]]:
    """`path label` a line, the label being optional: paths with forward slashes (`.jpg` where a
    path has no suffix), and labels. Paths are relative, to a folder that they do not leave.
    """
    entries = []
    for line in read_lines(file):
        match = re.fullmatch(r"(.*\S)\s+(-?\d+)", line)
        path = (match[1] if match else line).replace("\\", "/")
        path = path if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES else path + ".jpg"
        entries.append((path, int(match[2]) if match else None))
    refuse_escapes((path for path, _ in entries), file, file.parent)
    return entries


def is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def shown(values: Iterable[object], most: int = 3) -> str:
    """`a, b, c and 4 more`"""
    items = [str(value) for value in values]
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def counted(number: int, singular: str, plural: str = "") -> str:
    """`1 image`, `2,000 images`"""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))
