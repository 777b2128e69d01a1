"""Maps over photographs: where a point is found, what a network attends to. Numpy in, uint8 out.

Pictures that stand side by side share one scale, which a colour bar tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from msinet_lab.figures.style import bare, empty_figure, new_figure
from msinet_lab.figures.tiles import (
    Part,
    Tile,
    as_photo,
)

COLOURMAP = "magma"  # even in brightness, so it survives colour blindness and grey printing
LARGE_CELL = 9  # pixels of a map's cell from which on cells are drawn as such
GRID_LINE = 0.22  # how white the lines between cells are
Limits = tuple[float, float]


def limits_of(maps: Iterable[Any]) -> Limits:
    """The smallest and the largest value in all of the maps, which puts them on one scale."""
    values = np.concatenate([np.zeros(0), *(np.ravel(np.asarray(one, float)) for one in maps)])
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)


def scaled(values: np.ndarray, limits: Limits | None = None) -> np.ndarray:
    """Values between two limits (by default its smallest and largest) as 0..1; flat becomes 0."""
    values = np.nan_to_num(np.asarray(values, dtype=np.float64))
    low, high = (float(values.min()), float(values.max())) if limits is None else limits
    if high - low < 1e-12:
        return np.zeros_like(values)
    return np.clip((values - low) / (high - low), 0, 1)


def enlarged(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A small map brought to height x width, bilinearly."""
    image = Image.fromarray(np.asarray(values, dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def in_colours(values: np.ndarray) -> np.ndarray:
    """0..1 as colours, 0..255."""
    return mpl.colormaps[COLOURMAP](values)[..., :3] * 255


def overlay(
    photo: Any,
    values: np.ndarray,
    opacity: float = 0.55,
    limits: Limits | None = None,
    part: Part | None = None,
) -> np.ndarray:
    """A map (h x w, any size) over a photograph; H x W x 3 uint8.

    The photograph is greyed, so that colour is the map's. Large cells are drawn as cells, with
    lines between them: the map knows no finer places. limits: of the scale, by default the map's
    own. part: that of the tile that holds the photograph, where the map belongs.
    """
    tile = as_photo(photo)
    top, left, height, width = part or (0, 0, *tile.shape[:2])
    inside = np.s_[top : top + height, left : left + width]
    picture, strength = tile[inside].astype(np.float64), scaled(values, limits)
    rows, columns = (
        np.arange(n) * m // n for n, m in zip((height, width), strength.shape, strict=True)
    )
    cells = min(height / strength.shape[0], width / strength.shape[1]) >= LARGE_CELL
    large = strength[rows][:, columns] if cells else enlarged(strength, height, width)
    grey = picture @ np.array([0.299, 0.587, 0.114])
    faded = (1 - opacity) * picture + opacity * grey[..., None]
    mixed = (1 - opacity) * faded + opacity * in_colours(large)
    if cells and opacity:
        across, down = (np.flatnonzero(np.diff(places)) + 1 for places in (rows, columns))
        for line in (np.s_[across], np.s_[:, down]):
            mixed[line] = (1 - GRID_LINE) * mixed[line] + GRID_LINE * 255
    page = tile.copy()
    page[inside] = mixed.round().astype(np.uint8)
    return page


def number(value: float) -> str:
    """As short as it tells the ends of a scale apart: 0.73, 12, 0.0312, 1712."""
    if abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.2f}" if 0.1 <= abs(value) < 10 or not value else f"{value:.3g}"


def with_point(photo: Any, row: float, column: float, colour: str = "#56B4E9") -> np.ndarray:
    """The photograph with a ring around a place, given as shares (0..1) of height and width."""
    picture = as_photo(photo)
    height, width = picture.shape[:2]
    image = Image.fromarray(picture)
    radius, draw = max(4, min(height, width) * 0.06), ImageDraw.Draw(image)
    x, y = column * width, row * height
    rings = (radius + 1.5, "black", 1), (radius, colour, 3), (radius - 3, "black", 1)
    for size, ink, thick in rings:
        draw.ellipse((x - size, y - size, x + size, y + size), outline=ink, width=thick)
    return np.asarray(image)


def cell_of(row: float, column: float, height: int, width: int) -> int:
    """The position 0..height*width-1 of a map that a place in the picture (shares) falls into."""
    y, x = (min(n - 1, max(0, int(at * n))) for at, n in ((row, height), (column, width)))
    return y * width + x


@dataclass(frozen=True)
class Looked:
    """One photograph, how it counts, and maps over it by name. `part`: its own of the tile."""

    tile: Tile
    part: Part | None
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)


# -- figures -------------------------------------------------------------------------------------


def map_row(pictures: Mapping[str, Any], title: str = "", height: float = 3.4) -> Figure:
    """Pictures by their titles, side by side, none stretched."""
    if not pictures:
        return empty_figure("No picture to show.")
    photos = [as_photo(picture) for picture in pictures.values()]
    widths = [max(1.5, height * 0.8 * photo.shape[1] / photo.shape[0]) for photo in photos]
    figure = new_figure(max(4.0, sum(widths) + 0.3), height, title)
    grid = figure.subplots(1, len(photos), squeeze=False)[0]
    for axes, photo, text in zip(grid, photos, pictures, strict=True):
        bare(axes, text).imshow(photo)
    return figure


def alignment_figure(
    query: Any,
    partner: Any,
    point: tuple[float, float],
    maps: Mapping[str, np.ndarray],
    title: str = "",
) -> Figure:
    """A point of the query (shares of height and width), the partner, and maps over it.

    `maps`: h x w by title, such as rows of the pairwise map U.
    """
    pictures = {"query and point": with_point(query, *point), "partner": as_photo(partner)}
    over = {name: overlay(partner, values, 0.6) for name, values in maps.items()}
    return map_row(pictures | over, title)
