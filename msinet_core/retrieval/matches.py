"""The rules of an evaluation: which gallery rows match a query, which are left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from msinet_core.errors import ReidError
from msinet_core.retrieval.checks import all_missing, is_any_of, shared_codes

JUNK = (-1, "-1")


@dataclass(frozen=True)
class Matches:
    """For every query its gallery rows of the same identity, in gallery order, flattened.

    Query q owns rows[starts[q]:starts[q + 1]]; `kept` tells those that count from those that the
    camera rule removes. `kept_columns` tells the gallery rows that are not junk.
    """

    rows: np.ndarray  # int64
    starts: np.ndarray  # Q + 1, int64
    kept: np.ndarray  # bool, as long as rows
    kept_columns: np.ndarray  # G, bool

    def without_junk(self) -> Matches:
        """The same with gallery rows renumbered as if the junk were not there."""
        position = np.cumsum(self.kept_columns) - 1
        return Matches(
            position[self.rows], self.starts, self.kept, self.kept_columns[self.kept_columns]
        )

    def of(self, query: int) -> np.ndarray:
        """Gallery rows that count as matches of one query."""
        part = slice(self.starts[query], self.starts[query + 1])
        return self.rows[part][self.kept[part]]

    def columns_of(self, query: int) -> np.ndarray:
        """Gallery rows that are ranked for one query: no junk, none that the camera rule removes."""
        part = slice(self.starts[query], self.starts[query + 1])
        columns = self.kept_columns.copy()
        columns[self.rows[part][~self.kept[part]]] = False
        return np.flatnonzero(columns)


def find_matches(
    query_identity: Any,
    gallery_identity: Any,
    query_camera: Any,
    gallery_camera: Any,
    counts: tuple[int, int],
    *,
    same_camera: str,
    junk_identities: Sequence[Any],
    distractor_identities: Sequence[Any],
) -> Matches:
    """The protocol's rules, applied to labels. Raises `ReidError` on labels that cannot be
    compared.
    """
    if same_camera not in ("exclude", "keep"):
        raise ReidError(f"same_camera is 'exclude' or 'keep', not {same_camera!r}")
    query, gallery, kept_columns = identity_codes(
        query_identity, gallery_identity, counts, junk_identities, distractor_identities
    )
    order = np.argsort(gallery, kind="stable")
    low = np.searchsorted(gallery, query, "left", sorter=order)
    sizes = np.searchsorted(gallery, query, "right", sorter=order) - low
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    owner = np.repeat(np.arange(len(query)), sizes)
    rows = (
        order[np.arange(starts[-1]) - starts[owner] + low[owner]]
        if starts[-1]
        else np.zeros(0, np.int64)
    )
    kept = np.ones(len(rows), bool)
    cameras = camera_codes(query_camera, gallery_camera, counts)
    if cameras is not None and same_camera == "exclude":
        kept = cameras[0][owner] != cameras[1][rows]
    return Matches(rows.astype(np.int64), starts, kept, kept_columns)


def identity_codes(
    query: Any,
    gallery: Any,
    counts: tuple[int, int],
    junk_identities: Sequence[Any],
    distractor_identities: Sequence[Any],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of both sides (int64), equal where identities match, and which gallery rows are not
    junk (bool).
    """
    one, two, labels = shared_codes(query, gallery, counts, "identity")
    kept_columns = ~is_any_of(two, labels, junk_identities)
    unmatched = [*junk_identities, *distractor_identities]
    return (
        np.where(is_any_of(one, labels, unmatched), -2, one),
        np.where(is_any_of(two, labels, unmatched), -1, two),
        kept_columns,
    )


def camera_codes(
    query: Any, gallery: Any, counts: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Codes of both sides (int64), or None where there are no cameras."""
    missing = all_missing(query), all_missing(gallery)
    if all(missing):
        return None
    if any(missing):
        side = "query" if missing[0] else "gallery"
        raise ReidError(
            f"cameras are missing on the {side} side only; give them on both sides or on neither"
        )
    return shared_codes(query, gallery, counts, "camera")[:2]
