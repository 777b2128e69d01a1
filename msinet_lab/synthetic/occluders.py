"""What gets between a camera and its subject."""

from __future__ import annotations

import numpy as np

from msinet_lab.synthetic.pen import Pen, shade

Size = tuple[int, int]


def occlude(pen: Pen, kind: str, size: Size, rng: np.random.Generator) -> None:
    """Put something between the camera and its subject: it covers a tenth to a third of the canvas."""
    width, height = size
    side = 1 if rng.random() < 0.5 else -1
    x = width * (0.5 + side * (0.12 + 0.26 * float(rng.random())))
    if kind == "pole":
        for half, tone in ((0.055, 0.75), (0.030, 1.1)):
            pen.rectangle(
                (x - width * half, 0, x + width * half, height),
                shade((108, 116, 122), tone),
            )
    elif kind == "bush":
        top, leaf = height * (0.70 + 0.12 * float(rng.random())), (62, 112, 60)
        for tone in (0.7, 0.95, 1.12):
            for _ in range(12):
                dx, dy = float(rng.normal(0, 0.26)) * width, float(rng.random()) * (height - top)
                pen.disc(
                    (x + dx, top + dy + height * 0.04),
                    height * (0.035 + 0.03 * float(rng.random())),
                    shade(leaf, tone),
                )
        pen.polygon(
            [
                (x - width * 0.35, height * 0.93),
                (x + width * 0.35, height * 0.93),
                (x + width * 0.4, height),
                (x - width * 0.4, height),
            ],
            shade(leaf, 0.7),
        )
    elif kind == "rail":
        y = height * (0.66 + 0.12 * float(rng.random()))
        for dy in (0.0, 0.085, 0.17):
            pen.line(
                [(0, y + dy * height), (width, y + dy * height)], (196, 200, 206), height * 0.018
            )
        for post in np.arange(-0.1 + 0.3 * rng.random(), 1.1, 0.42):
            pen.line(
                [(width * post, y - height * 0.015), (width * post, height)],
                (150, 156, 164),
                height * 0.024,
            )
    elif kind == "sign":
        y, half = height * (0.52 + 0.2 * float(rng.random())), 0.13 * min(width, height) * 1.3
        pen.line([(x, y), (x, height)], (130, 136, 142), width * 0.035)
        pen.disc((x, y), half * 1.12, (246, 246, 244))
        pen.disc((x, y), half, (42, 94, 176))
        pen.rectangle(
            (x - half * 0.6, y - half * 0.16, x + half * 0.6, y + half * 0.16),
            (250, 250, 250),
        )
    else:  # crates
        for row in range(2):
            tall, wide = height * 0.11, width * 0.36
            y, left = height - tall * (row + 1), x - wide * (0.5 - 0.12 * row)
            pen.rectangle((left, y, left + wide, y + tall), (176, 132, 84))
            for share in (0.12, 0.42, 0.72):
                pen.rectangle(
                    (left, y + tall * share, left + wide, y + tall * (share + 0.16)),
                    (150, 106, 64),
                )


OCCLUDERS = ("pole", "bush", "rail", "sign", "crates")
