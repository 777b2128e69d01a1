"""Any pandas table as a data set, with a seeded identity-disjoint split where it has none.

The columns of the wildlife-datasets package (identity, path, optionally date, orientation, split)
are taken as they are: `from_table(dataset.df, dataset.root)`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msinet_core.data.labels import integers_or_text
from msinet_core.data.layouts import Root
from msinet_core.data.roots import counted, listing, refuse_escapes, shown
from msinet_core.data.table import SPLITS, ReidDataset
from msinet_core.errors import ReidError

UNKNOWN = "unknown"  # what wildlife-datasets calls an individual that nobody could name


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
    path = Path(root).expanduser() / file
    if not path.is_file():
        held = listing(path.parent) if path.parent.is_dir() else "nothing: it does not exist"
        raise ReidError(
            f"there is no {path.name} in {path.parent} (it holds {held}); name it with file="
        )
    rows = pd.read_csv(path, dtype={"path": "str", "identity": "str"}, encoding="utf-8-sig")
    if "path" in rows.columns:
        refuse_escapes(rows["path"].dropna(), path, path.parent)
    if "identity" in rows.columns:
        rows["identity"] = integers_or_text(rows["identity"], padded=False)
    return from_table(
        rows, path.parent, title=title, camera=camera, split=split, test_share=test_share, seed=seed
    )


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
        train and
        test; test rows then become queries and gallery by the rule of `queries_and_gallery`.
    test_share: instead of a split column, this share of the identities, drawn with `seed`, is for
        testing, and no identity is on both sides.

    Rows without an identity, or called `unknown`, are left out, and a note says how many.
    """
    for column in ("path", "identity", *(c for c in (camera, split) if c is not None)):
        if column not in table.columns:
            raise ReidError(f"the table has no column {column!r}; it has {shown(table.columns, 8)}")
    notes = []
    nameless = table["identity"].isna() | (table["identity"].astype(str).str.lower() == UNKNOWN)
    if nameless.any():
        notes.append(f"{counted(nameless.sum(), 'row')} without a known identity left out")
    rows = table[~nameless].reset_index(drop=True)
    if rows.empty:
        raise ReidError("the table has no rows with a known identity")
    if camera is not None:
        rows["camera"] = rows[camera]
    if "camera" in rows.columns and rows["camera"].isna().any():
        if not rows["camera"].isna().all():
            first = rows["path"][rows["camera"].isna()]
            raise ReidError(
                f"{camera or 'camera'} is empty in {len(first):,} rows ({shown(first)}); fill it in, drop "
                "those rows, or take another column as camera"
            )
        rows = rows.drop(columns="camera")
    rows["split"], said = _splits(rows, split, test_share, seed)
    order = {"train": 0, "query": 1, "gallery": 2}
    rows = rows.sort_values("split", key=lambda column: column.map(order), kind="stable")
    return ReidDataset(title, Path(root).expanduser(), rows, notes=(*notes, *said))


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


def _splits(
    rows: pd.DataFrame, split: str | None, test_share: float | None, seed: int
) -> tuple[pd.Series, list[str]]:
    """The split of each row, and what was decided for the user."""
    column = split or ("split" if "split" in rows.columns else None)
    if test_share is not None:
        if column == split and split is not None:
            raise ReidError(f"give either split={split!r} or test_share={test_share}, not both")
        values = _by_identity(rows["identity"], test_share, seed)
        note = f"split by identity: {test_share} of the identities for testing, seed {seed}"
    elif column is None:
        raise ReidError(
            "the table has no column split; name one with split=, or let it be split by identity with, "
            "for instance, test_share=0.5"
        )
    else:
        values, note = (
            rows[column].astype(str),
            f"test rows became queries and gallery, seed {seed}",
        )
    unknown = sorted(set(values) - {*SPLITS, "test"})
    if unknown:
        raise ReidError(
            f"{column} is {shown([repr(v) for v in unknown])} in some rows; it is train, query or gallery, "
            "or train or test"
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
    known = np.array(
        sorted(identity.unique(), key=lambda value: (str(type(value)), value)), dtype=object
    )
    if len(known) < 2:
        raise ReidError("one identity cannot be split into training and testing; two are needed")
    count = min(max(round(len(known) * share), 1), len(known) - 1)
    rng = np.random.Generator(np.random.PCG64(seed))
    test = set(known[rng.permutation(len(known))[:count]])
    return pd.Series(np.where(identity.isin(test), "test", "train"), index=identity.index)
