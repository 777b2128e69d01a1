"""One cell of a table: a training, or a search and the training of what it found, scored.

Everything goes through `msinet_core`'s Python functions, uncompiled: compiling would take longer
than these trainings.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from msinet_core.config import RunConfig, SearchConfig, TrainConfig
from msinet_core.data import ReidDataset, load_dataset, open_images, protocol_for
from msinet_core.data.held_out import as_test, hold_out
from msinet_core.retrieval import Embedder
from msinet_core.retrieval.evaluation import ScoredImages
from msinet_core.runs.feeding import usable_identities
from msinet_core.runs.folder import RunFolder
from msinet_core.search import search
from msinet_core.training import load_network, train
from msinet_lab.study import other_test

HELD_OUT = 1 / 3  # of the training identities, where settings are chosen
FORMS: dict[str, dict[str, Any]] = {  # of one network's features
    "": {},
    "_flip": {"flip": True},
    "_necks": {"after_necks": True},
    "_flip_necks": {"flip": True, "after_necks": True},
}
SETS: dict[str, dict[str, Any]] = {
    "turntable": {"data": "manifest", "height": 64, "width": 64},
    "nyala": {"data": "manifest", "height": 64, "width": 64, "min_images": 2},
    "people": {"data": "market1501", "height": 64, "width": 32},
    "vehicles": {"data": "veri776", "height": 64, "width": 64},
}
GENERATED = ("people", "vehicles")
BATCH = {"identities_per_batch": 8, "images_per_identity": 4}


@dataclass(frozen=True)
class Cell:
    """A row to be. held_out: scored on training identities that took no part, and never on test
    images.
    """

    part: str
    data: str  # of SETS, or KIND A to B
    arm: str
    seed: int
    epochs: int
    changes: Mapping[str, Any] = field(hash=False)  # of the training
    searched: Mapping[str, Any] | None = field(default=None, hash=False)  # of a search before it
    held_out: bool = False

    @property
    def key(self) -> tuple[str, str, str, int, int]:
        return self.part, self.data, self.arm, self.seed, self.epochs


@dataclass(frozen=True)
class Bench:
    """Where things are and how they are computed, the same for all cells."""

    roots: Mapping[str, Path]  # of data sets, those of generated domains as `people-A`
    device: str
    scratch: Path
    own: Mapping[str, Any] = field(default_factory=dict)  # of all runs, such as channels

    def __call__(self, cell: Cell) -> dict[str, Any]:
        """The cell's row."""
        started = time.perf_counter()
        dataset, about = self.dataset(cell.data)
        genotype = {}
        with TemporaryDirectory(dir=self.scratch) as folder:
            if cell.searched is not None:
                config = self.config(SearchConfig, about, cell.seed, cell.searched)
                run = search(config, Path(folder, "search"), dataset=dataset, progress=False)
                genotype = {"genotype": str(run.genotype())}
            changes = {"epochs": cell.epochs, "evaluate_every": 0, **cell.changes, **genotype}
            if cell.held_out:
                changes["validation_share"] = HELD_OUT
                dataset = dataset.with_table(dataset.train)
            config = self.config(TrainConfig, about, cell.seed, changes)
            run = train(config, Path(folder, "train"), dataset=dataset, progress=False)
            forms = FORMS if cell.part == "test" else {"": {}}
            scores = self.scores(run, config, dataset, forms)
        gc.collect()  # what was replayed holds its memory
        torch.cuda.empty_cache()
        seconds = round(time.perf_counter() - started, 1)
        return {**scores, "genotype": str(config.resolved_genotype()), "seconds": seconds}

    def dataset(self, name: str) -> tuple[ReidDataset, dict[str, Any]]:
        """A data set of that name, and the fields that go with it."""
        kind, _, domains = name.partition(" ")
        about = SETS[kind]
        if kind not in GENERATED:
            return _dataset(about["data"], self.roots[kind]), about
        source, target = domains.split(" to ") if domains else ("A", "A")
        sides = [_dataset(about["data"], self.roots[f"{kind}-{d}"]) for d in (source, target)]
        return sides[0] if source == target else other_test(*sides), about

    def config(
        self, kind: type[RunConfig], about: Mapping[str, Any], seed: int, changes: Mapping[str, Any]
    ) -> Any:
        fields = {
            **{"seed": seed, "device": self.device, "save_every": 1000, "workers": 0},
            **{"cache": "disk", "cache_dir": str(self.scratch / "images"), **BATCH, **about},
            **self.own,
        }
        if self.device == "cuda":
            fields["workers"] = 1  # a thread that makes batches ahead
        return kind(**{**fields, **changes})

    def scores(
        self,
        run: RunFolder,
        config: TrainConfig,
        dataset: ReidDataset,
        forms: Mapping[str, Mapping[str, Any]],
    ) -> dict[str, float]:
        """mAP, rank-1 and mINP of the trained network, and mAP of its features in other forms."""
        rows, rules = dataset.table[dataset.table["split"] != "train"], protocol_for(dataset)
        if config.validation_share:
            usable = usable_identities(dataset.train, config)
            _, held = hold_out(usable, config.validation_share, config.seed)
            rows, rules = as_test(held, config.seed)
        size = config.height, config.width
        cache = {"cache": "disk", "cache_dir": config.cache_dir, "workers": 1}
        reader = open_images(rows.reset_index(drop=True), dataset.root, *size, **cache)
        images, network, found = ScoredImages(reader, rules), load_network(run), {}
        plain = Embedder(network, *size, device=self.device, batch_size=256).folded()
        for name, form in forms.items():
            result = images.score(replace(plain, **form))
            assert result is not None
            metrics = result.metrics()
            found[f"mAP{name}"] = round(float(metrics["mAP"]), 5)
            if not name:
                found |= {key: round(float(metrics[key]), 5) for key in ("rank1", "mINP")}
        return found


@lru_cache
def _dataset(kind: str, root: Path) -> ReidDataset:
    return load_dataset(kind, root)


def one_thread() -> None:
    """What a process does first: the others need the cores as well."""
    torch.set_num_threads(1)
