"""Photographs as uint8 tensors of one size: decoded once into a cache, or at each reading."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from msinet_core.data import cache as disk
from msinet_core.data.boxes import boxes_of
from msinet_core.data.decoding import (
    Picture,
    Resize,
    decode_each,
    reason,
    require_file,
    require_interpolation,
)
from msinet_core.data.roots import shown
from msinet_core.data.threads import ahead
from msinet_core.errors import ReidError

CACHES = ("auto", "memory", "disk", "none")
CHUNK = 32  # images a thread takes at once
Bad = dict[int, str]  # rows that cannot be used, and why


class ImageReader:
    """The images of a table, as uint8 RGB of one size. Made by `open_images`.

    table: the rows that can be read, in order, index from 0 (those of `skipped` are left out).
    skipped: a sentence for each image left out. cache: where the pixels are, `memory`, `disk` or
    `none`. A reader may be read from several threads at once.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        pictures: Sequence[Picture],
        resize: Resize,
        store: Tensor | None,
        bad: Bad,
        cache: str,
        workers: int,
    ) -> None:
        good = np.ones(len(pictures), dtype=bool)
        good[list(bad)] = False
        self.table = table[good].reset_index(drop=True)
        self.height, self.width = resize.height, resize.width
        self.skipped = list(bad.values())
        self.cache = cache
        self._rows = np.flatnonzero(good)
        self._pictures = pictures
        self._resize = resize
        self._store = store
        self._workers = workers

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        left_out = f", {len(self.skipped):,} left out" if self.skipped else ""
        size = f"{self.height} x {self.width}"
        return f"ImageReader({len(self):,} images {size}, cache {self.cache}{left_out})"

    def read(self, indices: Sequence[int] | np.ndarray | Tensor) -> Tensor:
        """uint8, N x 3 x H x W: the images of these rows of `table`, in this order."""
        rows = self._rows[np.asarray(indices, dtype=np.int64)]
        if self._store is not None:
            return self._store.index_select(0, torch.from_numpy(rows))
        out = torch.empty((len(rows), 3, self.height, self.width), dtype=torch.uint8)
        pictures = [self._pictures[row] for row in rows]
        _refuse(decode_all(pictures, out.numpy(), self._workers, self._resize))
        return out


def open_images(
    table: pd.DataFrame,
    root: str | os.PathLike[str],
    height: int,
    width: int,
    *,
    interpolation: str = "bilinear",
    cache: str = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    on_bad_image: str = "error",
    workers: int = 0,
    progress: bool = False,
) -> ImageReader:
    """A reader over the images of `table["path"]` (relative to `root`, or absolute), H x W pixels;
    with columns `x1`, `y1`, `x2`, `y2`, over these boxes of them.

    interpolation: one of `INTERPOLATIONS`.
    cache: `memory` decodes all now; `disk` too, into a memory-mapped file that later runs and other
        processes share; `none` decodes at each reading, for data that fits nowhere; `auto` takes
        memory if the images fill no more than half of what is free, else disk if there is room,
        else none.
    cache_dir: for `disk`; `$XDG_CACHE_HOME/msinet` (`~/.cache/msinet`) by default.
    on_bad_image: `error` raises a `ReidError` that names the images that are missing or cannot be
        decoded; `skip` leaves them out and lists them in `.skipped`. With the cache `none`, `skip`
        decodes everything once to find them, and `error` finds them when they are read.
    workers: threads that decode; 0 takes as many as there are cores.
    """
    if cache not in CACHES:
        raise ReidError(f"cache is {cache!r}; it is one of {', '.join(CACHES)}")
    if on_bad_image not in ("error", "skip"):
        raise ReidError(f"on_bad_image is {on_bad_image!r}; it is 'error' or 'skip'")
    if height < 1 or width < 1 or workers < 0:
        raise ReidError(
            f"height {height}, width {width} and workers {workers} must be positive (workers may "
            "be 0)"
        )
    if len(table) == 0:
        raise ReidError("there are no images to open: the table has no rows")
    require_interpolation(interpolation)
    base, skip = Path(root).expanduser(), on_bad_image == "skip"
    resize = Resize(height, width, interpolation)
    places = zip(table["path"], boxes_of(table), strict=True)
    files = [Picture(base / path, box) for path, box in places]
    shape, workers = (len(files), 3, height, width), workers or disk.usable_cores()
    if cache == "auto":
        cache = disk.choose(shape, cache_dir)
    from tqdm.auto import tqdm  # only work under way has a use for it

    with tqdm(total=len(files), desc="decoding", unit="img", disable=not progress) as bar:
        decoding = _Decoding(files, resize, workers, skip, bar.update)
        store, bad = None, decoding.bad
        if cache == "memory":
            store = torch.empty(shape, dtype=torch.uint8)
            decoding.fill(store.numpy(), 0)
        elif cache == "disk":
            pixels, good = disk.load_or_make(files, resize, decoding.fill, cache_dir, workers)
            store, bad = torch.from_numpy(pixels), decoding.explained(np.flatnonzero(~good))
        elif skip:
            decoding.fill(None, 0)
        else:
            bad = {row: why for row, (file, _) in enumerate(files) if (why := _absent(file))}
    if bad and (not skip or len(bad) == len(files)):
        _refuse(bad)
    return ImageReader(table, files, resize, store, bad, cache, workers)


class _Decoding:
    """The files of a reader being decoded, part by part; `bad` gathers what failed."""

    def __init__(
        self,
        files: Sequence[Picture],
        resize: Resize,
        workers: int,
        skip: bool,
        done: Callable[[int], object],
    ) -> None:
        self.files, self.resize, self.workers, self.skip = files, resize, workers, skip
        self.done, self.bad = done, Bad()

    def fill(self, out: np.ndarray | None, start: int) -> list[int]:
        """Decode into `out` from row `start` on (None: only try all). Gives the rows that failed;
        at the end, unless bad ones are skipped, `ReidError` with all of them.
        """
        end = len(self.files) if out is None else start + len(out)
        found = decode_all(self.files[start:end], out, self.workers, self.resize, self.done)
        bad = {start + row: why for row, why in found.items()}
        self.bad |= bad
        if end == len(self.files) and not self.skip:
            _refuse(self.bad)
        return list(bad)

    def explained(self, rows: np.ndarray) -> Bad:
        """Why the images are bad that a cache marks so."""
        for row in map(int, rows):
            if row not in self.bad:
                found = decode_all([self.files[row]], None, 1, self.resize)
                self.bad[row] = found.get(0, f"{self.files[row].file} was unreadable")
        return self.bad


def decode_all(
    files: Sequence[Picture],
    out: np.ndarray | None,
    workers: int,
    resize: Resize,
    done: Callable[[int], object] = lambda _: None,
) -> Bad:
    """Decode `files` into `out` (uint8, N x 3 x H x W; None only tries). Returns what failed, by
    position; its pixels are black.
    """
    bad = Bad()

    def run(start: int) -> int:
        part = files[start : start + chunk]
        for position, pixels in enumerate(decode_each(part, resize), start):
            if isinstance(pixels, Exception):
                bad[position] = reason(files[position].file, pixels)
                pixels = np.zeros((resize.height, resize.width, 3), np.uint8)
            if out is not None:
                out[position] = pixels.transpose(2, 0, 1)
        return len(part)

    chunk = max(1, min(CHUNK, -(-len(files) // workers)))
    starts = range(0, len(files), chunk)
    for count in ahead(run, starts, 0 if workers == 1 or len(starts) == 1 else workers):
        done(count)
    return dict(sorted(bad.items()))


def _absent(file: Path) -> str:
    """Why there is no image to decode at `file`, '' where there may be one."""
    try:
        require_file(file)
    except (OSError, ReidError) as error:
        return reason(file, error)
    return ""


def _refuse(bad: Bad) -> None:
    if bad:
        many = "" if len(bad) == 1 else f"{len(bad):,} images cannot be used: "
        told = shown(bad.values())
        raise ReidError(f"{many}{told}; mend or remove them, or pass on_bad_image='skip'")
