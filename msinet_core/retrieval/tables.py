"""Tables on disk as JSON lines, which keep integers and strings apart (`7` and `"0007"`), and
folders that appear whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd


def write_table(table: pd.DataFrame, path: Path) -> None:
    """One JSON object a row; missing values as null."""
    table.to_json(path, orient="records", lines=True, double_precision=15)


def read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    """What `write_table` wrote, with these columns even where there are no rows."""
    table = pd.read_json(path, orient="records", lines=True, dtype=False, convert_dates=False)
    for name in table.columns:
        if table[name].isna().all():  # a data set without cameras
            table[name] = pd.Series([pd.NA] * len(table), dtype=object)
    return table.reindex(columns=columns)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `folder` at the end, or never, if anything
    fails.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.writing")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        if folder.exists():
            old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
            folder.rename(old)
            beside.rename(folder)
            shutil.rmtree(old)
        else:
            beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
