"""`diagnose`: everything that a run folder can tell about its search, as one value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from msinet_core.config import SearchConfig
from msinet_core.data import ReidDataset
from msinet_core.data.report import Finding
from msinet_core.errors import ReidError
from msinet_core.runs.feeding import open_dataset
from msinet_core.runs.folder import RunFolder
from msinet_core.search.twin_search import load_supernet
from msinet_lab.diagnosis import findings as say
from msinet_lab.diagnosis.baselines import Baselines, baselines
from msinet_lab.diagnosis.gap import (
    DiscretisationGap,
    OperationStrength,
    gap_and_strength,
)
from msinet_lab.diagnosis.probe import OperationEffect, operation_effect
from msinet_lab.diagnosis.scorer import MixScorer, scorer_for, soft_mix
from msinet_lab.diagnosis.seeds import Agreement, agreement
from msinet_lab.diagnosis.short import (
    FEWEST,
    RankCorrelation,
    rank_correlation,
    short_trainings,
)
from msinet_lab.diagnosis.trajectory import Trajectory, trajectory


@dataclass(frozen=True)
class Trust:
    """What the diagnostics found; prints as a table of sentences."""

    run: RunFolder = field(repr=False)
    trajectory: Trajectory
    effect: OperationEffect
    gap: DiscretisationGap
    strength: OperationStrength
    baselines: Baselines
    unseen: ReidDataset = field(repr=False)
    seeds: Agreement | None = None
    correlation: RankCorrelation | None = None

    @property
    def findings(self) -> list[Finding]:
        found = say.history_findings(self.trajectory) + say.effect_findings(self.effect)
        found += say.gap_findings(self.gap) + say.strength_findings(self.strength)
        found += say.baseline_findings(self.baselines)
        found += say.seed_findings(self.seeds) if self.seeds else []
        return found + (say.correlation_findings(self.correlation) if self.correlation else [])

    @property
    def table(self) -> pd.DataFrame:
        """A row a question: verdict, what was found, what to do."""
        rows = [(f.check, f.severity, f.found, f.remedy) for f in self.findings]
        return pd.DataFrame(rows, columns=["question", "verdict", "found", "remedy"]).set_index(
            "question"
        )

    @property
    def tables(self) -> Mapping[str, pd.DataFrame]:
        """Every table by name."""
        tables = {
            "verdicts": self.table.reset_index(),
            "slots_by_epoch": self.trajectory.table,
            "operations": self.effect.table.reset_index(),
            "gap": self.gap.table.reset_index(),
            "gap_by_slot": self.gap.slots,
            "strength": self.strength.table,
            "baselines": self.baselines.table,
        }
        if self.seeds:
            tables["seeds"] = self.seeds.table.reset_index()
        if self.correlation:
            tables["short_trainings"] = self.correlation.table
        return tables

    def save(self, folder: str | Path) -> Path:
        """Every table as CSV and the verdicts as JSON, into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in self.tables.items():
            table.to_csv(folder / f"{name}.csv", index=False)
        verdicts = [
            {"check": f.check, "verdict": f.severity, "found": f.found, "remedy": f.remedy}
            for f in self.findings
        ]
        (folder / "verdicts.json").write_text(json.dumps(verdicts, indent=1))
        return folder

    def __repr__(self) -> str:
        width = max(len(f.check) for f in self.findings) + 2
        lines = [
            f"{f.severity:<9}{f.check:<{width}}{f.found}"
            + (f"\n{'':<{9 + width}}-> {f.remedy}" if f.remedy else "")
            for f in self.findings
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return str(self.table.to_html())


def diagnose(
    run: RunFolder | str | Path,
    *,
    dataset: ReidDataset | None = None,
    others: tuple[RunFolder | str | Path, ...] = (),
    random: int = 30,
    max_identities: int = 60,
    trainings: int = 0,
    training_epochs: int = 4,
    folder: str | Path | None = None,
) -> Trust:
    """Everything about one search run, from its folder and its data (`dataset`: instead of opening
    it).

    others: runs of the same search with other seeds. random: genotypes to compare with.
        max_identities:
    of the unseen identities, how many to retrieve among. trainings: short trainings from scratch
    (0, or 8 and more), their run folders below `folder`. The run's own folder is only read.
    """
    run = run if isinstance(run, RunFolder) else RunFolder(run)
    if 0 < trainings < FEWEST:
        raise ReidError(
            f"{trainings} short trainings rank nothing; take {FEWEST} or more, or 0 for none"
        )
    scorer, unseen = open_scorer(run, dataset, max_identities=max_identities)
    found = run.genotype()
    assert found is not None
    mix = soft_mix(scorer.supernet)
    told = trajectory(run.lines())
    effect = operation_effect(scorer)
    gap, strength = gap_and_strength(scorer, mix, found)
    assert strength is not None
    against = baselines(scorer, found, count=max(random, trainings - 1, 1))
    correlation = None
    if trainings:
        chosen = [found, *list(against.random)[: trainings - 1]]
        config = run.config()
        assert isinstance(config, SearchConfig)
        scores = short_trainings(config, unseen, chosen, _needed(folder), epochs=training_epochs)
        correlation = rank_correlation({found: against.place.score, **against.random}, scores)
    return Trust(
        run, told, effect, gap, strength, against, unseen, _seeds(run, others), correlation
    )


def open_scorer(
    run: RunFolder | str | Path, dataset: ReidDataset | None = None, *, max_identities: int = 60
) -> tuple[MixScorer, ReidDataset]:
    """The scorer of a run's supernet as last saved, and the unseen split that it scores on."""
    run = run if isinstance(run, RunFolder) else RunFolder(run)
    config = run.config()
    if not isinstance(config, SearchConfig):
        raise ReidError(
            f"{str(run.path)!r} is a {config.KIND} run; the diagnostics are about a search"
        )
    if run.genotype() is None:
        raise ReidError(f"{str(run.path)!r} has no genotype yet; let its search finish an epoch")
    return scorer_for(
        config, load_supernet(run), dataset or open_dataset(config), max_identities=max_identities
    )


def _seeds(run: RunFolder, others: tuple[RunFolder | str | Path, ...]) -> Agreement | None:
    if not others:
        return None
    runs = [run, *(other if isinstance(other, RunFolder) else RunFolder(other) for other in others)]
    genotypes = [one.genotype() for one in runs]
    missing = [
        str(one.path) for one, genotype in zip(runs, genotypes, strict=True) if genotype is None
    ]
    if missing:
        raise ReidError(
            f"{missing[0]!r} has no genotype yet; let its search finish an epoch, or leave it out"
        )
    return agreement([genotype for genotype in genotypes if genotype is not None])


def _needed(folder: str | Path | None) -> Path:
    if folder is None:
        raise ReidError("short trainings need a folder for their runs")
    return Path(folder)
