"""The photographs that the runs in this folder were made with: the same bytes on every machine."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

IDENTITIES, CAMERAS, HEIGHT, WIDTH = 15, 2, 48, 32


def make(root: Path) -> Path:
    """Bitmaps of blocks of colour, an identity's own, and a `manifest.csv`; ten are to train on."""
    (root / "images").mkdir(parents=True)
    with (root / "manifest.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "identity", "camera", "split"])
        for identity in range(IDENTITIES):
            blocks = (
                np.random.default_rng(identity)
                .integers(100, 150, (6, 4, 3))
                .repeat(8, 0)
                .repeat(8, 1)
            )
            for number in range(4):
                noise = np.random.default_rng((identity, number)).integers(-90, 90, blocks.shape)
                path = f"images/{identity:02d}_{number}.bmp"
                Image.fromarray((blocks + noise).astype(np.uint8)).save(root / path)
                split = "train" if identity < 10 else "query" if number == 0 else "gallery"
                table.writerow([path, identity, f"c{number % CAMERAS + 1}", split])
    return root
