"""What goes into retrieval, checked: features as float32 rows, identities and cameras as codes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import torch

from msinet_core.errors import ReidError
from msinet_core.retrieval.counting import normalise

# float32 rounds to within this of a number between 1 and 2.
UNIT_ROUNDOFF = 2.0**-24


def feature_array(features: Any, name: str) -> np.ndarray:
    """`features` (or distances) as a C-contiguous N x D array of float32 or float64; half precision
    is widened.

    Takes numpy arrays, torch tensors (any device) and nested lists. `ReidError` for integers
    and other dtypes, other shapes and D = 0.
    """
    if hasattr(features, "detach"):  # a torch tensor; bfloat16 has no numpy counterpart
        features = features.detach().cpu()
        features = (
            features.float()
            if str(features.dtype) in ("torch.bfloat16", "torch.float16")
            else features
        )
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


def unit_rows(features: np.ndarray, name: str, kept: np.ndarray | None = None) -> np.ndarray:
    """Rows (those `kept`, boolean, if given) divided by their Euclidean length, as float32.

    Values are rounded to multiples of 2^-26 (see `counting`). `ReidError` for a row of zeros and
    for values that are not finite.
    """
    rows = np.arange(len(features)) if kept is None else np.flatnonzero(kept)
    result = np.empty((len(rows), features.shape[1]), np.float32)
    bad: list[int] = []
    in_parts(
        len(rows), lambda first, last: bad.append(normalise(features, rows, first, last, result))
    )
    bad = sorted(n for n in bad if n >= 0)
    if bad:
        row = int(rows[bad[0]])
        if np.isfinite(features[row]).all():
            raise ReidError(
                f"row {row} of the {name} features is all zeros, so it has no direction to compare; "
                "leave that image out or find out why its feature is empty"
            )
        raise ReidError(
            f"row {row} of the {name} features has NaN or infinite values; "
            "look for a diverged model or a broken image there"
        )
    return result


def in_parts(count: int, work: Callable[[int, int], Any], threads: int | None = None) -> None:
    """Runs work(a, b) over parts a..b of range(count) in threads; raises what they raise.

    Threads of its own, not numba's: those crash the process when two notebook cells use them at
    once.
    """
    threads = threads or usable_threads()
    parts = max(
        1, min(4 * threads, count // 32)
    )  # more parts than threads, so that all end together
    edges = np.linspace(0, count, parts + 1).astype(int).tolist()
    if threads == 1 or parts == 1:
        work(0, count)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, edges[:-1], edges[1:]))


def usable_threads() -> int:
    """As many as torch uses, so that OMP_NUM_THREADS and torch.set_num_threads hold here too."""
    return torch.get_num_threads()


def require_same_length(query: np.ndarray, gallery: np.ndarray) -> None:
    if query.shape[1] != gallery.shape[1]:
        raise ReidError(
            f"query features have length {query.shape[1]} and gallery features {gallery.shape[1]}; "
            "both must come from the same model"
        )


def product_error(length: int) -> float:
    """Bound on the float32 rounding error of the dot product of two unit vectors of this length.

    length * roundoff is certain. For long vectors 4 * sqrt(length) * roundoff: rounding errors are
    independent enough that this is nine standard deviations, even where every partial sum is near
    1.
    """
    return 1.01 * UNIT_ROUNDOFF * (min(length, 4.0 * math.sqrt(length)) + 4.0)


def label_array(labels: Any, count: int, what: str) -> np.ndarray:
    """Identities or cameras, one each row, as int64 or as an object array of strings; `ReidError`
    on anything else.
    """
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu().numpy()
    plain = isinstance(
        getattr(labels, "dtype", None), np.dtype
    )  # lists would turn [1, "2"] into texts
    array = np.asarray(labels) if plain else np.asarray(labels, dtype=object)
    if array.shape != (count,):
        raise ReidError(
            f"there are {array.size} {_plural(what)} for {count} rows; one for each row is needed"
        )
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    missing = pd.isna(array)
    if missing.any():
        raise ReidError(
            f"row {np.argmax(missing)} has no {what} (NA); give one for every row or drop the row"
        )
    kinds = {_kind(value) for value in set(array.tolist())}
    if len(kinds) > 1 or "other" in kinds:
        raise ReidError(f"the {_plural(what)} must be all integers or all strings")
    return array.astype(np.int64) if kinds <= {"int"} else array.astype(object)


def _plural(what: str) -> str:
    return f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "str"
    if isinstance(value, bool | np.bool_):
        return "other"
    if isinstance(value, int | np.integer):
        return "int"
    # a column of integers with a gap elsewhere becomes floats in pandas
    return (
        "int" if isinstance(value, float | np.floating) and float(value).is_integer() else "other"
    )


def shared_codes(
    query: Any, gallery: Any, counts: tuple[int, int], what: str
) -> tuple[np.ndarray, np.ndarray, list[Any]]:
    """Labels of both sides as int64 codes into the list of different labels, which comes third."""
    one = label_array(query, counts[0], f"query {what}")
    two = label_array(gallery, counts[1], f"gallery {what}")
    if len(one) and len(two) and one.dtype != two.dtype:
        names = {True: "strings", False: "integers"}
        raise ReidError(
            f"query {_plural(what)} are {names[one.dtype == object]} but gallery {_plural(what)} are "
            f"{names[two.dtype == object]}, so nothing could match; use one kind for both"
        )
    codes, labels = pd.factorize(
        np.concatenate([part for part in (one, two) if len(part)] or [one])
    )
    return codes[: len(one)].astype(np.int64), codes[len(one) :].astype(np.int64), labels.tolist()


def is_any_of(codes: np.ndarray, labels: Sequence[Any], names: Sequence[Any]) -> np.ndarray:
    """Mask of the codes whose label is in `names`; an integer and a string never equal each other."""
    return np.array([label in tuple(names) for label in labels] or [False])[codes]


def all_missing(labels: Any) -> bool:
    """Whether cameras are absent: none given, or NA on every row."""
    if labels is None:
        return True
    if hasattr(labels, "detach") or getattr(labels, "dtype", None) in (np.int64, np.int32):
        return False
    missing = pd.isna(np.asarray(labels, dtype=object))
    return missing.size > 0 and bool(missing.all())
