"""Maps laid over photographs: where a point is found, what a network attends to. Numpy in, uint8
out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from msinet_core.errors import ReidError
from msinet_lab.figures.style import bare, empty_figure, new_figure
from msinet_lab.figures.tiles import Tile, as_photo, sheet

COLOURMAP = "magma"  # even in brightness, so it survives colour blindness and grey printing


def as_grid(values: Any, height: int, width: int) -> np.ndarray:
    """A map of M = height * width positions as float64 height x width; `ReidError` where M does not
    fit.
    """
    array = np.asarray(
        values.detach().cpu() if hasattr(values, "detach") else values, dtype=np.float64
    )
    if array.size != height * width:
        raise ReidError(
            f"the map has {array.size} positions, but {height} x {width} = {height * width} are expected"
        )
    return array.reshape(height, width)


def scaled(values: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Values from `low` (default the smallest) to `high` (the largest) as 0..1; a flat map becomes
    0.
    """
    values = np.nan_to_num(np.asarray(values, dtype=np.float64))
    low = float(values.min()) if low is None else low
    high = float(values.max()) if high is None else high
    return (
        np.zeros_like(values)
        if high - low < 1e-12
        else np.clip((values - low) / (high - low), 0, 1)
    )


def enlarged(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A small map brought to height x width, bilinearly."""
    image = Image.fromarray(np.asarray(values, dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def overlay(
    photo: Any,
    values: np.ndarray,
    opacity: float = 0.55,
    *,
    low: float | None = None,
    high: float | None = None,
) -> np.ndarray:
    """A map (h x w, any size) over a photograph; H x W x 3 uint8. The photograph is greyed so that
    colour is the map's.
    """
    picture = as_photo(photo).astype(np.float64)
    grey = picture @ np.array([0.299, 0.587, 0.114])
    strength = enlarged(scaled(values, low, high), *picture.shape[:2])
    colours = mpl.colormaps[COLOURMAP](strength)[..., :3] * 255
    return (
        ((1 - opacity) * ((1 - opacity) * picture + opacity * grey[..., None]) + opacity * colours)
        .round()
        .astype(np.uint8)
    )


def with_point(photo: Any, row: float, column: float, colour: str = "#56B4E9") -> np.ndarray:
    """The photograph with a ring around a place, given as shares (0..1) of height and width."""
    picture = as_photo(photo)
    height, width = picture.shape[:2]
    image = Image.fromarray(picture)
    radius, draw = max(4, min(height, width) * 0.06), ImageDraw.Draw(image)
    x, y = column * width, row * height
    for size, ink, thick in (
        (radius + 1.5, "black", 1),
        (radius, colour, 3),
        (radius - 3, "black", 1),
    ):
        draw.ellipse((x - size, y - size, x + size, y + size), outline=ink, width=thick)
    return np.asarray(image)


def cell_of(row: float, column: float, height: int, width: int) -> int:
    """The position 0..height*width-1 of a map that a place in the picture (shares of it) falls
    into.
    """
    return min(height - 1, max(0, int(row * height))) * width + min(
        width - 1, max(0, int(column * width))
    )


def map_row(
    pictures: Sequence[Any], titles: Sequence[str], title: str = "", height: float = 3.4
) -> Figure:
    """Pictures side by side with a title each, none stretched."""
    if not pictures:
        return empty_figure("No picture to show.")
    photos = [as_photo(picture) for picture in pictures]
    shapes = [photo.shape[1] / photo.shape[0] for photo in photos]
    figure = new_figure(
        max(4.0, sum(max(1.5, height * 0.8 * shape) for shape in shapes) + 0.3), height, title
    )
    grid = figure.subplots(1, len(photos), squeeze=False)[0]
    for axes, photo, text in zip(grid, photos, titles, strict=True):
        bare(axes, text).imshow(photo)
    return figure


def alignment_figure(
    query: Any,
    partner: Any,
    found: np.ndarray,
    row: float,
    column: float,
    *,
    whole: np.ndarray | None = None,
    learned: np.ndarray | None = None,
    opacity: float = 0.6,
    title: str = "",
) -> Figure:
    """A point of the query, where it is found in the partner, and, if given, the whole query and
    the learned map.

    `found`, `whole` (rows of the pairwise map U over the partner) and `learned` (P over the query)
    are h x w.
    """
    pictures = [with_point(query, row, column), as_photo(partner), overlay(partner, found, opacity)]
    titles = ["query and point", "partner", "where the point is"]
    if whole is not None:
        pictures.append(overlay(partner, whole, opacity))
        titles.append("where any of it is")
    if learned is not None:
        pictures.append(overlay(query, learned, opacity))
        titles.append("learned attention")
    return map_row(pictures, titles, title)


def feature_sheet(
    maps: Any, columns: int = 8, labels: Sequence[str] | None = None, height: int = 96
) -> np.ndarray:
    """Channels of a feature map (C x h x w) as small pictures in rows, each scaled on its own;
    uint8.
    """
    array = np.asarray(maps.detach().cpu() if hasattr(maps, "detach") else maps, dtype=np.float64)
    if array.ndim != 3 or not len(array):
        return sheet([], columns)
    times = max(1, round(height / array.shape[1]))
    tiles = []
    for place, values in enumerate(array):
        colours = (mpl.colormaps[COLOURMAP](scaled(values))[..., :3] * 255).astype(np.uint8)
        words = () if labels is None else (labels[place],)
        tiles.append(Tile(colours.repeat(times, 0).repeat(times, 1), "plain", words))
    return sheet(tiles, columns, gap=2)
