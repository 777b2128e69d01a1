"""Finding a data set's folder on disk, and saying precisely what is missing where it is not."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from msinet_core.errors import ReidError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
# Folders that nobody made: hidden ones, and those of network drives, archives and desktops.
LEFTOVERS = re.compile(
    r"\..*|@eaDir|@__thumb|[#@]recycle|#snapshot|@recently-snapshot|\$recycle\.bin|__MACOSX"
    r"|lost\+found|system volume information",
    re.IGNORECASE,
)
MOST_SHOWN = 8


Root = str | os.PathLike[str]


def find_root(root: Root, names: Sequence[str], needed: Sequence[str], layout: str) -> Path:
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
        raise ReidError(f"{no_folder(root)}. {layout}")
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
    names = sorted(name + "/" * os.path.isdir(folder / name) for name in os.listdir(folder))
    return shown(names, MOST_SHOWN) if names else "nothing"


def no_folder(root: Path) -> str:
    """Why `root` is no folder, and where a relative path was looked for."""
    what = "is a file, not a folder" if root.exists() else "does not exist"
    where = "" if root.is_absolute() else f" (the path {os.fspath(root)!r} is relative)"
    return f"{_absolute(root)} {what}{where}"


def image_files(folder: Path, root: Path) -> list[str]:
    """Paths, relative to `root` with forward slashes, of all images below `folder`.

    Sorted by code point, so that the same disk gives the same rows on any machine. Links to folders
    are followed, each folder once. Passed over: files that are no images by their suffix, hidden
    ones, and what network drives, archives and desktops leave behind (`@eaDir`, `#recycle`,
    `__MACOSX`, ...).
    """
    found, seen = [], {os.path.realpath(folder)}
    for where, folders, files in os.walk(folder, followlinks=True):
        base = Path(os.path.relpath(where, root))
        found += [(base / name).as_posix() for name in files if is_image(name)]
        chosen = []
        for name in sorted(folders, key=lambda name: (os.path.islink(f"{where}/{name}"), name)):
            real = os.path.realpath(os.path.join(where, name))
            if not LEFTOVERS.fullmatch(name) and real not in seen:
                seen.add(real)
                chosen.append(name)
        folders[:] = chosen
    return sorted(found)


def spelt_as_on_disk(root: Path, paths: pd.Series) -> pd.Series:
    """Relative paths as the disk spells them. A letter such as \u00e9 is one character or two (NFC
    or NFD), depending on who wrote the name; on most disks the two are different files.
    """
    known: dict[Path, dict[str, str]] = {}

    def spelt(path: str) -> str:
        if path.isascii() or (root / path).exists():
            return path
        where, parts = root, []
        for part in path.split("/"):
            if where not in known:
                names = os.listdir(where) if where.is_dir() else []
                known[where] = {unicodedata.normalize("NFC", name): name for name in names}
            parts.append(known[where].get(unicodedata.normalize("NFC", part), part))
            where = where / parts[-1]
        return "/".join(parts)

    return paths.map(spelt)


def refuse_escapes(paths: Iterable[str], source: Path, root: Path) -> None:
    """`ReidError` for a path, as the file `source` gives it, that is not below `root` by its name.

    Links below the root may lead anywhere: who made them could read the files anyway. A manifest
    may come from a stranger.
    """
    inside = _absolute(root)
    for path in paths:
        if ".." not in path and not os.path.isabs(path) and "\0" not in path:
            continue  # most paths need no closer look
        if "\0" in path or not _absolute(inside / path).is_relative_to(inside):
            raise ReidError(
                f"{source} names {path!r}, which lies outside of {inside}; put the images below "
                "that folder (a link in it will do), and name them relative to it"
            )


def require_unicode(paths: Iterable[str], name: str) -> None:
    """`ReidError` for paths of the data set `name` that no table could hold."""
    wrong = [path for path in paths if not path.isascii() and not _is_unicode(path)]
    if wrong:
        raise ReidError(
            f"data set {name!r}: {len(wrong):,} file names are not UTF-8 ({shown(wrong)}; "
            "an archive packed on another system?); rename them, for example with "
            "convmv -f latin1 -t utf8 -r --notest FOLDER"
        )


def _is_unicode(text: str) -> bool:
    """False for a name in which Python keeps bytes that it could not read as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def shown(values: Iterable[object], most: int = 3) -> str:
    """`a, b, c and 4 more`"""
    items = [str(value).encode(errors="backslashreplace").decode() for value in values]
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def counted(number: int, singular: str, plural: str = "") -> str:
    """`1 image`, `2,000 images`"""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))
