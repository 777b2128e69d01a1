"""What each slot did over the epochs of a search, as numbers, out of the history alone.

Shapes: E epochs, 12 slots, K operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from msinet_core.errors import ReidError
from msinet_core.space import NUM_SLOTS, OPERATIONS, Genotype, slot_label

GAMMA_NEAR_ZERO = 0.05  # |gamma| below this: cross attention still gives about what it was given
LAST_EPOCHS = 5  # in which a change of winner counts as not settled


@dataclass(frozen=True)
class Trajectory:
    """Softmax weights and gammas after every recorded epoch.

    epochs: E. weights: E x 12 x K, rows sum to 1. gammas: E x 12, NaN where they were not recorded.
    operations: the K columns' names.
    """

    epochs: np.ndarray
    weights: np.ndarray = field(repr=False)
    gammas: np.ndarray = field(repr=False)
    operations: tuple[str, ...] = tuple(OPERATIONS)

    @property
    def entropy(self) -> np.ndarray:
        """E x 12, entropy of the weights over ln K: 1 undecided, 0 decided."""
        logs = np.log(np.where(self.weights > 0, self.weights, 1.0))
        return -(self.weights * logs).sum(-1) / np.log(len(self.operations))

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
        """E x 12, whether the winner differs from the one an epoch before (never in the first
        epoch).
        """
        changed = np.zeros(self.winners.shape, bool)
        changed[1:] = self.winners[1:] != self.winners[:-1]
        return changed

    def flips(self, last: int = LAST_EPOCHS) -> np.ndarray:
        """12, how often each slot's winner changed in the last epochs."""
        return self.flipped[-last:].sum(0)

    @property
    def identity_mass(self) -> np.ndarray:
        """E x 12, weight on operations that pass the branches on unchanged.

        That is `none`, and `cross_attention` while |gamma| is under `GAMMA_NEAR_ZERO`.
        """
        mass = self.weights[..., self.operations.index("none")].copy()
        idle = np.abs(self.gammas) < GAMMA_NEAR_ZERO  # False for NaN
        return mass + np.where(
            idle, self.weights[..., self.operations.index("cross_attention")], 0.0
        )

    @property
    def genotypes(self) -> list[Genotype]:
        """The genotype that each epoch would give."""
        return [Genotype(tuple(self.operations[column] for column in row)) for row in self.winners]

    @property
    def table(self) -> pd.DataFrame:
        """A row for each epoch and slot: weights, winner, entropy, margin, flipped, identity_mass,
        gamma.
        """
        epoch, slot = (index.ravel() for index in np.indices(self.entropy.shape))
        columns: dict[str, Any] = {
            "epoch": self.epochs[epoch],
            "slot": slot + 1,
            "place": [slot_label(int(number)) for number in slot],
            "winner": [self.operations[column] for column in self.winners.ravel()],
        }
        columns |= {
            name: self.weights[..., place].ravel() for place, name in enumerate(self.operations)
        }
        for name in ("entropy", "margin", "flipped", "identity_mass"):
            columns[name] = getattr(self, name).ravel()
        return pd.DataFrame(columns | {"gamma": self.gammas.ravel()})

    def __repr__(self) -> str:
        return (
            f"Trajectory({len(self.epochs)} epochs; at the end mean entropy {self.entropy[-1].mean():.3f}, mean margin "
            f"{self.margin[-1].mean():.3f}, mean identity mass {self.identity_mass[-1].mean():.3f}, "
            f"{int((self.flips() > 0).sum())} slots changed in the last {LAST_EPOCHS} epochs)"
        )


def trajectory(history: Iterable[Mapping[str, Any]]) -> Trajectory:
    """From the lines of a search's history (`RunFolder.lines()`); lines other than epochs are
    passed over.
    """
    lines = [line for line in history if line.get("alphas") is not None]
    if not lines:
        raise ReidError(
            "this history has no alpha in it; give that of a search with at least one finished epoch"
        )
    alphas = np.array(
        [np.array(line["alphas"]) / line.get("temperature", 1.0) for line in lines],
        dtype=np.float64,
    )
    if alphas.shape[1:] != (NUM_SLOTS, len(OPERATIONS)):
        raise ReidError(
            f"the history's alpha is {alphas.shape[1]} x {alphas.shape[2]}, but here it is {NUM_SLOTS} x "
            f"{len(OPERATIONS)}; register the operations that the run was searched with"
        )
    empty = [float("nan")] * NUM_SLOTS
    gammas = np.array([line.get("gammas") or empty for line in lines], dtype=np.float64)
    epochs = np.array([int(line.get("epoch", place + 1)) for place, line in enumerate(lines)])
    return Trajectory(epochs, softmax(alphas), gammas, tuple(OPERATIONS))


def softmax(alphas: np.ndarray) -> np.ndarray:
    """Over the last axis; an entry of minus infinity (a dropped operation) gets weight 0."""
    shifted = np.exp(alphas - alphas.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
