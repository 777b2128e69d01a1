"""`EmbeddingStore`: features on disk, memory-mapped, with the table they belong to.

    store.json        format, feature length, rows of each shard, and what the features depend on
    table.jsonl       one row an image, in the order of the features
    files.jsonl       size, time and hash of every image file when it was embedded
    features-0000.npy N x D float32; a store has as many shards as it needs

Later steps open it in no time and read what they need. `embed_dataset` reuses a store whose
weights, settings and images are the same as before, and makes it anew otherwise.
"""

from __future__ import annotations

import hashlib
import operator
import os
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from msinet_core.data import IMAGENET_MEAN, IMAGENET_STD, ReidDataset
from msinet_core.errors import ReidError
from msinet_core.files import (
    clear_leftovers,
    hash_file,
    replacing_folder,
    require_regular,
    whole_folder,
)
from msinet_core.retrieval.embedder import Embedder, require_finite
from msinet_core.retrieval.tables import (
    checksum,
    read_about,
    read_table,
    table_checksum,
    write_about,
    write_table,
)

FORMAT = 1
TABLE, FILES = "table.jsonl", "files.jsonl"
FILE_COLUMNS = ["size", "time", "hash"]
SHARD_ROWS = 131_072  # 400 MB of features of length 768


@dataclass(frozen=True)
class EmbeddingStore:
    """N features of length D in shards of a folder; made by `write_store` or `embed_dataset`."""

    folder: Path
    shard_rows: tuple[int, ...]
    length: int
    made_from: dict[str, Any]  # what the features depend on besides the images
    columns: tuple[str, ...] = ()  # of the table
    checksums: tuple[int, ...] = field(default=(), repr=False)  # of each shard
    table_checksums: dict[str, int] = field(default_factory=dict, repr=False)  # by file
    root: str = ""  # where the images were, which the paths of the table are relative to
    _checked: set[int] = field(default_factory=set, repr=False, compare=False)

    def __len__(self) -> int:
        return sum(self.shard_rows)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row an image, index from 0."""
        return self._table(TABLE, list(self.columns))

    @property
    def files(self) -> pd.DataFrame:
        """Size, time and hash of every image file when it was embedded."""
        return self._table(FILES, FILE_COLUMNS)

    def _table(self, name: str, columns: list[str]) -> pd.DataFrame:
        table = read_table(self.folder / name, columns, self.table_checksums.get(name))
        if name == TABLE and len(table) != len(self):
            raise ReidError(
                f"{str(self.folder)!r} has {len(self):,} features and {len(table):,} rows in its "
                "table; embed again"
            )
        return table

    def shards(self) -> Iterator[tuple[int, np.ndarray]]:
        """First row and features (memory-mapped, read-only) of each shard, in order. `ReidError`
        for a shard that is not what was written.
        """
        first = 0
        for number, rows in enumerate(self.shard_rows):
            shard = self._map(number)
            if number not in self._checked:
                self._check(number, shard)
                self._checked.add(number)
            yield first, shard
            first += rows

    def _map(self, number: int) -> np.ndarray:
        path, shape = self.folder / _shard_name(number), (self.shard_rows[number], self.length)
        try:
            require_regular(path)
            array = np.load(path, mmap_mode="r" if shape[0] else None)
        except (OSError, ValueError, EOFError) as error:
            raise ReidError(
                f"{str(path)!r} is missing or damaged; embed again ({error})"
            ) from error
        if isinstance(array, np.memmap) and path.stat().st_size != array.offset + array.nbytes:
            raise ReidError(f"{str(path)!r} has more in it than was written there; embed again")
        if array.shape != shape or array.dtype != np.float32:
            raise ReidError(
                f"{str(path)!r} holds {array.shape} {array.dtype}, expected {shape} float32; embed "
                "again"
            )
        return array

    def _check(self, number: int, shard: np.ndarray) -> None:
        """Against its checksum, or for values alone where an older version wrote none."""
        path = self.folder / _shard_name(number)
        if not self.checksums:
            require_finite(shard, what=f"features in {str(path)!r}")
        elif checksum(shard) != self.checksums[number]:
            raise ReidError(f"{str(path)!r} is not what was written there; embed again")

    @property
    def features(self) -> np.ndarray:
        """All features, N x D: memory-mapped where there is one shard, read into memory where there
        are more.
        """
        parts = [shard for _, shard in self.shards()]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def read(self, rows: Any) -> np.ndarray:
        """Features of these rows (integers or a boolean mask), in memory, float32."""
        wanted = np.arange(len(self))[np.asarray(rows)]
        result = np.empty((len(wanted), self.length), np.float32)
        for first, shard in self.shards():
            here = (wanted >= first) & (wanted < first + len(shard))
            result[here] = shard[wanted[here] - first]
        return result

    def __repr__(self) -> str:
        size = len(self) * self.length * 4 / 1e6
        return (
            f"EmbeddingStore {str(self.folder)!r}: {len(self):,} x {self.length}, "
            f"{len(self.shard_rows)} shards, {size:,.0f} MB"
        )


def open_store(folder: str | Path) -> EmbeddingStore:
    """The store in a folder; `ReidError` if there is none, or if it is damaged or of another
    version. Features are checked when they are first read.
    """
    folder = whole_folder(Path(folder))
    about = read_about(folder / "store.json", "embedding store", "embed again", FORMAT)
    try:
        store = EmbeddingStore(
            folder,
            tuple(map(operator.index, about["shard_rows"])),
            operator.index(about["length"]),
            dict(about["made_from"]),
            tuple(map(str, about["columns"])),
            tuple(about.get("checksums", ())),
            dict(about.get("table_checksums", {})),
            str(about.get("root", "")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ReidError(f"{str(folder / 'store.json')!r} is damaged; embed again") from error
    if store.checksums and len(store.checksums) != len(store.shard_rows):
        raise ReidError(f"{str(folder / 'store.json')!r} is damaged; embed again")
    for number in range(len(store.shard_rows)):  # missing or short files are found now
        store._map(number)
    return store


def write_store(
    folder: str | Path,
    table: pd.DataFrame,
    blocks: Iterable[np.ndarray],
    made_from: dict[str, Any],
    files: pd.DataFrame | None = None,
    shard_rows: int = SHARD_ROWS,
    root: str | Path = "",
) -> EmbeddingStore:
    """Writes features that come block by block (B x D each, N rows in all), whole or not at all.

    Never more than one shard is in memory. `table` has N rows, its paths relative to `root`.
    `ReidError` for features that are not finite, and for a folder that holds anything but a store.
    """
    if shard_rows < 1:
        raise ReidError(f"shard_rows must be at least 1, not {shard_rows}")
    table = table.reset_index(drop=True)
    with replacing_folder(Path(folder), "store") as place:
        counts, checksums, length = _write_shards(place, blocks, shard_rows, table)
        if sum(counts) != len(table):
            raise ReidError(
                f"there are {sum(counts)} features for {len(table)} rows of the table; one each is "
                "needed"
            )
        tables = {TABLE: table} | ({} if files is None else {FILES: files})
        for name, rows in tables.items():
            write_table(rows, place / name)
        about = {
            "format": FORMAT,
            "length": length,
            "shard_rows": counts,
            "checksums": checksums,
            "table_checksums": {name: table_checksum(place / name) for name in tables},
            "columns": list(table.columns),
            "made_from": made_from,
            "root": os.path.abspath(root) if str(root) else "",
        }
        write_about(place / "store.json", about)
    return open_store(folder)


def _write_shards(
    place: Path, blocks: Iterable[np.ndarray], shard_rows: int, table: pd.DataFrame
) -> tuple[list[int], list[int], int]:
    """Rows and checksum of each shard, and the length of the features."""
    counts: list[int] = []
    checksums: list[int] = []
    waiting: list[np.ndarray] = []
    seen, length = 0, -1

    def write(rows: np.ndarray) -> None:
        np.save(place / _shard_name(len(counts)), rows)
        counts.append(len(rows))
        checksums.append(checksum(rows))

    for block in blocks:
        block = np.asarray(block, np.float32)
        length = block.shape[-1] if length < 0 else length
        if block.ndim != 2 or block.shape[1] != length:
            raise ReidError(
                f"blocks of features must all be B x {length}, but one is of shape {block.shape}"
            )
        require_finite(block, table.get("path"), seen)
        seen += len(block)
        waiting.append(block)
        while sum(map(len, waiting)) >= shard_rows:
            rows = np.concatenate(waiting)
            write(rows[:shard_rows])
            waiting = [rows[shard_rows:]]
    if sum(map(len, waiting)) or not counts:
        write(np.concatenate(waiting) if waiting else np.zeros((0, 0), np.float32))
    return counts, checksums, max(length, 0)


def _shard_name(number: int) -> str:
    return f"features-{number:04d}.npy"


# -- embedding into a store ----------------------------------------------------------------------


def embed_dataset(
    embedder: Embedder,
    dataset: ReidDataset,
    folder: str | Path,
    *,
    shard_rows: int = SHARD_ROWS,
    rebuild: bool = False,
) -> EmbeddingStore:
    """Features of all images of a data set, in a store; an up-to-date one in `folder` is reused.

    Up to date: same weights, size and options, same table, and image files with the same content
    (by size and time; where these differ, by hash). `rebuild` embeds in any case. Of several
    processes the main one writes what each embeds of its share.
    """
    processes = embedder.processes
    table_hash = _hash(dataset.table.to_json(orient="split").encode())
    made_from = {**embedder.made_from(), "table": table_hash}
    before = None if rebuild else _reusable(Path(folder), made_from)
    known = None if before is None else before.files
    files = file_facts(dataset, known)
    current = before is not None and known is not None and files["hash"].equals(known["hash"])
    if embedder.on_bad_image == "error":  # a store with images left out will not do
        current = current and before is not None and len(before) == len(dataset)
    if processes.broadcast(bytes([current])) == b"\1":
        processes.on_main_process(lambda: clear_leftovers(Path(folder)))
        return open_store(folder)
    reader = embedder.open(dataset.table, dataset.root, cache="none")
    if processes.size == 1:
        blocks = embedder.batches(reader)
        return write_store(folder, reader.table, blocks, made_from, files, shard_rows, dataset.root)
    everyones = embedder.embed(reader)

    def write() -> None:
        blocks = [everyones]
        write_store(folder, reader.table, blocks, made_from, files, shard_rows, dataset.root)

    processes.on_main_process(write)
    return open_store(folder)


def _reusable(folder: Path, made_from: dict[str, Any]) -> EmbeddingStore | None:
    """The store in a folder, if it is sound and was made from the same but for the image files."""
    if not (whole_folder(folder) / "store.json").is_file():
        return None
    try:
        store = open_store(folder)
        imagenet = {"mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}
        if imagenet | store.made_from != made_from:
            return None
        for _ in store.shards():  # checks each
            pass
        assert store.table is not None  # read, so checked
        return store if (store.folder / FILES).exists() and len(store.files) else None
    except ReidError as error:
        warnings.warn(f"embedding again: {error}", stacklevel=3)
        return None


def file_facts(dataset: ReidDataset, before: pd.DataFrame | None = None) -> pd.DataFrame:
    """Size, time and content hash of every image file; hashes of files that look untouched are
    taken from `before`.
    """
    paths = [dataset.root / path for path in dataset.table["path"]]
    known: dict[tuple[int, int, int], str] = {}
    if before is not None and len(before) == len(paths):
        rows = before.itertuples(index=False)
        known = {(row, size, time): text for row, (size, time, text) in enumerate(rows)}

    def facts(row: int) -> tuple[int, int, str]:
        try:
            stat = paths[row].stat()
            found = known.get((row, stat.st_size, stat.st_mtime_ns))
            return stat.st_size, stat.st_mtime_ns, found or hash_file(paths[row]) or ""
        except (OSError, ValueError):
            return -1, -1, ""  # reading it will say what is wrong

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return pd.DataFrame(pool.map(facts, range(len(paths))), columns=FILE_COLUMNS)


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
