"""`Matches`: who matches whom and who is left out, as a protocol says of given labels.

The one implementation of the same-camera and junk rules (`docs/method.md`, evaluation): ranking,
pairs, figures, the checks of a data set and the guard before a training all ask here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from msinet_core.data.labels import in_kind
from msinet_core.data.protocol import Protocol
from msinet_core.errors import ReidError


@dataclass(frozen=True)
class Matches:
    """For each of Q queries its gallery rows of the same identity, in gallery order, flattened.

    Query q owns rows[starts[q]:starts[q + 1]]; `kept` tells those that count from those that are
    removed for their camera. `kept_columns` tells the gallery rows that are not junk.
    """

    rows: np.ndarray  # int64, rows of the gallery
    starts: np.ndarray  # Q + 1, int64
    kept: np.ndarray  # bool, as long as rows
    kept_columns: np.ndarray  # G, bool

    @classmethod
    def find(cls, query: pd.DataFrame, gallery: pd.DataFrame, protocol: Protocol) -> Matches:
        """From tables with a column `identity` and, where there are cameras, `camera`.

        `ReidError` for labels that cannot be compared: gaps, strings against integers, cameras on
        one side only.
        """
        one, two, labels = shared_codes(query["identity"], gallery["identity"], "identity")
        junk = _is_any_of(labels, protocol.junk_identities)
        never = junk | _is_any_of(labels, protocol.distractor_identities)
        mine, theirs = np.where(never[one], -2, one), np.where(never[two], -1, two)
        order = np.argsort(theirs, kind="stable")
        low = np.searchsorted(theirs, mine, "left", sorter=order)
        sizes = np.searchsorted(theirs, mine, "right", sorter=order) - low
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        owner = np.repeat(np.arange(len(one)), sizes)
        rows = order[np.arange(starts[-1]) - starts[owner] + low[owner]].astype(np.int64)
        kept = np.ones(len(rows), bool)
        cameras = camera_codes(query, gallery) if protocol.exclude_same_camera else None
        if cameras is not None:
            kept = cameras[0][owner] != cameras[1][rows]
        return cls(rows, starts, kept, ~junk[two])

    @property
    def owner(self) -> np.ndarray:
        """The query of each of `rows`, int64."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    @property
    def num_matches(self) -> np.ndarray:
        """Q, int64: how many gallery rows count as matches of each query."""
        return np.bincount(self.owner[self.kept], minlength=len(self.starts) - 1)

    def of(self, query: int) -> np.ndarray:
        """Gallery rows that count as matches of one query."""
        part = slice(self.starts[query], self.starts[query + 1])
        return self.rows[part][self.kept[part]]

    def ranked(self, query: int) -> np.ndarray:
        """Gallery rows that are ranked for one query: no junk, none removed for its camera."""
        part = slice(self.starts[query], self.starts[query + 1])
        columns = self.kept_columns.copy()
        columns[self.rows[part][~self.kept[part]]] = False
        return np.flatnonzero(columns)

    def removed(self, query: int) -> np.ndarray:
        """Gallery rows that are not ranked for one query: junk, and its identity by its camera."""
        return np.setdiff1d(np.arange(len(self.kept_columns)), self.ranked(query))

    def without_junk(self) -> Matches:
        """The same with gallery rows renumbered as if the junk were not there."""
        position = np.cumsum(self.kept_columns) - 1
        columns = self.kept_columns[self.kept_columns]
        return Matches(position[self.rows], self.starts, self.kept, columns)


def camera_codes(
    query: pd.DataFrame, gallery: pd.DataFrame
) -> tuple[np.ndarray, np.ndarray] | None:
    """Codes of both sides' cameras (int64), or None where there are no cameras."""
    one, two = query.get("camera"), gallery.get("camera")
    if _absent(one) and _absent(two):
        return None
    for side, cameras in (("query", one), ("gallery", two)):
        if _absent(cameras):
            raise ReidError(
                f"cameras are missing on the {side} side only; give them on both sides or on "
                "neither"
            )
    return shared_codes(one, two, "camera")[:2]


def shared_codes(query: Any, gallery: Any, what: str) -> tuple[np.ndarray, np.ndarray, list[Any]]:
    """Labels of both sides as int64 codes into the list of different labels, which comes third."""
    one, two = label_array(query, f"query {what}"), label_array(gallery, f"gallery {what}")
    if len(one) and len(two) and one.dtype != two.dtype:
        names = {True: "strings", False: "integers"}
        raise ReidError(
            f"query {plural(what)} are {names[one.dtype == object]} but gallery {plural(what)} "
            f"are {names[two.dtype == object]}, so nothing could match; use one kind for both"
        )
    parts = [part for part in (one, two) if len(part)] or [one]
    codes, labels = pd.factorize(np.concatenate(parts))
    return codes[: len(one)].astype(np.int64), codes[len(one) :].astype(np.int64), labels.tolist()


def label_array(labels: Any, what: str) -> np.ndarray:
    """Identities or cameras as int64 or as an object array of strings; `ReidError` on anything
    else. Whole floats are integers: pandas makes them of a column with gaps.
    """
    array = plain_array(labels)
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    missing = pd.isna(array)
    if missing.any():
        raise ReidError(
            f"row {1 + np.argmax(missing)} has no {what} (NA); give one for every row or drop that "
            "row"
        )
    kind = pd.api.types.infer_dtype(array)
    if kind in ("string", "empty"):
        return array.astype(object)
    if kind in ("integer", "floating", "mixed-integer-float"):
        whole = array.astype(np.int64)
        if (whole == array).all():
            return whole
    raise ReidError(f"the {plural(what)} must be all integers or all strings")


def plain_array(labels: Any) -> np.ndarray:
    """Labels of any kind as a numpy array; a list stays what it holds, numbers beside texts too."""
    if hasattr(labels, "detach"):  # a torch tensor
        labels = labels.detach().cpu().numpy()
    return np.asarray(labels, None if isinstance(labels, np.ndarray | pd.Series) else object)


def plural(what: str) -> str:
    return f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"


def _is_any_of(labels: list[Any], names: Sequence[Any]) -> np.ndarray:
    """Which labels are among the names; -1 names the text "-1" too."""
    found = set(in_kind(names, labels))
    return np.array([label in found for label in labels], bool)


def _absent(cameras: Any) -> bool:
    return cameras is None or (len(cameras) > 0 and bool(pd.isna(np.asarray(cameras)).all()))
