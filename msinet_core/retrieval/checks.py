"""What goes into retrieval, checked: features as float32 rows, identities and cameras as codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from msinet_core.errors import ReidError

# float32 rounds to within this of a number between 1 and 2.
UNIT_ROUNDOFF = 2.0**-24


def feature_array(features: Any, name: str) -> np.ndarray:
    """`features` as a C-contiguous N x D array of float32 or float64; half precision is widened.

    Takes numpy arrays, torch tensors (any device) and nested lists. `ReidError` for integers
    and other dtypes, other shapes, D = 0, and NaN or infinite values.
    """
    if hasattr(features, "detach"):  # a torch tensor; bfloat16 has no numpy counterpart
        features = features.detach().cpu()
        features = features.float() if str(features.dtype) in ("torch.bfloat16", "torch.float16") else features
        features = features.numpy()
    try:
        array = np.asarray(features)
    except ValueError as error:
        raise ReidError(f"{name} features are not a rectangular array: {error}") from error
    if array.ndim != 2 or array.shape[1] == 0:
        raise ReidError(f"{name} features must be N x D with D > 0, but their shape is {array.shape}")
    if array.dtype.kind != "f":
        raise ReidError(
            f"{name} features are of dtype {array.dtype}; floating point is expected "
            "(if these really are features, convert them with .astype('float32'))"
        )
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float32 if array.dtype.itemsize < 4 else np.float64)
    array = np.ascontiguousarray(array)
    _require_finite(array, name)
    return array


def _require_finite(array: np.ndarray, name: str) -> None:
    for start in range(0, len(array), 4096):  # in blocks: isfinite on all rows would need an array as long
        finite = np.isfinite(array[start : start + 4096]).all(axis=1)
        if not finite.all():
            bad = start + int(np.argmin(finite))
            raise ReidError(
                f"{name} features have NaN or infinite values, first in row {bad}; "
                "look for a diverged model or a broken image there"
            )


def unit_rows(features: np.ndarray, name: str, kept: np.ndarray | None = None) -> np.ndarray:
    """Rows (those `kept`, boolean, if given) divided by their Euclidean length, as float32.

    The length is taken in float64. A row of zeros raises `ReidError`.
    """
    rows = np.arange(len(features)) if kept is None else np.flatnonzero(kept)
    result = np.empty((len(rows), features.shape[1]), np.float32)
    for start in range(0, len(rows), 4096):
        chosen = rows[start : start + 4096]
        block = features[chosen].astype(np.float64)
        largest = np.abs(block).max(axis=1, keepdims=True, initial=0.0)
        if (largest == 0).any():
            raise ReidError(
                f"row {chosen[np.argmin(largest)]} of the {name} features is all zeros, so it has no direction "
                "to compare; leave that image out or find out why its feature is empty"
            )
        block /= largest  # so that squares neither overflow nor vanish
        block /= np.sqrt(np.einsum("nd,nd->n", block, block))[:, None]
        result[start : start + 4096] = block
    return result


def require_same_length(query: np.ndarray, gallery: np.ndarray) -> None:
    if query.shape[1] != gallery.shape[1]:
        raise ReidError(
            f"query features have length {query.shape[1]} and gallery features {gallery.shape[1]}; "
            "both must come from the same model"
        )


def product_error(length: int) -> float:
    """Bound on the float32 rounding error of the dot product of two unit vectors of this length.

    The certain bound is length * roundoff. For long vectors the probabilistic one is used, with
    8 * sqrt(length) (Higham and Mary 2019: exceeded with a probability below 1e-13).
    """
    return 1.01 * UNIT_ROUNDOFF * (min(length, 8.0 * math.sqrt(length)) + 4.0)


def label_series(labels: Any, count: int, what: str) -> pd.Series:
    """Identities or cameras as integers or strings, one each row; `ReidError` on any other or a missing one."""
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu().numpy()
    values = np.asarray(labels, dtype=object) if isinstance(labels, list | tuple) else labels
    series = pd.Series(values).reset_index(drop=True)
    if len(series) != count:
        raise ReidError(f"there are {len(series)} {what}s for {count} rows; one for each row is needed")
    if series.isna().any():
        bad = int(np.argmax(series.isna().to_numpy()))
        raise ReidError(f"row {bad} has no {what} (NA); give one for every row or drop the row")
    kinds = {_kind(value) for value in series.unique()}
    if len(kinds) > 1 or "other" in kinds:
        raise ReidError(f"the {what}s must be all integers or all strings")
    return series.astype("int64") if kinds == {"int"} else series.astype(object)


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "str"
    if isinstance(value, bool | np.bool_):
        return "other"
    if isinstance(value, int | np.integer):
        return "int"
    # a column of integers with a gap elsewhere becomes floats in pandas
    return "int" if isinstance(value, float | np.floating) and float(value).is_integer() else "other"


def shared_codes(query: Any, gallery: Any, counts: tuple[int, int], what: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels of both sides as int64 codes, equal where and only where the labels are equal."""
    one = label_series(query, counts[0], f"query {what}")
    two = label_series(gallery, counts[1], f"gallery {what}")
    if len(one) and len(two) and (one.dtype != two.dtype):
        names = {True: "strings", False: "integers"}
        raise ReidError(
            f"query {what}s are {names[one.dtype == object]} but gallery {what}s are "
            f"{names[two.dtype == object]}, so nothing could match; use one kind for both"
        )
    both = pd.concat([one.astype(object), two.astype(object)], ignore_index=True)
    codes = pd.factorize(both)[0].astype(np.int64)
    return codes[: len(one)], codes[len(one) :]


def is_any_of(labels: Any, names: Sequence[Any]) -> np.ndarray:
    """Boolean mask of the labels that are in `names`; an integer and a string never equal each other."""
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu().numpy()
    return pd.Series(np.asarray(labels, dtype=object)).isin(list(names)).to_numpy(bool)


def all_missing(labels: Any) -> bool:
    """Whether cameras are absent: none given, or NA on every row."""
    if labels is None:
        return True
    if hasattr(labels, "detach"):
        return False
    series = pd.Series(np.asarray(labels, dtype=object))
    return len(series) > 0 and bool(series.isna().all())
