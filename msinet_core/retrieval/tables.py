"""Tables on disk as JSON lines, which keep integers and strings apart (`7` and `"0007"`), what a
folder says of itself, and checksums of both and of arrays.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msinet_core.errors import ReidError
from msinet_core.files import read_bytes, read_json

LARGEST_TABLE = 1 << 31  # bytes


def write_table(table: pd.DataFrame, path: Path) -> None:
    """One JSON object a row; missing values as null."""
    table.to_json(path, orient="records", lines=True, double_precision=15)


def read_table(path: Path, columns: list[str], expected: int | None = None) -> pd.DataFrame:
    """What `write_table` wrote, with these columns even where there are no rows. `expected` is its
    checksum, where there is one.
    """
    content = read_bytes(path, LARGEST_TABLE)
    if content is None or (expected is not None and zlib.crc32(content) != expected):
        what = "is missing" if content is None else "is not what was written there"
        raise ReidError(f"{str(path)!r} {what}; make it anew")
    try:  # pandas would make dates of some columns
        rows = [dict(json.loads(line)) for line in content.splitlines()]
    except (ValueError, TypeError, RecursionError) as error:
        raise ReidError(f"{str(path)!r} is damaged ({error}); make it anew") from error
    table = pd.DataFrame(rows)
    for name in table.columns:
        if table[name].isna().all():  # a data set without cameras
            table[name] = pd.Series([pd.NA] * len(table), dtype=object)
    return table.reindex(columns=columns)


def write_about(path: Path, about: dict[str, Any]) -> None:
    """A folder's JSON of itself, with its own checksum."""
    path.write_text(json.dumps({**about, "checksum": _sum(about)}, indent=1), encoding="utf-8")


def read_about(path: Path, what: str, again: str, format: int | None = None) -> dict[str, Any]:
    """What `write_about` wrote; `ReidError` where there is none, of another version, or altered.
    `what` the folder is to hold, and how it is made `again`.
    """
    folder = str(path.parent)
    try:
        about = read_json(path)
    except ReidError as error:
        raise ReidError(f"{str(path)!r} is damaged; {again} ({error})") from error
    if about is None:
        raise ReidError(f"{folder!r} holds no {what} (no {path.name})")
    if not isinstance(about, dict) or about.get("format") != format:
        raise ReidError(f"{folder!r} was written by another version of msinet-core; {again}")
    if about.pop("checksum", _sum(about)) != _sum(about):
        raise ReidError(f"{str(path)!r} is not what was written there; {again}")
    return about


def _sum(about: dict[str, Any]) -> int:
    """CRC-32 of what JSON gives back of these values, but for the sum itself."""
    plain = {name: value for name, value in about.items() if name != "checksum"}
    return zlib.crc32(json.dumps(plain, sort_keys=True).encode())


def table_checksum(path: Path) -> int:
    """CRC-32 of a table that was just written."""
    return zlib.crc32(path.read_bytes())


def checksum(array: np.ndarray) -> int:
    """CRC-32 of an array's content."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
