"""Files of tensors from strangers: nothing in them is executed, and none takes more memory than it
has bytes.
"""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from msinet_core.errors import ReidError
from msinet_core.files import require_regular

# What a file that is no file of tensors, or a broken one, makes the readers raise.
UNREADABLE = (
    *(pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError),
    *(TypeError, AttributeError, LookupError, zipfile.BadZipFile, OSError),
)


def load_pickle(source: Path | bytes, harmless: Iterable[Any] = ()) -> Any:
    """What `torch.save` wrote: tensors, plain values and `harmless` classes. Raises any of
    `UNREADABLE`, `ReidError` among them for a file that would swell in memory.
    """
    if isinstance(source, Path):
        require_regular(source)
    size = len(source) if isinstance(source, bytes) else os.path.getsize(source)
    _refuse_compressed(_opened(source), size)
    with torch.serialization.safe_globals(list(harmless)):
        found = torch.load(_opened(source), map_location="cpu", weights_only=True)
    for tensor in _tensors(found):
        # A tensor may be spread from one number to any size, at no cost until it is touched.
        if tensor.numel() * tensor.element_size() > size:
            raise ReidError(f"it holds a tensor of {tuple(tensor.shape)}, larger than the file")
    return found


def load_safetensors(source: Path | bytes) -> dict[str, Tensor]:
    """Tensors by name; raises any of `UNREADABLE`."""
    if isinstance(source, bytes):
        return safetensors.torch.load(source)
    require_regular(source)
    return safetensors.torch.load_file(source)


def _opened(source: Path | bytes) -> Any:
    return io.BytesIO(source) if isinstance(source, bytes) else source


def _refuse_compressed(file: Any, size: int) -> None:
    """torch writes archives without compression; a compressed one may hold a thousand times its
    size.
    """
    if not zipfile.is_zipfile(file):
        return
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if compressed or sum(entry.file_size for entry in entries) > size:
        raise ReidError("it is compressed, as torch writes none; save it again with torch.save")


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested mappings and lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(item)
