"""Photographs of a turntable from COIL-100: the objects, views and splits of docs/results.md.

    python -m benchmarks.turntable COIL-100 --to turntable

COIL-100 (Columbia Object Image Library) holds 100 objects, each photographed every 5 degrees, as
files `obj1__0.png` to `obj100__355.png`. Four simulated cameras look at 60 of them from four sides,
nine views each. Objects, views and splits are those of the set that was measured on. How that set's
cameras changed colours was not recorded: those here were chosen by eye to look alike, so figures
come near those of the page and are not the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter

from msinet_core.errors import ReidError

NUMBERS = """
1 2 4 6 7 9 10 11 12 13 14 15 16 17 19 20 21 23 24 25 27 32 33 35 38 40 41 42 43 45 46 49 53 54 55
57 58 59 60 62 63 66 69 70 71 72 74 75 76 78 80 82 84 88 89 92 93 98 99 100
"""
OBJECTS = [int(number) for number in NUMBERS.split()]  # every other one is for testing
VIEWS, STEP, QUERY = 9, 5, 4  # views of a camera, degrees between them, which one is the query
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Camera:
    """out = haze + gain * in, by channel (0 to 255), blurred, with normal noise."""

    first: int  # degrees of its first view
    gain: tuple[float, float, float]
    haze: tuple[float, float, float]
    blur: float  # pixels
    noise: float


CAMERAS = (
    Camera(0, (1.05, 0.72, 0.55), (18.0, 10.0, 8.0), 0.0, 5.0),
    Camera(90, (0.60, 0.85, 0.85), (30.0, 50.0, 68.0), 0.6, 5.0),
    Camera(180, (1.00, 1.00, 0.60), (0.0, 0.0, 0.0), 0.0, 4.0),
    Camera(270, (0.65, 0.52, 0.70), (18.0, 17.0, 24.0), 0.9, 5.0),
)


def photograph(file: Path, camera: Camera, rng: np.random.Generator) -> Image.Image:
    """What the camera makes of a file of COIL-100."""
    with Image.open(file) as opened:
        image = opened.convert("RGB").filter(ImageFilter.GaussianBlur(camera.blur))
    pixels = np.asarray(image) * np.array(camera.gain) + np.array(camera.haze)
    pixels += rng.normal(0, camera.noise, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def rows() -> Iterator[dict[str, object]]:
    """One row an image: path, identity, camera, split and angle, as in the manifest."""
    for place, number in enumerate(OBJECTS):
        for index, camera in enumerate(CAMERAS):
            for view in range(VIEWS):
                angle = camera.first + STEP * view
                test = "query" if view == QUERY else "gallery"
                yield {
                    "path": f"images/obj{number:03d}_c{index}_{angle:03d}.jpg",
                    "identity": f"obj{number:03d}",
                    "camera": index,
                    "split": test if place % 2 else "train",
                    "angle": angle,
                }


def write(source: Path, target: Path) -> Path:
    """Photograph the files of `source` into the new folder `target`; gives the manifest."""
    table = pd.DataFrame(rows())
    files = [
        source / f"obj{int(identity[3:])}__{angle}.png"
        for identity, angle in zip(table["identity"], table["angle"], strict=True)
    ]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise ReidError(f"{missing[0]} is missing, with {len(missing) - 1} more; unpack COIL-100")
    if target.exists() and any(target.iterdir()):
        raise ReidError(f"{target} is not empty; name a new folder with --to")
    (target / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for file, path, camera in zip(files, table["path"], table["camera"], strict=True):
        photograph(file, CAMERAS[camera], rng).save(target / path, quality=JPEG_QUALITY)
    table.to_csv(target / "manifest.csv", index=False)
    return target / "manifest.csv"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("coil", type=Path, help="the folder with obj1__0.png and the others")
    parser.add_argument("--to", type=Path, default=Path("turntable"), help="a new folder")
    given = parser.parse_args()
    try:
        print(write(given.coil, given.to))
    except ReidError as error:
        print(f"error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
