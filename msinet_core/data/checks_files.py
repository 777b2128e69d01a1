"""The part of the checks that opens every image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from msinet_core.data.cache import usable_cores
from msinet_core.data.decoding import read_rgb
from msinet_core.data.protocol import Protocol
from msinet_core.data.report import Finding
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
) -> list[Finding]:
    """Unreadable images (findings of the severity `bad_images`), sizes, and pictures that occur
    twice, by their pixels, whatever the file.
    """
    paths = list(dict.fromkeys(dataset.table["path"]))
    opened = open_all([dataset.root / path for path in paths], workers, progress)
    opened["path"] = paths
    present = opened[~opened["missing"]]  # the quick part tells of missing ones
    bad = present[present["error"] != ""]
    findings = []
    if len(bad):
        told = [f"{row.path} ({row.error})" for row in bad.itertuples()]
        what = f"{counted(len(bad), 'image')} cannot be read: {shown(told)}"
        remedy = "mend or remove them, or pass on_bad_image='skip' to leave them out"
        findings.append(Finding("images", bad_images, what, remedy, tuple(bad["path"])))
    good = present[present["error"] == ""]
    if len(good):
        findings.append(_sizes(good))
        findings += _pictures_twice(dataset, good, protocol)
    return findings


def open_all(files: Sequence[Path], workers: int = 0, progress: bool = False) -> pd.DataFrame:
    """One row a file: width, height, pixels (a hash of them), error ('' if none), missing."""
    looked = ahead(lambda n: _look(files[n]), range(len(files)), workers or usable_cores())
    rows = list(tqdm(looked, total=len(files), desc="opening", unit="img", disable=not progress))
    return pd.DataFrame(rows, columns=["width", "height", "pixels", "error", "missing"])


def _look(file: Path) -> tuple[int, int, str, str, bool]:
    # A broken file may raise anything from within a decoder; whatever it is, it is told.
    try:
        image = read_rgb(file)
        digest = hashlib.blake2b(
            image.tobytes(), digest_size=16, person=str(image.size).encode()[:16]
        )
        return (*image.size, digest.hexdigest(), "", False)
    except Exception as error:
        text = str(error).replace(os.fspath(file), file.name)
        return 0, 0, "", f"{type(error).__name__}: {text}", isinstance(error, FileNotFoundError)


def _sizes(good: pd.DataFrame) -> Finding:
    small = good["path"][(good["width"] < SMALLEST) | (good["height"] < SMALLEST)]
    what = (
        f"{len(good):,} images can be read; width {good['width'].min()} to {good['width'].max()}, "
        f"height {good['height'].min()} to {good['height'].max()}, "
        f"median {good['width'].median():.0f} x {good['height'].median():.0f}"
    )
    if small.empty:
        return Finding("images", "ok", what)
    what += f"; {len(small):,} with a side below {SMALLEST}: {shown(small)}"
    return Finding(
        "images",
        "warning",
        what,
        "look at them: so small a picture shows no identity",
        tuple(small),
    )


def _pictures_twice(dataset: ReidDataset, good: pd.DataFrame, protocol: Protocol) -> list[Finding]:
    table = dataset.table.merge(good[["path", "pixels"]], on="path").drop_duplicates(
        ["path", "split"]
    )
    table["side"] = (table["split"] == "train").map({True: "train", False: "test"})
    groups = table.groupby("pixels", sort=False)
    twice = table[groups["path"].transform("size") > 1]
    if twice.empty:
        return [Finding("pictures", "ok", "no picture occurs twice")]
    findings = []
    kinds = twice.groupby("pixels", sort=False)
    two_names = kinds["identity"].transform("nunique") > 1
    two_sides = kinds["side"].transform("nunique") > 1
    # A query's own picture in the gallery is removed where identity and camera agree (VeRi-776).
    query_copy = (kinds["split"].transform("nunique") == kinds["path"].transform("size")) & (
        kinds["camera"].transform("nunique") == 1
    )
    harmless = query_copy & ~two_names & ~two_sides & protocol.exclude_same_camera
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
        if chosen.any():
            paths = twice["path"][chosen]
            count = twice["pixels"][chosen].nunique()
            findings.append(
                Finding(
                    "pictures",
                    "warning",
                    f"{counted(count, 'picture')} {what}: {shown(paths)}",
                    remedy,
                    tuple(paths),
                )
            )
    if harmless.any():
        count = twice["pixels"][harmless].nunique()
        who = counted(count, "query is", "queries are")
        what = f"{who} in the gallery too, where the same-camera rule removes them"
        findings.append(Finding("pictures", "ok", what))
    return findings
