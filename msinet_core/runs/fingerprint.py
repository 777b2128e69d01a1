"""What tells a run's data apart from other data, for whoever resumes it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from msinet_core.data.table import ReidDataset
from msinet_core.errors import ReidError
from msinet_core.files import hash_file

READERS = 4  # threads; more than disks serve faster


@dataclass(frozen=True)
class Fingerprint:
    """Of the training rows as a run uses them (a table for each side of a search), of the content
    of their files, and of the data set's test rows.
    """

    dataset: ReidDataset
    train: tuple[pd.DataFrame, ...]

    @cached_property
    def state(self) -> dict[str, str]:
        """Plain values for a checkpoint."""
        test = self.dataset.table[self.dataset.table["split"] != "train"]
        return {
            "data": rows_hash(["path", "identity", "camera"], *self.train),
            "test": rows_hash(["path", "identity", "camera", "split"], test),
            "contents": contents_hash(self._files()),
        }

    def check(self, saved: Mapping[str, Any], folder: Path) -> None:
        """`ReidError` where the state in a checkpoint of the run in `folder` is of other data."""
        changes = {
            "data": "other images, identities or cameras to train on",
            "contents": "image files were replaced or removed",
            "test": "other images, identities or cameras to test with",
        }
        changed = [what for name, what in changes.items() if self._differs(name, saved)]
        if changed:
            raise ReidError(
                f"the data changed since {str(folder)!r} was begun ({'; '.join(changed)}); "
                "restore the data, or start a new run with --run"
            )

    def _differs(self, name: str, saved: Mapping[str, Any]) -> bool:
        if name == "contents" and name not in saved and "files" in saved:
            return bool(saved["files"] != sizes_hash(self._files()))  # all that older runs knew
        return bool(saved.get(name, self.state[name]) != self.state[name])

    def _files(self) -> list[Path]:
        return [self.dataset.root / path for table in self.train for path in table["path"]]


def rows_hash(columns: list[str], *tables: pd.DataFrame) -> str:
    """Changes when the rows of any of the tables do, or their order."""
    digest = hashlib.sha256()
    for table in tables:
        digest.update(table[columns].to_csv(index=False, lineterminator="\n").encode())
    return digest.hexdigest()


def contents_hash(files: Iterable[Path]) -> str:
    """Changes when the bytes of any of the files do, or one is gone; `ReidError` for one that is
    there and cannot be read, as a disk that fails for a moment makes no other data.
    """
    digest, paths = hashlib.sha256(), list(files)
    with ThreadPoolExecutor(READERS) as pool:
        for path, one in zip(paths, pool.map(hash_file, paths), strict=True):
            if one is None and path.is_file():
                raise ReidError(
                    f"{str(path)!r} cannot be read, so nobody can tell whether it is still the "
                    "same; look after its disk and permissions, and try again"
                )
            digest.update(f"{one},".encode())
    return digest.hexdigest()


def sizes_hash(files: Iterable[Path]) -> str:
    """Changes when any of the files is replaced by one of another size, or is gone."""
    digest = hashlib.sha256()
    for path in files:
        try:
            size = path.stat().st_size
        except OSError:
            size = -1
        digest.update(f"{size},".encode())
    return digest.hexdigest()
