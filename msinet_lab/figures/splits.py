"""Pictures of the twins split: who is seen by which side, through which cameras, how they look.

Both halves are tables with `identity` and, where the data has cameras, `camera`.
docs/method.md 2, twins split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from msinet_core.data import boxes_of
from msinet_lab.figures.elements import Html, tag, together
from msinet_lab.figures.sheets import tile
from msinet_lab.figures.style import (
    PAGE,
    SERIES,
    Look,
    dress,
    empty_figure,
    ink_on,
    new_axes,
    new_figure,
    outer_legend,
    whole_numbers,
)
from msinet_lab.figures.tiles import PhotoShelf, Tile

SIDES = ("search train", "search validation")
SIDE_COLOURS = (SERIES[0], SERIES[1])


def in_order(labels: Iterable[Any]) -> list[Any]:
    """Identities or cameras sorted, numbers before text, each once."""
    return sorted(set(labels), key=lambda label: (isinstance(label, str), label))


def identity_counts(train: pd.DataFrame, validation: pd.DataFrame) -> pd.DataFrame:
    """Images by identity (index) and side (columns `search train`, `search validation`)."""
    counts = [table["identity"].value_counts() for table in (train, validation)]
    table = pd.concat(counts, axis=1, keys=SIDES).fillna(0).astype(int)
    return table.loc[in_order(table.index)]


def twin_matrix(train: pd.DataFrame, validation: pd.DataFrame) -> Figure:
    """A row a side, a column an identity: coloured where the side sees it."""
    counts = identity_counts(train, validation)
    if counts.empty:
        return empty_figure("The split has no identities.")
    seen = (counts.to_numpy() > 0).T  # 2 x identities
    figure, axes = new_axes(
        7.3, 1.9, "Which identities each twin sees", "identity, in order", "", ""
    )
    smooth: Any = "nearest" if len(counts) <= 1200 else "antialiased"
    unseen: Any = (0.5, 0.55, 0.6, 0.14)
    colours = ListedColormap([unseen, *SIDE_COLOURS])
    look: Look = {"cmap": colours, "vmin": 0, "vmax": 2, "aspect": "auto"}
    look["extent"] = 0.5, len(counts) + 0.5, 1.5, -0.5  # identities count from 1
    axes.imshow(np.where(seen, [[1], [2]], 0), interpolation=smooth, **look)
    if len(counts) <= 120:
        axes.set_xticks(np.arange(0.5, len(counts) + 1), minor=True)
        axes.grid(which="minor", axis="x", color=PAGE, linewidth=1.2)
        axes.tick_params(which="minor", length=0)
    axes.axhline(0.5, color=PAGE, linewidth=3)
    words = [f"{side}\n{n} of {len(counts)}" for side, n in zip(SIDES, seen.sum(1), strict=True)]
    axes.set_yticks([0, 1], words)
    whole_numbers(axes)
    return figure


def _both_sides(values: Sequence[pd.Series], name: str) -> pd.DataFrame:
    """One long table with a column `side`, for seaborn."""
    parts = [
        pd.DataFrame({name: part, "side": side}) for part, side in zip(values, SIDES, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def _side_legend(figure: Figure) -> None:
    patches = [Patch(color=c, label=s) for s, c in zip(SIDES, SIDE_COLOURS, strict=True)]
    outer_legend(figure, patches, below=True)


def camera_distribution(train: pd.DataFrame, validation: pd.DataFrame) -> Figure:
    """Share of each side's images by camera: unlike heights mean that the sides see it unlike."""
    tables = (train, validation)
    if any("camera" not in table or table["camera"].isna().all() for table in tables):
        return empty_figure("This data has no cameras.", 3.5, 0.6)
    long = _both_sides([table["camera"].dropna() for table in tables], "camera")
    names = [str(name) for name in in_order(long["camera"])]
    long["camera"] = long["camera"].astype(str)
    shares = long.groupby("side")["camera"].value_counts(normalize=True).reset_index()
    figure = new_figure(max(5.0, 1.6 + 0.55 * len(names)), 3.0)
    axes = figure.add_subplot()
    look: Look = {"hue": "side", "hue_order": SIDES, "palette": SIDE_COLOURS, "saturation": 1.0}
    seaborn.barplot(shares, x="camera", y="proportion", order=names, legend=False, ax=axes, **look)
    dress(axes, "Cameras of either side", "camera", "share of images")
    _side_legend(figure)
    return figure


def images_per_identity(train: pd.DataFrame, validation: pd.DataFrame) -> Figure:
    """How many identities have how many images, on either side."""
    counts = identity_counts(train, validation)
    if counts.empty:
        return empty_figure("The split has no identities.")
    long = _both_sides([counts.loc[counts[side] > 0, side] for side in SIDES], "images")
    figure = new_figure(4.8, 3.0)
    axes = figure.add_subplot()
    side: Look = {"hue": "side", "hue_order": SIDES, "palette": SIDE_COLOURS, "legend": False}
    beside: Any = {"discrete": True, "multiple": "dodge", "shrink": 0.8, "alpha": 1}
    over: Any = {"bins": 40, "element": "step", "alpha": 0.35}  # too many to stand side by side
    look = {**side, **(beside if long["images"].max() <= 60 else over)}
    seaborn.histplot(long, x="images", linewidth=0, ax=axes, **look)
    dress(axes, "Images per identity", "images", "identities")
    whole_numbers(axes)
    _side_legend(figure)
    return figure


def overlap_bar(train: pd.DataFrame, validation: pd.DataFrame) -> Html:
    """Identities seen by train only, by both, and by validation only, as one bar."""
    mine, theirs = set(train["identity"]), set(validation["identity"])
    parts = [
        (len(mine - theirs), "train only", SIDE_COLOURS[0]),
        (len(mine & theirs), "both", SERIES[2]),
        (len(theirs - mine), "validation only", SIDE_COLOURS[1]),
    ]
    spans = [
        tag(
            "span",
            f"{name}: {count}",
            style=f"flex:{count} 1 0;background:{colour};color:{ink_on(colour)}",
            title=f"identities seen by {name}: {count}",
        )
        for count, name, colour in parts
        if count
    ]
    return tag("div", spans, class_="share")


def identity_sheet(
    table: pd.DataFrame,
    root: Any,
    identities: Sequence[Any],
    *,
    cameras: Sequence[Any] = (),
    images: int = 8,
    size: tuple[int, int] = (128, 64),
) -> Html:
    """Photographs of some identities, a row each, at most `images` a row.

    `cameras` keeps only these. A column `side`, if there is one, goes into the captions. `size` is
    height and width of a tile, pixels.
    """
    part = table[table["camera"].isin(list(cameras))] if cameras else table
    rows = []
    for identity in identities:
        chosen = part[part["identity"] == identity].head(images)
        photos = PhotoShelf(root, list(chosen["path"]), *size, boxes=boxes_of(chosen))
        tiles = [
            tile(Tile(photos[place], "plain", (f"id {identity}", _caption(line))))
            for place, line in enumerate(chosen.to_dict("records"))
        ]
        rows.append(tag("div", tiles, class_="list"))
    return together(*rows)


def _caption(line: dict[Any, Any]) -> str:
    """`cam 3 · train`, of what there is."""
    camera, side = line.get("camera"), line.get("side", "")
    words = ("" if camera is None or pd.isna(camera) else f"cam {camera}", side)
    return " · ".join(word for word in words if word)
