"""Retrieval by the supernet while it is searched, on identities that train no weight:
`--evaluate-every`.
"""

from __future__ import annotations

from msinet_core.data.held_out import as_test
from msinet_core.data.twins import TwinSplit
from msinet_core.errors import ReidError
from msinet_core.models.supernet import Supernet
from msinet_core.retrieval.embedder import Embedder
from msinet_core.retrieval.evaluation import ScoredImages
from msinet_core.runs.worker import Worker


def held_out_images(worker: Worker, split: TwinSplit) -> ScoredImages:
    """Those of the identities that only the validation side sees; `ReidError` without any."""
    rows = split.validation[~split.validation["identity"].isin(split.train["identity"])]
    if rows.empty:
        raise ReidError(
            f"with overlap {split.overlap} every identity trains the weights, so none is held out "
            "to score the supernet on; search with an overlap below 1, or --evaluate-every 0"
        )
    test, rules = as_test(rows.reset_index(drop=True), worker.config.seed)
    return ScoredImages(worker.open_images(test), rules)


def score_supernet(worker: Worker, supernet: Supernet, images: ScoredImages) -> None:
    """All operations at once, as alpha mixes them, into the history and metrics.json."""
    config = worker.config
    embedder = Embedder(
        supernet,
        config.height,
        config.width,
        fold=False,
        device=worker.device,
        processes=worker.processes,
    )
    result = images.score(embedder)
    if result is not None:
        metrics = result.metrics()
        worker.run.append("evaluation", epoch=worker.epoch, **metrics)
        entry = {"epoch": worker.epoch, **metrics, "protocol": str(result.protocol)}
        worker.run.write_json("metrics.json", entry)
