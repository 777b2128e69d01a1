"""Search-validation retrieval: queries and a gallery of identities that no weight was trained on,
never of the test.

Of a twins split the identities that only the validation side sees have moved alpha but no weight.
They are divided into queries and a gallery, so that an architecture can be judged before any test.
"""

from __future__ import annotations

import pandas as pd

from msinet_core.config import SearchConfig
from msinet_core.data import Protocol, ReidDataset, protocol_for
from msinet_core.data.tables import queries_and_gallery
from msinet_core.errors import ReidError
from msinet_core.search.twin_search import split_for


def held_out_split(
    config: SearchConfig, dataset: ReidDataset, *, max_identities: int = 60, max_images: int = 12
) -> ReidDataset:
    """The data set that the diagnostics use: other rows of the same photographs, no test image.

    `train`: all images of the identities that the search's train side saw (whole or half). `query`
    and `gallery`: at most `max_identities` identities that only its validation side saw, at most
    `max_images` of each, divided by the rule for test images (`queries_and_gallery`).
    """
    split, table = split_for(config, dataset), dataset.train
    trained = set(split.train["identity"])
    unseen = split.validation[~split.validation["identity"].isin(trained)]
    if unseen.empty:
        raise ReidError(
            f"with overlap {config.overlap} every identity of the search trained its weights, so "
            "none is left to judge an architecture by; search with an overlap below 1"
        )
    kept = sorted(unseen["identity"].unique())[:max_identities]
    probe = _thinned(unseen[unseen["identity"].isin(kept)], max_images).drop(columns="label")
    cameras = probe["camera"] if probe["camera"].notna().all() else None
    query = queries_and_gallery(probe["identity"], cameras, config.seed)
    if not query.any():
        raise ReidError(
            "no identity that only the validation side saw has images by two cameras, so there is "
            "no query to judge by"
        )
    parts = [probe[query].assign(split="query"), probe[~query].assign(split="gallery")]
    rows = pd.concat([table[table["identity"].isin(trained)], *parts])
    return dataset.with_table(rows.reset_index(drop=True))


def held_out_protocol(dataset: ReidDataset) -> Protocol:
    """The rules for such a split: the same camera is left out where there are cameras; no drawn
    galleries.
    """
    rules = protocol_for(dataset)
    return Protocol("search-validation", dataset.has_cameras and rules.exclude_same_camera)


def _thinned(table: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most `most` images an identity, taken evenly over its images in order of camera."""
    table = table.sort_values(["identity", "camera"], kind="stable")
    groups = table.groupby("identity", sort=False)["path"]
    place, size = groups.cumcount(), groups.transform("size").clip(lower=most)
    return table[(place + 1) * most // size > place * most // size].reset_index(drop=True)
