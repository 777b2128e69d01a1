"""A pen for generated pictures: flat shapes with a little light on them, on a Pillow canvas."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from PIL import Image, ImageDraw

from msinet_lab.synthetic.colours import Colour, shade

Point = tuple[float, float]


def between(first: Point, second: Point, share: float) -> Point:
    """The point that lies this share of the way from the first to the second."""
    (x0, y0), (x1, y1) = first, second
    return x0 + (x1 - x0) * share, y0 + (y1 - y0) * share


def around(x: float, y: float, half: float, tall: float) -> tuple[float, float, float, float]:
    """The box of half the width `half` and half the height `tall` round a point."""
    return x - half, y - tall, x + half, y + tall


class Pen:
    """Shapes in pixels of one canvas, opaque unless an `opacity` below 1 is given."""

    def __init__(self, canvas: Image.Image) -> None:
        self.canvas = canvas
        self._solid = ImageDraw.Draw(canvas)
        self._veil = ImageDraw.Draw(canvas, "RGBA")

    def polygon(self, points: Iterable[Point], colour: Colour, opacity: float = 1) -> None:
        draw, fill = self._with(colour, opacity)
        draw.polygon(list(points), fill=fill)

    def rectangle(self, box: tuple[float, float, float, float], colour: Colour) -> None:
        """`box`: left, top, right, bottom."""
        self._solid.rectangle(box, fill=colour)

    def disc(
        self,
        centre: Point,
        radius: float,
        colour: Colour,
        radius_y: float | None = None,
        opacity: float = 1,
    ) -> None:
        draw, fill = self._with(colour, opacity)
        draw.ellipse(around(*centre, radius, radius if radius_y is None else radius_y), fill=fill)

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
        ends = ((x0, y0, radius), (x1, y1, end_radius))
        left = [(x + nx * r, y + ny * r) for x, y, r in ends]
        right = [(x - nx * r, y - ny * r) for x, y, r in reversed(ends)]
        self.polygon(left + right, colour)
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
        radius = min(half, tall) * 0.55
        for grow, fill in ((0.012 * (half + tall) + 1.5, shade(colour, 0.55)), (0.0, colour)):
            box = (x - half - grow, y - tall - grow, x + half + grow, y + tall + grow)
            self._solid.rounded_rectangle(box, radius=radius, fill=fill)

    def _with(self, colour: Colour, opacity: float) -> tuple[ImageDraw.ImageDraw, tuple[int, ...]]:
        if opacity >= 1:
            return self._solid, colour
        return self._veil, (*colour, int(255 * opacity))
