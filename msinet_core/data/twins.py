"""The twins split of TCM: two halves of the search data that share only some identities.

Identities never repeat between training and test, so neither should they fully repeat between the
half that trains the weights and the half that trains alpha (`docs/method.md`, search).

    identities, sorted    0 ........ f ................ 3f ............ n      f = n // 5
    search-train          [ only      )[ first halves    )
    search-validation                  [ second halves   )[ only        )
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from msinet_core.data.table import ReidDataset
from msinet_core.errors import ReidError

PAPER_OVERLAP = 0.4  # the share of the identities in the middle, 2f of n


@dataclass(frozen=True)
class TwinSplit:
    """Search-train and search-validation: tables of images with a `label` each, from 0 on each
    side.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    overlap: float
    stratified: bool

    @property
    def num_train_identities(self) -> int:
        return self.train["label"].nunique()

    @property
    def num_validation_identities(self) -> int:
        return self.validation["label"].nunique()

    @cached_property
    def shared_identities(self) -> list[Any]:
        return sorted(set(self.train["identity"]) & set(self.validation["identity"]))

    @property
    def shared_images(self) -> int:
        """Images on both sides; anything but 0 is a leak."""
        return len(set(self.train["path"]) & set(self.validation["path"]))

    @property
    def identity_overlap(self) -> float:
        """Share of all identities that both sides see."""
        all_identities = set(self.train["identity"]) | set(self.validation["identity"])
        return len(self.shared_identities) / len(all_identities)

    def cameras(self) -> pd.DataFrame:
        """Share of each camera in each side's images, of the shared identities alone as well."""
        columns = {}
        for side, table in (("train", self.train), ("validation", self.validation)):
            columns[side] = table["camera"].value_counts(normalize=True)
            both = table[table["identity"].isin(self.shared_identities)]
            columns[f"{side}, shared identities"] = both["camera"].value_counts(normalize=True)
        return pd.DataFrame(columns).fillna(0.0).sort_index().rename_axis("camera")

    @property
    def camera_distance(self) -> float:
        """Total variation distance of the two sides' camera shares among shared identities, 0 to
        1.
        """
        table = self.cameras()
        difference = table["train, shared identities"] - table["validation, shared identities"]
        return float(difference.abs().sum() / 2)

    def summary(self) -> pd.DataFrame:
        """Images and identities of each side, alone and shared."""
        shared, rows = len(self.shared_identities), {}
        for side, table in (("train", self.train), ("validation", self.validation)):
            identities = table["identity"].nunique()
            rows[side] = (len(table), identities, identities - shared, shared)
        names = ["images", "identities", "seen by this side only", "seen by both"]
        return pd.DataFrame(rows, index=names).T.rename_axis("side")

    def __repr__(self) -> str:
        return (
            f"TwinSplit: identity overlap {self.identity_overlap:.0%}, images on both sides: "
            f"{self.shared_images}, camera distance {self.camera_distance:.2f}\n"
            f"{self.summary().to_string()}"
        )


def twins_split(
    dataset: ReidDataset | pd.DataFrame,
    overlap: float = PAPER_OVERLAP,
    stratify_by_camera: bool = False,
) -> TwinSplit:
    """Split the training images of `dataset` (or a table of them) into twins.

    Of n identities in sorted order the first go to train only, the next to both, the rest to
    validation only; `overlap` is the share of the middle group, and what is left is divided 1 : 2.
    The default is the paper's f = n // 5: f, 2f and the rest. The images of a shared identity are
    halved in the table's order, the odd one to validation; with `stratify_by_camera` every camera's
    images are halved, so that both sides see the same cameras.

    Raises `ReidError` for an overlap outside 0..1, fewer than 5 identities, a shared identity of
    one image, or a side left empty.
    """
    if not 0 <= overlap <= 1:
        raise ReidError(f"overlap is a share between 0 and 1; got {overlap}")
    table = dataset.train if isinstance(dataset, ReidDataset) else dataset.reset_index(drop=True)
    rank, n = _ranks(table["identity"])
    only_train, shared = _counts(n, overlap)
    middle = (rank >= only_train) & (rank < only_train + shared)
    counts = table.loc[middle, "identity"].value_counts()
    if len(counts) and counts.min() < 2:
        raise ReidError(
            f"identity {str(counts.idxmin())!r} has one image and cannot be halved between the "
            "twins; leave such identities out, or use --overlap 0"
        )
    to_train = rank < only_train
    halves = _stratified_halves if stratify_by_camera else _halves
    to_train[middle] = halves(table[middle])
    train, validation = (labelled(table[side]) for side in (to_train, ~to_train))
    if train.empty or validation.empty:
        raise ReidError(f"overlap {overlap} leaves one side of the split without images")
    return TwinSplit(train, validation, overlap, stratify_by_camera)


def _ranks(identity: pd.Series) -> tuple[np.ndarray, int]:
    """The place of each row's identity among all of them, sorted, and how many there are."""
    try:
        rank, known = pd.factorize(identity, sort=True)
        sorted(known)  # a mixture cannot be sorted, and not every version of pandas says so
    except TypeError as error:
        raise ReidError(
            "identities must be all integers or all strings; this table mixes them"
        ) from error
    if len(known) < 5:
        raise ReidError(
            f"a twins split needs at least 5 training identities; this data set has {len(known)}"
        )
    return rank, len(known)


def _counts(n: int, overlap: float) -> tuple[int, int]:
    """How many of n identities are train-only and shared."""
    if overlap == PAPER_OVERLAP:
        return n // 5, 2 * (n // 5)
    shared = round(overlap * n)
    return (n - shared) // 3, shared


def _halves(table: pd.DataFrame) -> np.ndarray:
    """Which rows go to train, for each identity the first half of its rows (rounded down)."""
    groups = table.groupby("identity", sort=False)["path"]
    return (groups.cumcount() < groups.transform("size") // 2).to_numpy()


def _stratified_halves(table: pd.DataFrame) -> np.ndarray:
    """Each camera's images of an identity are halved; what is left over is halved between cameras.

    A left-over image goes to the side that has had fewer left-overs of its camera so far.
    """
    if table["camera"].isna().any():
        raise ReidError(
            "this data set has no cameras to stratify by; leave --stratify-by-camera out"
        )
    chosen = np.zeros(len(table), dtype=bool)
    surplus: dict[Any, int] = defaultdict(int)  # left-overs of a camera: validation's minus train's
    rows = pd.Series(np.arange(len(table)), index=table.index)
    for _, images in rows.groupby(table["identity"]):
        left = []
        for camera, own in images.groupby(table["camera"].loc[images.index]):
            half = len(own) // 2
            chosen[own.to_numpy()[:half]] = True
            if len(own) % 2:
                left.append((camera, own.to_numpy()[-1]))
        # Stable: equal surplus keeps the cameras' order.
        left.sort(key=lambda item: -surplus[item[0]])
        for place, (camera, row) in enumerate(left):
            chosen[row] = place < len(left) // 2
            surplus[camera] += -1 if chosen[row] else 1
    return chosen


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with a `label` each, 0.. by sorted identity, index from 0."""
    labels, _ = pd.factorize(table["identity"], sort=True)
    return table.assign(label=labels).reset_index(drop=True)
