"""The exact nearest rows of every row of a set of features, each pair of rows multiplied once."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from msinet_core.retrieval.features import (
    BLOCKS,
    SQUARE,
    in_parts,
    product_error,
    symmetric_blocks,
)
from msinet_core.speed import tf32

SPARE = 11  # candidates beyond the k nearest: room for what rounding may have put in another order


def nearest_rows(
    unit: np.ndarray,
    half: np.ndarray,
    k: int,
    size: int = SQUARE,
    *,
    spare: int = SPARE,
    similarity: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of every row (itself included; N x k, int64) and the largest squared
    distances (N).

    `half` (N) are half the squared lengths of the unit rows. `similarity` (Q x G with Q + G = N)
    takes the dot products of the first Q rows with the others on the way. Rounded products choose
    k + `spare` candidates; only those are compared exactly.
    """
    from msinet_core.retrieval.neighbours import candidates, candidates_down

    count = len(unit)
    value = np.full((count, k + spare), -np.inf, np.float32)
    candidate = np.full((count, k + spare), count, np.int32)
    least = np.full(count, np.inf, np.float32)

    def merge(i: int, j: int, block: np.ndarray, a: int, b: int) -> None:
        """Numbers a..b of a block's rows, followed by its columns: each pair counts for both, and
        all go in one, as threads are slow to start.
        """
        rows = len(block)
        candidates(block, i, j, a, min(b, rows), value, candidate, least)
        if b > rows:
            candidates_down(block, i, j, max(a - rows, 0), b - rows, value, candidate, least)

    with tf32():  # off, whatever the user has set
        for i, j, block in symmetric_blocks(unit, size):
            both = len(block) + (block.shape[1] if j > i else 0)
            in_parts(both, partial(merge, i, j, block))
            if similarity is not None:
                _copy_part(block, i, j, similarity)
        index = _settled(unit, half, value, candidate, k)
    farthest = 2 * (half + 0.5 - least)  # a far row is a half long but for rounding
    return index, np.maximum(farthest, 1e-12)


def _copy_part(block: np.ndarray, i: int, j: int, similarity: np.ndarray) -> None:
    """What a block at i, j of all rows' products holds of queries by gallery."""
    queries, last = len(similarity), j + block.shape[1]
    rows, first = max(0, min(queries - i, len(block))), max(j, queries)
    if rows and first < last:
        similarity[i : i + rows, first - queries : last - queries] = block[:rows, first - j :]


def _settled(
    unit: np.ndarray, half: np.ndarray, value: np.ndarray, candidate: np.ndarray, k: int
) -> np.ndarray:
    """The exact k nearest rows (N x k, int64) out of the candidates, or of all rows where those do
    not suffice.
    """
    from msinet_core.retrieval.neighbours import nearest, settle

    count, margin = len(unit), product_error(unit.shape[1]) + float(np.abs(2 * half - 1).max())
    key, index = np.full((count, k), -np.inf), np.full((count, k), count, np.int64)
    proven = np.empty(count, bool)
    in_parts(
        count, lambda a, b: settle(unit, half, value, candidate, a, b, margin, key, index, proven)
    )
    # More rows than `spare` are as near as rounding: copies of one image, say.
    doubtful = np.flatnonzero(~proven)
    key[doubtful] = -np.inf

    def again(block: np.ndarray, rows: np.ndarray, a: int, b: int) -> None:
        nearest(block, rows, unit, half, a, b, margin, key, index)

    for start in range(0, len(doubtful), BLOCKS[0]):
        rows = doubtful[start : start + BLOCKS[0]]
        block = torch.mm(torch.from_numpy(unit[rows]), torch.from_numpy(unit).T).numpy()
        in_parts(len(rows), partial(again, block, rows))
    return index
