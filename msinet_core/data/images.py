"""Photographs as uint8 tensors of one size: decoded once into a cache, or each time they are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm.auto import tqdm

from msinet_core.data import cache as disk
from msinet_core.data.roots import shown
from msinet_core.data.threads import ahead
from msinet_core.errors import ReidError

CACHES = ("auto", "memory", "disk", "none")
CHUNK = 32  # images a thread takes at once


class ImageReader:
    """The images of a table, as uint8 RGB of one size. Made by `open_images`.

    table: the rows that can be read, in order, index from 0 (those of `skipped` are left out).
    skipped: a sentence for each image left out. cache: where the pixels are, `memory`, `disk` or
    `none`. A reader may be read from several threads at once.
    """

    def __init__(
        self,
        table: pd.DataFrame,
        files: Sequence[Path],
        size: tuple[int, int],
        store: Tensor | None,
        good: np.ndarray,
        skipped: list[str],
        cache: str,
        workers: int,
    ) -> None:
        self.table = table[good].reset_index(drop=True)
        self.height, self.width = size
        self.skipped = skipped
        self.cache = cache
        self._rows = np.flatnonzero(good)
        self._files = files
        self._store = store
        self._workers = workers

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        left_out = f", {len(self.skipped):,} left out" if self.skipped else ""
        return f"ImageReader({len(self):,} images {self.height} x {self.width}, cache {self.cache}{left_out})"

    def read(self, indices: Sequence[int] | np.ndarray | Tensor) -> Tensor:
        """uint8, N x 3 x H x W: the images of these rows of `table`, in this order."""
        rows = self._rows[np.asarray(indices, dtype=np.int64)]
        if self._store is not None:
            return self._store.index_select(0, torch.from_numpy(rows))
        out = torch.empty((len(rows), 3, self.height, self.width), dtype=torch.uint8)
        bad = _decode_into(out.numpy(), [self._files[row] for row in rows], self._workers)
        if bad:
            raise ReidError(_bad_images(list(bad.values())))
        return out


def open_images(
    table: pd.DataFrame,
    root: str | os.PathLike[str],
    height: int,
    width: int,
    *,
    cache: str = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    on_bad_image: str = "error",
    workers: int = 0,
    progress: bool = False,
) -> ImageReader:
    """A reader over the images of `table["path"]` (relative to `root`, or absolute), H x W pixels.

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
            f"height {height}, width {width} and workers {workers} must be positive (workers may be 0)"
        )
    if len(table) == 0:
        raise ReidError("there are no images to open: the table has no rows")
    workers = workers or disk.usable_cores()
    base = Path(root)
    files = [base / path for path in table["path"]]
    shape = (len(files), 3, height, width)
    if cache == "auto":
        cache = disk.choose(shape, cache_dir)

    def fill(out: np.ndarray) -> dict[int, str]:
        bad = _decode_into(out, files, workers, progress)
        if bad and on_bad_image == "error":
            raise ReidError(_bad_images(list(bad.values())))
        return bad

    store, bad = _store(cache, files, shape, fill, cache_dir, workers, on_bad_image, progress)
    if bad and on_bad_image == "error":
        raise ReidError(_bad_images(list(bad.values())))
    good = np.ones(len(files), dtype=bool)
    good[list(bad)] = False
    if not good.any():
        raise ReidError(_bad_images(list(bad.values())))
    return ImageReader(
        table, files, (height, width), store, good, list(bad.values()), cache, workers
    )


def decode(file: str | os.PathLike[str], height: int, width: int) -> np.ndarray:
    """One photograph, H x W x 3 uint8: upright by its EXIF orientation, RGB, resized (bilinear with
    antialiasing, as torchvision's `Resize` does with PIL images).
    """
    with Image.open(file) as opened:
        image = rgb(ImageOps.exif_transpose(opened))
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def rgb(image: Image.Image) -> Image.Image:
    """Any PIL image as RGB: grey and palette ones expanded, transparency dropped, 16 bits cut to 8."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif (
        image.mode == "P"
    ):  # a palette may hold transparency, which only RGBA takes without a warning
        image = image.convert("RGBA")
    return image.convert("RGB")


def _store(
    cache: str,
    files: Sequence[Path],
    shape: tuple[int, int, int, int],
    fill: Callable[[np.ndarray], dict[int, str]],
    cache_dir: str | os.PathLike[str] | None,
    workers: int,
    on_bad_image: str,
    progress: bool,
) -> tuple[Tensor | None, dict[int, str]]:
    """The pixels (None where each reading decodes) and what is wrong with which image."""
    if cache == "memory":
        store = torch.empty(shape, dtype=torch.uint8)
        return store, fill(store.numpy())
    if cache == "disk":
        pixels, good = disk.load_or_make(files, shape, fill, cache_dir, workers)
        bad = {row: _reason(files[row], shape) for row in np.flatnonzero(~good).tolist()}
        return torch.from_numpy(pixels), bad
    if on_bad_image == "skip":
        return None, _decode_into(None, files, workers, progress, shape[2:])
    return None, {row: f"{file} is missing" for row, file in enumerate(files) if not file.is_file()}


def _decode_into(
    out: np.ndarray | None,
    files: Sequence[Path],
    workers: int,
    progress: bool = False,
    size: tuple[int, int] = (8, 8),
) -> dict[int, str]:
    """Decode `files` into `out` (N x 3 x H x W; None only tries). Returns what failed, by position."""
    height, width = size if out is None else out.shape[2:]
    bad: dict[int, str] = {}

    def run(start: int) -> int:
        end = min(start + chunk, len(files))
        for position in range(start, end):
            # A broken file may raise anything from within a decoder; whatever it is, it is told.
            try:
                pixels = decode(files[position], height, width)
            except Exception as error:
                bad[position] = _explain(files[position], error)
                pixels = np.zeros((height, width, 3), np.uint8)
            if out is not None:
                out[position] = pixels.transpose(2, 0, 1)
        return end - start

    chunk = max(1, min(CHUNK, -(-len(files) // workers)))
    starts = range(0, len(files), chunk)
    with tqdm(total=len(files), desc="decoding", unit="img", disable=not progress) as bar:
        for done in ahead(run, starts, 0 if workers == 1 or len(starts) == 1 else workers):
            bar.update(done)
    return dict(sorted(bad.items()))


def _reason(file: Path, shape: tuple[int, int, int, int]) -> str:
    """Why an image that a cache marks as bad is bad."""
    return next(
        iter(_decode_into(None, [file], 1, size=shape[2:]).values()), f"{file} was unreadable"
    )


def _explain(file: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{file} is missing"
    return f"{file} cannot be read as an image ({type(error).__name__}: {error})"


def _bad_images(reasons: list[str]) -> str:
    many = "" if len(reasons) == 1 else f"{len(reasons):,} images cannot be used: "
    return f"{many}{shown(reasons)}; mend or remove them, or pass on_bad_image='skip'"
