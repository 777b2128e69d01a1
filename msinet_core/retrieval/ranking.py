"""`rank`: exact retrieval metrics from features, without sorting and without a distance matrix.

Distances are Euclidean between L2-normalised features. Equal distances rank in gallery order: the
earlier gallery row comes first. Unit vectors are rounded to multiples of 2^-26 and compared
exactly (see `counting`), so the result depends on no block size, no number of threads and no
machine. The metrics themselves are in `metrics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from msinet_core.data import Protocol
from msinet_core.data.matches import Matches, plain_array, plural
from msinet_core.errors import ReidError
from msinet_core.retrieval.device import computes, count_on_device, place_of
from msinet_core.retrieval.features import (
    BLOCKS,
    feature_array,
    feature_pair,
    in_parts,
    product_blocks,
    product_error,
    unit_rows,
)
from msinet_core.retrieval.metrics import Ranking, RankList

JUNK = (-1,)  # the text "-1" as well


def rank(
    query: Any,
    gallery: Any,
    query_identity: Any,
    gallery_identity: Any,
    query_camera: Any = None,
    gallery_camera: Any = None,
    *,
    same_camera: Literal["exclude", "keep"] = "exclude",
    junk_identities: Sequence[Any] = JUNK,
    distractor_identities: Sequence[Any] = (),
    device: torch.device | str | None = None,
) -> Ranking:
    """Exact mAP, CMC, mINP, per-query AP and first-match rank of features.

    `query` Q x D and `gallery` G x D, floating point, numpy or torch; they need not be normalised.
    Identities and cameras: integers or strings, one each row; no cameras means that nothing is
    removed for its camera. A query's gallery rows of its own identity and camera are removed
    (`same_camera="keep"` keeps them), and so are gallery rows of `junk_identities`; those of
    `distractor_identities` stay and never match. Queries without a match do not count.

    `device`: where to compute, by default where the features are; the result is the same. Memory
    beyond unit copies of the features: 16 MB, on a GPU about 2.5 GB. Raises `ReidError` for
    anything that cannot be ranked: NaN, zero rows, mismatched lengths, missing labels.
    """
    if same_camera not in ("exclude", "keep"):
        raise ReidError(f"same_camera is 'exclude' or 'keep', not {same_camera!r}")
    device = place_of(query, gallery) if device is None else device
    query, gallery = feature_pair(query, gallery)
    protocol = Protocol(
        exclude_same_camera=same_camera == "exclude",
        junk_identities=tuple(junk_identities),
        distractor_identities=tuple(distractor_identities),
    )
    matches = Matches.find(
        label_table(query_identity, query_camera, len(query), "query"),
        label_table(gallery_identity, gallery_camera, len(gallery), "gallery"),
        protocol,
    )
    return rank_features(query, gallery, matches, device=device)


def rank_features(
    query: Any,
    gallery: Any,
    matches: Matches,
    *,
    blocks: tuple[int, int] = BLOCKS,
    threads: int | None = None,
    device: torch.device | str | None = None,
) -> Ranking:
    """`rank` where it is known who matches whom. `blocks` (queries and gallery rows at once) bound
    the memory on a processor, 4 bytes for each of their product; neither they nor `threads` change
    the result.
    """
    device = place_of(query, gallery) if device is None else device
    query, gallery = feature_pair(query, gallery)
    lister = partial(list_from_features, query, gallery, matches)
    query, gallery = unit_rows(query, "query"), unit_rows(gallery, "gallery", matches.kept_columns)
    compact = matches.without_junk()
    if computes(device):
        closer = count_on_device(query, gallery, compact, device)
    else:
        closer = _count(query, gallery, compact, blocks, threads)
    return Ranking.from_ranks(matches, closer, lister)


def rank_distance(distance: Any, matches: Matches) -> Ranking:
    """Metrics of given distances, Q x G (re-ranked ones, say): smaller is closer, ties in gallery
    order.
    """
    distance = feature_array(distance, "distances")
    if np.isnan(distance).any():
        raise ReidError("the distances contain NaN, which cannot be ranked")
    closer = np.zeros(len(matches.rows), np.int64)
    count_given(distance, 0, matches, closer)
    lister = partial(_list_from_distance, distance, matches)
    return Ranking.from_ranks(matches, closer, lister)


def label_table(identity: Any, camera: Any, count: int, side: str) -> pd.DataFrame:
    """One side's labels as `Matches.find` takes them; `ReidError` unless there are `count`."""
    columns = {"identity": identity} | ({} if camera is None else {"camera": camera})
    for name, labels in columns.items():
        columns[name] = plain_array(labels)
        if columns[name].shape != (count,):
            raise ReidError(
                f"there are {columns[name].size} {plural(f'{side} {name}')} for {count} rows; one "
                "for each row is needed"
            )
    return pd.DataFrame(columns)


# -- counting what comes before each match -------------------------------------------------------


def _count(
    query: np.ndarray,
    gallery: np.ndarray,
    matches: Matches,
    blocks: tuple[int, int],
    threads: int | None,
) -> np.ndarray:
    """Number of kept gallery rows before each match, by blocks of the matrix product."""
    from msinet_core.retrieval import counting

    rows, starts, kept = matches.rows, matches.starts, matches.kept
    scores, closer = np.zeros(len(rows)), np.zeros(len(rows), np.int64)
    margin = product_error(query.shape[1])

    def score(a: int, b: int) -> None:
        counting.match_scores(query, gallery, rows, starts, a, b, scores)

    def count(i: int, j: int, block: np.ndarray, a: int, b: int) -> None:
        found = rows, starts, kept
        place, part = (i, j), (a, b)
        counting.count_closer(block, place, part, query, gallery, found, scores, margin, closer)

    def exclude(a: int, b: int) -> None:
        counting.remove_excluded(rows, starts, scores, kept, a, b, closer)

    in_parts(len(query), score, threads)
    for i, j, block in product_blocks(query, gallery, blocks):
        in_parts(len(block), partial(count, i, j, block), threads)
    in_parts(len(query), exclude, threads)
    return closer


def count_given(
    distance: np.ndarray, first_query: int, matches: Matches, closer: np.ndarray
) -> None:
    """Fills closer[k] for the matches of the queries of a block of distances (B x G), from
    `first_query` on.
    """
    from msinet_core.retrieval.counting import count_closer_given, remove_excluded

    rows, starts, kept = matches.rows, matches.starts[first_query:], matches.kept
    part = slice(starts[0], starts[len(distance)])
    scores = np.zeros(len(rows), distance.dtype)
    scores[part] = -distance[matches.owner[part] - first_query, rows[part]]

    def count(a: int, b: int) -> None:
        count_closer_given(distance, (a, b), rows, starts, kept, matches.kept_columns, closer)
        remove_excluded(rows, starts, scores, kept, a, b, closer)

    in_parts(len(distance), count)


# -- heads of rank lists -------------------------------------------------------------------------


def list_from_features(
    query: np.ndarray, gallery: np.ndarray, matches: Matches, index: int, k: int
) -> RankList:
    """The exact head of a rank list: float32 finds the candidates, float64 orders them."""
    probe = unit_rows(query[index : index + 1], "query")[0]
    columns = matches.ranked(index)
    rough = np.empty(len(gallery), np.float32)
    for start in range(0, len(gallery), 4096):
        block = gallery[start : start + 4096]
        length = np.sqrt(np.einsum("nd,nd->n", block, block, dtype=np.float64))
        rough[start : start + 4096] = (block @ probe.astype(block.dtype)) / length
    places = near(rough[columns], k, product_error(query.shape[1]))
    rows = unit_rows(gallery[columns[places]], "gallery")
    columns, distance = nearest_first(probe, rows, columns[places], k)
    return RankList(columns, distance, np.isin(columns, matches.of(index)))


def near(rough: np.ndarray, k: int, error: float) -> np.ndarray:
    """Places of all cosines that may belong to the k largest, each being wrong by up to `error`."""
    if k >= len(rough):
        return np.arange(len(rough))
    threshold = np.partition(rough, len(rough) - k)[len(rough) - k]
    return np.flatnonzero(rough >= threshold - 4 * error)


def nearest_first(
    probe: np.ndarray, rows: np.ndarray, columns: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k of the gallery's `columns` that are nearest to a unit vector, and their distances,
    exactly; ties in gallery order. `rows` are their unit vectors.
    """
    from msinet_core.retrieval.counting import dot

    scores = np.array([dot(probe, row) for row in rows])
    order = np.lexsort((columns, -scores))[:k]
    own = dot(probe, probe)  # 1 but for the rounding; so a copy is at distance 0
    return columns[order], np.sqrt(np.maximum(2 * (own - scores[order]), 0))


def list_given(distance: np.ndarray, matches: Matches, index: int, k: int) -> RankList:
    """The head of a rank list by one query's distances (G)."""
    columns = matches.ranked(index)
    columns = columns[np.argsort(distance[columns], kind="stable")[:k]]
    return RankList(columns, distance[columns].astype(float), np.isin(columns, matches.of(index)))


def _list_from_distance(distance: np.ndarray, matches: Matches, index: int, k: int) -> RankList:
    return list_given(distance[index], matches, index, k)
