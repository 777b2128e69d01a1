"""Data sets that come with list files: MSMT17 and VehicleID."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from msinet_core.data.protocol import draw_gallery
from msinet_core.data.roots import Root, find_root, listing, shown
from msinet_core.data.table import SPLITS, ReidDataset
from msinet_core.data.text_files import read_list
from msinet_core.errors import ReidError
from msinet_core.files import there_is

MSMT17_FOLDERS = {"V1": ("train", "test"), "V2": ("mask_train_v2", "mask_test_v2")}
MSMT17_LISTS = ("list_train.txt", "list_val.txt", "list_query.txt", "list_gallery.txt")
MSMT17_LAYOUT = (
    "MSMT17 must be fetched from its authors; it unpacks to MSMT17_V1/{train,test} or "
    "MSMT17_V2/{mask_train_v2,mask_test_v2}, either with list_{train,val,query,gallery}.txt"
)
# 0000/0000_000_01_0303morning_0008_0.jpg: identity, index, camera 1-15, session
MSMT17_PATTERN = re.compile(r"\d+/\d+_\d+_(\d+)_")


def msmt17(root: Root, *, version: str | None = None, validation: str = "train") -> ReidDataset:
    """MSMT17 (Wei et al., CVPR 2018): persons, 15 cameras; version 1 or 2, by what is on disk.

    root: `MSMT17_V1` or `MSMT17_V2`, or the folder that holds one of them (or both, with
        `version`).
    validation: `train` adds list_val to the training images, as published figures do (32,621 of
        1,041 identities); `leave` leaves it out.

    The lists number training and test identities both from 0; here test identities go on where
    the training ones end, so that no identity seems to be in both.
    """
    if validation not in ("train", "leave"):
        raise ReidError(f"validation is {validation!r}; it is 'train' or 'leave'")
    found, version = _msmt17_root(Path(root).expanduser(), version)
    train_folder, test_folder = MSMT17_FOLDERS[version]
    lists = [("train", train_folder, "list_train.txt")]
    lists += [("train", train_folder, "list_val.txt")] * (validation == "train")
    lists += [
        ("query", test_folder, "list_query.txt"),
        ("gallery", test_folder, "list_gallery.txt"),
    ]
    notes: list[str] = []
    table = pd.concat([_msmt17_rows(found, *entry, notes) for entry in lists])
    # Sorted within each split (list_val then falls in among list_train).
    table = table.sort_values(
        ["split", "path"], key=lambda c: c.map(SPLITS.index) if c.name == "split" else c
    )
    shift = int(table.loc[table["split"] == "train", "identity"].max()) + 1
    table.loc[table["split"] != "train", "identity"] += shift
    return ReidDataset(f"msmt17_{version.lower()}", found, table, notes=tuple(notes))


def _msmt17_root(root: Path, version: str | None) -> tuple[Path, str]:
    """Folder and version, by the image folders that exist."""
    if version is not None and version not in MSMT17_FOLDERS:
        raise ReidError(f"version is {version!r}; MSMT17 has the versions 'V1' and 'V2'")
    present = [
        name
        for name, parts in MSMT17_FOLDERS.items()
        if any(
            (folder / part).is_dir() for folder in (root, root / f"MSMT17_{name}") for part in parts
        )
    ]
    if len(present) == 2 and version is None:
        raise ReidError(
            f"{root} holds both versions of MSMT17; choose one with version='V1' or version='V2'"
        )
    wanted = version or (present[0] if present else "V1")
    try:
        return find_root(
            root, (f"MSMT17_{wanted}",), (*MSMT17_FOLDERS[wanted], *MSMT17_LISTS), MSMT17_LAYOUT
        ), wanted
    except ReidError as error:
        other = [name for name in present if name != wanted]
        hint = f" (version {other[0]} is there: pass version={other[0]!r})" if other else ""
        raise ReidError(f"{error}{hint}") from None


def _msmt17_rows(root: Path, split: str, folder: str, file: str, notes: list[str]) -> pd.DataFrame:
    rows = []
    for path, identity in read_list(root / file, notes):
        match = MSMT17_PATTERN.search(path)
        if match is None or identity is None:
            raise ReidError(
                f"{root / file}: the line of {path!r} is not of the form "
                "'0000/0000_000_01_0303morning_0008_0.jpg 0'; unpack the lists again"
            )
        rows.append((f"{folder}/{path}", identity, int(match[1]), split))
    if not rows:
        raise ReidError(f"{root / file} is empty; unpack it again")
    return pd.DataFrame(rows, columns=["path", "identity", "camera", "split"])


def vehicleid(root: Root, *, test_size: int = 800, draw_seed: int = 0) -> ReidDataset:
    """VehicleID (Liu et al., CVPR 2016): vehicles, no cameras; test lists of 800, 1600 or 2400.

    root: `VehicleID` or the folder that holds it. test_size: which `test_list_N.txt`.

    Its protocol draws the gallery at random, ten times (`Protocol.gallery_draws`); the table's
    split is the first of those draws with `draw_seed`.
    """
    layout = (
        "VehicleID must be fetched from its authors; it unpacks to "
        "VehicleID/{image,train_test_split}, the latter with train_list.txt and "
        "test_list_{800,1600,2400}.txt"
    )
    found = find_root(root, ("VehicleID", "VehicleID_V1.0"), ("image", "train_test_split"), layout)
    lists = found / "train_test_split"
    for file in (lists / "train_list.txt", lists / f"test_list_{test_size}.txt"):
        if not there_is(file):
            raise ReidError(
                f"there is no {file.name} in {lists}; it holds {listing(lists)}. {layout}"
            )
    notes: list[str] = []
    train = _vehicleid_rows(lists / "train_list.txt", notes).assign(split="train")
    test = _vehicleid_rows(lists / f"test_list_{test_size}.txt", notes)
    in_gallery = draw_gallery(test["identity"], draw_seed)
    test = test.assign(split=["gallery" if drawn else "query" for drawn in in_gallery])
    identities = test["identity"].nunique()
    if identities != test_size:
        notes.append(
            f"test_list_{test_size}.txt has {identities:,} identities, its name says {test_size:,}"
        )
    single = test["identity"].value_counts() == 1
    if single.any():
        notes.append(
            f"{single.sum():,} test identities have a single image, which no draw can put in the "
            f"gallery: {shown(sorted(single.index[single]))}"
        )
    return ReidDataset("vehicleid", found, pd.concat([train, test]), notes=tuple(notes))


def _vehicleid_rows(file: Path, notes: list[str]) -> pd.DataFrame:
    """Rows of one list, sorted by path."""
    entries = read_list(file, notes)
    wrong = [path for path, identity in entries if identity is None]
    if wrong or not entries:
        what = (
            f"the line of {wrong[0]!r} is not of the form 'image_name vehicle_id'"
            if wrong
            else "it is empty"
        )
        raise ReidError(f"{file}: {what}; unpack the lists again")
    table = pd.DataFrame(entries, columns=["path", "identity"]).astype({"identity": "int64"})
    return table.assign(path="image/" + table["path"]).sort_values("path", ignore_index=True)
