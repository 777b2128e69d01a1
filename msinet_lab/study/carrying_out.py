"""The study: the paper's claims tested on small data. Its cells are runs in a folder, so it can
stop and go on.

a  twins split against the usual one and the reference's leaking step, and over overlaps
b  the searched genotype against random and uniform ones and the paper's
c  spatial alignment across domains
d  MSINet against ResNets under the same heads, *unpretrained* but for those that weights are given
   for: not the paper's comparison
"""

from __future__ import annotations

import glob
import hashlib
import io
import json
import multiprocessing
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from msinet_core.config import RunConfig, TrainConfig
from msinet_core.data import ReidDataset, load_dataset
from msinet_core.errors import ReidError
from msinet_core.files import read_bytes, read_json, replace_file
from msinet_core.models.describe import describe
from msinet_core.runs.folder import RunFolder
from msinet_core.runs.networks import make_network
from msinet_core.search.twin_search import search
from msinet_core.space import OPERATIONS, PAPER_GENOTYPE, Genotype
from msinet_core.speed import choose_device, device_name
from msinet_core.training import train
from msinet_lab.carrying import finished_run
from msinet_lab.diagnosis.baselines import random_genotypes
from msinet_lab.study.data import KINDS, generated, other_test, thinned
from msinet_lab.study.size import StudySize
from msinet_lab.study.verdicts import (
    LEAKING,
    MSINET,
    RESNET18,
    RESNET50,
    TWINS,
    USUAL,
    in_todays_words,
    verdicts,
)

PARTS = ("a", "b", "c", "d")
SPLITS: dict[str, dict[str, Any]] = {
    TWINS: {},
    USUAL: {"overlap": 1.0},
    LEAKING: {"leak_validation_gradient": True},
    **{f"overlap {share:g}": {"overlap": share} for share in (0.0, 0.25, 0.5, 0.75)},
}
NETWORKS = {MSINET: "msinet", RESNET18: "resnet18", RESNET50: "resnet50"}
COLUMNS = ["part", "data", "seed", "setting", "mAP", "rank1", "mINP", "genotype"]
LARGEST_TABLE = 1 << 26  # bytes
Key = tuple[str, str, int, str]
Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One row to be: a training from scratch, scored on the test images of its data set."""

    part: str
    data: str
    seed: int
    setting: str
    dataset: ReidDataset = field(repr=False)
    changes: dict[str, Any]  # of the training
    searched: dict[str, Any] | None = None  # of a search before it, whose genotype is trained

    @property
    def key(self) -> Key:
        return self.part, self.data, self.seed, self.setting


@dataclass
class Study:
    """A study in `folder`. `turntable`: a folder with a manifest of one's own photographs, or None
    to leave it out.
    """

    folder: Path
    size: StudySize = field(default_factory=StudySize)
    seeds: Sequence[int] = (0, 1, 2)
    kinds: Sequence[str] = KINDS
    turntable: Path | None = None
    progress: bool = True
    pretrained: Mapping[str, Path] = field(default_factory=dict)  # weights, by backbone, of part d
    jobs: int = 1  # cells at once, each in a process of its own

    def __post_init__(self) -> None:
        self.folder = Path(self.folder)
        self.known: dict[Key, Row] = {}  # rows that need not be computed
        self.started = time.perf_counter()
        unknown = sorted(self.pretrained.keys() - NETWORKS.values())
        if unknown:
            raise ReidError(
                f"the study has no network {unknown[0]!r} to start from weights; it has "
                f"{', '.join(NETWORKS.values())}"
            )
        if self.jobs < 1:
            raise ReidError(f"at least one cell is carried out at a time; got {self.jobs} jobs")
        if not set(self.kinds) <= set(KINDS) or not self.seeds:
            raise ReidError(
                f"the study knows {' and '.join(KINDS)}, and needs a seed; got "
                f"{list(self.kinds)}, {list(self.seeds)}"
            )

    @cached_property
    def datasets(self) -> dict[str, ReidDataset]:
        """What parts a, b and d run on, by name."""
        sets = {kind: self.generated(kind, "A") for kind in self.kinds}
        if self.turntable is not None:
            own = load_dataset("manifest", self.turntable)
            sets["turntable"] = thinned(own, self.size.most_images)
        return sets

    def generated(self, kind: str, domain: str) -> ReidDataset:
        """Generated people or vehicles of a domain, drawn once."""
        return generated(kind, domain, self.size, self.folder / "data", progress=self.progress)

    # -- cells -----------------------------------------------------------------------------------

    def cells(self, parts: Sequence[str] = PARTS) -> Iterator[Cell]:
        """Every cell of these parts; those of part b search where they must, when they are due."""
        unknown = sorted(set(parts) - set(PARTS))
        if unknown:
            raise ReidError(
                f"the study has the parts {', '.join(PARTS)}; there is no part {unknown[0]!r}"
            )
        for seed in self.seeds:
            for part in sorted(set(parts)):
                if part == "c":
                    yield from self._across_domains(seed)
                    continue
                for data, dataset in self.datasets.items():
                    for setting, changes in self._settings(part, data, seed):
                        searched = changes if part == "a" else None
                        training = {} if part == "a" else changes
                        yield Cell(part, data, seed, setting, dataset, training, searched)

    def _settings(self, part: str, data: str, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Of part a changes of the search, of b and d of the training."""
        if part == "a":
            yield from SPLITS.items()
        elif part == "d":
            for setting, backbone in NETWORKS.items():
                changes = {"backbone": backbone, "channels": self.size.full_channels}
                yield setting, changes
                if backbone in self.pretrained:
                    weights = str(self.pretrained[backbone])
                    yield setting.replace("un", "", 1), {**changes, "weights": weights}
        else:
            known = self.known.get(("a", data, seed, TWINS))
            found = Genotype.parse(known["genotype"]) if known else self.search(data, seed, {})
            genotypes = {"searched": found, "paper": PAPER_GENOTYPE}
            genotypes |= {f"all {name}": Genotype.uniform(name).canonical() for name in OPERATIONS}
            drawn = random_genotypes(self.size.random, 100 + seed, found)
            genotypes |= {f"random {number}": genotype for number, genotype in enumerate(drawn, 1)}
            for setting, genotype in genotypes.items():
                yield setting, {"genotype": str(genotype)}

    def _across_domains(self, seed: int) -> Iterator[Cell]:
        for kind in self.kinds:
            across = other_test(self.generated(kind, "A"), self.generated(kind, "B"))
            for mode in ("none", "pos", "neg", "pos_neg"):
                changes = {"alignment": mode, "augmentation": "across"}
                yield Cell("c", f"{kind} A to B", seed, mode, across, changes)

    # -- carrying out ----------------------------------------------------------------------------

    def search(self, data: str, seed: int, changes: dict[str, Any]) -> Genotype:
        """The genotype that a search with these changes finds, in canonical form."""
        dataset = self.datasets[data]
        config = self.size.search(dataset, seed, **changes)
        genotype = self._run(search, config, dataset, f"search-{data}").genotype()
        assert genotype is not None
        return genotype.canonical()

    def row(self, cell: Cell) -> Row:
        """The row of a cell, as the table has it already, or computed."""
        if cell.key in self.known:
            return self.known[cell.key]
        changes = cell.changes
        if cell.searched is not None:
            changes = {"genotype": str(self.search(cell.data, cell.seed, cell.searched))}
        config = self.size.train(cell.dataset, cell.seed, **changes)
        run = self._run(train, config, cell.dataset, f"train-{cell.data}")
        metrics = run.metrics() or {}
        row = dict(zip(("part", "data", "seed", "setting"), cell.key, strict=True))
        row |= {name: round(float(metrics[name]), 5) for name in ("mAP", "rank1", "mINP")}
        row |= {
            "genotype": "" if config.backbone != "msinet" else str(config.resolved_genotype()),
            "seconds": seconds_of(run),
            "run": run.path.name,
        }
        row |= cost(config) if cell.part == "d" else {}
        self._say(
            f"{cell.part}  {cell.data:<16} seed {cell.seed}  {cell.setting:<34} "
            f"mAP {row['mAP']:.3f}"
        )
        return row

    def _run(
        self, start: Callable[..., RunFolder], config: RunConfig, dataset: ReidDataset, name: str
    ) -> RunFolder:
        """The finished run of a configuration, which gives its folder its name."""
        values = {k: v for k, v in config.to_dict().items() if k not in config.OPERATIONAL}
        digest = hashlib.sha256(json.dumps([name, values], sort_keys=True).encode()).hexdigest()
        folder = f"{name.replace(' ', '-')}-seed-{config.seed}-{digest[:8]}"
        where = self.folder / "cells" / folder
        return finished_run(start, config, where, dataset=dataset, progress=False)

    def _rows(self, parts: Sequence[str]) -> Iterator[tuple[Key, Row]]:
        """The rows as they are found, `jobs` at once; part by part, as b takes what a found."""
        if self.jobs == 1:
            for cell in self.cells(parts):
                yield cell.key, self.row(cell)
            return
        threads = max(1, (os.cpu_count() or 1) // self.jobs)
        kind = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.jobs, kind, torch.set_num_threads, (threads,)) as pool:
            for part in sorted(set(parts)):
                due = [(cell.key, pool.submit(self.row, cell)) for cell in self.cells([part])]
                for key, future in due:  # in their order, whichever is done first
                    self.known[key] = future.result()
                    yield key, self.known[key]

    def carry_out(self, parts: Sequence[str] = PARTS, to: Path | None = None) -> pd.DataFrame:
        """The table `to` with all rows of these parts; rows of a study of the same size that it
        holds stay as they are.

        So a study can be carried on where its run folders are not. The table is written anew after
        each row, its circumstances beside it at once, its verdicts at the end.
        """
        to = to or self.folder / "study.csv"
        _require_own(to)
        self.known = read_rows(to, self.size)
        found = dict(self.known)
        self._write_circumstances(to, parts)
        for key, row in self._rows(parts):
            found[key] = row
            _write(to, pd.DataFrame(found.values()))
        table = pd.DataFrame(found.values()).sort_values("part", kind="stable")
        _write(to, table)
        _write(to.with_name(f"{to.stem}_verdicts.csv"), verdicts(table))
        self._write_circumstances(to, parts)
        return table.reset_index(drop=True)

    def _write_circumstances(self, table: Path, parts: Sequence[str]) -> None:
        runs = [RunFolder(path) for path in sorted((self.folder / "cells").glob("*"))]
        about = {
            "parts": sorted(set(parts)),
            "seeds": list(self.seeds),
            "data": list(self.datasets),
            "size": asdict(self.size),
            "runs": len(runs),
            "seconds_in_runs": round(sum(map(seconds_of, runs)), 1),
            "machine": machine(),
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "date": time.strftime("%Y-%m-%d"),
        }
        replace_file(table.with_suffix(".json"), json.dumps(about, indent=1))

    def _say(self, text: str) -> None:
        if self.progress:
            print(f"[{time.perf_counter() - self.started:5.0f} s] {text}", flush=True)


def seconds_of(run: RunFolder) -> float:
    """How long a run's epochs took; 0 before the first."""
    lines = run.lines()
    return round(sum(line["seconds"] for line in lines if line.get("kind") == "epoch"), 1)


def _require_own(table: Path) -> None:
    """`ReidError` where files that a study writes beside its table are there and are no study's."""
    if not table.name or table.is_dir():
        raise ReidError(f"the table is a file, and {str(table)!r} a folder; name one with --to")
    about = read_json(table.with_suffix(".json"))
    if isinstance(about, dict) and {"parts", "size"} <= about.keys():
        return
    names = (table.name, *(f"{table.stem}{end}" for end in (".json", ".md", "_verdicts.csv")))
    foreign = [name for name in names if os.path.lexists(table.with_name(name))]
    foreign += [path.name for path in table.parent.glob(f"{glob.escape(table.stem)}_*.png")]
    if foreign:
        raise ReidError(
            f"{str(table.with_name(foreign[0]))!r} is there and is no study's; nothing of it is "
            "replaced. Choose another place with --to"
        )


def read_rows(table: Path, size: StudySize) -> dict[Key, Row]:
    """The rows of a study's table by what they are of; none if there is no table. `ReidError` if it
    is of another size.
    """
    if not table.is_file():
        return {}
    beside, own = table.with_suffix(".json"), json.loads(json.dumps(asdict(size)))
    about = read_json(beside) or {}
    if {**own, "device": ""} != {**about.get("size", {}), "device": ""}:
        raise ReidError(
            f"the table {str(table)!r} is of a study of another size (see {beside.name}); choose "
            "another place with --to"
        )
    rows = _table_of_rows(table)
    records = [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]
    return {(row["part"], row["data"], row["seed"], row["setting"]): row for row in records}


def _table_of_rows(table: Path) -> pd.DataFrame:
    """The rows in a file; `ReidError` where they are none of a study."""
    text, empty = read_bytes(table, LARGEST_TABLE) or b"", {"parameters": "", "multiply_adds": ""}
    try:
        rows = pd.read_csv(io.BytesIO(text), keep_default_na=False, na_values=empty)
        rows = in_todays_words(rows[[*COLUMNS, *rows.columns.difference(COLUMNS, sort=False)]])
        rows["seed"].astype(int)
        for genotype in rows["genotype"]:
            _ = Genotype.parse(genotype) if genotype else None
        scores = rows[["mAP", "rank1", "mINP"]].astype(float)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ReidError(
            f"the study's table {str(table)!r} is damaged ({reason}); move it away, and its "
            "rows are taken from their run folders"
        ) from error
    if not scores.map(lambda score: 0 <= score <= 1).all(axis=None):
        raise ReidError(f"the study's table {str(table)!r} holds a score that is no share")
    return rows


def cost(config: TrainConfig) -> dict[str, int]:
    """Parameters and multiply-adds (one image) of a configuration's network, as deployed."""
    network = make_network(config, config.resolved_genotype(), 2)
    table = describe(network, config.height, config.width)
    parameters, multiply_adds = map(int, table.loc["total"].to_numpy())
    return {"parameters": parameters, "multiply_adds": multiply_adds}


def machine() -> str:
    """Processor and GPU, as far as the system tells them."""
    name = platform.processor() or platform.machine()
    device = choose_device("auto")
    gpu = "" if device.type == "cpu" else f", {device_name(device)}"
    return f"{name}{gpu}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def _write(path: Path, table: pd.DataFrame) -> None:
    replace_file(path, table.to_csv(index=False, lineterminator="\n"))
