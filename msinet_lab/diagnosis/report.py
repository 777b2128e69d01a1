"""`diagnose`: everything that a run folder can tell about its search, as one value."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from msinet_core.config import SearchConfig
from msinet_core.data import ReidDataset
from msinet_core.data.report import Finding
from msinet_core.errors import ReidError
from msinet_core.files import own_folder, replace_file
from msinet_core.runs.feeding import open_dataset
from msinet_core.runs.folder import RunFolder
from msinet_core.search import load_supernet
from msinet_core.search.history import SearchHistory
from msinet_core.space import Genotype
from msinet_lab.diagnosis import findings as say
from msinet_lab.diagnosis.baselines import Baselines, score_baselines
from msinet_lab.diagnosis.effects import OperationEffect, operation_effect
from msinet_lab.diagnosis.gap import DiscretisationGap, OperationStrength, gap_and_strength
from msinet_lab.diagnosis.scorer import MixScorer, scorer_for, soft_mix
from msinet_lab.diagnosis.seeds import Agreement, agreement
from msinet_lab.diagnosis.trainings import (
    FEWEST,
    RankCorrelation,
    rank_correlation,
    short_trainings,
)
from msinet_lab.diagnosis.trajectory import Trajectory

Run = RunFolder | str | Path


@dataclass(frozen=True)
class Diagnosis:
    """What the diagnostics found; prints as a table of sentences."""

    run: RunFolder = field(repr=False)
    trajectory: Trajectory
    effect: OperationEffect
    gap: DiscretisationGap
    strength: OperationStrength
    baselines: Baselines
    held_out: ReidDataset = field(repr=False)
    seeds: Agreement | None = None
    correlation: RankCorrelation | None = None

    @property
    def findings(self) -> list[Finding]:
        """One for each question."""
        found = [
            *say.history_findings(self.trajectory),
            say.effect_finding(self.effect),
            say.gap_finding(self.gap),
            say.strength_finding(self.strength),
            say.baseline_finding(self.baselines),
        ]
        found += [say.seed_finding(self.seeds)] if self.seeds else []
        return found + ([say.correlation_finding(self.correlation)] if self.correlation else [])

    @property
    def table(self) -> pd.DataFrame:
        """A row a question: verdict, what was found, what to do."""
        rows = [(f.check, f.severity, f.found, f.remedy) for f in self.findings]
        columns = ["question", "verdict", "found", "remedy"]
        return pd.DataFrame(rows, columns=columns).set_index("question")

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
        tables |= {"seeds": self.seeds.table.reset_index()} if self.seeds else {}
        return tables | ({"short_trainings": self.correlation.table} if self.correlation else {})

    def save(self, folder: str | Path) -> Path:
        """Every table as CSV and the verdicts as JSON, into a folder of diagnoses; `ReidError` for
        one that holds other things.
        """
        folder = own_folder(Path(folder), "diagnosis")
        for name, table in self.tables.items():
            replace_file(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
        verdicts = self.table.reset_index(names="check").to_dict("records")
        replace_file(folder / "verdicts.json", json.dumps(verdicts, indent=1))
        return folder

    def __repr__(self) -> str:
        width = max(len(f.check) for f in self.findings) + 2
        lines = []
        for f in self.findings:
            lines.append(f"{f.severity:<9}{f.check:<{width}}{f.found}")
            lines += [f"{'':<{9 + width}}-> {f.remedy}"] if f.remedy else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return str(self.table.to_html())


def diagnose(
    run: Run,
    *,
    dataset: ReidDataset | None = None,
    others: Sequence[Run] = (),
    random: int = 30,
    max_identities: int = 60,
    trainings: int = 0,
    training_epochs: int = 4,
    folder: str | Path | None = None,
) -> Diagnosis:
    """Everything about one search run, from its folder, which is only read.

    dataset: instead of opening the run's. others: runs of the same search with other seeds.
    random: genotypes to compare with. max_identities: of the held-out ones, how many to retrieve
    among. trainings: short trainings from scratch (0, or 8 and more) of so many epochs, their run
    folders below `folder`.
    """
    if 0 < trainings < FEWEST:
        raise ReidError(
            f"{trainings} short trainings rank nothing; take {FEWEST} or more, or 0 for none"
        )
    if trainings and folder is None:
        raise ReidError("short trainings need a folder for their runs")
    run = RunFolder.at(run)
    seeds = agreement([_genotype(RunFolder.at(one)) for one in (run, *others)]) if others else None
    scorer, held_out = open_scorer(run, dataset, max_identities=max_identities)
    found = _genotype(run)
    gap, strength = gap_and_strength(scorer, soft_mix(scorer.supernet), found)
    assert strength is not None
    baselines = score_baselines(scorer, found, count=max(random, trainings - 1, 1))
    correlation = None
    if trainings and folder is not None:
        chosen = [found, *list(baselines.random)[: trainings - 1]]
        scores = short_trainings(
            _config(run), held_out, chosen, Path(folder), epochs=training_epochs
        )
        correlation = rank_correlation({found: baselines.place.score, **baselines.random}, scores)
    trajectory = Trajectory(SearchHistory.read(run))
    effect = operation_effect(scorer)
    return Diagnosis(
        run, trajectory, effect, gap, strength, baselines, held_out, seeds, correlation
    )


def open_scorer(
    run: Run, dataset: ReidDataset | None = None, *, max_identities: int = 60
) -> tuple[MixScorer, ReidDataset]:
    """The scorer of a run's supernet as last saved, and the held-out split that it scores on."""
    run = RunFolder.at(run)
    config = _config(run)
    _genotype(run)
    dataset = dataset or open_dataset(config)
    return scorer_for(config, load_supernet(run), dataset, max_identities=max_identities)


def _config(run: RunFolder) -> SearchConfig:
    config = run.config()
    if not isinstance(config, SearchConfig):
        raise ReidError(
            f"{str(run.path)!r} is a {config.KIND} run; the diagnostics are about a search"
        )
    return config


def _genotype(run: RunFolder) -> Genotype:
    genotype = run.genotype()
    if genotype is None:
        raise ReidError(
            f"{str(run.path)!r} has no genotype yet; let its search finish an epoch, or leave it "
            "out"
        )
    return genotype
