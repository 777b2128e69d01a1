"""A test made of training images: identities held out, divided into queries and a gallery."""

from __future__ import annotations

import numpy as np
import pandas as pd

from msinet_core.data.protocol import Protocol
from msinet_core.data.tables import queries_and_gallery
from msinet_core.errors import ReidError

DRAW = 0x686F6C64  # keeps this draw apart from others of the same seed


def hold_out(table: pd.DataFrame, share: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of a table without those of a share of its identities (two at least), and these,
    drawn by the seed.
    """
    identities = np.unique(table["identity"].to_numpy())
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, DRAW))))
    chosen = rng.permutation(identities)[: max(2, round(share * len(identities)))]
    held = table["identity"].isin(chosen)
    return table[~held].reset_index(drop=True), table[held].reset_index(drop=True)


def as_test(table: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, Protocol]:
    """The rows with a `split` of query or gallery (`queries_and_gallery`), and the rules to score
    them by: the same camera is left out where there are cameras.

    `ReidError` where no image could be a query.
    """
    cameras = table["camera"] if len(table) and table["camera"].notna().all() else None
    query = queries_and_gallery(table["identity"], cameras, seed)
    if not query.any():
        raise ReidError(
            f"the {table['identity'].nunique()} identities held out have no image that could be a "
            "query, as none has images by two cameras; hold more of them out"
        )
    rows = table.assign(split=np.where(query, "query", "gallery"))
    return rows, Protocol("held-out identities", exclude_same_camera=cameras is not None)
