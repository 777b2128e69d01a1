"""Large galleries: a faiss index over features or a store, exact or approximate, and search shard
by shard.

Needs the extra `scale` (faiss). Features are L2-normalised, so that inner products order like
Euclidean distances do. Junk images have no place in a gallery in use: leave their rows out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from msinet_core.data import Protocol
from msinet_core.data.boxes import key_columns
from msinet_core.data.matches import Matches, shared_codes
from msinet_core.errors import ReidError
from msinet_core.files import hash_file, replacing_folder, require_regular, whole_folder
from msinet_core.retrieval.features import feature_array, require_rows, unit_rows
from msinet_core.retrieval.ranking import label_table
from msinet_core.retrieval.store import EmbeddingStore
from msinet_core.retrieval.tables import read_about, read_table, write_about, write_table

BLOCK = 65_536  # rows normalised and added at once
LABELS = ["identity", "camera"]
Features = EmbeddingStore | np.ndarray


@dataclass(frozen=True)
class Found:
    """The k nearest kept gallery rows of each query, nearest first; -1 and infinity where fewer are
    kept.
    """

    gallery_index: np.ndarray  # Q x k, int64
    distance: np.ndarray  # Q x k, float32, Euclidean between L2-normalised features


@dataclass
class GalleryIndex:
    """A searchable gallery that grows: `build` or `load` one, `add` to it, `search` it, `save` it.

    `labels` has the columns `identity` and `camera` (NA where there are none), one row a feature,
    and what tells its picture (path and box), below the folder `root`.
    """

    kind: str
    labels: pd.DataFrame = field(repr=False)
    length: int
    _index: Any = field(repr=False)
    root: str = ""

    @classmethod
    def build(
        cls,
        features: Features,
        table: pd.DataFrame | None = None,
        *,
        kind: Literal["exact", "approximate"] = "exact",
        cells: int | None = None,
        probes: int = 32,
        seed: int = 0,
    ) -> GalleryIndex:
        """An index over a store, or over features (G x D) with their table.

        `exact` compares with every row: 4 * D bytes each. `approximate` sorts rows into `cells`
        (by default the square root of their number) and compares with those of the
        `probes` nearest cells, at 8 bits a number: D bytes each. `seed` draws the rows that the
        cells are trained on.
        """
        faiss = _faiss()
        if kind not in ("exact", "approximate"):
            raise ReidError(f"kind is 'exact' or 'approximate', not {kind!r}")
        source, labels, length = _source(features, table)
        if kind == "exact":
            index = faiss.IndexFlatIP(length)
        else:
            index = _trained(faiss, source, len(labels), length, cells, seed)
            index.nprobe = min(probes, index.nlist)
        root = features.root if isinstance(features, EmbeddingStore) else ""
        result = cls(kind, labels.iloc[:0], length, index, root)
        result._extend(source, labels)
        return result

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def __repr__(self) -> str:
        return f"GalleryIndex({self.kind}, {len(self):,} x {self.length})"

    def add(self, features: Features, table: pd.DataFrame | None = None) -> None:
        """More gallery rows, behind those that are there; nothing is rebuilt."""
        source, labels, length = _source(features, table)
        if length != self.length:
            raise ReidError(
                f"the index holds features of length {self.length}; these have length {length}"
            )
        mine, theirs = self.labels["identity"], labels["identity"]
        if len(mine) and mine.notna().all() and theirs.notna().all():
            shared_codes(mine, theirs, "identity")  # those of another kind would never match
        self._extend(source, labels)

    def _extend(self, source: Features, labels: pd.DataFrame) -> None:
        """Block by block, labels in step with features, so that a bad row leaves a sound index
        behind.
        """
        for first, block in _blocks(source):
            self._index.add(unit_rows(block, "gallery"))
            parts = self.labels, labels[first : first + len(block)]
            self.labels = pd.concat([part for part in parts if len(part)], ignore_index=True)

    def search(
        self, query: Any, k: int, query_identity: Any = None, query_camera: Any = None
    ) -> Found:
        """The `k` nearest gallery rows of every query (Q x D).

        With the queries' identities and cameras, gallery rows of the same identity *and* camera
        are left out, as in `rank`; unknown identities (the usual case in use) leave nothing out.
        """
        unit = _unit_queries(query, self.length, k)
        removed = _removed(self.labels, len(unit), query_identity, query_camera)
        wanted = min(k + _most(removed), max(len(self), 1))
        score, place = self._index.search(unit, wanted)
        return _kept(score, place, removed, k)

    def recall(
        self, query: Any, exact: Found, query_identity: Any = None, query_camera: Any = None
    ) -> float:
        """Share of the rows that an exact search found that this index finds too (recall at k)."""
        found = self.search(query, exact.gallery_index.shape[1], query_identity, query_camera)
        pairs = zip(found.gallery_index, exact.gallery_index, strict=True)
        hits = sum(len(np.intersect1d(mine, theirs[theirs >= 0])) for mine, theirs in pairs)
        return hits / max(int((exact.gallery_index >= 0).sum()), 1)

    def save(self, folder: str | Path) -> Path:
        """Writes the index and its labels into a folder, whole or not at all; `ReidError` for a
        folder that holds anything but an index.
        """
        with replacing_folder(Path(folder), "index") as place:
            _faiss().write_index(self._index, str(place / "index.faiss"))
            write_table(self.labels, place / "labels.jsonl")
            files = ("index.faiss", "labels.jsonl")
            hashes = {name: hash_file(place / name) for name in files}
            about = {"kind": self.kind, "length": self.length, "hashes": hashes}
            about |= {"root": self.root, "columns": list(self.labels.columns)}
            write_about(place / "index.json", about)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> GalleryIndex:
        folder = whole_folder(Path(folder))
        about = read_about(folder / "index.json", "gallery index", "build it again")
        try:
            for name, expected in about.get("hashes", {}).items():
                if hash_file(folder / name) != expected:
                    raise ReidError(f"{str(folder / name)!r} is not what was written there")
            labels = read_table(folder / "labels.jsonl", about.get("columns", LABELS))
            require_regular(folder / "index.faiss")
            index = _faiss().read_index(str(folder / "index.faiss"))
            whole = index.ntotal == len(labels) and index.d == about["length"]
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise ReidError(f"{str(folder)!r} is damaged ({error}); build it again") from error
        if not whole:
            raise ReidError(f"{str(folder)!r} is damaged; build it again")
        return cls(about["kind"], labels, about["length"], index, about.get("root", ""))


def search_store(
    store: EmbeddingStore, query: Any, k: int, query_identity: Any = None, query_camera: Any = None
) -> Found:
    """Exact top-k over a store of any size: shard by shard, merged. Rules as in
    `GalleryIndex.search`.

    Memory: one block of 65,536 features at a time, whatever the store holds.
    """
    faiss = _faiss()
    unit = _unit_queries(query, store.length, k)
    removed = _removed(_labels(store.table), len(unit), query_identity, query_camera)
    wanted = k + _most(removed)
    best = np.full((len(unit), wanted), -np.inf, np.float32)
    place = np.full((len(unit), wanted), -1, np.int64)
    for first, block in _blocks(store):
        most = min(wanted, len(block))
        metric = faiss.METRIC_INNER_PRODUCT
        score, rows = faiss.knn(unit, unit_rows(block, "gallery"), most, metric=metric)
        both = np.concatenate([best, score], axis=1)
        rows = np.concatenate([place, np.where(rows >= 0, rows + first, -1)], axis=1)
        order = np.lexsort((rows, -both), axis=1)[:, :wanted]  # ties in gallery order
        best, place = np.take_along_axis(both, order, 1), np.take_along_axis(rows, order, 1)
    return _kept(best, place, removed, k)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ReidError("large galleries need faiss: pip install 'msinet-core[scale]'") from error
    return faiss


def _source(features: Features, table: pd.DataFrame | None) -> tuple[Features, pd.DataFrame, int]:
    """Features, their labels, and their length."""
    if isinstance(features, EmbeddingStore):
        if table is not None:
            raise ReidError("a store brings its own table; leave the other one out")
        return features, _labels(features.table), features.length
    array = feature_array(features, "gallery features")
    if table is None:
        raise ReidError(
            "features need their table, with a column identity and, if there are cameras, camera"
        )
    require_rows(array, table)
    return array, _labels(table), array.shape[1]


def _labels(table: pd.DataFrame) -> pd.DataFrame:
    if not {"identity", "path"} & set(table.columns):
        raise ReidError(
            "the table has neither a column identity nor a path; it has "
            f"{', '.join(map(str, table.columns))}"
        )
    return table.reindex(columns=[*LABELS, *key_columns(table)]).reset_index(drop=True)


def _blocks(source: Features) -> Iterator[tuple[int, np.ndarray]]:
    """First row and features of each block."""
    shards = source.shards() if isinstance(source, EmbeddingStore) else [(0, source)]
    for first, shard in shards:
        for start in range(0, len(shard), BLOCK):
            yield first + start, np.asarray(shard[start : start + BLOCK])


def _trained(
    faiss: Any, source: Features, count: int, length: int, cells: int | None, seed: int
) -> Any:
    cells = cells or max(1, min(int(count**0.5), count // 39))
    if count < cells:
        raise ReidError(
            f"{cells} cells need as many gallery rows, but there are {count}; use fewer cells, or "
            "kind='exact'"
        )
    rows = np.sort(np.random.default_rng(seed).permutation(count)[: 40 * cells])
    sample = source.read(rows) if isinstance(source, EmbeddingStore) else source[rows]
    flat, bits = faiss.IndexFlatIP(length), faiss.ScalarQuantizer.QT_8bit
    metric = faiss.METRIC_INNER_PRODUCT
    index = faiss.IndexIVFScalarQuantizer(flat, length, cells, bits, metric)
    index.cp.seed, index.cp.niter = seed + 1, 10
    index.train(unit_rows(sample, "gallery"))
    return index


def _unit_queries(query: Any, length: int, k: int) -> np.ndarray:
    query = feature_array(query, "query features")
    if query.shape[1] != length:
        raise ReidError(
            f"query features have length {query.shape[1]} and the gallery's {length}; both must "
            "come from one model"
        )
    if k < 1:
        raise ReidError(f"k must be at least 1, not {k}")
    return unit_rows(query, "query")


def _removed(labels: pd.DataFrame, count: int, identity: Any, camera: Any) -> list[np.ndarray]:
    """For each query the gallery rows of its identity and camera; empty where nothing is known."""
    if (identity is None) != (camera is None):
        raise ReidError(
            "leaving the same camera out needs identities and cameras of the queries; one is "
            "missing"
        )
    if identity is None:
        return []
    matches = Matches.find(label_table(identity, camera, count, "query"), labels, Protocol())
    out = ~matches.kept
    sizes = np.bincount(matches.owner[out], minlength=count)
    return np.split(matches.rows[out], np.cumsum(sizes)[:-1])


def _most(removed: list[np.ndarray]) -> int:
    return max(map(len, removed), default=0)


def _kept(score: np.ndarray, place: np.ndarray, removed: list[np.ndarray], k: int) -> Found:
    """Drops the removed rows and keeps the first k of the rest."""
    missing = max(k - place.shape[1], 0)
    place = np.pad(place, ((0, 0), (0, missing)), constant_values=-1)
    score = np.pad(score, ((0, 0), (0, missing)))
    out = place < 0
    for q, rows in enumerate(removed):
        out[q] |= np.isin(place[q], rows)
    order = np.argsort(out, axis=1, kind="stable")[:, :k]  # kept ones first, in their order
    place, score, out = (np.take_along_axis(values, order, 1) for values in (place, score, out))
    distance = np.where(out, np.inf, np.sqrt(np.maximum(2 - 2 * score, 0)))
    return Found(np.where(out, -1, place).astype(np.int64), distance.astype(np.float32))
