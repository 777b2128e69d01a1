"""Tables on disk as JSON lines, which keep integers and strings apart (`7` and `"0007"`), and
checksums of arrays.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from msinet_core.errors import ReidError


def write_table(table: pd.DataFrame, path: Path) -> None:
    """One JSON object a row; missing values as null."""
    table.to_json(path, orient="records", lines=True, double_precision=15)


def read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    """What `write_table` wrote, with these columns even where there are no rows."""
    try:
        with path.open(encoding="utf-8") as file:  # pandas would make dates of some columns
            table = pd.DataFrame([json.loads(line) for line in file])
    except (OSError, ValueError) as error:
        raise ReidError(f"{str(path)!r} is missing or damaged ({error})") from error
    for name in table.columns:
        if table[name].isna().all():  # a data set without cameras
            table[name] = pd.Series([pd.NA] * len(table), dtype=object)
    return table.reindex(columns=columns)


def checksum(array: np.ndarray) -> int:
    """CRC-32 of an array's content."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
