"""Data of one's own: a manifest CSV, or any table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from msinet_core.data.labels import integers_or_text
from msinet_core.data.layouts import Root, identities
from msinet_core.data.roots import listing, refuse_escapes, shown
from msinet_core.data.table import COLUMNS, SPLITS, ReidDataset
from msinet_core.errors import ReidError

LAYOUT = (
    "A manifest is a CSV with the columns path, identity, split (train, query or gallery) "
    "and, where known, camera"
)


def manifest(
    root: Root,
    *,
    file: str = "manifest.csv",
    title: str = "",
    junk_identities: Any = (),
    distractor_identities: Any = (),
) -> ReidDataset:
    """A CSV `path,identity,camera,split` and any further columns, in the CSV's own order.

    root: the folder that holds the CSV `file`, or the CSV itself. Paths are relative to its
    folder, or absolute, and lie below it. `camera` may be left out. Identities and cameras are
    integers where all of them are written as such, else text. title: the data set's name;
    "manifest" and the folder's by default.
    """
    path = Path(root).expanduser()
    if path.is_dir():
        path = path / file
    if not path.is_file():
        where = Path(os.path.abspath(path.parent))
        held = (
            f"; {where} holds {listing(where)}" if where.is_dir() else f"; {where} does not exist"
        )
        raise ReidError(f"there is no {path.name} in {where}{held}. {LAYOUT}")
    table = _read(path)
    for column in ("path", "identity", "split"):
        empty = table.index[table[column].str.strip() == ""]
        if len(empty):
            raise ReidError(
                f"{path}: {column} is empty in line {_lines(empty)}; fill it in or delete the line"
            )
    unknown = table.index[~table["split"].isin(SPLITS)]
    if len(unknown):
        raise ReidError(
            f"{path}: split is {table['split'][unknown[0]]!r} in line {_lines(unknown)}; "
            f"write one of {', '.join(SPLITS)}"
        )
    refuse_escapes(table["path"], path, path.parent)
    table["identity"] = integers_or_text(table["identity"], padded=False)
    name = title or f"manifest {path.absolute().parent.name}"
    junk, distractors = identities(junk_identities), identities(distractor_identities)
    return ReidDataset(name, path.parent, _with_camera(table, path), junk, distractors)


def _read(path: Path) -> pd.DataFrame:
    """The CSV's columns: the four named ones as text, the others as pandas infers them."""
    try:
        header = list(
            pd.read_csv(path, nrows=0, encoding="utf-8-sig", skipinitialspace=True).columns
        )
        missing = [column for column in ("path", "identity", "split") if column not in header]
        if missing:
            raise ReidError(
                f"{path} lacks the column {', '.join(missing)}; it has {shown(header, 8)}. {LAYOUT}"
            )
        # An identity may well be called NA or nan: only the further columns have missing values.
        table = pd.read_csv(
            path,
            encoding="utf-8-sig",
            skipinitialspace=True,
            dtype={column: "str" for column in COLUMNS if column in header},
            keep_default_na=False,
            na_values={
                column: ["", "NA", "nan", "NaN"] for column in header if column not in COLUMNS
            },
        )
    except pd.errors.EmptyDataError:
        raise ReidError(f"{path} is empty. {LAYOUT}") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ReidError(
            f"{path} cannot be read as a comma-separated UTF-8 table: {error}"
        ) from None
    if table.empty:
        raise ReidError(f"{path} has a heading and no rows. {LAYOUT}")
    return table


def _with_camera(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Cameras as integers or text; a column that is empty throughout is no column."""
    if "camera" not in table.columns:
        return table
    empty = table.index[table["camera"].str.strip() == ""]
    if len(empty) == len(table):
        return table.drop(columns="camera")
    if len(empty):
        raise ReidError(
            f"{path}: camera is empty in line {_lines(empty)}; fill it in, or leave the whole column out"
        )
    return table.assign(camera=integers_or_text(table["camera"], padded=False))


def _lines(index: pd.Index) -> str:
    """Line numbers of a CSV, whose first row is line 2."""
    return shown([position + 2 for position in index])
