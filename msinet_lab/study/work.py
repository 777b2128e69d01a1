"""The study: the paper's claims tested on small data. Its cells are runs in a folder, so it can
stop and go on.

a  twins split against the usual one and the reference's leaking step, and over overlaps
b  the searched genotype against random and uniform ones and the paper's
c  spatial alignment across domains
d  MSINet against ResNets, all from scratch
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from msinet_core.config import RunConfig, TrainConfig
from msinet_core.data import ReidDataset, load_dataset
from msinet_core.errors import ReidError
from msinet_core.models.describe import TRAINING_ONLY
from msinet_core.runs.devices import choose_device
from msinet_core.runs.folder import RunFolder
from msinet_core.search.twin_search import search
from msinet_core.space import OPERATIONS, PAPER_GENOTYPE, Genotype
from msinet_core.training import train
from msinet_core.training.training import make_network
from msinet_lab.diagnosis import random_genotypes
from msinet_lab.study.size import StudySize
from msinet_lab.study.verdicts import LEAKING, TWINS, USUAL, verdicts
from msinet_lab.synthetic import generate

PARTS = ("a", "b", "c", "d")
KINDS = ("people", "vehicles")
SPLITS: dict[str, dict[str, Any]] = {
    TWINS: {},
    USUAL: {"overlap": 1.0},
    LEAKING: {"leak_validation_gradient": True},
    "overlap 0": {"overlap": 0.0},
    "overlap 0.25": {"overlap": 0.25},
    "overlap 0.5": {"overlap": 0.5},
    "overlap 0.75": {"overlap": 0.75},
}
NETWORKS = {"MSINet": "msinet", "ResNet-18": "resnet18", "ResNet-50": "resnet50"}


@dataclass
class Study:
    """A study in `folder`. `turntable` is a folder with a manifest of its own photographs, or None
    to leave it out.
    """

    folder: Path
    size: StudySize = field(default_factory=StudySize)
    seeds: Sequence[int] = (0, 1, 2)
    kinds: Sequence[str] = KINDS
    turntable: Path | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)
        self.known: dict[tuple[Any, ...], dict[str, Any]] = {}  # rows that need not be computed
        self.started = time.perf_counter()
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.seeds:
            raise ReidError(
                f"the study knows {' and '.join(KINDS)}, and needs a seed; got {list(self.kinds)}, {list(self.seeds)}"
            )

    # -- data ------------------------------------------------------------------------------------

    @cached_property
    def datasets(self) -> dict[str, ReidDataset]:
        """What parts a, b and d run on, by name."""
        sets = {kind: self.generated(kind, "A") for kind in self.kinds}
        if self.turntable is not None:
            sets["turntable"] = thinned(
                load_dataset("manifest", self.turntable), self.size.most_images
            )
        return sets

    def generated(self, kind: str, domain: str) -> ReidDataset:
        """Generated people or vehicles of a domain, drawn once."""
        root = generate(
            kind,
            self.folder / "data" / f"{kind}-{domain}",
            domain=domain,
            train_identities=self.size.train_identities,
            test_identities=self.size.test_identities,
            images_per_identity=self.size.images_per_identity,
            progress=self.progress,
        )
        return load_dataset({"people": "market1501", "vehicles": "veri776"}[kind], root)

    # -- cells -----------------------------------------------------------------------------------

    def searched(self, data: str, seed: int, changes: dict[str, Any]) -> Genotype:
        """The genotype that a search with these changes finds."""
        dataset = self.datasets[data]
        run = self._finish(
            search, self.size.search(dataset, seed, **changes), dataset, f"search-{data}"
        )
        genotype = run.genotype()
        assert genotype is not None
        return genotype

    def trained(
        self, part: str, data: str, seed: int, setting: str, dataset: ReidDataset, **changes: Any
    ) -> dict[str, Any]:
        """The row of one training from scratch, scored on the data set's test images."""
        config = self.size.train(dataset, seed, **changes)
        run = self._finish(train, config, dataset, f"train-{data}")
        metrics = run.metrics() or {}
        row = {"part": part, "data": data, "seed": seed, "setting": setting}
        row |= {name: round(float(metrics[name]), 5) for name in ("mAP", "rank1", "mINP")}
        row |= {
            "genotype": "" if config.backbone != "msinet" else str(config.resolved_genotype()),
            "seconds": round(float(run.epochs()["seconds"].sum()), 1),
            "run": run.path.name,
        }
        self._say(f"{part}  {data:<16} seed {seed}  {setting:<28} mAP {row['mAP']:.3f}")
        return row

    def _finish(self, start: Any, config: RunConfig, dataset: ReidDataset, name: str) -> RunFolder:
        """A cell: its run from the folder, gone on with where it stands, or carried out now."""
        values = {
            key: value for key, value in config.to_dict().items() if key not in config.OPERATIONAL
        }
        digest = hashlib.sha256(json.dumps([name, values], sort_keys=True).encode()).hexdigest()
        run = RunFolder(
            self.folder / "cells" / f"{name.replace(' ', '-')}-seed-{config.seed}-{digest[:8]}"
        )
        if run.finished:
            return run
        return start(config, run, dataset=dataset, resume=run.exists, progress=False)

    # -- parts -----------------------------------------------------------------------------------

    def rows(self, parts: Sequence[str] = PARTS) -> Iterator[dict[str, Any]]:
        """Every row of these parts, each as soon as it is there."""
        unknown = sorted(set(parts) - set(PARTS))
        if unknown:
            raise ReidError(
                f"the study has the parts {', '.join(PARTS)}; there is no part {unknown[0]!r}"
            )
        for seed in self.seeds:
            for part in sorted(set(parts)):
                yield from getattr(self, f"_part_{part}")(seed)

    def _part_a(self, seed: int) -> Iterator[dict[str, Any]]:
        for data, dataset in self.datasets.items():
            for setting, changes in SPLITS.items():
                yield self._row(
                    "a", data, seed, setting, partial(self._searched_and_trained, changes, dataset)
                )

    def _part_b(self, seed: int) -> Iterator[dict[str, Any]]:
        for data, dataset in self.datasets.items():
            known = self.known.get(("a", data, seed, TWINS))
            found = (
                Genotype.parse(known["genotype"])
                if known
                else self.searched(data, seed, SPLITS[TWINS]).canonical()
            )
            genotypes = {"searched": found, "paper": PAPER_GENOTYPE}
            genotypes |= {f"all {name}": Genotype.uniform(name).canonical() for name in OPERATIONS}
            drawn = random_genotypes(self.size.random, 100 + seed, found)
            genotypes |= {f"random {number}": genotype for number, genotype in enumerate(drawn, 1)}
            for setting, genotype in genotypes.items():
                yield self._row(
                    "b",
                    data,
                    seed,
                    setting,
                    partial(self.trained, dataset=dataset, genotype=str(genotype)),
                )

    def _part_c(self, seed: int) -> Iterator[dict[str, Any]]:
        for kind in self.kinds:
            source, target = self.generated(kind, "A"), self.generated(kind, "B")
            across = other_test(source, target)
            for mode in ("none", "pos", "neg", "pos_neg"):
                changes: dict[str, Any] = {"alignment": mode, "augmentation": "across"}
                yield self._row(
                    "c",
                    f"{kind} A to B",
                    seed,
                    mode,
                    partial(self.trained, dataset=across, **changes),
                )

    def _part_d(self, seed: int) -> Iterator[dict[str, Any]]:
        for data, dataset in self.datasets.items():
            for setting, backbone in NETWORKS.items():
                yield self._row(
                    "d", data, seed, setting, partial(self._trained_and_counted, backbone, dataset)
                )

    def _row(
        self, part: str, data: str, seed: int, setting: str, make: Callable[..., dict[str, Any]]
    ) -> dict[str, Any]:
        """The row as the table has it already, or computed."""
        known = self.known.get((part, data, seed, setting))
        return make(part=part, data=data, seed=seed, setting=setting) if known is None else known

    def _searched_and_trained(
        self,
        changes: dict[str, Any],
        dataset: ReidDataset,
        *,
        part: str,
        data: str,
        seed: int,
        setting: str,
    ) -> dict[str, Any]:
        genotype = self.searched(data, seed, changes).canonical()
        return self.trained(part, data, seed, setting, dataset, genotype=str(genotype))

    def _trained_and_counted(
        self, backbone: Any, dataset: ReidDataset, *, part: str, data: str, seed: int, setting: str
    ) -> dict[str, Any]:
        changes = {"backbone": backbone, "channels": self.size.full_channels}
        row = self.trained(part, data, seed, setting, dataset, **changes)
        parameters, multiply_adds = cost(self.size.train(dataset, seed, **changes))
        return row | {"parameters": parameters, "multiply_adds": multiply_adds}

    def carry_out(self, parts: Sequence[str] = PARTS, to: Path | None = None) -> pd.DataFrame:
        """The table `to` with all rows of these parts; rows of a study of the same size that it
        holds stay as they are.

        So a study can be carried on where its run folders are not. The table is written anew after
        each row, its circumstances beside it at once, its verdicts at the end.
        """
        to = to or self.folder / "study.csv"
        to.parent.mkdir(parents=True, exist_ok=True)
        self.known = read_rows(to, self.size)
        found = dict(self.known)
        _replace(to.with_suffix(".json"), json.dumps(self._circumstances(parts), indent=1))
        for row in self.rows(parts):
            found[key_of(row)] = row
            _replace(to, pd.DataFrame(found.values()).to_csv(index=False))
        table = (
            pd.DataFrame(found.values()).sort_values("part", kind="stable").reset_index(drop=True)
        )
        _replace(to, table.to_csv(index=False))
        _replace(to.with_name(f"{to.stem}_verdicts.csv"), verdicts(table).to_csv(index=False))
        _replace(to.with_suffix(".json"), json.dumps(self._circumstances(parts), indent=1))
        return table

    def _circumstances(self, parts: Sequence[str]) -> dict[str, Any]:
        runs = [RunFolder(path) for path in sorted((self.folder / "cells").glob("*"))]
        return {
            "parts": sorted(set(parts)),
            "seeds": list(self.seeds),
            "data": list(self.datasets),
            "size": asdict(self.size),
            "runs": len(runs),
            "seconds_in_runs": round(sum(float(run.epochs()["seconds"].sum()) for run in runs), 1),
            "machine": f"{processor()}, {torch.get_num_threads()} threads",
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "date": time.strftime("%Y-%m-%d"),
        }

    def _say(self, text: str) -> None:
        if self.progress:
            print(f"[{time.perf_counter() - self.started:5.0f} s] {text}", flush=True)


def key_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a row is of: part, data, seed, setting."""
    return row["part"], row["data"], row["seed"], row["setting"]


def read_rows(table: Path, size: StudySize) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The rows of a study's table by what they are of; none if there is no table. `ReidError` if it
    is of another size.
    """
    if not table.is_file():
        return {}
    beside = table.with_suffix(".json")
    sizes = [{**values, "device": ""} for values in (_plain(asdict(size)), _size_beside(beside))]
    if sizes[0] != sizes[1]:
        raise ReidError(
            f"the table {str(table)!r} is of a study of another size (see {beside.name}); choose another place with --to"
        )
    rows = pd.read_csv(
        table, keep_default_na=False, na_values={"parameters": "", "multiply_adds": ""}
    )
    records = [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]
    return {key_of(row): row for row in records}


def _size_beside(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text())["size"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _plain(values: Any) -> Any:
    return json.loads(json.dumps(values))


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
        parts.append(rows.assign(path=[str((side.root / path).resolve()) for path in rows["path"]]))
    return source.with_table(pd.concat(parts))


def cost(config: TrainConfig) -> tuple[int, int]:
    """Parameters and multiply-adds (one image) of a configuration's network, classifiers left out."""
    model = make_network(config, config.resolved_genotype(), 2).eval()
    parameters = sum(
        p.numel() for name, p in model.named_parameters() if name.split(".")[0] not in TRAINING_ONLY
    )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.embed(torch.zeros(1, 3, config.height, config.width), after_necks=True)
    return parameters, counter.get_total_flops() // 2


def processor() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    device = f", {torch.cuda.get_device_name()}" if choose_device("auto").type == "cuda" else ""
    return (names[0] if names else platform.processor()) + device


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}")
    beside.write_text(text)
    beside.replace(path)
