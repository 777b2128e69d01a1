"""What a search wrote of its epochs: alpha, its temperature, the architecture, losses and rates.

Shapes: E epochs, 12 slots, K operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import entr, softmax

from msinet_core.errors import ReidError
from msinet_core.runs.folder import RunFolder
from msinet_core.space import NUM_SLOTS, OPERATIONS, Genotype


@dataclass(frozen=True)
class SearchHistory:
    """A search after each of its epochs; empty arrays where none is done yet.

    `alphas` is what the optimiser moves. The slots are mixed by `weights`, softmax(alpha /
    temperature).
    """

    epochs: np.ndarray  # E, counted from 1
    alphas: np.ndarray  # E x 12 x K
    temperatures: np.ndarray  # E
    genotypes: list[Genotype]  # E
    table: pd.DataFrame  # one row an epoch: losses, rates, gammas, seconds, ...

    @classmethod
    def read(cls, run: RunFolder | str | Path) -> SearchHistory:
        """Of a run folder, finished or still being written."""
        run = RunFolder.at(run)
        return cls.from_lines(run.lines())

    @classmethod
    def from_lines(cls, lines: Sequence[Mapping[str, Any]]) -> SearchHistory:
        """Of a history's lines; those that are not of an epoch of a search are left out.

        Lines without a temperature are of runs that wrote alpha divided by it: for them it is 1.
        """
        lines = [line for line in lines if line.get("alphas") is not None]
        try:
            return cls._from_epochs(lines)
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise ReidError(f"the history of the search is damaged ({error})") from error

    @classmethod
    def _from_epochs(cls, lines: Sequence[Mapping[str, Any]]) -> SearchHistory:
        alphas = np.array([line["alphas"] for line in lines], dtype=np.float64)
        if len(lines) and (alphas.ndim != 3 or alphas.shape[1] != NUM_SLOTS):
            raise ReidError(f"alphas are {NUM_SLOTS} rows, not {alphas.shape[1:]}")
        return cls(
            np.array([line.get("epoch", place) for place, line in enumerate(lines, 1)], dtype=int),
            alphas if len(alphas) else np.zeros((0, NUM_SLOTS, len(OPERATIONS))),
            np.array([line.get("temperature", 1.0) for line in lines], dtype=np.float64),
            [_genotype(line) for line in lines],
            pd.DataFrame([{k: v for k, v in line.items() if k != "alphas"} for line in lines]),
        )

    def __len__(self) -> int:
        return len(self.epochs)

    @property
    def weights(self) -> np.ndarray:
        """E x 12 x K: what each operation's output is multiplied by; a slot's sum to 1."""
        return softmax(self.alphas / self.temperatures[:, None, None], axis=2)

    @property
    def entropy(self) -> np.ndarray:
        """E x 12, in nats: from ln K, where a slot is undecided, down to 0."""
        return entr(self.weights).sum(axis=2)


def _genotype(line: Mapping[str, Any]) -> Genotype:
    if "genotype" in line:
        return Genotype.parse(line["genotype"])
    best = np.argmax(line["alphas"], axis=1)
    return Genotype(tuple(OPERATIONS[column] for column in best))
