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


def unseen_split(
    config: SearchConfig,
    dataset: ReidDataset,
    *,
    max_identities: int = 60,
    max_images: int = 12,
    seed: int = 0,
) -> ReidDataset:
    """The data set that the diagnostics use: other rows of the same photographs.

    `train`: all images of the identities that the search's train side saw (whole or half). `query`
    and
    `gallery`: at most `max_identities` identities that only its validation side saw, at most
    `max_images` of each, divided by the rule for test images (`queries_and_gallery`). No test image
    occurs.
    """
    split = split_for(config, dataset)
    seen = set(split.train["identity"])
    table = dataset.train
    unseen = split.validation[~split.validation["identity"].isin(seen)]
    if unseen.empty:
        raise ReidError(
            f"with overlap {config.overlap} every identity of the search trained its weights, so none is left to judge "
            "an architecture by; search with an overlap below 1"
        )
    kept = sorted(unseen["identity"].unique())[:max_identities]
    probe = unseen[unseen["identity"].isin(kept)].reset_index(drop=True)
    probe = _thinned(probe, max_images)
    cameras = probe["camera"] if probe["camera"].notna().all() else None
    query = queries_and_gallery(probe["identity"], cameras, seed)
    if not query.any():
        raise ReidError(
            "no identity that only the validation side saw has images by two cameras, so there is no query to judge by"
        )
    probe = probe.drop(columns="label").assign(
        split=["query" if own else "gallery" for own in query]
    )
    training = table[table["identity"].isin(seen)]
    rows = pd.concat(
        [training, probe[probe["split"] == "query"], probe[probe["split"] == "gallery"]]
    )
    return dataset.with_table(rows.reset_index(drop=True))


def unseen_protocol(dataset: ReidDataset) -> Protocol:
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
