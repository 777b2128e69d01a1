"""Boxes on frames: a table's columns x1, y1, x2, y2 say which part of each photograph counts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from msinet_core.data.decoding import Box
from msinet_core.data.roots import shown
from msinet_core.errors import ReidError

BOX = ("x1", "y1", "x2", "y2")


def boxes_of(table: pd.DataFrame) -> list[Box | None]:
    """The box of each row, None where the whole photograph counts: where a row's four values are
    empty, or where the table has no such columns.

    Pixels from the upper left corner of the upright photograph; x2 and y2 lie beyond the box.
    `ReidError` for half a box, a box without area, and what is no number.
    """
    present = [name for name in BOX if name in table.columns]
    if not present:
        return [None] * len(table)
    if len(present) < len(BOX):
        missing = ", ".join(name for name in BOX if name not in present)
        raise ReidError(f"the table has the column {present[0]} of boxes, but lacks {missing}")
    given = table[list(BOX)]
    values = given.apply(pd.to_numeric, errors="coerce").to_numpy(float)
    empty = given.isna().all(axis=1).to_numpy(bool)
    with np.errstate(invalid="ignore"):
        sound = np.isfinite(values).all(axis=1) & (values[:, 2:] > values[:, :2]).all(axis=1)
    wrong = np.flatnonzero(~sound & ~empty)
    if len(wrong):
        names = table["path"].iloc[wrong] if "path" in table.columns else wrong + 1
        raise ReidError(
            f"{len(wrong):,} boxes are none ({shown(names)}): x1 < x2 and y1 < y2 are needed, in "
            "pixels, or four empty values for the whole photograph"
        )
    rows = zip(values.tolist(), empty, strict=True)
    return [None if none else (x1, y1, x2, y2) for (x1, y1, x2, y2), none in rows]


def key_columns(table: pd.DataFrame) -> list[str]:
    """The columns that tell which picture a row is: its path, and its box where there are boxes."""
    return [name for name in ("path", *BOX) if name in table.columns]
