"""`ReidDataset`: one table of photographs, whatever data set they come from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from msinet_core.errors import ReidError

SPLITS = ("train", "query", "gallery")
COLUMNS = ("path", "identity", "camera", "split")


@dataclass(frozen=True)
class ReidDataset:
    """Photographs of identities by cameras, in the splits train, query and gallery.

    `table` has one row an image, columns `path` (relative to `root`, or absolute), `identity`
    (integers or strings), `camera` (integers or strings; NA throughout where the data has no
    cameras), `split`, and any further columns of the source's (view, domain, ...). Rows keep the
    order of the source, which sorts them wherever it reads a file system.

    `junk_identities` are left out of every ranking (Market-1501's -1); `distractor_identities`
    stay in the gallery and never match (Market-1501's 0).
    """

    name: str
    root: Path
    table: pd.DataFrame
    junk_identities: tuple[Any, ...] = ()
    distractor_identities: tuple[Any, ...] = ()
    notes: tuple[str, ...] = field(default=())  # what the source found worth telling

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))
        table = self.table.reset_index(drop=True)
        missing = [name for name in ("path", "identity", "split") if name not in table.columns]
        if missing:
            raise ReidError(
                f"data set {self.name!r} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
                f"it has {', '.join(map(str, table.columns))}"
            )
        if "camera" not in table.columns:
            table = table.assign(camera=pd.Series(pd.NA, index=table.index))
        unknown = sorted(set(table["split"]) - set(SPLITS), key=str)
        if unknown:
            raise ReidError(
                f"data set {self.name!r} has split {unknown[0]!r}; a split is one of {', '.join(SPLITS)}"
            )
        extra = [name for name in table.columns if name not in COLUMNS]
        object.__setattr__(self, "table", table[[*COLUMNS, *extra]])

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
        rows = {
            name: {
                "images": len(part),
                "identities": part["identity"].nunique(),
                "cameras": part["camera"].nunique(),
            }
            for name in SPLITS
            for part in [self.split(name)]
        }
        return pd.DataFrame(rows).T.rename_axis("split")

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"ReidDataset {self.name!r}\n{self.summary().to_string()}"

    def _repr_html_(self) -> str:
        return f"<b>{self.name}</b>{self.summary().to_html()}"
