"""What each slot did over the epochs of a search, as numbers, out of its history alone.

Shapes: E epochs, 12 slots, K operations.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from msinet_core.errors import ReidError
from msinet_core.search.history import SearchHistory
from msinet_core.space import NUM_SLOTS, OPERATIONS, Genotype, slot_label

GAMMA_NEAR_ZERO = 0.05  # |gamma| below this: cross attention still gives about what it was given
LAST_EPOCHS = 5  # in which a change of winner counts as not settled


@dataclass(frozen=True)
class Trajectory:
    """The mixing weights of a search after each of its epochs, and what follows from them."""

    history: SearchHistory = field(repr=False)

    def __post_init__(self) -> None:
        if not len(self.history):
            raise ReidError(
                "this history has no alpha in it; give that of a search with at least one finished "
                "epoch"
            )
        slots, operations = self.history.alphas.shape[1:]
        if (slots, operations) != (NUM_SLOTS, len(OPERATIONS)):
            raise ReidError(
                f"the history's alpha is {slots} x {operations}, but here it is {NUM_SLOTS} x "
                f"{len(OPERATIONS)}; register the operations that the run was searched with"
            )

    @property
    def operations(self) -> tuple[str, ...]:
        """K, names of the weights' columns."""
        return tuple(OPERATIONS)

    @property
    def epochs(self) -> np.ndarray:
        """E, counted from 1."""
        return self.history.epochs

    @property
    def weights(self) -> np.ndarray:
        """E x 12 x K; a slot's sum to 1."""
        return self.history.weights

    @property
    def genotypes(self) -> list[Genotype]:
        """E, what each epoch would give."""
        return self.history.genotypes

    @property
    def gammas(self) -> np.ndarray:
        """E x 12, the scale of each slot's cross attention, NaN where it was not recorded."""
        lines = self.history.table.to_dict("records")
        rows = [line.get("gammas") for line in lines]
        none = [float("nan")] * NUM_SLOTS
        return np.array([row if isinstance(row, list) else none for row in rows], np.float64)

    @property
    def entropy(self) -> np.ndarray:
        """E x 12, entropy of the weights over ln K: 1 undecided, 0 decided."""
        return self.history.entropy / np.log(len(OPERATIONS))

    @property
    def margin(self) -> np.ndarray:
        """E x 12, the largest weight minus the second largest."""
        ordered = np.sort(self.weights, axis=-1)
        return ordered[..., -1] - ordered[..., -2]

    @property
    def winners(self) -> np.ndarray:
        """E x 12, the column of the largest weight (the first of equal ones)."""
        return self.weights.argmax(-1)

    @property
    def flipped(self) -> np.ndarray:
        """E x 12, whether the winner differs from an epoch before (never in the first one)."""
        winners = self.winners
        return winners != np.concatenate([winners[:1], winners[:-1]])

    def flips(self, last: int = LAST_EPOCHS) -> np.ndarray:
        """12, how often each slot's winner changed in the last epochs."""
        return self.flipped[-last:].sum(0)

    @property
    def idle_weight(self) -> np.ndarray:
        """E x 12, weight on operations that pass the branches on unchanged: `none`, and
        `cross_attention` while |gamma| is under `GAMMA_NEAR_ZERO`.
        """
        names, weights = self.operations, self.weights
        asleep = np.abs(self.gammas) < GAMMA_NEAR_ZERO  # False for NaN
        attention = weights[..., names.index("cross_attention")]
        return weights[..., names.index("none")] + np.where(asleep, attention, 0.0)

    @property
    def idle_slots(self) -> tuple[int, ...]:
        """Slots (from 0) whose winner in the last epoch passes the branches on unchanged."""
        winners = [self.operations[column] for column in self.winners[-1]]
        asleep = np.abs(self.gammas[-1]) < GAMMA_NEAR_ZERO
        idle = [
            name == "none" or (name == "cross_attention" and bool(asleep[slot]))
            for slot, name in enumerate(winners)
        ]
        return tuple(np.flatnonzero(idle).tolist())

    @property
    def table(self) -> pd.DataFrame:
        """A row for each epoch and slot: weights, winner, entropy, margin, flipped, idle_weight,
        gamma.
        """
        epoch, slot = (index.ravel() for index in np.indices(self.entropy.shape))
        columns: dict[str, Any] = {
            "epoch": self.epochs[epoch],
            "slot": slot + 1,
            "place": [slot_label(int(number)) for number in slot],
            "winner": [self.operations[column] for column in self.winners.ravel()],
        }
        columns |= dict(zip(self.operations, self.weights.reshape(len(slot), -1).T, strict=True))
        for name in ("entropy", "margin", "flipped", "idle_weight"):
            columns[name] = getattr(self, name).ravel()
        return pd.DataFrame(columns | {"gamma": self.gammas.ravel()})

    def __repr__(self) -> str:
        means = [
            f"mean {name.replace('_', ' ')} {getattr(self, name)[-1].mean():.3f}"
            for name in ("entropy", "margin", "idle_weight")
        ]
        changed = int((self.flips() > 0).sum())
        return (
            f"Trajectory({len(self.epochs)} epochs; at the end {', '.join(means)}, "
            f"{changed} slots changed in the last {LAST_EPOCHS} epochs)"
        )
