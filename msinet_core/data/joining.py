"""Several data sets as one: identities and cameras kept apart by the name of their data set."""

from __future__ import annotations

import os
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msinet_core.data.protocol import protocol_for
from msinet_core.data.sampler import IdentitySampler
from msinet_core.data.table import ReidDataset
from msinet_core.data.twins import TwinSplit, labelled, twins_split
from msinet_core.errors import ReidError

SOURCE = "source"  # the column that says which data set an image is of


def join_datasets(datasets: Sequence[ReidDataset]) -> ReidDataset:
    """One table of all images, in the order given, with a column `source`: the data set's name.

    An identity 7 of `market1501` is then `market1501 7`, and so are cameras and junk, so that equal
    names of two data sets are never one. Where a data set has no cameras, each of its images counts
    as a camera of its own, which leaves nothing out. Paths are relative to the folder that holds
    all of them. A data set whose protocol draws galleries (VehicleID) gives no test images.
    """
    if len(datasets) == 1:
        return datasets[0]
    names = numbered([dataset.name for dataset in datasets])
    root = common_folder([dataset.root for dataset in datasets])
    tables, notes = [], []
    for name, dataset in zip(names, datasets, strict=True):
        table = dataset.table
        if protocol_for(dataset).gallery_draws and (table["split"] != "train").any():
            table = table[table["split"] == "train"]
            notes.append(f"the test images of {name} were left out, as its galleries are drawn")
        cameras = table["camera"] if dataset.has_cameras else table["path"]
        tables.append(
            table.assign(
                path=[_below(root, dataset.root, path) for path in table["path"]],
                identity=_named(name, table["identity"]),
                camera=_named(name, cameras),
                source=name,
            )
        )
        notes += [f"{name}: {note}" for note in dataset.notes]

    def labels(kind: str) -> tuple[str, ...]:
        return tuple(
            f"{name} {label}"
            for name, dataset in zip(names, datasets, strict=True)
            for label in getattr(dataset, kind)
        )

    return ReidDataset(
        " + ".join(names),
        root,
        pd.concat(tables, ignore_index=True),
        labels("junk_identities"),
        labels("distractor_identities"),
        tuple(notes),
    )


class BalancedSampler(IdentitySampler):
    """Batches with as many identities of each data set; a small one's images come round again
    while a large one's are seen once. An epoch is as long as an `IdentitySampler`'s.

    sources: length N, the data set of each image. Where P is no multiple of their number, the first
    have one identity more.
    """

    def __init__(
        self,
        labels: np.ndarray,
        identities_per_batch: int,
        images_per_identity: int,
        seed: int,
        *,
        sources: pd.Series,
        cameras: pd.Series | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        places: Any = {"cameras": cameras, "rank": rank, "world_size": world_size}
        super().__init__(labels, identities_per_batch, images_per_identity, seed, **places)
        names = pd.unique(sources)
        if identities_per_batch < len(names):
            raise ReidError(
                f"a batch of {identities_per_batch} identities cannot have some of each of the "
                f"{len(names)} data sets; take more, or --mixing proportional"
            )
        self._parts = []
        for number, name in enumerate(names):
            rows = np.flatnonzero(sources.to_numpy() == name)
            share = (identities_per_batch + len(names) - 1 - number) // len(names)
            own = None if cameras is None else cameras.iloc[rows]
            sampler = IdentitySampler(labels[rows], share, images_per_identity, seed, cameras=own)
            self._parts.append((rows, sampler))

    def _plan(self, epoch: int) -> list[np.ndarray]:
        count = len(self) * self.world_size
        return [
            np.concatenate([rows[part.batch(*divmod(n, len(part)))] for rows, part in self._parts])
            for n in range(epoch * count, (epoch + 1) * count)
        ]


def split_each(table: pd.DataFrame, overlap: float, stratify_by_camera: bool) -> TwinSplit:
    """The twins split of joined training images: of each data set by itself, so that neither twin
    goes without one of them.
    """
    if SOURCE not in table:
        return twins_split(table, overlap, stratify_by_camera)
    parts = table.groupby(SOURCE, sort=False)
    splits = [twins_split(part, overlap, stratify_by_camera) for _, part in parts]
    train = pd.concat([split.train for split in splits])
    validation = pd.concat([split.validation for split in splits])
    return TwinSplit(labelled(train), labelled(validation), overlap, stratify_by_camera)


def numbered(names: Sequence[str]) -> list[str]:
    """Names made different from each other by a number behind those that come again.

    >>> numbered(["a", "b", "a"])
    ['a', 'b', 'a (2)']
    """
    found: list[str] = []
    for name in names:
        found.append(unused_name(name, found))
    return found


def unused_name(name: str, taken: Container[str]) -> str:
    """`name`, with the first free number behind it where it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free


def common_folder(roots: Sequence[Path]) -> Path:
    """The folder above all of them; the file system's own where there is none (on Windows)."""
    try:
        return Path(os.path.commonpath([os.path.abspath(root) for root in roots]))
    except ValueError:
        return Path(os.path.abspath(os.sep))


def _below(folder: Path, root: Path, path: str) -> str:
    """A data set's path as one below `folder`, or absolute where it lies elsewhere."""
    whole = Path(os.path.abspath(root / path))
    return (whole.relative_to(folder) if whole.is_relative_to(folder) else whole).as_posix()


def _named(name: str, labels: pd.Series) -> list[str]:
    return [f"{name} {label}" for label in labels]
