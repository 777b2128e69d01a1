"""`EmbeddingStore`: features on disk, memory-mapped, with the table they belong to.

    store.json        format, feature length, rows of each shard, and what the features depend on
    table.jsonl       one row an image, in the order of the features
    files.jsonl       size, time and hash of every image file when it was embedded
    features-0000.npy N x D float32; a store has as many shards as it needs

Later steps open it in no time and read what they need. `embed_dataset` reuses a store whose
weights, settings and images are the same as before, and makes it anew otherwise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from msinet_core.data import ReidDataset, open_images
from msinet_core.errors import ReidError
from msinet_core.retrieval.checks import usable_threads
from msinet_core.retrieval.embedding import Model, embed, embed_batches
from msinet_core.retrieval.tables import read_table, whole_folder, write_table
from msinet_core.runs.processes import ALONE, Processes

FORMAT = 1
FILE_COLUMNS = ["size", "time", "hash"]
SHARD_ROWS = 131_072  # 400 MB of features of length 768


@dataclass(frozen=True)
class EmbeddingStore:
    """N features of length D in shards of a folder; made by `write_store` or `embed_dataset`."""

    folder: Path
    shard_rows: tuple[int, ...]
    length: int
    made_from: dict[str, Any]  # what the features depend on besides the images

    def __len__(self) -> int:
        return sum(self.shard_rows)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row an image, index from 0."""
        columns = json.loads((self.folder / "store.json").read_text())["columns"]
        return read_table(self.folder / "table.jsonl", columns)

    def shards(self) -> Iterator[tuple[int, np.ndarray]]:
        """First row and features (memory-mapped, read-only) of each shard, in order."""
        first = 0
        for number, rows in enumerate(self.shard_rows):
            yield first, _map(self.folder / _shard_name(number), (rows, self.length))
            first += rows

    @property
    def features(self) -> np.ndarray:
        """All features, N x D: memory-mapped where there is one shard, read into memory where there
        are more.
        """
        parts = [shard for _, shard in self.shards()]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def read(self, rows: Any) -> np.ndarray:
        """Features of these rows (integers or a boolean mask), in memory, float32."""
        wanted = np.arange(len(self))[np.asarray(rows)]
        result = np.empty((len(wanted), self.length), np.float32)
        for first, shard in self.shards():
            here = (wanted >= first) & (wanted < first + len(shard))
            result[here] = shard[wanted[here] - first]
        return result

    def __repr__(self) -> str:
        size = len(self) * self.length * 4 / 1e6
        return f"EmbeddingStore {str(self.folder)!r}: {len(self):,} x {self.length}, {len(self.shard_rows)} shards, {size:,.0f} MB"


def open_store(folder: str | Path) -> EmbeddingStore:
    """The store in a folder; `ReidError` if there is none, or if it is damaged or of another
    version.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / "store.json").read_text())
    except FileNotFoundError as error:
        raise ReidError(f"{str(folder)!r} holds no embedding store (no store.json)") from error
    except json.JSONDecodeError as error:
        raise ReidError(f"{str(folder / 'store.json')!r} is damaged; embed again") from error
    if about.get("format") != FORMAT:
        raise ReidError(
            f"{str(folder)!r} was written by another version of msinet-core; embed again"
        )
    store = EmbeddingStore(folder, tuple(about["shard_rows"]), about["length"], about["made_from"])
    for _ in store.shards():  # maps every file: missing or short ones are found now
        pass
    return store


def write_store(
    folder: str | Path,
    table: pd.DataFrame,
    blocks: Iterator[np.ndarray],
    made_from: dict[str, Any],
    files: pd.DataFrame | None = None,
    shard_rows: int = SHARD_ROWS,
) -> EmbeddingStore:
    """Writes features that come block by block (B x D each, N rows in all), whole or not at all.

    Never more than one shard is in memory. `table` has N rows.
    """
    if shard_rows < 1:
        raise ReidError(f"shard_rows must be at least 1, not {shard_rows}")
    table = table.reset_index(drop=True)
    with whole_folder(Path(folder)) as place:
        counts, length = _write_shards(place, blocks, shard_rows)
        if sum(counts) != len(table):
            raise ReidError(
                f"there are {sum(counts)} features for {len(table)} rows of the table; one each is needed"
            )
        write_table(table, place / "table.jsonl")
        if files is not None:
            write_table(files, place / "files.jsonl")
        about = {
            "format": FORMAT,
            "length": length,
            "shard_rows": counts,
            "columns": list(table.columns),
            "made_from": made_from,
        }
        (place / "store.json").write_text(json.dumps(about, indent=1))
    return open_store(folder)


def _write_shards(
    place: Path, blocks: Iterator[np.ndarray], shard_rows: int
) -> tuple[list[int], int]:
    counts: list[int] = []
    waiting: list[np.ndarray] = []
    length = -1

    def write(rows: np.ndarray) -> None:
        np.save(place / _shard_name(len(counts)), rows)
        counts.append(len(rows))

    for block in blocks:
        block = np.asarray(block, np.float32)
        length = block.shape[1] if length < 0 else length
        if block.ndim != 2 or block.shape[1] != length:
            raise ReidError(
                f"blocks of features must all be B x {length}, but one is of shape {block.shape}"
            )
        waiting.append(block)
        while sum(map(len, waiting)) >= shard_rows:
            rows = np.concatenate(waiting)
            write(rows[:shard_rows])
            waiting = [rows[shard_rows:]]
    if sum(map(len, waiting)) or not counts:
        write(np.concatenate(waiting) if waiting else np.zeros((0, 0), np.float32))
    return counts, max(length, 0)


def _shard_name(number: int) -> str:
    return f"features-{number:04d}.npy"


def _map(path: Path, shape: tuple[int, int]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r" if shape[0] else None)
    except (OSError, ValueError) as error:
        raise ReidError(f"{str(path)!r} is missing or damaged; embed again ({error})") from error
    if array.shape != shape or array.dtype != np.float32:
        raise ReidError(
            f"{str(path)!r} holds {array.shape} {array.dtype}, expected {shape} float32; embed again"
        )
    return array


# -- embedding into a store ----------------------------------------------------------------------


def embed_dataset(
    model: Model,
    dataset: ReidDataset,
    folder: str | Path,
    height: int,
    width: int,
    *,
    after_necks: bool = False,
    flip: bool = False,
    precision: str = "float32",
    batch_size: int = 64,
    device: torch.device | str | None = None,
    on_bad_image: str = "error",
    workers: int = 0,
    shard_rows: int = SHARD_ROWS,
    progress: bool = False,
    rebuild: bool = False,
    processes: Processes = ALONE,
) -> EmbeddingStore:
    """Features of all images of a data set, in a store; an up-to-date one in `folder` is reused.

    `model` is a module or an `OnnxModel`. Up to date: same weights, size and options, same table,
    and image files with the same content (by size and time; where these differ, by hash). `rebuild`
    embeds in any case. Of several `processes` the first writes what each embeds of its share. For
    the other arguments see `embed` and `open_images`.
    """
    made_from = {
        "weights": weights_hash(model),
        "table": _hash(dataset.table.to_json(orient="split").encode()),
        "height": height,
        "width": width,
        "after_necks": after_necks,
        "flip": flip,
        "precision": precision,
    }
    before = None if rebuild else _files_before(Path(folder), made_from)
    files = file_facts(dataset, before)
    current = before is not None and files["hash"].equals(before["hash"])
    if processes.broadcast(bytes([current])) == b"\1":
        return open_store(folder)
    reader = open_images(
        dataset.table,
        dataset.root,
        height,
        width,
        cache="none",
        on_bad_image=on_bad_image,
        workers=workers,
        progress=progress and processes.is_main_process,
    )
    if processes.size > 1:
        everyones = embed(
            model,
            reader,
            after_necks=after_necks,
            flip=flip,
            precision=precision,
            batch_size=batch_size,
            device=device,
            workers=min(workers, 2),
            progress=progress,
            processes=processes,
        )

        def write() -> None:
            write_store(folder, reader.table, iter([everyones]), made_from, files, shard_rows)

        processes.on_main_process(write)
        return open_store(folder)
    features = embed_batches(
        model,
        reader,
        after_necks=after_necks,
        flip=flip,
        precision=precision,
        batch_size=batch_size,
        device=device,
        workers=min(workers, 2),
        progress=progress,
    )
    return write_store(folder, reader.table, features, made_from, files, shard_rows)


def _files_before(folder: Path, made_from: dict[str, Any]) -> pd.DataFrame | None:
    """What is known of the image files of a store, if it was made from the same but for them."""
    try:
        if open_store(folder).made_from != made_from:
            return None
        return read_table(folder / "files.jsonl", FILE_COLUMNS)
    except (ReidError, OSError, ValueError):
        return None


def file_facts(dataset: ReidDataset, before: pd.DataFrame | None = None) -> pd.DataFrame:
    """Size, time and content hash of every image file; hashes of files that look untouched are
    taken from `before`.
    """
    paths = [dataset.root / path for path in dataset.table["path"]]
    known: dict[tuple[int, int, int], str] = {}
    if before is not None and len(before) == len(paths):
        known = {
            (row, size, time): text
            for row, (size, time, text) in enumerate(before.itertuples(index=False))
        }

    def facts(row: int) -> tuple[int, int, str]:
        try:
            stat = paths[row].stat()
            found = known.get((row, stat.st_size, stat.st_mtime_ns))
            return stat.st_size, stat.st_mtime_ns, found or _hash(paths[row].read_bytes())
        except OSError:
            return -1, -1, ""  # reading it will say what is wrong

    with ThreadPoolExecutor(usable_threads()) as pool:
        return pd.DataFrame(pool.map(facts, range(len(paths))), columns=FILE_COLUMNS)


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def weights_hash(model: Any) -> str:
    """32 hexadecimal digits of everything that a model's features depend on."""
    if not isinstance(model, nn.Module):
        return str(model.content_hash)
    total = hashlib.blake2b(repr(type(model)).encode(), digest_size=16)
    total.update(str(getattr(model, "genotype", "")).encode())
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(
            tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        )
    return total.hexdigest()
