"""Maps over photographs: where a point is found, what a network attends to. Numpy in, uint8 out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from msinet_lab.figures.style import INK, bare, empty_figure, new_figure
from msinet_lab.figures.tiles import LINE, Tile, as_photo, caption, sheet

COLOURMAP = "magma"  # even in brightness, so it survives colour blindness and grey printing
END = 60  # pixels of a colour bar for the value at either end


def scaled(values: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Values between two limits (by default the smallest and the largest) as 0..1; a flat map
    becomes 0.
    """
    values = np.nan_to_num(np.asarray(values, dtype=np.float64))
    low, high = limits or (float(values.min()), float(values.max()))
    return np.zeros_like(values) if high - low < 1e-12 else (values - low) / (high - low)


def enlarged(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A small map brought to height x width, bilinearly."""
    image = Image.fromarray(np.asarray(values, dtype=np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def overlay(photo: Any, values: np.ndarray, opacity: float = 0.55) -> np.ndarray:
    """A map (h x w, any size) over a photograph; H x W x 3 uint8.

    The photograph is greyed, so that colour is the map's.
    """
    picture = as_photo(photo).astype(np.float64)
    grey = picture @ np.array([0.299, 0.587, 0.114])
    strength = enlarged(scaled(values), *picture.shape[:2])
    colours = mpl.colormaps[COLOURMAP](strength)[..., :3] * 255
    faded = (1 - opacity) * picture + opacity * grey[..., None]
    return ((1 - opacity) * faded + opacity * colours).round().astype(np.uint8)


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


def feature_sheet(
    maps: Any,
    columns: int = 8,
    labels: Sequence[str] = (),
    height: int = 96,
    limits: tuple[float, float] | None = None,
) -> np.ndarray:
    """Channels of a feature map (C x h x w) as small pictures in rows.

    All are on one scale: that of `limits`, by default the smallest and the largest value.
    """
    array = np.asarray(maps.detach().cpu() if hasattr(maps, "detach") else maps, dtype=np.float64)
    if array.ndim != 3 or not len(array):
        return sheet([], columns)
    times = max(1, round(height / array.shape[1]))
    colours = (mpl.colormaps[COLOURMAP](scaled(array, limits))[..., :3] * 255).astype(np.uint8)
    tiles = []
    for place, values in enumerate(colours):
        large = values.repeat(times, 0).repeat(times, 1)
        tiles.append(Tile(large, "plain", tuple(labels[place : place + 1])))
    return sheet(tiles, columns, gap=2)


def colour_bar(limits: tuple[float, float], width: int) -> np.ndarray:
    """The scale of maps as a strip `width` pixels wide: the colours, and the values at its ends."""
    low, high = (f"{value:.3g}" for value in limits)
    ends = [caption(text, END, INK) for text in (low, high)]
    ramp = mpl.colormaps[COLOURMAP](np.linspace(0, 1, max(1, width - 2 * END)))[:, :3] * 255
    middle = np.broadcast_to(ramp.astype(np.uint8), (LINE, len(ramp), 3))
    return np.concatenate([ends[0], middle, ends[1]], axis=1)
