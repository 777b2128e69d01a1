"""What an operation really does here: how far it moves the branches of a fixed batch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from msinet_core.space import OPERATIONS, slot_label
from msinet_lab.diagnosis.scorer import AtSlot, MixScorer, soft_mix

DISGUISED = 0.05  # an operation that moves the branches by less than this share is an identity


@dataclass(frozen=True)
class OperationEffect:
    """|op(a, b) - (a, b)| / |(a, b)| over a batch, 12 x K; winners: 12, columns of the largest
    weight.
    """

    distance: np.ndarray = field(repr=False)
    winners: np.ndarray

    @property
    def disguised(self) -> tuple[int, ...]:
        """Slots (from 0) won by an operation other than `none` that changes next to nothing."""
        none = list(OPERATIONS).index("none")
        moved = self.distance[np.arange(len(self.winners)), self.winners]
        return tuple(np.flatnonzero((moved < DISGUISED) & (self.winners != none)).tolist())

    @property
    def table(self) -> pd.DataFrame:
        """A row a slot: each operation's distance, the winner, and whether it is an identity in
        disguise.
        """
        table = pd.DataFrame(self.distance, columns=list(OPERATIONS))
        table.insert(0, "place", [slot_label(slot) for slot in range(len(table))])
        table["winner"] = [OPERATIONS[column] for column in self.winners]
        table["disguised"] = [slot in self.disguised for slot in range(len(table))]
        table.index = pd.RangeIndex(1, len(table) + 1, name="slot")
        return table

    def __repr__(self) -> str:
        return f"OperationEffect(identity in disguise in {len(self.disguised)} of {len(self.winners)} slots)"


def operation_effect(scorer: MixScorer) -> OperationEffect:
    """Every operation of every slot on the first batch of retrieval images, entering as the soft
    mix has it.
    """
    mix = soft_mix(scorer.supernet)
    distance = np.zeros(mix.shape)
    slots = scorer.supernet.slots()
    for prefix in scorer.along(mix, reestimate=False):
        operations = slots[prefix.slot].operations
        distance[prefix.slot] = [
            functional_distance(operation, prefix.images[0]) for operation in operations
        ]
    return OperationEffect(distance, mix.argmax(1))


@torch.inference_mode()
def functional_distance(operation: nn.Module, at: AtSlot) -> float:
    """|op(a, b) - (a, b)| / |(a, b)| of one batch, Euclidean; 0 where both branches are zero
    throughout.
    """
    before = _joined((at.a, at.b))
    length = float(before.norm())
    return float((_joined(operation(at.a, at.b)) - before).norm()) / length if length else 0.0


def _joined(branches: tuple[Tensor, Tensor]) -> Tensor:
    return torch.cat([branch.flatten() for branch in branches]).double()
