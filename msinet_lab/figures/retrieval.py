"""Pictures of a ranking: the gallery of a query, and rank lists of several.

`Listing` is what a gallery shows of one query; `list_gallery` makes it from a `RetrievalResult`, so
that what is shown is what was scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from msinet_core.data import boxes_of
from msinet_core.retrieval import RetrievalResult
from msinet_lab.figures.style import INK, Look, bare, empty_figure, new_figure
from msinet_lab.figures.tiles import PhotoShelf, Tile, sheet, stack, tile_shape

PAGE_WIDTH = 980  # pixels: as a notebook has them beside its side bar


@dataclass(frozen=True)
class Entry:
    """One image of a gallery: its row of the gallery table and how it counts."""

    row: int
    distance: float
    kind: str  # match, non-match or junk
    rank: int | None  # from 1; None for junk, which has no rank


@dataclass(frozen=True)
class Listing:
    """The head of one query's gallery, nearest first."""

    query: int
    entries: tuple[Entry, ...]

    @property
    def rows(self) -> np.ndarray:
        """Rows of the gallery table."""
        return np.array([entry.row for entry in self.entries], dtype=np.int64)


def unit(features: Any) -> np.ndarray:
    """Rows (or one vector) divided by their Euclidean length, float64."""
    array = np.asarray(features, dtype=np.float64)
    return array / np.maximum(np.linalg.norm(array, axis=-1, keepdims=True), 1e-12)


def list_gallery(
    result: RetrievalResult,
    query: int,
    k: int = 20,
    *,
    camera: Any = None,
    non_matches_only: bool = False,
    with_junk: bool = False,
) -> Listing:
    """The k nearest gallery images of a query as scored, optionally of one camera only, non-matches
    only, or with what the protocol removes.

    Ranks are those of the full list, whatever is filtered.
    """
    size = len(result.gallery_table)
    cameras = result.gallery_table.get("camera")
    wanted = k
    while True:  # filters thin the list out, so look deeper until k are left or the gallery ends
        head = result.rank_list(query, min(wanted, size))
        keep = np.ones(len(head.gallery_index), bool)
        if camera is not None and cameras is not None:
            keep &= (cameras.iloc[head.gallery_index] == camera).to_numpy(bool)
        if non_matches_only:
            keep &= ~head.is_match
        if keep.sum() >= k or wanted >= size:
            break
        wanted *= 4
    entries = [
        Entry(
            int(head.gallery_index[place]),
            float(head.distance[place]),
            "match" if head.is_match[place] else "non-match",
            int(place) + 1,
        )
        for place in np.flatnonzero(keep)[:k]
    ]
    if with_junk:
        junk = removed_entries(result, query)
        if camera is not None and cameras is not None:
            junk = [entry for entry in junk if cameras.iloc[entry.row] == camera]
        entries = sorted([*entries, *junk], key=lambda entry: (entry.distance, entry.row))[:k]
    return Listing(query, tuple(entries))


def removed_entries(result: RetrievalResult, query: int) -> list[Entry]:
    """What the protocol removes for this query, with the distances of L2-normalised features."""
    rows = result.matches.removed(query)
    cosine = unit(result.gallery_features[rows]) @ unit(result.query_features[query])
    distances = np.sqrt(np.maximum(2 - 2 * cosine, 0)).tolist()
    return [Entry(int(row), at, "junk", None) for row, at in zip(rows, distances, strict=True)]


def words_of(table: pd.DataFrame, row: int) -> tuple[str, ...]:
    """`id 12` and, a line of its own so that it is never cut off, `cam 3` where it is known."""
    line = table.iloc[row]
    camera = line.get("camera")
    known = camera is not None and not pd.isna(camera)
    return f"id {line['identity']}", *([f"cam {camera}"] if known else [])


def shelves(
    result: RetrievalResult, root: Any, height: int | None = None, width: int | None = None
) -> tuple[PhotoShelf, PhotoShelf]:
    """The photographs of a result's queries and gallery, read from `root` when asked for, in tiles
    of the shape that most of them have.
    """
    gallery = result.gallery_table
    shape = tile_shape(root, list(gallery["path"]), boxes=boxes_of(gallery))
    high = height or (round(width * shape[0] / shape[1]) if width else shape[0])
    wide = width or round(high * shape[1] / shape[0])
    query_photos, gallery_photos = (
        PhotoShelf(root, list(table["path"]), high, wide, boxes=boxes_of(table))
        for table in (result.query_table, result.gallery_table)
    )
    return query_photos, gallery_photos


def gallery_image(
    result: RetrievalResult,
    listing: Listing,
    query_photos: Any,
    gallery_photos: Any,
    *,
    columns: int | None = None,
) -> np.ndarray:
    """The query and its gallery as one uint8 image: a border and a mark for each kind of entry.

    `query_photos[i]` and `gallery_photos[i]` give row i's photograph, H x W x 3 uint8 (a
    `PhotoShelf`). columns: by default as many as a page takes, 10 at most.
    """
    words = f"query {listing.query + 1}", *words_of(result.query_table, listing.query)
    tiles = [Tile(query_photos[listing.query], "query", words)]
    for entry in listing.entries:
        first = f"{'junk' if entry.rank is None else entry.rank} · {entry.distance:.3f}"
        words = first, *words_of(result.gallery_table, entry.row)
        tiles.append(Tile(gallery_photos[entry.row], entry.kind, words))
    return sheet(tiles, columns or columns_for(tiles[0].image.shape[1]), lead=True)


def columns_for(width: int) -> int:
    """How many tiles of a width lie side by side beside a query's on a page, 3 to 10."""
    return int(np.clip(PAGE_WIDTH // (width + 14) - 1, 3, 10))


def best_and_worst(average_precision: Any, count: int = 5) -> list[int]:
    """The `count` queries of highest AP and the `count` of lowest, best first; NaN left out."""
    values = np.asarray(average_precision, dtype=float)
    order = np.argsort(-values, kind="stable")
    order = order[np.isfinite(values[order])]
    if len(order) > 2 * count:
        order = np.concatenate([order[:count], order[-count:]])
    return order.tolist()


def rank_list_figure(
    result: RetrievalResult,
    query_photos: Any,
    gallery_photos: Any,
    queries: Sequence[int] | None = None,
    k: int = 10,
    listings: Sequence[Listing] = (),
) -> Figure:
    """Rank lists below each other, by default of the five queries of highest and of lowest AP;
    listings: those that have been made already.
    """
    precision, first = result.ranking.average_precision, result.ranking.first_match_rank
    if not listings:
        chosen = best_and_worst(precision) if queries is None else list(queries)
        listings = [list_gallery(result, query, k) for query in chosen]
    if not listings:
        return empty_figure("No query has a match in the gallery: there is no rank list to show.")
    columns = min(10, max(1, *(len(listing.entries) for listing in listings), 1))
    photos = query_photos, gallery_photos
    rows = [gallery_image(result, listing, *photos, columns=columns) for listing in listings]
    picture = stack(rows)
    width, height = picture.shape[1] + 150, picture.shape[0] + 44
    figure = new_figure(width / 100, height / 100, layout=None)
    part = 140 / width, 0, picture.shape[1] / width, picture.shape[0] / height
    axes = bare(figure.add_axes(part))
    axes.imshow(picture, interpolation="none")
    top = 0
    for listing, image in zip(listings, rows, strict=True):
        query = listing.query
        text = f"AP {100 * precision[query]:.1f} %\nfirst match {first[query]}"
        look: Look = {"ha": "right", "va": "center", "fontsize": 9, "color": INK, "clip_on": False}
        axes.text(-12, top + image.shape[0] / 2, text, **look)
        top += image.shape[0] + 4
    best = "Queries of highest and lowest average precision"
    title = best if queries is None and len(listings) > 1 else "Rank lists"
    look = {"fontsize": 12, "color": INK}
    figure.text(0.01, 1 - 14 / height, title, va="top", fontweight="bold", **look)
    return figure
