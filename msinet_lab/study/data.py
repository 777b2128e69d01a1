"""What the study runs on: generated data, thinned data, and tests across domains."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from msinet_core.data import ReidDataset, load_dataset
from msinet_lab.study.size import StudySize
from msinet_lab.synthetic import generate

READ_AS = {"people": "market1501", "vehicles": "veri776"}
KINDS = tuple(READ_AS)


def generated(
    kind: str, domain: str, size: StudySize, folder: Path, *, progress: bool
) -> ReidDataset:
    """Generated people or vehicles of a domain, drawn once below `folder`."""
    root = generate(
        kind,
        folder / f"{kind}-{domain}",
        domain=domain,
        train_identities=size.train_identities,
        test_identities=size.test_identities,
        images_per_identity=size.images_per_identity,
        progress=progress,
    )
    return load_dataset(READ_AS[kind], root)


def thinned(dataset: ReidDataset, most: int) -> ReidDataset:
    """The same data with about `most` training images, taken evenly over each identity's; the test
    as it is.
    """
    table = dataset.table
    train_rows = table["split"] == "train"
    own = table[train_rows]
    share = min(1.0, most / max(1, len(own)))
    place = own.groupby("identity", sort=False).cumcount()
    kept = own[((place + 1) * share).astype(int) > (place * share).astype(int)]
    return dataset.with_table(pd.concat([kept, table[~train_rows]]))


def other_test(source: ReidDataset, target: ReidDataset) -> ReidDataset:
    """Training images of one data set, queries and gallery of the other."""
    parts = []
    for side, training in ((source, True), (target, False)):
        rows = side.table[(side.table["split"] == "train") == training]
        paths = [(side.root / path).resolve().as_posix() for path in rows["path"]]
        parts.append(rows.assign(path=paths))
    return source.with_table(pd.concat(parts))
