"""Features made ready: checked, as unit vectors, multiplied in blocks, work split among threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import torch

from msinet_core.errors import ReidError
from msinet_core.speed import tf32

UNIT_ROUNDOFF = 2.0**-24  # float32 rounds to within this of a number between 1 and 2
BLOCKS = 512, 8192  # rows and columns of a block of products: 16 MB of float32
FEW = 8192  # rows of features looked at in one go
SQUARE = 2048  # rows and columns of a block that is used both ways: as much


def feature_array(features: Any, name: str) -> np.ndarray:
    """`features` (or distances) as a C-contiguous N x D array of float32 or float64; half precision
    is widened.

    Takes numpy arrays, torch tensors (any device) and nested lists. `ReidError` for integers
    and other dtypes, other shapes and D = 0.
    """
    if isinstance(features, torch.Tensor):
        features = features.detach().cpu()
        if features.dtype in (torch.bfloat16, torch.float16):  # numpy knows no bfloat16
            features = features.float()
        features = features.numpy()
    try:
        array = np.asarray(features)
    except ValueError as error:
        raise ReidError(f"{name}: this is not a rectangular array ({error})") from error
    if array.ndim != 2 or array.shape[1] == 0:
        raise ReidError(
            f"{name}: two axes are needed, the second not empty, but the shape is {array.shape}"
        )
    if array.dtype.kind != "f":
        raise ReidError(
            f"{name}: the dtype is {array.dtype}, but floating point is expected "
            "(if this really is what you mean, convert it with .astype('float32'))"
        )
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    return np.ascontiguousarray(array)


def feature_pair(query: Any, gallery: Any) -> tuple[np.ndarray, np.ndarray]:
    """Features of queries and of a gallery, checked to be of one length."""
    one, two = feature_array(query, "query features"), feature_array(gallery, "gallery features")
    if one.shape[1] != two.shape[1]:
        raise ReidError(
            f"query features have length {one.shape[1]} and gallery features {two.shape[1]}; "
            "both must come from the same model"
        )
    return one, two


def require_rows(features: np.ndarray, table: pd.DataFrame, side: str = "") -> None:
    """`ReidError` unless there is a feature for each row of a table."""
    if len(features) != len(table):
        raise ReidError(
            f"there are {len(features)} {side}features for {len(table)} rows of the table; one "
            "each is needed"
        )


def require_finite(
    features: np.ndarray, paths: Any = None, first: int = 0, what: str = "features"
) -> None:
    """`ReidError` if a row of features is not finite: every distance to it would be NaN. `paths`
    name the images of the rows from `first` on.
    """
    parts = [features[a : a + FEW] for a in range(0, len(features), FEW)]  # a flag each is enough
    bad = np.concatenate([np.zeros(0, bool), *(~np.isfinite(part).all(axis=1) for part in parts)])
    if bad.any():
        row = first + int(np.argmax(bad))
        which = f"row {row + 1}" if paths is None or row >= len(paths) else str(paths.iloc[row])
        raise ReidError(
            f"{bad.sum():,} of {len(features):,} {what} are NaN or infinite, the first that of "
            f"{which}; the model may have diverged: look at its losses, or take an earlier "
            "checkpoint"
        )


def unit_rows(features: np.ndarray, name: str, kept: np.ndarray | None = None) -> np.ndarray:
    """Rows (those `kept`, boolean, if given) divided by their Euclidean length, as float32.

    Values are rounded to multiples of 2^-26 (see `counting`). `ReidError` for a row of zeros and
    for values that are not finite.
    """
    from msinet_core.retrieval.counting import normalise

    rows = np.arange(len(features)) if kept is None else np.flatnonzero(kept)
    result = np.empty((len(rows), features.shape[1]), np.float32)
    bad: list[int] = []
    in_parts(len(rows), lambda a, b: bad.append(normalise(features, rows, a, b, result)))
    bad = sorted(n for n in bad if n >= 0)
    if bad:
        row = int(rows[bad[0]])
        if np.isfinite(features[row]).all():
            raise ReidError(
                f"row {row + 1} of the {name} features is all zeros, so it has no direction to "
                "compare; leave that image out or find out why its feature is empty"
            )
        raise ReidError(
            f"row {row + 1} of the {name} features has NaN or infinite values; "
            "look for a diverged model or a broken image there"
        )
    return result


def product_error(length: int) -> float:
    """Bound on the float32 rounding error of the dot product of two unit vectors of this length.

    length * roundoff is certain. For long vectors 4 * sqrt(length) * roundoff: rounding errors are
    independent enough that this is nine standard deviations, even where every partial sum is near
    1.
    """
    return 1.01 * UNIT_ROUNDOFF * (min(length, 4.0 * math.sqrt(length)) + 4.0)


def product_blocks(
    query: np.ndarray, gallery: np.ndarray, blocks: tuple[int, int] = BLOCKS
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Blocks of query @ gallery.T with their first row and column, all in one reused buffer."""
    buffer = torch.empty(min(blocks[0], len(query)) * min(blocks[1], len(gallery)))
    one, two = torch.from_numpy(query), torch.from_numpy(gallery)
    for i in range(0, len(query), blocks[0]):
        for j in range(0, len(gallery), blocks[1]):
            yield i, j, _product(one[i : i + blocks[0]], two[j : j + blocks[1]], buffer)


def symmetric_blocks(rows: np.ndarray, size: int = SQUARE) -> Iterator[tuple[int, int, np.ndarray]]:
    """Blocks of rows @ rows.T on and above the diagonal, with their first row and column, in a
    reused buffer.
    """
    whole = torch.from_numpy(rows)
    buffer = torch.empty(min(size, len(rows)) ** 2)
    for i in range(0, len(rows), size):
        for j in range(i, len(rows), size):
            yield i, j, _product(whole[i : i + size], whole[j : j + size], buffer)


def _product(one: torch.Tensor, two: torch.Tensor, buffer: torch.Tensor) -> np.ndarray:
    block = buffer[: len(one) * len(two)].view(len(one), len(two))
    with tf32():  # off, whatever the user has set
        return torch.mm(one, two.T, out=block).numpy()


def in_parts(count: int, work: Callable[[int, int], Any], threads: int | None = None) -> None:
    """Runs work(a, b) over parts a..b of range(count) in threads; raises what they raise.

    Threads of its own, not numba's: those crash the process when two notebook cells use them at
    once.
    """
    threads = threads or torch.get_num_threads()  # so that OMP_NUM_THREADS holds here too
    parts = max(1, min(4 * threads, count // 32))  # more than threads, so that all end together
    if threads == 1 or parts == 1:
        work(0, count)
        return
    edges = np.linspace(0, count, parts + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, edges[:-1], edges[1:]))
