"""Data sets whose file names say identity and camera: Market-1501, VeRi-776, CUHK03, and any like them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pandas as pd

from msinet_core.data.roots import find_root, image_files, listing, shown
from msinet_core.data.table import SPLITS, ReidDataset
from msinet_core.errors import ReidError

# 0002_c1s1_000451_03.jpg: identity (-1 junk, 0 distractor), camera 1-6, sequence, frame, box
MARKET_PATTERN = r"(?P<identity>-?\d+)_c(?P<camera>\d+)s(?P<sequence>\d+)_"
# 0001_c001_00016450_0.jpg: identity, camera 1-20, frame, box
VERI_PATTERN = r"(?P<identity>\d+)_c(?P<camera>\d+)_"
# 0001_c1_1.png: identity, camera 1-2, index
CUHK03_PATTERN = r"(?P<identity>\d+)_c(?P<camera>\d+)_"
ANY_PATTERN = r"(?P<identity>-?\d+)_c(?P<camera>\d+)"

Root = str | os.PathLike[str]


def market1501(root: Root) -> ReidDataset:
    """Market-1501 (Zheng et al., ICCV 2015): persons, 6 cameras, -1 junk, 0 distractors.

    root: `Market-1501-v15.09.15` or the folder that holds it.
    """
    parts = ("bounding_box_train", "query", "bounding_box_test")
    layout = (
        "Market-1501 must be fetched from its authors; it unpacks to "
        "Market-1501-v15.09.15/{bounding_box_train,query,bounding_box_test}"
    )
    found = find_root(root, ("Market-1501-v15.09.15", "market1501", "Market-1501"), parts, layout)
    return _from_folders("market1501", found, parts, MARKET_PATTERN, junk=(-1,), distractors=(0,))


def veri776(root: Root) -> ReidDataset:
    """VeRi-776 (Liu et al., ECCV 2016): vehicles, 20 cameras.

    root: `VeRi` or the folder that holds it. Its queries are also in the gallery, where the
    same-camera rule removes them.
    """
    parts = ("image_train", "image_query", "image_test")
    layout = (
        "VeRi-776 must be fetched from its authors; it unpacks to VeRi/{image_train,image_query,image_test}"
    )
    found = find_root(root, ("VeRi", "veri776", "VeRi-776"), parts, layout)
    return _from_folders("veri776", found, parts, VERI_PATTERN, junk=(-1,), distractors=(0,))


def cuhk03(root: Root, *, boxes: str = "detected") -> ReidDataset:
    """CUHK03 (Li et al., CVPR 2014) in the new protocol (Zhong et al., CVPR 2017; 767/700 identities).

    Read in the form of image folders, as it is passed around for this protocol:
    `cuhk03-np/{detected,labeled}/{bounding_box_train,query,bounding_box_test}/0001_c1_1.png`.
    (The original `cuhk-03.mat` is not read: unpack it with a converter of that layout.)

    root: `cuhk03-np` or the folder that holds it. boxes: `detected` or `labeled`.
    """
    if boxes not in ("detected", "labeled"):
        raise ReidError(f"boxes is {boxes!r}; CUHK03 has the boxes 'detected' and 'labeled'")
    parts = ("bounding_box_train", "query", "bounding_box_test")
    layout = (
        "CUHK03 in its new protocol is expected as image folders, "
        "cuhk03-np/{detected,labeled}/{bounding_box_train,query,bounding_box_test}"
    )
    names = tuple(f"{name}{boxes}" for name in ("", "cuhk03-np/", "cuhk03/", "CUHK03/"))
    found = find_root(root, names, parts, layout)
    return _from_folders(f"cuhk03_{boxes}", found, parts, CUHK03_PATTERN)


def folders(
    root: Root,
    *,
    train: str = "bounding_box_train",
    query: str = "query",
    gallery: str = "bounding_box_test",
    pattern: str = ANY_PATTERN,
    name: str = "folders",
    junk_identities: tuple[Any, ...] = (-1,),
    distractor_identities: tuple[Any, ...] = (0,),
) -> ReidDataset:
    r"""Any data set of one folder a split whose names say identity and, perhaps, camera.

    The defaults read DukeMTMC-reID, Occluded-Duke and their like.

    train, query, gallery: folders below `root`, searched in depth; '' leaves a split out.
    pattern: a regular expression, searched in each path below its split's folder, with a group
        `identity`, perhaps a group `camera`, and any further named groups, which become columns:
        `r"(?P<identity>\d+)/(?P<camera>[^_]+)_"` reads `0042/north_17.jpg`.
    """
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise ReidError(f"pattern {pattern!r} is no regular expression: {error}") from None
    if "identity" not in groups:
        raise ReidError(f"pattern {pattern!r} has no group identity; write it as (?P<identity>...)")
    parts = (train, query, gallery)
    layout = "Name the folder of each split with train=, query= and gallery= ('' leaves a split out)"
    found = find_root(root, (), tuple(part for part in parts if part), layout)
    return _from_folders(name, found, parts, pattern, tuple(junk_identities), tuple(distractor_identities))


def _from_folders(
    name: str,
    root: Path,
    parts: tuple[str, str, str],
    pattern: str,
    junk: tuple[Any, ...] = (),
    distractors: tuple[Any, ...] = (),
) -> ReidDataset:
    """One folder a split; rows sorted by path within each split."""
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    compiled = re.compile(pattern)
    for split, part in zip(SPLITS, parts, strict=True):
        if not part:
            continue
        paths = image_files(root / part, root)
        matched = [(path, compiled.search(path[len(part.rstrip("/")) + 1 :])) for path in paths]
        others = [path for path, match in matched if match is None]
        if len(others) == len(paths):
            raise ReidError(_nothing_read(root / part, paths, pattern))
        if others:
            notes.append(f"{len(others):,} images of another naming were left out: {shown(others)}")
        rows += [{"path": path, "split": split, **match.groupdict()} for path, match in matched if match]
    table = pd.DataFrame(rows)
    for column in table.columns.difference(["path", "split"]):
        table[column] = integers_or_text(table[column])
    return ReidDataset(name, root, table, junk, distractors, tuple(notes))


def _nothing_read(folder: Path, paths: list[str], pattern: str) -> str:
    if not paths:
        return f"{folder} holds no images (it holds {listing(folder)}); unpack it again"
    return (
        f"none of the {len(paths):,} images in {folder} is named as expected ({pattern}), "
        f"for example {shown(paths, 2)}: this is another data set or version; "
        "the source 'folders' reads any naming by a pattern of yours"
    )


def integers_or_text(column: pd.Series, padded: bool = True) -> pd.Series:
    """A text column as integers where every value is a whole number, else as it is.

    padded: whether 0042 is a number too (in file names it is; in a table of the user's, where 042
    may be somebody else, it stays text).
    """
    if column.dtype.kind in "iu" or column.isna().any():
        return column
    text = column.astype(str)
    number = r"-?\d{1,18}" if padded else r"0|-?[1-9]\d{0,17}"
    return text.astype("int64") if text.str.fullmatch(number).all() else text
