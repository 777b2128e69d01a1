"""Products of features in blocks that pass through the cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

BLOCKS = 512, 8192  # rows and columns: 16 MB of float32
SQUARE = 2048  # rows and columns of a block that is used both ways: as much


def product_blocks(
    query: np.ndarray, gallery: np.ndarray, blocks: tuple[int, int] = BLOCKS
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Blocks of query @ gallery.T with their first row and column, all in one reused buffer."""
    buffer = torch.empty(min(blocks[0], len(query)) * min(blocks[1], len(gallery)))
    one, two = torch.from_numpy(query), torch.from_numpy(gallery)
    for i in range(0, len(query), blocks[0]):
        for j in range(0, len(gallery), blocks[1]):
            rows, columns = one[i : i + blocks[0]], two[j : j + blocks[1]]
            block = buffer[: len(rows) * len(columns)].view(len(rows), len(columns))
            torch.mm(rows, columns.T, out=block)
            yield i, j, block.numpy()


def symmetric_blocks(rows: np.ndarray, size: int = SQUARE) -> Iterator[tuple[int, int, np.ndarray]]:
    """Blocks of rows @ rows.T on and above the diagonal, with their first row and column, in a
    reused buffer.
    """
    whole = torch.from_numpy(rows)
    size = min(size, len(rows))
    buffer = torch.empty(size * size)
    for i in range(0, len(rows), size):
        for j in range(i, len(rows), size):
            one, two = whole[i : i + size], whole[j : j + size]
            block = buffer[: len(one) * len(two)].view(len(one), len(two))
            torch.mm(one, two.T, out=block)
            yield i, j, block.numpy()


@contextmanager
def full_precision_products() -> Iterator[None]:
    """float32 products in float32: a user's setting may allow bfloat16 or TF32, too coarse to rank
    by.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
