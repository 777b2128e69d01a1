"""Would another seed find the same? Agreement of the genotypes of several searches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pandas as pd

from msinet_core.errors import ReidError
from msinet_core.space import NUM_SLOTS, OPERATIONS, SLOTS_PER_CELL, Genotype, slot_label
from msinet_lab.diagnosis.scorer import one_hot


@dataclass(frozen=True)
class Agreement:
    """How far S searches agree over the twelve slots; genotypes are compared in canonical form."""

    kappa: float  # Fleiss': 1 full agreement, 0 as by chance, below 0 worse than that
    distance: float  # mean share of slots in which two of them differ
    chance: float  # the same of genotypes drawn at random; 17/24 with the four operations
    consensus: Genotype  # each slot's most frequent operation
    votes: np.ndarray = field(repr=False)  # 12 x K counts
    tied: tuple[int, ...] = ()  # slots (from 0) where two operations have as many votes

    @property
    def searches(self) -> int:
        return int(self.votes[0].sum())

    @property
    def table(self) -> pd.DataFrame:
        """A row a slot: the votes of each operation, and the share of the most frequent one."""
        table = pd.DataFrame(self.votes, columns=list(OPERATIONS), index=range(1, NUM_SLOTS + 1))
        table.insert(0, "place", [slot_label(slot) for slot in range(NUM_SLOTS)])
        return table.assign(agreed=self.votes.max(1) / self.searches).rename_axis("slot")

    def __repr__(self) -> str:
        return (
            f"Agreement({self.searches} searches: kappa {self.kappa:.2f}, distance "
            f"{self.distance:.2f} of the slots against {self.chance:.2f} by chance; "
            f"consensus {self.consensus})"
        )


def agreement(genotypes: Sequence[Genotype]) -> Agreement:
    """Agreement of at least two genotypes, one for each search."""
    if len(genotypes) < 2:
        raise ReidError(
            f"agreement needs the genotypes of at least two searches; {len(genotypes)} given"
        )
    found = [genotype.canonical() for genotype in genotypes]
    votes = np.sum([one_hot(genotype) for genotype in found], axis=0).astype(int)
    tied = np.flatnonzero((votes == votes.max(1, keepdims=True)).sum(1) > 1)
    return Agreement(
        fleiss_kappa(votes),
        float(np.mean([a.distance(b) / NUM_SLOTS for a, b in combinations(found, 2)])),
        chance_distance(len(OPERATIONS)),
        Genotype(tuple(OPERATIONS[column] for column in votes.argmax(1))),
        votes,
        tuple(tied.tolist()),
    )


def fleiss_kappa(votes: np.ndarray) -> float:
    """Agreement beyond chance; `votes`: subjects x categories, every row's sum the raters.

    Where every rater gives every subject the same category there is no chance to go beyond: 1.

    >>> fleiss_kappa(np.array([[3, 0], [0, 3]]))
    1.0
    """
    raters = votes.sum(1)
    if (raters != raters[0]).any() or raters[0] < 2:
        raise ReidError(
            "Fleiss' kappa needs the same number of raters, two or more, for every subject"
        )
    n = int(raters[0])
    observed = float(((votes**2).sum(1) - n).mean() / (n * (n - 1)))
    by_chance = float(((votes.sum(0) / votes.sum()) ** 2).sum())
    return 1.0 if by_chance == 1 else (observed - by_chance) / (1 - by_chance)


def chance_distance(operations: int = 4) -> float:
    """Expected share of slots in which two random canonical genotypes differ.

    A second slot of a cell has one operation less, since `exchange` is written `none` there.

    >>> round(chance_distance() * 24, 9)
    17.0
    """
    choices = [operations - (slot % SLOTS_PER_CELL > 0) for slot in range(NUM_SLOTS)]
    return float(np.mean([1 - 1 / number for number in choices]))
