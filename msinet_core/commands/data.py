"""`msinet data`: drawing data sets and checking them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import tyro

from msinet_core.config import parse_options


def check(*, data: str = "manifest", root: str, options: tuple[str, ...] = (), quick: bool = False) -> None:
    """Check a data set before work: files, identities, splits, cameras, duplicates.

    Args:
        data: The data set's name.
        root: Its folder.
        options: Its options, as name=value.
        quick: Look at the table only, open no image.
    """
    from msinet_core.data import check_dataset, load_dataset

    dataset = load_dataset(data, root, **parse_options(options))
    report = check_dataset(dataset, quick=quick, progress=True)
    print(dataset, *(f"note: {note}" for note in dataset.notes), report, sep="\n")
    report.raise_if_broken()


def generate(
    kind: tyro.conf.Positional[Literal["people", "vehicles"]],
    *,
    root: Path,
    domain: Literal["A", "B"] = "A",
    train_identities: int = 60,
    test_identities: int = 60,
    images_per_identity: int = 12,
    cameras: int = 6,
    seed: int = 0,
) -> None:
    """Draw photographs of people (Market-1501 layout) or vehicles (VeRi layout).

    Args:
        kind: people or vehicles.
        root: Where to write.
        domain: A or B: they differ in palette, background and cameras.
        train_identities: Identities to train with.
        test_identities: Other identities to test with.
        images_per_identity: Photographs of each.
        cameras: At least 6.
        seed: The same seed draws the same pictures.
    """
    from msinet_core.data import generate as draw

    folder = draw(
        kind, root, domain=domain, train_identities=train_identities, test_identities=test_identities,
        images_per_identity=images_per_identity, cameras=cameras, seed=seed, progress=True,
    )  # fmt: skip
    print(f"{folder}\nread it with: --data {'market1501' if kind == 'people' else 'veri776'} --root {folder}")
