"""Photographs of nyala from their public source, with the splits that docs/results.md uses.

    python -m benchmarks.nyala wildlife_reidentification-main/Nyala_Data_Zero/train --to nyala

The source (github.com/tvanzyl/wildlife_reidentification; `NyalaData` of wildlife-datasets) has a
folder for each animal with files `85_leftphoto.jpg`: encounter and side. An encounter is a camera.
Of an animal for testing the first encounter is the query, if it was met again.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from PIL import Image

from msinet_core.errors import ReidError

LONGEST = 256  # pixels
NUMBERS = """
62 65 67 68 70 79 82 83 84 90 91 93 94 96 102 107 108 110 111 115 122 123 132 136 140 147 148 152
153 154 155 158 161 164 165 169 174 175 178 185 186 188 199 203 205 211 220 226 232 237 239 240 243
247 251 267 269 273 274
"""
TESTED = [int(number) for number in NUMBERS.split()]
FILE = re.compile(r"(?P<animal>\d+)/(?P<encounter>\d+)_(?P<view>left|right)photo\.jpg$")


def manifest(files: Iterable[str]) -> pd.DataFrame:
    """One row a file `60/85_leftphoto.jpg`: the manifest's columns, and `file`."""
    found = [FILE.search(name) for name in files]
    rows = pd.DataFrame([{"file": match.string, **match.groupdict()} for match in found if match])
    if rows.empty:
        raise ReidError("there is no file such as 60/85_leftphoto.jpg; name the folder train")
    rows = rows.astype({"animal": int, "encounter": int})
    first = rows.groupby("animal")["encounter"].transform("min") == rows["encounter"]
    again = rows.groupby("animal")["encounter"].transform("nunique") > 1
    rows["split"] = (first & again).map({True: "query", False: "gallery"})
    rows.loc[~rows["animal"].isin(TESTED), "split"] = "train"
    rows["identity"] = rows["animal"].map("n{:03d}".format)
    names = zip(rows["identity"], rows["encounter"], rows["view"], strict=True)
    rows["path"] = [f"images/{who}_{place:04d}_{view}.jpg" for who, place, view in names]
    rows["camera"] = rows["encounter"]
    rows["tested"] = rows["split"] != "train"
    rows = rows.sort_values(["tested", "file"], ignore_index=True)  # by name: 100/ before 60/
    return rows[["path", "identity", "camera", "split", "view", "file"]]


def write(source: Path, target: Path) -> Path:
    """Shrink the photographs of `source` into the new folder `target`; gives the manifest."""
    table = manifest(file.relative_to(source).as_posix() for file in source.glob("*/*.jpg"))
    if target.exists() and any(target.iterdir()):
        raise ReidError(f"{target} is not empty; name a new folder with --to")
    (target / "images").mkdir(parents=True)
    for file, path in zip(table["file"], table["path"], strict=True):
        with Image.open(source / file) as opened:
            image = opened.convert("RGB")
        image.thumbnail((LONGEST, LONGEST))
        image.save(target / path, quality=90)
    table.drop(columns="file").to_csv(target / "manifest.csv", index=False)
    return target / "manifest.csv"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("train", type=Path, help="the source's folder Nyala_Data_Zero/train")
    parser.add_argument("--to", type=Path, default=Path("nyala"), help="a new folder")
    given = parser.parse_args()
    try:
        print(write(given.train, given.to))
    except ReidError as error:
        print(f"error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
