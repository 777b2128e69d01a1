"""Pictures of the twins split: who is seen by which side, through which cameras, and what they look
like.

Both halves are tables with `identity` and, where the data has cameras, `camera`. Paper: section
3.1, figure 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from msinet_lab.figures.style import (
    SERIES,
    bare,
    dress,
    empty_figure,
    legend,
    new_figure,
    whole_numbers,
)
from msinet_lab.figures.tiles import PhotoShelf, Tile, sheet, stack

SIDES = ("search train", "search validation")
SIDE_COLOURS = (SERIES[0], SERIES[1])


def identity_counts(train: pd.DataFrame, validation: pd.DataFrame) -> pd.DataFrame:
    """Images of every identity on either side: index identity, columns `search train`, `search
    validation`.
    """
    counts = [table["identity"].value_counts() for table in (train, validation)]
    table = pd.concat(counts, axis=1, keys=SIDES).fillna(0).astype(int)
    return table.sort_index(
        key=lambda index: index.map(lambda value: (isinstance(value, str), value))
    )


def twin_matrix(
    train: pd.DataFrame, validation: pd.DataFrame, title: str = "Which identities each twin sees"
) -> Figure:
    """A row a side, a column an identity: coloured where the side sees it. Shared identities colour
    both rows.
    """
    counts = identity_counts(train, validation)
    if counts.empty:
        return empty_figure("The split has no identities.")
    seen = (counts.to_numpy() > 0).T  # 2 x identities
    figure = new_figure(11, 1.9)
    axes = dress(figure.add_subplot(), title, "identity, in order", grid="")
    page = np.where(seen, [[1], [2]], 0)
    axes.imshow(
        page,
        cmap=ListedColormap(["#EFF1F4", *SIDE_COLOURS]),
        vmin=0,
        vmax=2,
        aspect="auto",
        interpolation="nearest" if len(counts) <= 1200 else "antialiased",
    )
    if len(counts) <= 120:
        axes.set_xticks(np.arange(-0.5, len(counts)), minor=True)
        axes.grid(which="minor", axis="x", color="white", linewidth=1.2)
        axes.tick_params(which="minor", length=0)
    axes.axhline(0.5, color="white", linewidth=3)
    axes.set_yticks(
        [0, 1],
        [f"{side}\n{n} of {len(counts)}" for side, n in zip(SIDES, seen.sum(1), strict=True)],
    )
    whole_numbers(axes)
    return figure


def camera_distribution(train: pd.DataFrame, validation: pd.DataFrame) -> Figure:
    """Share of each side's images by camera, side by side: unlike heights mean that the sides
    differ in cameras.
    """
    tables = (train, validation)
    if any("camera" not in table or table["camera"].isna().all() for table in tables):
        return empty_figure("This data has no cameras.")
    shares = pd.concat(
        [table["camera"].value_counts(normalize=True) for table in tables], axis=1, keys=SIDES
    )
    shares = shares.fillna(0).sort_index(
        key=lambda index: index.map(lambda value: (isinstance(value, str), value))
    )
    figure = new_figure(max(5.0, 1.6 + 0.55 * len(shares)), 2.8)
    axes = dress(figure.add_subplot(), "Cameras of either side", "camera", "share of images")
    places = np.arange(len(shares))
    for shift, side, colour in zip((-0.2, 0.2), SIDES, SIDE_COLOURS, strict=True):
        axes.bar(places + shift, shares[side], 0.38, color=colour, label=side)
    axes.set_xticks(places, [str(name) for name in shares.index])
    axes.set_ylim(0, float(shares.to_numpy().max()) * 1.3)
    legend(axes, "upper right", columns=2)
    return figure


def images_per_identity(train: pd.DataFrame, validation: pd.DataFrame) -> Figure:
    """How many identities have how many images, on either side."""
    counts = identity_counts(train, validation)
    if counts.empty:
        return empty_figure("The split has no identities.")
    figure = new_figure(4.8, 2.8)
    axes = dress(figure.add_subplot(), "Images per identity", "images", "identities")
    most = int(counts.to_numpy().max())
    bins = np.arange(0.5, most + 1.5) if most <= 60 else np.linspace(0.5, most + 0.5, 40)
    for side, colour in zip(SIDES, SIDE_COLOURS, strict=True):
        values = counts.loc[counts[side] > 0, side]
        axes.hist(values, bins=bins.tolist(), color=colour, alpha=0.35)
        axes.hist(
            values, bins=bins.tolist(), color=colour, histtype="step", linewidth=1.6, label=side
        )
    whole_numbers(axes)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.3)  # room for the legend
    legend(axes, "upper right", columns=2)
    return figure


def overlap_diagram(train: pd.DataFrame, validation: pd.DataFrame) -> Figure:
    """Identities seen by the train side only, by both, and by the validation side only, as one bar."""
    mine, theirs = set(train["identity"]), set(validation["identity"])
    parts = [
        (len(mine - theirs), "train only", SIDE_COLOURS[0]),
        (len(mine & theirs), "both", SERIES[2]),
        (len(theirs - mine), "validation only", SIDE_COLOURS[1]),
    ]
    figure = new_figure(11, 1.15)
    axes, left = bare(figure.add_subplot()), 0
    for count, _, colour in parts:
        axes.barh([0], [count], left=left, color=colour, height=0.8)
        if count:
            axes.text(
                left + count / 2,
                0,
                str(count),
                ha="center",
                va="center",
                color="white",
                fontweight="bold",
            )
        left += count
    axes.set_xlim(0, max(left, 1))
    handles = [Patch(color=colour, label=f"{name}: {count}") for count, name, colour in parts]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def identity_sheet(
    table: pd.DataFrame,
    root: Any,
    identities: Sequence[Any],
    *,
    cameras: Sequence[Any] | None = None,
    images: int = 8,
    height: int = 128,
    width: int = 64,
) -> np.ndarray:
    """Photographs of some identities, a row each, at most `images` a row; uint8. `cameras` keeps
    only these.

    A column `side`, if there is one, goes into the captions.
    """
    part = table if not cameras else table[table["camera"].isin(list(cameras))]
    rows = []
    for identity in identities:
        chosen = part[part["identity"] == identity].head(images)
        photos = PhotoShelf(root, list(chosen["path"]), height, width)
        cameras_of = chosen.get("camera", pd.Series([None] * len(chosen)))
        sides = chosen.get("side", pd.Series([""] * len(chosen)))
        words = [
            " · ".join(part for part in ("" if pd.isna(camera) else f"cam {camera}", side) if part)
            for camera, side in zip(cameras_of, sides, strict=True)
        ]
        tiles = [
            Tile(photos[place], "plain", (f"id {identity}", word))
            for place, word in enumerate(words)
        ]
        if tiles:
            rows.append(sheet(tiles, images, gap=2))
    return stack(rows) if rows else sheet([], 1)
