"""The part of the checks that opens every image."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from msinet_core.data.boxes import boxes_of, key_columns
from msinet_core.data.cache import usable_cores
from msinet_core.data.decoding import Box, Picture, crop, read_rgb, what_is_wrong
from msinet_core.data.protocol import Protocol
from msinet_core.data.report import Finding, ok, warning
from msinet_core.data.roots import counted, shown
from msinet_core.data.table import ReidDataset
from msinet_core.data.threads import ahead

SMALLEST = 16  # pixels; a side below it cannot show an identity


def check_images(
    dataset: ReidDataset,
    protocol: Protocol,
    bad_images: str,
    workers: int = 0,
    progress: bool = False,
) -> Iterator[Finding]:
    """Unreadable images (findings of the severity `bad_images`), sizes, and pictures that occur
    twice, by their pixels, whatever the file.
    """
    keys = key_columns(dataset.table)
    table = dataset.table[keys].drop_duplicates().reset_index(drop=True)
    places = zip(table["path"], boxes_of(table), strict=True)
    pictures = [Picture(dataset.root / path, box) for path, box in places]
    opened = pd.concat([open_all(pictures, workers, progress), table], axis=1)
    present = opened[~opened["missing"]]  # the quick part tells of missing ones
    bad, good = present[present["error"] != ""], present[present["error"] == ""]
    if len(bad):
        told = shown([f"{row.path} ({row.error})" for row in bad.itertuples()])
        what = f"{counted(len(bad), 'image')} cannot be read: {told}"
        remedy = "mend or remove them, or pass on_bad_image='skip' to leave them out"
        yield Finding("images", bad_images, what, remedy, tuple(bad["path"]))
    if len(good):
        yield _sizes(good)
        yield from _pictures_twice(dataset, good, protocol)


def open_all(pictures: Sequence[Picture], workers: int = 0, progress: bool = False) -> pd.DataFrame:
    """One row a picture: width, height, pixels (a hash of them), error ('' if none), missing."""
    from tqdm.auto import tqdm  # only work under way has a use for it

    count = len(pictures)
    looked = ahead(lambda n: _look(*pictures[n]), range(count), workers or usable_cores())
    rows = list(tqdm(looked, total=count, desc="opening", unit="img", disable=not progress))
    return pd.DataFrame(rows, columns=["width", "height", "pixels", "error", "missing"])


def _look(file: Path, box: Box | None) -> tuple[int, int, str, str, bool]:
    # A broken file may raise anything from within a decoder; whatever it is, it is told.
    try:
        image = crop(read_rgb(file), box)
        size = str(image.size).encode()[:16]
        digest = hashlib.blake2b(image.tobytes(), digest_size=16, person=size)
        return (*image.size, digest.hexdigest(), "", False)
    except Exception as error:
        return 0, 0, "", what_is_wrong(file, error), isinstance(error, FileNotFoundError)


def _sizes(good: pd.DataFrame) -> Finding:
    width, height = good["width"], good["height"]
    what = (
        f"{len(good):,} images can be read; width {width.min()} to {width.max()}, "
        f"height {height.min()} to {height.max()}, "
        f"median {width.median():.0f} x {height.median():.0f}"
    )
    small = tuple(good["path"][(width < SMALLEST) | (height < SMALLEST)])
    if not small:
        return ok("images", what)
    what += f"; {len(small):,} with a side below {SMALLEST}: {shown(small)}"
    return warning("images", what, "look at them: so small a picture shows no identity", small)


def _pictures_twice(
    dataset: ReidDataset, good: pd.DataFrame, protocol: Protocol
) -> Iterator[Finding]:
    keys = key_columns(dataset.table)
    table = dataset.table.merge(good[[*keys, "pixels"]], on=keys)
    table = table.drop_duplicates([*keys, "split"]).assign(test=lambda t: t["split"] != "train")
    twice = table[table.groupby("pixels")["path"].transform("size") > 1]
    if twice.empty:
        yield ok("pictures", "no picture occurs twice")
        return
    kinds = twice.groupby("pixels")
    columns = ("identity", "camera", "split", "test")
    different = {name: kinds[name].transform("nunique") for name in columns}
    two_names, two_sides = different["identity"] > 1, different["test"] > 1
    # A query's own picture in the gallery is removed where identity and camera agree (VeRi-776).
    query_copy = different["split"] == kinds["path"].transform("size")
    harmless = query_copy & (different["camera"] == 1) & ~two_names & ~two_sides
    harmless &= protocol.exclude_same_camera
    for chosen, what, remedy in (
        (two_names, "under two identities", "one of them is wrong; correct or remove it"),
        (
            two_sides & ~two_names,
            "in both training and testing",
            "remove them from one side: the test is not fair",
        ),
        (
            ~two_names & ~two_sides & ~harmless,
            "twice on one side",
            "remove one: it teaches nothing, and matches itself",
        ),
    ):
        paths = tuple(twice["path"][chosen])
        if paths:
            count = counted(twice["pixels"][chosen].nunique(), "picture")
            yield warning("pictures", f"{count} {what}: {shown(paths)}", remedy, paths)
    if harmless.any():
        who = counted(twice["pixels"][harmless].nunique(), "query is", "queries are")
        yield ok("pictures", f"{who} in the gallery too, where the same-camera rule removes them")
