"""Data sets whose file names say identity and camera: Market-1501, VeRi-776, CUHK03, and any like
them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pandas as pd

from msinet_core.data.labels import identities, integers_or_text
from msinet_core.data.roots import (
    Root,
    counted,
    find_root,
    image_files,
    listing,
    require_unicode,
    shown,
)
from msinet_core.data.table import SPLITS, ReidDataset
from msinet_core.data.text_files import read_lines, read_list
from msinet_core.errors import ReidError

# 0002_c1s1_000451_03.jpg: identity (-1 junk, 0 distractor), camera 1-6, sequence, frame, box
MARKET_PATTERN = r"(?P<identity>-?\d+)_c(?P<camera>\d+)s(?P<sequence>\d+)_"
# 0001_c001_00016450_0.jpg: identity, camera 1-20, frame, box
VERI_PATTERN = r"(?P<identity>\d+)_c(?P<camera>\d+)_"
# 0001_c1_1.png: identity, camera 1-2, index
CUHK03_PATTERN = r"(?P<identity>\d+)_c(?P<camera>\d+)_"
ANY_PATTERN = r"(?P<identity>-?\d+)_c(?P<camera>\d+)"


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
        "VeRi-776 must be fetched from its authors; it unpacks to "
        "VeRi/{image_train,image_query,image_test}"
    )
    found = find_root(root, ("VeRi", "veri776", "VeRi-776"), parts, layout)
    return _from_folders("veri776", found, parts, VERI_PATTERN, junk=(-1,), distractors=(0,))


def cuhk03(root: Root, *, boxes: str = "detected") -> ReidDataset:
    """CUHK03 (Li et al., CVPR 2014) in the new protocol (Zhong et al., CVPR 2017; 767/700
    identities).

    Read in the form of image folders, as it is passed around for this protocol:
    `cuhk03-np/{detected,labeled}/{bounding_box_train,query,bounding_box_test}/0001_c1_1.png`.
    (The original `cuhk-03.mat` is not read: unpack it with a converter of that layout.)

    root: `cuhk03-np` or the folder that holds it. boxes: `detected` or `labeled`.
    """
    boxes = boxes.replace("labelled", "labeled")
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
    images: str = "",
    cameras: str = "",
    title: str = "folders",
    junk_identities: Any = (-1,),
    distractor_identities: Any = (0,),
) -> ReidDataset:
    r"""Any data set whose paths say identity and, perhaps, camera. The defaults read DukeMTMC-reID,
    Occluded-Duke and their like.

    train, query, gallery: for each split, a folder below `root`, searched in depth, or a text file
        there with a path a line; '' leaves the split out.
    pattern: a regular expression, searched in each path below its split's folder (or as its list
        writes it), with a group `identity`, perhaps a group `camera`, and any further named groups,
        which become columns: `r"(?P<identity>\d+)/(?P<camera>[^_]+)_"` reads `0042/north_17.jpg`.
    images: the folder that listed paths start from. Listed paths without a suffix get `.jpg`.
    title: the data set's name.
    cameras: a text file with `path;camera` a line (further fields are passed over), for names that
        do not say the camera. VERI-Wild is `folders` with
        `train="train_test_split/train_list.txt"`,
        `query="train_test_split/test_3000_id_query.txt"`,
        `gallery="train_test_split/test_3000_id.txt"`,
        `images="images"`, `cameras="train_test_split/vehicle_info.txt"`,
        `pattern=r"(?P<identity>\d+)/"`.
    """
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise ReidError(f"pattern {pattern!r} is no regular expression: {error}") from None
    if "identity" not in groups:
        raise ReidError(f"pattern {pattern!r} has no group identity; write it as (?P<identity>...)")
    parts = (train, query, gallery)
    needed = tuple(part for part in (*parts, images, cameras) if part)
    layout = (
        "Name the folder or list of each split with train=, query= and gallery= ('' leaves one out)"
    )
    found = find_root(root, (), needed, layout)
    junk, distractors = identities(junk_identities), identities(distractor_identities)
    dataset = _from_folders(title, found, parts, pattern, junk, distractors, images)
    return _with_cameras(dataset, found / cameras, images) if cameras else dataset


def classes(root: Root, *, train: str = "train", val: str = "val") -> ReidDataset:
    """Images sorted by class, in ImageNet's layout: `train/CLASS/*.jpg` and `val/CLASS/*.jpg`, for
    `msinet pretrain`. A class is an identity, without cameras; `val` is the split gallery.

    train, val: the two folders below `root`; '' leaves one out.
    """
    layout = (
        "Images sorted by class are train/CLASS/*.jpg and val/CLASS/*.jpg (--options val= for none)"
    )
    needed = tuple(part for part in (train, val) if part)
    found = find_root(root, (), needed, layout)
    return _from_folders("classes", found, (train, "", val), r"^(?P<identity>[^/]+)/")


def _from_folders(
    name: str,
    root: Path,
    parts: tuple[str, str, str],
    pattern: str,
    junk: tuple[Any, ...] = (),
    distractors: tuple[Any, ...] = (),
    images: str = "",
) -> ReidDataset:
    """One folder or list a split; rows sorted by path within each split."""
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    compiled = re.compile(pattern)
    for split, part in zip(SPLITS, parts, strict=True):
        if not part:
            continue
        paths, prefix = _paths(root, part, images, notes)
        matched = [(path, compiled.search(path[len(prefix) :])) for path in paths]
        others = [path for path, match in matched if match is None]
        if len(others) == len(paths):
            raise ReidError(_nothing_read(root / part, paths, pattern))
        if others:
            who = f"{counted(len(others), 'image')} in {part}"
            notes.append(f"{who} of another naming left out: {shown(others)}")
        rows += [
            {"path": path, "split": split, **match.groupdict()} for path, match in matched if match
        ]
    if not rows:
        raise ReidError("train, query and gallery are all left out; name at least one")
    require_unicode((row["path"] for row in rows), name)
    table = pd.DataFrame(rows)
    for column in table.columns.difference(["path", "split"]):
        table[column] = integers_or_text(table[column])
    return ReidDataset(name, root, table, junk, distractors, tuple(notes))


def _paths(root: Path, part: str, images: str, notes: list[str]) -> tuple[list[str], str]:
    """Sorted paths of one split, relative to `root`, and the prefix that no pattern sees."""
    if (root / part).is_dir():
        prefix = Path(os.path.relpath(root / part, root)).as_posix() + "/"
        return image_files(root / part, root), prefix.removeprefix("./")
    prefix = images.strip("/") + "/" if images else ""
    return sorted(prefix + path for path, _ in read_list(root / part, notes)), prefix


def _with_cameras(dataset: ReidDataset, file: Path, images: str) -> ReidDataset:
    """The data set with each image's camera from a `path;camera` file."""
    known = {}
    for line in read_lines(file, []):
        fields = [field.strip() for field in re.split("[;,\t]", line)]
        if len(fields) > 1:
            known[os.path.splitext(fields[0])[0]] = fields[1]
    prefix = len(images.strip("/")) + 1 if images else 0
    camera = [known.get(os.path.splitext(path[prefix:])[0]) for path in dataset.table["path"]]
    absent = [
        path for path, value in zip(dataset.table["path"], camera, strict=True) if value is None
    ]
    if absent:
        raise ReidError(
            f"{file} gives no camera for {shown(absent)}; its lines should read path;camera"
        )
    cameras = integers_or_text(pd.Series(camera, dtype="str"))
    return dataset.with_table(dataset.table.assign(camera=cameras))


def _nothing_read(source: Path, paths: list[str], pattern: str) -> str:
    if not paths:
        held = f"it holds {listing(source)}" if source.is_dir() else "the list is empty"
        return f"{source} has no images ({held}); unpack it again"
    return (
        f"none of the {len(paths):,} images in {source} is named as expected ({pattern}), "
        f"for example {shown(paths, 2)}: this is another data set or version; "
        "the source 'folders' reads any naming by a pattern of yours"
    )
