"""Features that any program wrote, as one array: .npy, .npz, .safetensors or .parquet."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from msinet_core.data.decoding import require_file
from msinet_core.errors import ReidError

LIKELY = ("features", "feature", "feats", "feat", "embeddings", "embedding")


def read_features(path: str | Path, name: str | None = None) -> Any:
    """N x D features of a file, in its own precision: .npy (memory-mapped, read where it is used),
    .npz, .safetensors or .parquet (a column of lists, or a column for each number).

    name: which of several arrays or columns; by default the only one, or one called features,
    feats or embeddings. `ReidError` for anything else.
    """
    place = Path(path).expanduser()
    reader = READERS.get(place.suffix.lower())
    if reader is None:
        raise ReidError(f"{str(path)!r}: features are in {', '.join(READERS)} files")
    try:
        require_file(place)
    except (OSError, ValueError, ReidError) as error:
        raise ReidError(f"{str(path)!r} holds no features ({error})") from error
    try:
        return reader(place, name)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, ReidError):
            raise
        raise ReidError(f"{str(path)!r} is damaged, or no {place.suffix} file ({error})") from error


def _npy(path: Path, name: str | None) -> np.ndarray:
    if name is not None:
        raise ReidError(f"{str(path)!r} holds one array, which has no name; leave {name!r} out")
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _npz(path: Path, name: str | None) -> np.ndarray:
    with np.load(path, allow_pickle=False) as arrays:
        return arrays[_which(path, list(arrays.keys()), name)]


def _safetensors(path: Path, name: str | None) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:  # numpy knows no bfloat16
            return file.get_tensor(_which(path, list(file.keys()), name))
    except SafetensorError as error:
        raise ValueError(error) from error


def _parquet(path: Path, name: str | None) -> np.ndarray:
    try:
        from pyarrow import ArrowException, types
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ReidError(
            "reading .parquet needs pyarrow: pip install 'msinet-core[scale]'"
        ) from error
    try:
        with ParquetFile(path) as file:
            schema = file.schema_arrow
            lists = [one.name for one in schema if types.is_nested(one.type)]
            floats = [one.name for one in schema if types.is_floating(one.type)]
            if lists or name is not None:
                column = file.read([_which(path, lists, name)]).column(0).combine_chunks()
                rows = len(column)
                return column.flatten().to_numpy(zero_copy_only=False).reshape(rows, -1)
            table = file.read(floats)
            return np.column_stack([column.to_numpy() for column in table.columns])
    except ArrowException as error:
        raise ValueError(error) from error


def _which(path: Path, names: list[str], wanted: str | None) -> str:
    """The array that was asked for, the only one, or one that is called as features are."""
    likely = [name for name in names if name.lower() in LIKELY]
    chosen = [wanted] if wanted is not None else names if len(names) == 1 else likely
    if len(chosen) != 1 or chosen[0] not in names:
        raise ReidError(
            f"{str(path)!r} holds {', '.join(names) or 'nothing'}; say which are the features "
            "(--output NAME)"
        )
    return chosen[0]


READERS: dict[str, Callable[[Path, str | None], Any]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".parquet": _parquet,
}


def is_feature_file(path: str | os.PathLike[str]) -> bool:
    """Whether a path names a file of features by its ending."""
    return Path(path).suffix.lower() in READERS
