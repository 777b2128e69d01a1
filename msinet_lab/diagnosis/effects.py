"""What an operation really does here: how far it moves the branches of a fixed batch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import nn

from msinet_core.space import OPERATIONS, slot_label
from msinet_lab.diagnosis.scorer import AtSlot, MixScorer, soft_mix

NEAR_NO_OP = 0.05  # an operation that moves the branches by less than this share does nothing


@dataclass(frozen=True)
class OperationEffect:
    """|op(a, b) - (a, b)| / |(a, b)| over a batch, 12 x K; winners: 12, columns of the largest
    weight.
    """

    distance: np.ndarray = field(repr=False)
    winners: np.ndarray

    @property
    def near_no_ops(self) -> tuple[int, ...]:
        """Slots (from 0) won by an operation other than `none` that changes next to nothing."""
        moved = self.distance[np.arange(len(self.winners)), self.winners]
        none = list(OPERATIONS).index("none")
        return tuple(np.flatnonzero((moved < NEAR_NO_OP) & (self.winners != none)).tolist())

    @property
    def table(self) -> pd.DataFrame:
        """A row a slot: each operation's distance, the winner, and whether it does nothing."""
        table = pd.DataFrame(self.distance, columns=list(OPERATIONS))
        table.insert(0, "place", [slot_label(slot) for slot in range(len(table))])
        table["winner"] = [OPERATIONS[column] for column in self.winners]
        table["near_no_op"] = [slot in self.near_no_ops for slot in range(len(table))]
        table.index = pd.RangeIndex(1, len(table) + 1, name="slot")
        return table

    def __repr__(self) -> str:
        return f"OperationEffect({len(self.near_no_ops)} of {len(self.winners)} slots near no-ops)"


def operation_effect(scorer: MixScorer) -> OperationEffect:
    """Every operation of every slot on the first batch of retrieval images, entering as the soft
    mix has it.
    """
    mix = soft_mix(scorer.supernet)
    distance = np.zeros(mix.shape)
    for prefix in scorer.along(mix, reestimate=False):
        at = prefix.images[0]
        operations = scorer.slots[prefix.slot].operations
        distance[prefix.slot] = [functional_distance(operation, at) for operation in operations]
    return OperationEffect(distance, mix.argmax(1))


@torch.inference_mode()
def functional_distance(operation: nn.Module, at: AtSlot) -> float:
    """|op(a, b) - (a, b)| / |(a, b)| of one batch, Euclidean; 0 where both branches are zero
    throughout.
    """
    before, after = (
        torch.cat([branch.flatten() for branch in branches]).double()
        for branches in ((at.a, at.b), operation(at.a, at.b))
    )
    length = float(before.norm())
    return float((after - before).norm()) / length if length else 0.0
