"""What gets between a camera and its subject; each covers a tenth to a third of the canvas."""

from __future__ import annotations

import numpy as np

from msinet_lab.synthetic.colours import shade
from msinet_lab.synthetic.pen import Pen, around

Size = tuple[int, int]


def occlude(pen: Pen, kind: str, size: Size, rng: np.random.Generator) -> None:
    """Put something between the camera and its subject, somewhere left or right of the middle."""
    side = 1 if rng.random() < 0.5 else -1
    x = size[0] * (0.5 + side * (0.12 + 0.26 * float(rng.random())))
    OCCLUDERS[kind](pen, x, size, rng)


def _pole(pen: Pen, x: float, size: Size, rng: np.random.Generator) -> None:
    width, height = size
    for half, tone in ((0.055, 0.75), (0.030, 1.1)):
        box = (x - width * half, 0, x + width * half, height)
        pen.rectangle(box, shade((108, 116, 122), tone))


def _bush(pen: Pen, x: float, size: Size, rng: np.random.Generator) -> None:
    width, height = size
    top, leaf = height * (0.70 + 0.12 * float(rng.random())), (62, 112, 60)
    for tone in (0.7, 0.95, 1.12):
        for _ in range(12):
            dx, dy = float(rng.normal(0, 0.26)) * width, float(rng.random()) * (height - top)
            radius = height * (0.035 + 0.03 * float(rng.random()))
            pen.disc((x + dx, top + dy + height * 0.04), radius, shade(leaf, tone))
    foot = ((-0.35, 0.93), (0.35, 0.93), (0.4, 1), (-0.4, 1))
    pen.polygon([(x + width * dx, height * y) for dx, y in foot], shade(leaf, 0.7))


def _rail(pen: Pen, x: float, size: Size, rng: np.random.Generator) -> None:
    width, height = size
    y = height * (0.66 + 0.12 * float(rng.random()))
    for bar in (y, y + 0.085 * height, y + 0.17 * height):
        pen.line([(0, bar), (width, bar)], (196, 200, 206), height * 0.018)
    for post in width * np.arange(-0.1 + 0.3 * rng.random(), 1.1, 0.42):
        pen.line([(post, y - height * 0.015), (post, height)], (150, 156, 164), height * 0.024)


def _sign(pen: Pen, x: float, size: Size, rng: np.random.Generator) -> None:
    width, height = size
    y, half = height * (0.52 + 0.2 * float(rng.random())), 0.13 * min(width, height) * 1.3
    pen.line([(x, y), (x, height)], (130, 136, 142), width * 0.035)
    pen.disc((x, y), half * 1.12, (246, 246, 244))
    pen.disc((x, y), half, (42, 94, 176))
    pen.rectangle(around(x, y, half * 0.6, half * 0.16), (250, 250, 250))


def _crates(pen: Pen, x: float, size: Size, rng: np.random.Generator) -> None:
    width, height = size
    tall, wide = height * 0.11, width * 0.36
    for row in range(2):
        y, left = height - tall * (row + 1), x - wide * (0.5 - 0.12 * row)
        pen.rectangle((left, y, left + wide, y + tall), (176, 132, 84))
        for share in (0.12, 0.42, 0.72):
            slat = (left, y + tall * share, left + wide, y + tall * (share + 0.16))
            pen.rectangle(slat, (150, 106, 64))


OCCLUDERS = {"pole": _pole, "bush": _bush, "rail": _rail, "sign": _sign, "crates": _crates}
