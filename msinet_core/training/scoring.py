"""What a training is scored on, and which of its networks is the best.

Three kinds of images, none of them trained on: the own test set, training identities that were held
out (`--validation-share`), and the test sets of other data (`--target`). Only the second judges
which network is the best.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from msinet_core.config import TrainConfig, named_folder
from msinet_core.data.held_out import as_test
from msinet_core.data.joining import unused_name
from msinet_core.data.protocol import protocol_for
from msinet_core.data.sources import load_dataset
from msinet_core.data.table import ReidDataset
from msinet_core.retrieval.embedder import Embedder
from msinet_core.retrieval.evaluation import ScoredImages
from msinet_core.runs import guards
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.worker import Worker


@dataclass
class Scoring:
    """Scores a network and writes that down: lines `evaluation`, `validation` and `target` (with
    its `name`) of the history, and metrics.json.

    `best` has the epoch and mAP of the best network so far, by the validation.
    """

    test: ScoredImages | None
    validation: ScoredImages | None
    targets: dict[str, ScoredImages]
    best: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, worker: Worker, held_out: pd.DataFrame | None) -> Scoring:
        """What the worker's configuration asks for; `ReidError` for a target that cannot be
        scored.
        """
        config, dataset = worker.config, worker.dataset
        assert isinstance(config, TrainConfig)
        validation, targets = None, dict[str, ScoredImages]()
        if held_out is not None:
            rows, rules = as_test(held_out, config.seed)
            validation = ScoredImages(worker.open_images(rows), rules)
        for name, root, options in map(named_folder, config.target):
            target = load_dataset(name, root, **options)
            guards.check_test_set(target)
            targets[unused_name(target.name, targets)] = _test_images(worker, target)
        has_test = (dataset.table["split"] != "train").any()
        return cls(_test_images(worker, dataset) if has_test else None, validation, targets)

    def record(self, embedder: Embedder, run: RunFolder, epoch: int) -> bool:
        """Score on everything there is; whether this network is the best so far."""
        whole: dict[str, Any] = {"epoch": epoch}
        if self.test is not None:
            whole |= _scored(self.test, embedder, run, "evaluation", epoch)
        before = self.best
        if self.validation is not None:
            found = _scored(self.validation, embedder, run, "validation", epoch)
            whole["validation"] = found
            if found and found["mAP"] > before.get("mAP", -1.0):
                self.best = {"epoch": epoch, "mAP": found["mAP"]}
            whole["best"] = self.best
        if self.targets:
            whole["targets"] = {
                name: _scored(images, embedder, run, "target", epoch, name=name)
                for name, images in self.targets.items()
            }
        if len(whole) > 1:
            run.write_json("metrics.json", whole)
        return self.best is not before


def _test_images(worker: Worker, dataset: ReidDataset) -> ScoredImages:
    test = dataset.table[dataset.table["split"] != "train"].reset_index(drop=True)
    return ScoredImages(worker.open_images(test, dataset.root), protocol_for(dataset))


def _scored(
    images: ScoredImages, embedder: Embedder, run: RunFolder, kind: str, epoch: int, **named: str
) -> dict[str, Any]:
    """Metrics and protocol, once they are in the history; nothing but on the main process."""
    result = images.score(embedder)
    if result is None:
        return {}
    metrics = result.metrics()
    run.append(kind, epoch=epoch, **named, **metrics)
    return {**metrics, "protocol": str(result.protocol)}
