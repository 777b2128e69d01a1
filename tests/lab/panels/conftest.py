"""A made-up result with photographs on disk, and what a panel's status line says."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from msinet_core.data import Protocol
from msinet_core.retrieval import RetrievalResult


def make_result(
    root: Any,
    queries: int = 10,
    gallery: int = 60,
    identities: int = 6,
    cameras: int = 3,
    seed: int = 0,
) -> Any:
    """A `RetrievalResult`; with a `root`, small photographs are written there (one is missing, one
    is broken).
    """
    rng = np.random.default_rng(seed)
    centres, tables, features = rng.normal(size=(identities + 1, 24)), [], []
    for count, split in ((queries, "query"), (gallery, "gallery")):
        table = pd.DataFrame(
            {
                "path": [f"{split}{row}.png" for row in range(count)],
                "identity": rng.integers(1, identities + 1, count),
                "camera": rng.integers(1, cameras + 1, count) if cameras else pd.NA,
                "split": split,
            }
        )
        tables.append(table)
        features.append(
            (centres[table["identity"]] + rng.normal(size=(count, 24))).astype(np.float32)
        )
        if root is not None:
            for path in table["path"]:
                Image.fromarray(rng.integers(0, 255, (32, 16, 3), dtype=np.uint8)).save(root / path)
    if root is not None:
        (root / "gallery0.png").unlink()
        (root / "gallery1.png").write_bytes(b"broken")
    return RetrievalResult.score(*features, *tables, Protocol(exclude_same_camera=bool(cameras)))


@pytest.fixture
def make() -> Any:
    return make_result


@pytest.fixture
def root(tmp_path: Any) -> Any:
    return tmp_path


@pytest.fixture
def result(root: Any) -> Any:
    return make_result(root)


@pytest.fixture
def status() -> Any:
    """`status(panel)`: the words of its status line; `status(panel, error=True)` checks that they
    are an error.
    """

    def read(panel: Any, error: bool = False) -> str:
        assert ("error-color" in panel.status.value) == error, panel.status.value
        return re.sub("<[^>]+>", "", panel.status.value)

    return read
