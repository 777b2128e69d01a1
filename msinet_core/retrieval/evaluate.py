"""From a model and a data set to a scored result: `embed`, `evaluate`, `RetrievalResult`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from msinet_core.data import (
    ImageReader,
    Protocol,
    ReidDataset,
    iterate_images,
    open_images,
    protocol_for,
)
from msinet_core.data.protocol import draw_gallery
from msinet_core.errors import ReidError
from msinet_core.retrieval.ranking import Ranking, RankList, rank


def embed(
    model: nn.Module,
    images: ImageReader | Iterable[Tensor],
    *,
    after_necks: bool = False,
    flip: bool = False,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    workers: int = 0,
    progress: bool = False,
) -> np.ndarray:
    """Retrieval features of images by a model in evaluation mode: N x D, float32, in order.

    `images` is an `ImageReader` or an iterable of normalised float batches (B x 3 x H x W).
    `flip` averages the features of each image and its mirror image. `after_necks` takes the
    features behind the necks (better across domains). The model is put back into its mode.
    """
    target = torch.device(device) if device is not None else _device_of(model)
    was_training = model.training
    model.eval().to(target)
    try:
        with torch.inference_mode():
            parts = [
                _forward(model, batch.to(target), after_necks, flip).float().cpu().numpy()
                for batch in _batches(images, batch_size, target, workers, progress)
            ]
    finally:
        model.train(was_training)
    if not parts:
        raise ReidError("there are no images to embed")
    return np.concatenate(parts)


def _device_of(model: nn.Module) -> torch.device:
    return next((tensor.device for tensor in model.parameters()), torch.device("cpu"))


def _batches(
    images: ImageReader | Iterable[Tensor], batch_size: int, device: torch.device, workers: int, progress: bool
) -> Iterator[Tensor]:
    count = None
    if isinstance(images, ImageReader):
        count = -(-len(images) // batch_size)
        images = iterate_images(images, batch_size, device, workers=workers)
    return iter(tqdm(images, total=count, desc="embed", unit="batch", disable=not progress))


def _forward(model: nn.Module, batch: Tensor, after_necks: bool, flip: bool) -> Tensor:
    def once(x: Tensor) -> Tensor:
        if not after_necks:
            return model(x)
        if not hasattr(model, "embed"):
            raise ReidError(f"{type(model).__name__} has no necks; leave after_necks off")
        return model.embed(x, after_necks=True)  # type: ignore[operator]

    return (once(batch) + once(batch.flip(3))) / 2 if flip else once(batch)


@dataclass(frozen=True)
class RetrievalResult:
    """Features, tables, protocol and what was scored; galleries, metrics and reports all start here.

    query_features Q x D, gallery_features G x D (float32); the tables have one row each, index from 0.
    `draws` holds the metrics of every gallery draw where the protocol draws galleries
    (the features and the ranking are then those of the first draw).
    """

    query_features: np.ndarray
    gallery_features: np.ndarray
    query_table: pd.DataFrame
    gallery_table: pd.DataFrame
    protocol: Protocol
    ranking: Ranking
    draws: pd.DataFrame | None = field(default=None, repr=False)

    @classmethod
    def score(
        cls,
        query_features: Any,
        gallery_features: Any,
        query_table: pd.DataFrame,
        gallery_table: pd.DataFrame,
        protocol: Protocol | None = None,
    ) -> RetrievalResult:
        """Ranks features by a protocol (by default: same camera left out where there are cameras)."""
        query_table, gallery_table = query_table.reset_index(drop=True), gallery_table.reset_index(drop=True)
        protocol = protocol or Protocol()
        ranking = rank(
            query_features,
            gallery_features,
            query_table["identity"],
            gallery_table["identity"],
            query_table.get("camera"),
            gallery_table.get("camera"),
            same_camera="exclude" if protocol.exclude_same_camera else "keep",
            junk_identities=protocol.junk_identities,
            distractor_identities=protocol.distractor_identities,
        )
        return cls(
            np.asarray(query_features), np.asarray(gallery_features), query_table, gallery_table, protocol, ranking
        )

    def rank_list(self, query_index: int, k: int = 10) -> RankList:
        """The k nearest ranked gallery rows of one query, nearest first; see `Ranking.rank_list`."""
        return self.ranking.rank_list(query_index, k)

    def metrics(self) -> dict[str, float]:
        """mAP, rank-1, 5, 10, mINP; over draws the means, with deviations as `mAP_deviation` and so on."""
        if self.draws is None:
            return self.ranking.metrics()
        means, deviations = self.draws.mean(), self.draws.std(ddof=0)
        names = [name for name in self.draws.columns if name not in ("queries", "counted")]
        values = {str(name): float(value) for name, value in means.items()}
        return {**values, **{f"{name}_deviation": float(deviations[name]) for name in names}}

    def __repr__(self) -> str:
        values = self.metrics()
        shown = ", ".join(f"{name} {100 * values[name]:.2f} %" for name in ("mAP", "rank1", "rank5", "rank10", "mINP"))
        return (
            f"RetrievalResult({shown}; {self.ranking.num_counted:,} of {self.ranking.num_queries:,} queries count, "
            f"gallery {len(self.gallery_table):,}; {self.protocol})"
        )


def evaluate(
    model: nn.Module,
    dataset: ReidDataset,
    height: int,
    width: int,
    *,
    protocol: Protocol | None = None,
    after_necks: bool = False,
    flip: bool = False,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    root: str | Path | None = None,
    workers: int = 0,
    progress: bool = False,
) -> RetrievalResult:
    """Embeds the test images of a data set and scores them by its protocol."""
    table = dataset.table[dataset.table["split"] != "train"].reset_index(drop=True)
    reader = open_images(table, root or dataset.root, height, width, workers=workers, progress=progress)
    features = embed(
        model, reader, after_necks=after_necks, flip=flip, batch_size=batch_size, device=device,
        workers=workers, progress=progress,
    )  # fmt: skip
    return score_table(features, reader.table, protocol or protocol_for(dataset))


def score_table(features: np.ndarray, table: pd.DataFrame, protocol: Protocol) -> RetrievalResult:
    """Scores the features of one table's rows: by its query and gallery rows, or by drawn galleries."""
    if not protocol.gallery_draws:
        is_query, is_gallery = (table["split"] == "query").to_numpy(), (table["split"] == "gallery").to_numpy()
        return RetrievalResult.score(
            features[is_query], features[is_gallery], table[is_query], table[is_gallery], protocol
        )
    results = []
    for draw in range(protocol.gallery_draws):
        in_gallery = draw_gallery(table["identity"], protocol.draw_seed, draw)
        results.append(
            RetrievalResult.score(
                features[~in_gallery], features[in_gallery], table[~in_gallery], table[in_gallery], protocol
            )
        )
    first = results[0]
    draws = pd.DataFrame([result.ranking.metrics() for result in results]).rename_axis("draw")
    return RetrievalResult(
        first.query_features, first.gallery_features, first.query_table, first.gallery_table, protocol,
        first.ranking, draws,
    )  # fmt: skip
