"""A pen for generated pictures: flat shapes with a little light on them, on a Pillow canvas."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]


def shade(colour: Colour, factor: float) -> Colour:
    """The colour darker (factor < 1) or lighter (> 1, towards white)."""
    if factor <= 1:
        red, green, blue = (int(value * factor) for value in colour)
    else:
        red, green, blue = (int(value + (255 - value) * min(factor - 1, 1)) for value in colour)
    return red, green, blue


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """`share` of the second colour in the first."""
    red, green, blue = (int(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


class Pen:
    """Shapes in pixels of one canvas. `veil` shapes are translucent, all others opaque."""

    def __init__(self, canvas: Image.Image) -> None:
        self.canvas = canvas
        self._solid = ImageDraw.Draw(canvas)
        self._veil = ImageDraw.Draw(canvas, "RGBA")

    def polygon(self, points: Iterable[Point], colour: Colour) -> None:
        self._solid.polygon(list(points), fill=colour)

    def rectangle(self, box: tuple[float, float, float, float], colour: Colour) -> None:
        """`box`: left, top, right, bottom."""
        self._solid.rectangle(box, fill=colour)

    def veil(self, points: Iterable[Point], colour: Colour, opacity: float) -> None:
        self._veil.polygon(list(points), fill=(*colour, int(255 * opacity)))

    def disc(
        self, centre: Point, radius: float, colour: Colour, radius_y: float | None = None
    ) -> None:
        x, y = centre
        ry = radius if radius_y is None else radius_y
        self._solid.ellipse((x - radius, y - ry, x + radius, y + ry), fill=colour)

    def veil_disc(
        self, centre: Point, radius: float, radius_y: float, colour: Colour, opacity: float
    ) -> None:
        x, y = centre
        box = (x - radius, y - radius_y, x + radius, y + radius_y)
        self._veil.ellipse(box, fill=(*colour, int(255 * opacity)))

    def arc(
        self, box: tuple[float, float, float, float], start: float, end: float, colour: Colour
    ) -> None:
        """A filled segment of the ellipse in `box`, degrees clockwise from three o'clock."""
        self._solid.chord(box, start, end, fill=colour)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        self._solid.line(list(points), fill=colour, width=max(1, round(width)), joint="curve")

    def limb(
        self, first: Point, second: Point, radius: float, end_radius: float, colour: Colour
    ) -> None:
        """A tapered rod with round ends."""
        (x0, y0), (x1, y1) = first, second
        length = math.hypot(x1 - x0, y1 - y0) or 1.0
        nx, ny = (y0 - y1) / length, (x1 - x0) / length
        self.polygon(
            [
                (x0 + nx * radius, y0 + ny * radius),
                (x1 + nx * end_radius, y1 + ny * end_radius),
                (x1 - nx * end_radius, y1 - ny * end_radius),
                (x0 - nx * radius, y0 - ny * radius),
            ],
            colour,
        )
        self.disc(first, radius, colour)
        self.disc(second, end_radius, colour)

    def lit_limbs(self, points: Sequence[Point], radii: Sequence[float], colour: Colour) -> None:
        """A jointed rod lit from the upper left: a dark one with a narrower bright one on it."""
        dark = shade(colour, 0.72)
        joints = list(zip(points, radii, strict=True))
        for (first, r0), (second, r1) in pairwise(joints):
            self.limb(first, second, r0, r1, dark)
        for ((x0, y0), r0), ((x1, y1), r1) in pairwise(joints):
            self.limb((x0 - r0 * 0.2, y0), (x1 - r1 * 0.2, y1), r0 * 0.74, r1 * 0.74, colour)

    def pillow(self, x: float, y: float, half: float, tall: float, colour: Colour) -> None:
        """A rectangle with round corners and a dark rim."""
        for grow, paint in ((0.012 * (half + tall) + 1.5, shade(colour, 0.55)), (0.0, colour)):
            box = (x - half - grow, y - tall - grow, x + half + grow, y + tall + grow)
            self._solid.rounded_rectangle(box, radius=min(half, tall) * 0.55, fill=paint)
