"""From a model and a data set to a scored result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from msinet_core.data import Protocol, ReidDataset, open_images, protocol_for
from msinet_core.data.protocol import draw_gallery
from msinet_core.errors import ReidError
from msinet_core.retrieval.embedding import embed
from msinet_core.retrieval.result import RetrievalResult
from msinet_core.runs.processes import ALONE, Processes


def evaluate(
    model: nn.Module,
    dataset: ReidDataset,
    height: int,
    width: int,
    *,
    protocol: Protocol | None = None,
    after_necks: bool = False,
    flip: bool = False,
    fast: bool = True,
    precision: str = "float32",
    batch_size: int = 64,
    device: torch.device | str | None = None,
    root: str | Path | None = None,
    workers: int = 0,
    progress: bool = False,
    processes: Processes = ALONE,
) -> RetrievalResult:
    """Embeds the test images of a data set and scores them by its protocol (see `embed` for the
    options).

    Of several `processes` each reads and embeds its share; all get the whole result.
    """
    table = dataset.table[dataset.table["split"] != "train"].reset_index(drop=True)
    reader = open_images(
        table,
        root or dataset.root,
        height,
        width,
        workers=workers,
        progress=progress and processes.is_main_process,
        cache="auto" if processes.size == 1 else "none",  # each needs a part of the images, once
    )
    features = embed(
        model,
        reader,
        after_necks=after_necks,
        flip=flip,
        fast=fast,
        precision=precision,
        batch_size=batch_size,
        device=device,
        workers=workers,
        progress=progress,
        processes=processes,
    )
    return score_table(features, reader.table, protocol or protocol_for(dataset))


def score_table(features: np.ndarray, table: pd.DataFrame, protocol: Protocol) -> RetrievalResult:
    """Scores the features of one table's rows: by its query and gallery rows, or by drawn
    galleries.
    """
    if len(features) != len(table):
        raise ReidError(
            f"there are {len(features)} features for {len(table)} rows of the table; one each is needed"
        )
    if not protocol.gallery_draws:
        is_query, is_gallery = (
            (table["split"] == "query").to_numpy(),
            (table["split"] == "gallery").to_numpy(),
        )
        return RetrievalResult.score(
            features[is_query], features[is_gallery], table[is_query], table[is_gallery], protocol
        )
    results = []
    for draw in range(protocol.gallery_draws):
        in_gallery = draw_gallery(table["identity"], protocol.draw_seed, draw)
        results.append(
            RetrievalResult.score(
                features[~in_gallery],
                features[in_gallery],
                table[~in_gallery],
                table[in_gallery],
                protocol,
            )
        )
    first = results[0]
    draws = pd.DataFrame([result.ranking.metrics() for result in results]).rename_axis("draw")
    return RetrievalResult(
        first.query_features,
        first.gallery_features,
        first.query_table,
        first.gallery_table,
        protocol,
        first.ranking,
        draws,
    )
