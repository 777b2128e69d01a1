"""Slot by slot: what discretising a slot costs, and what each of its operations is worth, in mAP.

One walk through the soft supernet serves both: at each slot's entrance the slot alone is varied.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from msinet_core.errors import ReidError
from msinet_core.retrieval import Comparison, RetrievalResult, compare
from msinet_core.space import NUM_SLOTS, OPERATIONS, Genotype, slot_label
from msinet_lab.diagnosis.scorer import MixScorer, Prefix, one_hot
from msinet_lab.diagnosis.statistics import kendall_tau_b

DRAWS = 2000  # of the bootstrap


@dataclass(frozen=True)
class DiscretisationGap:
    """mAP of the soft mix and of the genotype, with stored and with re-estimated norms.

    stored, reestimated: genotype against soft mix under the same norms, paired over queries.
    slots: a row a slot, made one-hot alone (norms re-estimated): mAP, difference, low, high.
    """

    soft_stored: RetrievalResult = field(repr=False)
    hard_stored: RetrievalResult = field(repr=False)
    soft: RetrievalResult = field(repr=False)  # re-estimated
    hard: RetrievalResult = field(repr=False)
    stored: Comparison
    reestimated: Comparison
    slots: pd.DataFrame = field(repr=False)

    @property
    def table(self) -> pd.DataFrame:
        """Four rows: soft and one-hot, norms as stored and re-estimated; mAP and rank-1."""
        results = {
            "soft, stored norms": self.soft_stored,
            "one-hot, stored norms": self.hard_stored,
            "soft, norms re-estimated": self.soft,
            "one-hot, norms re-estimated": self.hard,
        }
        metrics = pd.DataFrame({name: result.metrics() for name, result in results.items()})
        return metrics.loc[["mAP", "rank1"]].T.rename_axis("network")


@dataclass(frozen=True)
class OperationStrength:
    """mAP lost when one operation's weight is set to zero and the slot's others are scaled up.

    All 12 x K; NaN where an operation has no weight to lose.
    """

    loss: np.ndarray  # positive where the operation was of use
    weights: np.ndarray  # of the mix
    low: np.ndarray  # ends of the paired bootstrap interval of the loss
    high: np.ndarray

    @property
    def agreement(self) -> np.ndarray:
        """12, Kendall's tau-b between a slot's weights and losses; 1: alpha ranks them rightly."""
        return np.array([_tau(*rows) for rows in zip(self.weights, self.loss, strict=True)])

    @property
    def mean_agreement(self) -> float:
        """Mean over the slots that have one."""
        known = self.agreement[np.isfinite(self.agreement)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def table(self) -> pd.DataFrame:
        """A row for each slot and operation: weight, loss, low, high."""
        slot, column = (index.ravel() for index in np.indices(self.loss.shape))
        return pd.DataFrame(
            {
                "slot": slot + 1,
                "place": [slot_label(int(number)) for number in slot],
                "operation": [OPERATIONS[number] for number in column],
                "weight": self.weights.ravel(),
                "loss": self.loss.ravel(),
                "low": self.low.ravel(),
                "high": self.high.ravel(),
            }
        )


def gap_and_strength(
    scorer: MixScorer, mix: np.ndarray, genotype: Genotype, *, strength: bool = True
) -> tuple[DiscretisationGap, OperationStrength | None]:
    """Both from one walk along the soft `mix` (12 x K); without `strength` the gap alone."""
    if mix.shape != (NUM_SLOTS, len(OPERATIONS)):
        raise ReidError(f"a mix is {NUM_SLOTS} x {len(OPERATIONS)}, not {mix.shape}")
    hard = one_hot(genotype)
    soft_stored, hard_stored = (scorer.score(rows, reestimate=False) for rows in (mix, hard))
    soft, found = scorer.score(mix), scorer.score(hard)
    slots, losses = [], np.full((3, *mix.shape), np.nan)  # loss, low, high
    for slot, prefix in enumerate(scorer.along(mix)):

        def variant(row: np.ndarray, slot: int = slot, prefix: Prefix = prefix) -> RetrievalResult:
            changed = mix.copy()
            changed[slot] = row
            return scorer.score(changed, prefix)

        change = compare(soft, variant(hard[slot]), draws=DRAWS)
        score = soft.ranking.mean_average_precision + change.difference
        what = slot + 1, slot_label(slot), genotype.slots[slot]
        slots.append((*what, score, change.difference, *change.interval))
        for column in range(mix.shape[1]) if strength else ():
            row = without(mix[slot], column)
            if row is not None:
                lost = compare(variant(row), soft, draws=DRAWS)
                losses[:, slot, column] = lost.difference, *lost.interval
    columns = ["slot", "place", "operation", "mAP", "difference", "low", "high"]
    gap = DiscretisationGap(
        soft_stored,
        hard_stored,
        soft,
        found,
        compare(soft_stored, hard_stored, draws=DRAWS),
        compare(soft, found, draws=DRAWS),
        pd.DataFrame(slots, columns=columns),
    )
    return gap, OperationStrength(losses[0], mix, *losses[1:]) if strength else None


def without(weights: np.ndarray, column: int) -> np.ndarray | None:
    """A slot's weights with one operation at zero and the rest scaled to sum 1; None if it has
    nothing or everything.

    >>> without(np.array([0.5, 0.25, 0.25]), 0).tolist()
    [0.0, 0.5, 0.5]
    """
    rest = weights.copy()
    rest[column] = 0
    if weights[column] == 0 or rest.sum() <= 0:
        return None
    return rest / rest.sum()


def _tau(weights: np.ndarray, loss: np.ndarray) -> float:
    known = np.isfinite(loss)
    return kendall_tau_b(weights[known], loss[known]) if known.sum() > 1 else float("nan")
