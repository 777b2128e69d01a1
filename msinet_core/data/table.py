"""`ReidDataset`: one table of photographs, whatever data set they come from."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from msinet_core.data.labels import in_kind, label_column, tidy
from msinet_core.data.roots import require_unicode, shown
from msinet_core.errors import ReidError

SPLITS = ("train", "query", "gallery")
COLUMNS = ("path", "identity", "camera", "split")


@dataclass(frozen=True)
class ReidDataset:
    """Photographs of identities by cameras, in the splits train, query and gallery.

    `table` has one row an image, columns `path` (relative to `root`, or absolute), `identity`
    (int64 or text), `camera` (int64 or text; NA throughout where the data has no cameras), `split`,
    and any further columns of the source's (view, domain, ...). Rows keep the order of the source,
    which sorts them wherever it reads a file system. Labels of other kinds (categories, dates,
    mixtures, blanks around text) are made int64 or text, and a note tells of it.

    `junk_identities` are left out of every ranking (Market-1501's -1); `distractor_identities`
    stay in the gallery and never match (Market-1501's 0). They are written as the table's
    identities are: "-1" where those are text.

    `ReidError` for missing columns, gaps, unknown splits, and file names that are not UTF-8.
    """

    name: str
    root: Path
    table: pd.DataFrame
    junk_identities: tuple[Any, ...] = ()
    distractor_identities: tuple[Any, ...] = ()
    notes: tuple[str, ...] = field(default=())  # what the source found worth telling

    def __post_init__(self) -> None:
        root = Path(self.root)
        table, notes = self._labelled(self.table.reset_index(drop=True))
        for name in ("junk_identities", "distractor_identities"):
            object.__setattr__(self, name, in_kind(getattr(self, name), table["identity"]))
        object.__setattr__(self, "root", root)
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "notes", (*self.notes, *notes))

    def _labelled(self, table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
        """The table with its four columns first and as they should be, and what was changed."""
        missing = [name for name in ("path", "identity", "split") if name not in table.columns]
        if missing:
            raise ReidError(
                f"data set {self.name!r} lacks the column{'s' * (len(missing) > 1)} "
                f"{', '.join(missing)}; it has {', '.join(map(str, table.columns))}"
            )
        if not table.columns.is_unique:
            twice = table.columns[table.columns.duplicated()]
            raise ReidError(f"data set {self.name!r} has two columns called {twice[0]!r}")
        if "camera" not in table.columns or table["camera"].isna().all():
            table = table.assign(camera=pd.Series(pd.NA, index=table.index))
        extra = [name for name in table.columns if name not in COLUMNS]
        table, notes = table[[*COLUMNS, *extra]].copy(), []
        for column in COLUMNS:
            gaps = table[column].isna()
            if gaps.all() and column == "camera":
                continue
            if gaps.any():
                raise ReidError(
                    f"data set {self.name!r}: {column} is empty in {gaps.sum():,} rows "
                    f"({shown(table['path'][gaps])}); fill it in, or leave those rows out"
                )
            if column in ("identity", "camera"):
                table[column], told = label_column(table[column])
                notes += [f"{column} {told}"] if told else []
        table["path"] = self._paths(table["path"])
        table["split"] = [tidy(str(split)).lower() for split in table["split"]]
        unknown = sorted(set(table["split"]) - set(SPLITS), key=str)
        if unknown:
            raise ReidError(
                f"data set {self.name!r} has split {unknown[0]!r}; a split is one of "
                f"{', '.join(SPLITS)}"
            )
        return table, notes

    def _paths(self, paths: pd.Series) -> list[str]:
        texts = [os.fspath(path) for path in paths]
        require_unicode(texts, self.name)
        return texts

    @property
    def train(self) -> pd.DataFrame:
        return self.split("train")

    @property
    def query(self) -> pd.DataFrame:
        return self.split("query")

    @property
    def gallery(self) -> pd.DataFrame:
        return self.split("gallery")

    @property
    def has_cameras(self) -> bool:
        return bool(self.table["camera"].notna().all()) and len(self.table) > 0

    def split(self, name: str) -> pd.DataFrame:
        """The rows of one split, in order, index renumbered from 0."""
        return self.table[self.table["split"] == name].reset_index(drop=True)

    def with_table(self, table: pd.DataFrame) -> ReidDataset:
        """The same data set over other rows."""
        return replace(self, table=table)

    def summary(self) -> pd.DataFrame:
        """Images, identities and cameras of each split."""
        parts = {name: self.split(name) for name in SPLITS}
        rows = {
            name: (len(part), part["identity"].nunique(), part["camera"].nunique())
            for name, part in parts.items()
        }
        frame = pd.DataFrame(rows, index=["images", "identities", "cameras"])
        return frame.T.rename_axis("split")

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"ReidDataset {self.name!r}\n{self.summary().to_string()}"

    def _repr_html_(self) -> str:
        return f"<b>{escape(self.name)}</b>{self.summary().to_html()}"
