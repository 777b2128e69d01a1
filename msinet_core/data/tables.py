"""Data of one's own: a manifest CSV, or any pandas table, with a seeded identity-disjoint split
where it has none.

The columns of the wildlife-datasets package (identity, path, optionally date, orientation, split)
are taken as they are: `from_table(dataset.df, dataset.root)`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msinet_core.data.labels import identities, in_kind, integers_or_text, label_column
from msinet_core.data.roots import Root, counted, listing, no_folder, shown, spelt_as_on_disk
from msinet_core.data.table import COLUMNS, SPLITS, ReidDataset
from msinet_core.data.text_files import read_csv
from msinet_core.errors import ReidError
from msinet_core.files import there_is

LAYOUT = (
    "A manifest is a CSV with the columns path, identity, split (train, query or gallery) "
    "and, where known, camera"
)
# Individuals that nobody could name: wildlife-datasets' word, and how tables write nothing.
NAMELESS = ("", "unknown", "nan", "na", "n/a", "none", "null")


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
    notes: list[str] = []
    path = _find(root, file, LAYOUT)
    table = _manifest_rows(path, notes)
    for column in {"identity", "camera"} & set(table.columns):
        table[column] = integers_or_text(table[column], padded=False)
    name = title or f"manifest {path.absolute().parent.name}"
    aside = identities(junk_identities), identities(distractor_identities)
    absent = set(in_kind([*aside[0], *aside[1]], table["identity"])) - set(table["identity"])
    if absent:
        notes.append(f"no image is of {shown(sorted(absent, key=str))}, named junk or distractor")
    return ReidDataset(name, path.parent, table, *aside, tuple(notes))


def _manifest_rows(path: Path, notes: list[str]) -> pd.DataFrame:
    """The rows of a manifest as texts; `ReidError` with the line for what cannot be."""
    table = read_csv(path, COLUMNS, notes)
    missing = [column for column in ("path", "identity", "split") if column not in table.columns]
    if missing:
        raise ReidError(
            f"{path} lacks the column {', '.join(missing)}; it has {shown(table.columns, 8)}. "
            f"{LAYOUT}"
        )
    if table.empty:
        raise ReidError(f"{path} has a heading and no rows. {LAYOUT}")
    if "camera" in table.columns and (table["camera"] == "").all():
        table = table.drop(columns="camera")
    for column in [name for name in COLUMNS if name in table.columns]:
        empty = table.index[table[column] == ""]
        if len(empty):
            remedy = "leave the whole column out" if column == "camera" else "delete the line"
            raise ReidError(
                f"{path}: {column} is empty in line {shown(empty)}; fill it in, or {remedy}"
            )
    table["split"] = table["split"].str.lower()
    unknown = table.index[~table["split"].isin(SPLITS)]
    if len(unknown):
        raise ReidError(
            f"{path}: split is {table['split'][unknown[0]]!r} in line {shown(unknown)}; "
            f"write one of {', '.join(SPLITS)}"
        )
    return table


def table(
    root: Root,
    *,
    file: str = "metadata.csv",
    title: str = "table",
    camera: str | None = None,
    split: str | None = None,
    test_share: float | None = None,
    seed: int = 0,
) -> ReidDataset:
    """`from_table` over the CSV `root/file`, with paths relative to `root`.

    title: the data set's name. camera: the column that serves as camera. split: the column with the
    split. test_share: instead, this share of the identities, drawn with `seed`, is for testing.
    """
    path = _find(root, file, "Name it with file=")
    notes: list[str] = []
    rows = read_csv(path, ("path", "identity"), notes)
    if "identity" in rows.columns:
        named = ~rows["identity"].str.lower().isin(NAMELESS)
        rows["identity"] = integers_or_text(rows["identity"][named], padded=False).astype(object)
    shares: dict[str, Any] = {"test_share": test_share, "seed": seed}
    data = from_table(rows, path.parent, title=title, camera=camera, split=split, **shares)
    return replace(data, notes=(*notes, *data.notes))


def from_table(
    table: pd.DataFrame,
    root: Root,
    *,
    title: str = "table",
    camera: str | None = None,
    split: str | None = None,
    test_share: float | None = None,
    seed: int = 0,
) -> ReidDataset:
    """A data set from a table with the columns `path` and `identity` and any others.

    root: what the paths are relative to. camera: the column that serves as camera, such as `date`
        for encounters; `camera` by default, and none where there is no such column.
    split: the column with the split; `split` by default. It holds train, query and gallery, or
        train and test; test rows then become queries and gallery by the rule of
        `queries_and_gallery`.
    test_share: instead of a split column, this share of the identities, drawn with `seed`, is for
        testing, and no identity is on both sides.

    Rows without an identity, or called `unknown`, are left out, and a note says how many.
    """
    root, notes = Path(root).expanduser(), list[str]()
    for column in ("path", "identity", *(c for c in (camera, split) if c is not None)):
        if column not in table.columns:
            raise ReidError(f"the table has no column {column!r}; it has {shown(table.columns, 8)}")
    nameless = table["identity"].isna() | (table["identity"].astype(str).str.lower() == "unknown")
    if nameless.any():
        notes.append(f"{counted(nameless.sum(), 'row')} without a known identity left out")
    rows = table[~nameless].reset_index(drop=True)
    if rows.empty:
        raise ReidError("the table has no rows with a known identity")
    rows["path"] = spelt_as_on_disk(root, rows["path"].map(os.fspath))
    rows["identity"], said = label_column(rows["identity"])
    notes += [f"identity {said}"] if said else []
    if camera is not None:
        rows["camera"] = rows[camera]
    if "camera" in rows.columns and (gaps := rows["camera"].isna()).any():
        if not gaps.all():
            raise ReidError(
                f"{camera or 'camera'} is empty in {gaps.sum():,} rows "
                f"({shown(rows['path'][gaps])}); fill it in, drop those rows, or take another "
                "column as camera"
            )
        rows = rows.drop(columns="camera")
    rows["split"], told = _splits(rows, split, test_share, seed)
    rows = rows.sort_values("split", key=lambda column: column.map(SPLITS.index), kind="stable")
    return ReidDataset(title, root, rows, notes=(*notes, *told))


def queries_and_gallery(identity: Any, camera: Any = None, seed: int = 0) -> np.ndarray:
    """Divide test images: True for a query, False for the gallery (bool, n).

    Of each identity, one drawn image of every camera with two or more becomes a query; where no
    camera has two, one drawn image. Every query then has a match by another camera in the gallery.
    An identity seen by one camera only stays in the gallery, for it could have no match; without
    cameras, an identity with two images or more gives one query.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    frame = pd.DataFrame({"identity": np.asarray(identity), "lot": rng.random(len(identity))})
    frame["camera"] = 0 if camera is None else np.asarray(camera)
    frame["in_camera"] = frame.groupby(["identity", "camera"])["lot"].transform("size")
    first = frame["lot"] == frame.groupby(["identity", "camera"])["lot"].transform("min")
    query = first & (frame["in_camera"] > 1)
    if camera is not None:
        none_twice = frame.groupby("identity")["in_camera"].transform("max") == 1
        query |= none_twice & (frame["lot"] == frame.groupby("identity")["lot"].transform("min"))
        query &= frame.groupby("identity")["camera"].transform("nunique") > 1
    return query.to_numpy()


def _find(root: Root, file: str, remedy: str) -> Path:
    """The CSV that `root` and `file` name; `ReidError` that says what is there instead."""
    path = Path(root).expanduser()
    if path.is_file():
        return path
    if not path.exists() and not path.suffix:
        raise ReidError(f"{no_folder(path)}. {remedy}")
    path = path / file if path.is_dir() else path
    if not there_is(path):
        where = Path(os.path.abspath(path.parent))
        held = f"it holds {listing(where)}" if where.is_dir() else no_folder(path.parent)
        raise ReidError(f"there is no {path.name} in {where}; {held}. {remedy}")
    return path


def _splits(
    rows: pd.DataFrame, split: str | None, test_share: float | None, seed: int
) -> tuple[pd.Series, list[str]]:
    """The split of each row, and what was decided for the user."""
    column = split or ("split" if "split" in rows.columns else None)
    if test_share is not None:
        if split is not None:
            raise ReidError(f"give either split={split!r} or test_share={test_share}, not both")
        values = _by_identity(rows["identity"], test_share, seed)
        note = f"split by identity: {test_share} of the identities for testing, seed {seed}"
    elif column is None:
        raise ReidError(
            "the table has no column split; name one with split=, or let it be split by identity "
            "with, for instance, test_share=0.5"
        )
    else:
        values = rows[column].astype(str).str.strip().str.lower()
        note = f"test rows became queries and gallery, seed {seed}"
    unknown = sorted(set(values) - {*SPLITS, "test"}, key=str)  # empty cells among texts
    if unknown:
        raise ReidError(
            f"{column} is {shown([repr(v) for v in unknown])} in some rows; it is train, query or "
            "gallery, or train or test"
        )
    test = (values == "test").to_numpy()
    if not test.any():
        return values, []
    part = rows[test]
    query = queries_and_gallery(part["identity"], part.get("camera"), seed)
    values = values.copy()
    values[test] = np.where(query, "query", "gallery")
    return values, [note]


def _by_identity(identity: pd.Series, test_share: float, seed: int) -> pd.Series:
    """`train` or `test` for each row; no identity on both sides."""
    try:
        share = float(test_share)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise ReidError(f"test_share is {test_share}; it lies between 0 and 1")
    known = np.array(sorted(identity.unique()), dtype=object)
    if len(known) < 2:
        raise ReidError("one identity cannot be split into training and testing; two are needed")
    count = min(max(round(len(known) * share), 1), len(known) - 1)
    rng = np.random.Generator(np.random.PCG64(seed))
    test = set(known[rng.permutation(len(known))[:count]])
    return pd.Series(np.where(identity.isin(test), "test", "train"), index=identity.index)
