"""Is the found architecture better than random ones? Judged in the supernet, with norms
re-estimated for each.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from msinet_core.errors import ReidError
from msinet_core.retrieval import RetrievalResult
from msinet_core.space import OPERATIONS, PAPER_GENOTYPE, Genotype
from msinet_lab.diagnosis.scorer import MixScorer, one_hot
from msinet_lab.diagnosis.statistics import Place, place_among


@dataclass(frozen=True)
class Baselines:
    """mAP of the found genotype, of N random ones, and of a few that anybody would try first.

    An `exchange` in a second slot is computed as it stands: in a supernet both output convolutions
    were trained, so it is not quite `none` there.
    """

    found: Genotype
    place: Place
    random: dict[Genotype, float] = field(repr=False)
    named: dict[str, float]  # by name: uniform ones and the paper's
    result: RetrievalResult = field(repr=False)

    @property
    def table(self) -> pd.DataFrame:
        """A row a genotype, best first: mAP and what it is."""
        rows = [("found", str(self.found), self.place.score)]
        rows += [(name, str(_named()[name]), score) for name, score in self.named.items()]
        rows += [("random", str(genotype), score) for genotype, score in self.random.items()]
        table = pd.DataFrame(rows, columns=["kind", "genotype", "mAP"])
        return table.sort_values("mAP", ascending=False, kind="stable").reset_index(drop=True)

    def __repr__(self) -> str:
        place, others = self.place, f"{len(self.random)} random genotypes"
        better = f"better than {place.percentile:.0f} % of {others}, p = {place.p:.2f}"
        return f"Baselines(found {place.score:.3f} mAP: {better})"


def score_baselines(
    scorer: MixScorer, found: Genotype, *, count: int = 30, seed: int = 0
) -> Baselines:
    """Scores `found`, `count` random genotypes (distinct, canonical, none of them `found`) and the
    named ones.
    """

    def score(genotype: Genotype) -> float:
        return scorer.score(one_hot(genotype)).ranking.mean_average_precision

    result = scorer.score(one_hot(found))
    random = {genotype: score(genotype) for genotype in random_genotypes(count, seed, found)}
    named = {name: score(genotype) for name, genotype in _named().items()}
    place = place_among(result.ranking.mean_average_precision, list(random.values()))
    return Baselines(found, place, random, named, result)


def random_genotypes(count: int, seed: int, *excluded: Genotype) -> list[Genotype]:
    """`count` distinct canonical genotypes, drawn uniformly; those excluded do not occur in any
    form.
    """
    if count < 1:
        raise ReidError(f"at least one random genotype is needed; got {count}")
    taken = dict.fromkeys(genotype.canonical() for genotype in excluded)
    few, number = len(taken), 1_000_003 * seed
    while len(taken) < few + count:
        taken.setdefault(Genotype.sample(number))
        number += 1
    return list(taken)[few:]


def _named() -> dict[str, Genotype]:
    uniform = {f"all {name}": Genotype.uniform(name) for name in OPERATIONS}
    return {**uniform, "paper": PAPER_GENOTYPE}
