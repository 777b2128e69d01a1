"""Large galleries: a faiss index over features or a store, exact or approximate, and search shard
by shard.

Needs the extra `scale` (faiss). Features are L2-normalised, so that inner products order like
Euclidean distances do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from msinet_core.data import Protocol
from msinet_core.data.matches import Matches, shared_codes
from msinet_core.errors import ReidError
from msinet_core.files import read_json, replacing_folder, whole_folder
from msinet_core.retrieval.features import feature_array, unit_rows
from msinet_core.retrieval.ranking import label_table
from msinet_core.retrieval.store import EmbeddingStore
from msinet_core.retrieval.tables import read_table, write_table

BLOCK = 65_536  # rows normalised and added at once
LABELS = ["identity", "camera"]


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ReidError("large galleries need faiss: pip install 'msinet-core[scale]'") from error
    return faiss


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

    `labels` has the columns `identity` and `camera` (NA where there are none), one row a feature.
    Junk images have no place in a gallery in use: leave their rows out.
    """

    kind: str
    labels: pd.DataFrame = field(repr=False)
    length: int
    _index: Any = field(repr=False)

    @classmethod
    def build(
        cls,
        features: EmbeddingStore | np.ndarray,
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
        source, labels, length = _source(features, table)
        if kind == "exact":
            index = faiss.IndexFlatIP(length)
        elif kind == "approximate":
            index = _trained(faiss, source, len(labels), length, cells, seed)
            index.nprobe = min(probes, index.nlist)
        else:
            raise ReidError(f"kind is 'exact' or 'approximate', not {kind!r}")
        result = cls(kind, labels.iloc[:0], length, index)
        result._extend(source, labels)
        return result

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def __repr__(self) -> str:
        return f"GalleryIndex({self.kind}, {len(self):,} x {self.length})"

    def add(self, features: EmbeddingStore | np.ndarray, table: pd.DataFrame | None = None) -> None:
        """More gallery rows, behind those that are there; nothing is rebuilt."""
        source, labels, length = _source(features, table)
        if length != self.length:
            raise ReidError(
                f"the index holds features of length {self.length}; these have length {length}"
            )
        if len(self.labels):  # identities of another kind would never match
            shared_codes(self.labels["identity"], labels["identity"], "identity")
        self._extend(source, labels)

    def _extend(self, source: EmbeddingStore | np.ndarray, labels: pd.DataFrame) -> None:
        """Block by block, labels in step with features, so that a bad row leaves a sound index
        behind.
        """
        first = 0
        for block in _blocks(source):
            self._index.add(unit_rows(block, "gallery"))
            self.labels = pd.concat(
                [part for part in (self.labels, labels[first : first + len(block)]) if len(part)],
                ignore_index=True,
            )
            first += len(block)

    def search(
        self,
        query: Any,
        k: int,
        query_identity: Any = None,
        query_camera: Any = None,
    ) -> Found:
        """The `k` nearest gallery rows of every query (Q x D).

        With the queries' identities and cameras, gallery rows of the same identity *and* camera
        are left out, as in `rank`; unknown identities (the usual case in use) leave nothing out.
        """
        unit = _probes(query, self.length, k)
        removed = _removed(self.labels, len(unit), query_identity, query_camera)
        most = max((len(rows) for rows in removed.values()), default=0)
        wanted = min(k + most, max(len(self), 1))
        score, place = self._index.search(unit, wanted)
        return _kept(score, place, removed, k)

    def recall(
        self, query: Any, exact: Found, query_identity: Any = None, query_camera: Any = None
    ) -> float:
        """Share of the rows that an exact search found that this index finds too (recall at k)."""
        found = self.search(query, exact.gallery_index.shape[1], query_identity, query_camera)
        pairs = zip(found.gallery_index, exact.gallery_index, strict=True)
        hits = sum(
            len(np.intersect1d(mine[mine >= 0], theirs[theirs >= 0])) for mine, theirs in pairs
        )
        return hits / max(int((exact.gallery_index >= 0).sum()), 1)

    def save(self, folder: str | Path) -> Path:
        """Writes the index and its labels into a folder, whole or not at all; `ReidError` for a
        folder that holds anything but an index.
        """
        with replacing_folder(Path(folder), "index") as place:
            _faiss().write_index(self._index, str(place / "index.faiss"))
            write_table(self.labels, place / "labels.jsonl")
            about = {"kind": self.kind, "length": self.length}
            (place / "index.json").write_text(json.dumps(about))
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path) -> GalleryIndex:
        folder = whole_folder(Path(folder))
        about = read_json(folder / "index.json")
        if about is None:
            raise ReidError(f"{str(folder)!r} holds no gallery index (no index.json)")
        labels = read_table(folder / "labels.jsonl", LABELS)
        index = _faiss().read_index(str(folder / "index.faiss"))
        return cls(about["kind"], labels, about["length"], index)


def search_store(
    store: EmbeddingStore, query: Any, k: int, query_identity: Any = None, query_camera: Any = None
) -> Found:
    """Exact top-k over a store of any size: shard by shard, merged. Rules as in
    `GalleryIndex.search`.

    Memory: one block of 65,536 features at a time, whatever the store holds.
    """
    faiss = _faiss()
    unit = _probes(query, store.length, k)
    labels = _labels(store.table)
    removed = _removed(labels, len(unit), query_identity, query_camera)
    wanted = k + max((len(rows) for rows in removed.values()), default=0)
    best = np.full((len(unit), wanted), -np.inf, np.float32)
    place = np.full((len(unit), wanted), -1, np.int64)
    first = 0
    for block in _blocks(store):
        score, rows = faiss.knn(
            unit,
            unit_rows(block, "gallery"),
            min(wanted, len(block)),
            metric=faiss.METRIC_INNER_PRODUCT,
        )
        both = np.concatenate([best, score], axis=1)
        rows = np.concatenate([place, np.where(rows >= 0, rows + first, -1)], axis=1)
        order = np.lexsort((rows, -both), axis=1)[:, :wanted]  # ties in gallery order
        best, place = np.take_along_axis(both, order, 1), np.take_along_axis(rows, order, 1)
        first += len(block)
    return _kept(best, place, removed, k)


def _source(
    features: EmbeddingStore | np.ndarray, table: pd.DataFrame | None
) -> tuple[EmbeddingStore | np.ndarray, pd.DataFrame, int]:
    if isinstance(features, EmbeddingStore):
        if table is not None:
            raise ReidError("a store brings its own table; leave the other one out")
        return features, _labels(features.table), features.length
    array = feature_array(features, "gallery features")
    if table is None:
        raise ReidError(
            "features need their table, with a column identity and, if there are cameras, camera"
        )
    if len(table) != len(array):
        raise ReidError(
            f"there are {len(array)} features for {len(table)} rows of the table; one each is "
            "needed"
        )
    return array, _labels(table), array.shape[1]


def _labels(table: pd.DataFrame) -> pd.DataFrame:
    if "identity" not in table:
        raise ReidError(
            f"the table has no column identity; it has {', '.join(map(str, table.columns))}"
        )
    camera = table["camera"] if "camera" in table else pd.Series([pd.NA] * len(table), dtype=object)
    return pd.DataFrame({"identity": table["identity"].to_numpy(), "camera": camera.to_numpy()})


def _blocks(source: EmbeddingStore | np.ndarray) -> Iterator[np.ndarray]:
    shards = source.shards() if isinstance(source, EmbeddingStore) else [(0, source)]
    for _, shard in shards:
        for start in range(0, len(shard), BLOCK):
            yield np.asarray(shard[start : start + BLOCK])


def _trained(faiss: Any, source: Any, count: int, length: int, cells: int | None, seed: int) -> Any:
    cells = cells or max(1, min(int(count**0.5), count // 39))
    if count < cells:
        raise ReidError(
            f"{cells} cells need as many gallery rows, but there are {count}; use fewer cells, or "
            "kind='exact'"
        )
    rows = np.sort(np.random.default_rng(seed).permutation(count)[: 40 * cells])
    sample = source.read(rows) if isinstance(source, EmbeddingStore) else source[rows]
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(length),
        length,
        cells,
        faiss.ScalarQuantizer.QT_8bit,
        faiss.METRIC_INNER_PRODUCT,
    )
    index.cp.seed = seed + 1
    index.cp.niter = 10
    index.train(unit_rows(feature_array(sample, "gallery features"), "gallery"))
    return index


def _probes(query: Any, length: int, k: int) -> np.ndarray:
    query = feature_array(query, "query features")
    if query.shape[1] != length:
        raise ReidError(
            f"query features have length {query.shape[1]} and the gallery's {length}; both must "
            "come from one model"
        )
    if k < 1:
        raise ReidError(f"k must be at least 1, not {k}")
    return unit_rows(query, "query")


def _removed(labels: pd.DataFrame, count: int, identity: Any, camera: Any) -> dict[int, np.ndarray]:
    """For each query the gallery rows of its identity and camera; only queries that have any."""
    if (identity is None) != (camera is None):
        raise ReidError(
            "leaving the same camera out needs identities and cameras of the queries; one is "
            "missing"
        )
    if identity is None:
        return {}
    matches = Matches.find(label_table(identity, camera, count, "query"), labels, Protocol())
    out = ~matches.kept
    owner, rows = matches.owner[out], matches.rows[out]
    ends = np.cumsum(np.bincount(owner, minlength=count))
    parts = np.split(rows, ends[:-1])
    return {q: part for q, part in enumerate(parts) if len(part)}


def _kept(score: np.ndarray, place: np.ndarray, removed: dict[int, np.ndarray], k: int) -> Found:
    """Drops the removed rows and keeps the first k of the rest."""
    out = place < 0
    for q, rows in removed.items():
        out[q] |= np.isin(place[q], rows)
    order = np.argsort(out, axis=1, kind="stable")[:, :k]  # kept ones first, in their order
    place, score, out = (np.take_along_axis(values, order, 1) for values in (place, score, out))
    distance = np.sqrt(np.maximum(2 - 2 * score, 0))
    missing = k - place.shape[1]
    if missing > 0:
        place = np.pad(place, ((0, 0), (0, missing)), constant_values=-1)
        distance = np.pad(distance, ((0, 0), (0, missing)), constant_values=np.inf)
        out = np.pad(out, ((0, 0), (0, missing)), constant_values=True)
    return Found(
        np.where(out, -1, place).astype(np.int64),
        np.where(out, np.inf, distance).astype(np.float32),
    )
