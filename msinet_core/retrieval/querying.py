"""Photographs of one's own against a gallery that need not have labels: who looks like this one?

gallery = open_gallery("stores/market", embedder)
answer = query(embedder, gallery, pictures_table(["photo.jpg"]), k=20)
answer.table    # query, rank, distance, path and whatever else is known of the gallery's pictures
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from msinet_core.data.boxes import BOX, boxes_of
from msinet_core.data.decoding import Box
from msinet_core.data.roots import image_files, require_unicode
from msinet_core.data.table import ReidDataset
from msinet_core.data.text_files import read_csv
from msinet_core.errors import ReidError
from msinet_core.files import there_is, whole_folder
from msinet_core.retrieval.embedder import Embedder
from msinet_core.retrieval.features import (
    feature_array,
    product_error,
    require_rows,
    unit_rows,
)
from msinet_core.retrieval.index import Found, GalleryIndex
from msinet_core.retrieval.ranking import near, nearest_first
from msinet_core.retrieval.store import EmbeddingStore, embed_dataset, open_store
from msinet_core.speed import tf32

AT_ONCE = 1 << 26  # cosines in memory, 256 MB


@dataclass(frozen=True)
class Gallery:
    """Pictures to look among.

    search: query features (Q x D) and k -> the k nearest rows of `table`, whose paths are relative
        to `root`. made_from: what the features depend on, where that is known.
    """

    table: pd.DataFrame = field(repr=False)
    root: Path
    search: Callable[[Any, int], Found] = field(repr=False)
    made_from: dict[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        features: Any,
        table: pd.DataFrame,
        root: str | Path = "",
        made_from: dict[str, Any] | None = None,
    ) -> Gallery:
        """Over features (G x D), which are held in memory as unit vectors, and their table."""
        array = feature_array(features, "gallery features")
        require_rows(array, table, "gallery ")
        unit = unit_rows(array, "gallery")

        def search(query: Any, k: int) -> Found:
            return nearest(unit, query, k)

        return cls(table.reset_index(drop=True), Path(root), search, made_from)

    def __len__(self) -> int:
        return len(self.table)


def open_gallery(
    place: str | Path,
    embedder: Embedder,
    *,
    root: str | Path | None = None,
    keep: str | Path | None = None,
) -> Gallery:
    """A store, an index, a folder of photographs, or a CSV with their paths and, if need be, boxes.

    root: where the pictures of a store, index or CSV are, if not where they were. keep: folder of a
    store for the features of photographs, used again while nothing changed.
    """
    place = Path(place).expanduser()
    folder = whole_folder(place)
    if (folder / "store.json").is_file():
        return _of_store(open_store(place), embedder, root)
    if (folder / "index.json").is_file():
        index = GalleryIndex.load(place)
        if "path" not in index.labels:
            raise ReidError(
                f"the index {str(place)!r} does not know its pictures; build it again from a table "
                "with their paths"
            )
        return Gallery(index.labels, Path(root or index.root), index.search)
    if place.suffix == ".csv" and not place.is_dir() and there_is(place):
        table, base = read_csv(place, ("path",), []), Path(root or place.parent)
    elif folder.is_dir():
        files = image_files(folder, folder)
        require_unicode(files, place.name)
        table, base = pd.DataFrame({"path": files}), folder
    else:
        raise ReidError(
            f"there is no gallery at {str(place)!r}; give a folder of photographs, a store, an "
            "index, or a CSV with the column path"
        )
    if "path" not in table or table.empty:
        raise ReidError(f"{str(place)!r} names no photographs")
    if keep is not None:
        labels = {"identity": "", "split": "gallery"}
        absent = {name: value for name, value in labels.items() if name not in table}
        dataset = ReidDataset(place.name, base, table.assign(**absent))
        gallery = _of_store(embed_dataset(embedder, dataset, keep), embedder, base)
        return replace(gallery, table=gallery.table.drop(columns=list(absent)))
    reader = embedder.open(table, base, cache="none")
    return Gallery.of(embedder.embed(reader), reader.table, base, embedder.made_from())


def _of_store(store: EmbeddingStore, embedder: Embedder, root: str | Path | None) -> Gallery:
    mine, theirs = embedder.made_from(), dict(store.made_from)
    differs = sorted(name for name in mine if name in theirs and mine[name] != theirs[name])
    if differs:
        raise ReidError(
            f"the features in {str(store.folder)!r} are of another network or were made in another "
            f"way ({', '.join(differs)}); embed again with this one"
        )
    return Gallery.of(store.features, store.table, root or store.root, store.made_from)


def nearest(unit: np.ndarray, query: Any, k: int) -> Found:
    """The exact k nearest of unit rows (G x D) to each query (Q x D); ties in gallery order."""
    if k < 1:
        raise ReidError(f"k must be at least 1, not {k}")
    probes = feature_array(query, "query features")
    if probes.shape[1] != unit.shape[1]:
        raise ReidError(
            f"query features have length {probes.shape[1]} and the gallery's {unit.shape[1]}; both "
            "must come from one model"
        )
    probes, k = unit_rows(probes, "query"), min(k, len(unit))
    index, distance = np.empty((len(probes), k), np.int64), np.empty((len(probes), k), np.float32)
    step, error = max(1, AT_ONCE // max(len(unit), 1)), product_error(unit.shape[1])
    for start in range(0, len(probes), step):
        part = probes[start : start + step]
        with tf32():  # off, whatever the user has set
            rough = (torch.from_numpy(unit) @ torch.from_numpy(part).T).T.numpy()
        for row, cosines in enumerate(rough, start):
            places = near(cosines, k, error)
            index[row], distance[row] = nearest_first(probes[row], unit[places], places, k)
    return Found(index, distance)


@dataclass(frozen=True)
class Answer:
    """What was found for some pictures of one's own.

    pictures: their table (path, absolute, and box). found: rows of the gallery's table for each
    picture, or one row of all where they were asked for `together`.
    """

    pictures: pd.DataFrame
    gallery: Gallery
    found: Found
    together: bool = False

    @property
    def table(self) -> pd.DataFrame:
        """One row for each thing found: query and rank (from 1), distance, and the columns of
        the gallery.
        """
        index, distance = self.found.gallery_index, self.found.distance
        query, place = np.nonzero(index >= 0)
        rows = self.gallery.table.iloc[index[query, place]].reset_index(drop=True)
        told = {"query": query + 1, "rank": place + 1, "distance": distance[query, place]}
        known = rows.drop(columns=list(told), errors="ignore").dropna(axis=1, how="all")
        return pd.concat([pd.DataFrame(told), known], axis=1)


def query(
    embedder: Embedder,
    gallery: Gallery,
    pictures: pd.DataFrame,
    *,
    k: int = 20,
    together: bool = False,
    max_distance: float | None = None,
) -> Answer:
    """The k gallery pictures nearest to each of some pictures; `pictures_table` makes their table.

    together: all show one individual, whose feature is the mean of theirs. max_distance: what is
    farther is left out; a threshold chosen elsewhere (`Roc.threshold`).
    """
    strict = replace(embedder, on_bad_image="error")
    features = strict.embed(strict.open(pictures, "", cache="none"))
    if together:
        features = unit_rows(features, "query").mean(0, keepdims=True)
    found = gallery.search(features, k)
    if max_distance is not None:
        near_enough = found.distance <= max_distance
        found = Found(
            np.where(near_enough, found.gallery_index, -1),
            np.where(near_enough, found.distance, np.float32(np.inf)),
        )
    return Answer(pictures, gallery, found, together)


def pictures_table(files: Sequence[str | Path], boxes: Sequence[Box] = ()) -> pd.DataFrame:
    """A table of photographs for `query`: whole ones, or boxes, of which there is one for each file
    or several on one frame.
    """
    paths = [os.path.abspath(os.path.expanduser(file)) for file in files]
    if not paths:
        raise ReidError("there is no photograph to look for; give one or more")
    if boxes and len(paths) == 1:
        paths *= len(boxes)
    if boxes and len(boxes) != len(paths):
        raise ReidError(
            f"there are {len(boxes)} boxes for {len(paths)} photographs; give one box for each, or "
            "several for one"
        )
    table = pd.DataFrame({"path": paths})
    if boxes:
        table[list(BOX)] = np.asarray(boxes, float)
        boxes_of(table)
    return table
