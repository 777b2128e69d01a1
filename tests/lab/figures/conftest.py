"""Small made-up results, histories and photographs for the pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from msinet_core.data import Protocol
from msinet_core.retrieval import RetrievalResult


def make_result(
    queries: int = 12,
    gallery: int = 120,
    identities: int = 15,
    cameras: int = 4,
    noise: float = 1.0,
    seed: int = 0,
) -> RetrievalResult:
    """Features around a centre for each identity; the first five gallery images are junk (-1)."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(identities + 1, 32))
    tables, features = [], []
    for count, split in ((queries, "query"), (gallery, "gallery")):
        table = pd.DataFrame(
            {
                "path": [f"{split}/{row}.jpg" for row in range(count)],
                "identity": rng.integers(1, identities + 1, count),
                "camera": rng.integers(1, cameras + 1, count) if cameras else pd.NA,
                "split": split,
            }
        )
        if split == "gallery" and count > 20:
            table.loc[:4, "identity"] = -1
        tables.append(table)
        features.append(
            (centres[table["identity"]] + noise * rng.normal(size=(count, 32))).astype(np.float32)
        )
    protocol = Protocol(
        exclude_same_camera=bool(cameras), junk_identities=(-1,), distractor_identities=(0,)
    )
    return RetrievalResult.score(*features, *tables, protocol)


class Photos:
    """Plain photographs, made when asked for: each row has a grey of its own."""

    def __getitem__(self, row: int) -> np.ndarray:
        return np.full((32, 16, 3), 40 + (37 * int(row)) % 200, np.uint8)


@pytest.fixture
def make() -> Any:
    return make_result


@pytest.fixture
def result() -> RetrievalResult:
    return make_result()


@pytest.fixture
def photos() -> Photos:
    return Photos()


@pytest.fixture
def alphas() -> np.ndarray:
    """Six epochs of 12 x 4."""
    return np.cumsum(np.random.default_rng(0).normal(0, 0.3, (6, 12, 4)), axis=0)


@pytest.fixture
def search_lines(alphas: np.ndarray) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for epoch, alpha in enumerate(alphas, 1):
        for step in (1, 2, 3):
            seen = {"validation_loss": 3.0 / epoch} if step > 1 else {}
            lines.append(
                {"kind": "step", "epoch": epoch, "step": step, "train_loss": 2.0 / epoch, **seen}
            )
        lines.append(
            {
                "kind": "epoch",
                "epoch": epoch,
                "alphas": alpha.tolist(),
                "temperature": 1.0,
                "train_loss": 2.0 / epoch,
                "validation_loss": 3.0 / epoch,
                "learning_rate": 0.01,
                "alpha_learning_rate": 0.002,
                "seconds": 2.0,
            }
        )
    return lines
