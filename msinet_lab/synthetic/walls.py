"""What a scene is made of, and its upper part: everything above the horizon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from msinet_lab.synthetic.identities import Colour
from msinet_lab.synthetic.pen import Pen, mix, shade


@dataclass(frozen=True)
class Scene:
    """A wall above a ground: what each is made of, their colours, and where they meet (share of the
    height).
    """

    wall: str
    wall_colour: Colour
    ground: str
    ground_colour: Colour
    accent: Colour
    horizon: float


def _hedge(pen: Pen, scene: Scene, width: int, meet: float, rng: np.random.Generator) -> None:
    pen.rectangle((0, 0, width, meet * 0.45), (186, 216, 232))
    for tone in (0.62, 0.8, 1.0, 1.15):
        for _ in range(int(width / meet * 14)):
            x, y = rng.random() * width, meet * (0.40 + 0.1 * tone + 0.5 * rng.random())
            pen.disc((x, y), meet * (0.06 + 0.08 * rng.random()), shade(scene.wall_colour, tone))


def _bricks(pen: Pen, scene: Scene, width: int, meet: float, rng: np.random.Generator) -> None:
    rows = 11
    tall = meet / rows
    for row in range(rows):
        for place in range(-1, int(width / (tall * 2.4)) + 1):
            x = (place + 0.5 * (row % 2)) * tall * 2.4
            colour = shade(scene.wall_colour, 0.88 + 0.22 * rng.random())
            pen.rectangle((x, row * tall, x + tall * 2.2, row * tall + tall * 0.84), colour)
    for x in np.arange(0.3, width / meet, 1.3) * meet:
        pen.rectangle((x, meet * 0.1, x + meet * 0.4, meet * 0.6), scene.accent)
        pen.rectangle((x + meet * 0.04, meet * 0.14, x + meet * 0.36, meet * 0.56), (92, 124, 150))


def _windows(pen: Pen, scene: Scene, width: int, meet: float, rng: np.random.Generator) -> None:
    step = meet / 3.2
    for row in range(3):
        for place in range(int(width / step) + 1):
            x, y = place * step, row * step + step * 0.15
            lit = scene.accent if rng.random() < 0.62 else shade(scene.wall_colour, 0.72)
            pen.rectangle(
                (x, y, x + step * 0.72, y + step * 0.74),
                mix(lit, scene.wall_colour, 0.35 * float(rng.random())),
            )


def _panels(pen: Pen, scene: Scene, width: int, meet: float, rng: np.random.Generator) -> None:
    for place in range(int(width / (meet * 0.3)) + 1):
        x = place * meet * 0.3
        pen.rectangle(
            (x, 0, x + meet * 0.28, meet), shade(scene.wall_colour, 0.9 + 0.14 * rng.random())
        )
    pen.rectangle((0, meet * 0.9, width, meet), shade(scene.accent, 0.85))
    for x in np.arange(0.5, width / meet, 1.7) * meet:
        pen.rectangle((x, meet * 0.2, x + meet * 0.45, meet), scene.accent)


def _fence(pen: Pen, scene: Scene, width: int, meet: float, rng: np.random.Generator) -> None:
    for place in range(int(width / meet * 3) + 1):
        x, half = rng.random() * width, meet * (0.2 + 0.3 * rng.random())
        pen.disc(
            (x, meet),
            half,
            shade((104, 148, 96), 0.8 + 0.3 * rng.random()),
            half * 1.1 * (0.6 + 0.4 * (place % 2)),
        )
    for x in np.arange(0, width, meet * 0.16):
        pen.line([(x, meet * 0.35), (x, meet)], shade(scene.wall_colour, 0.55), meet * 0.025)
    for y in (0.4, 0.68):
        pen.line([(0, meet * y), (width, meet * y)], shade(scene.wall_colour, 0.5), meet * 0.03)


def _trees(pen: Pen, scene: Scene, width: int, meet: float, rng: np.random.Generator) -> None:
    for place in range(int(width / meet * 2.2) + 1):
        x, size = (place + 0.6 * rng.random()) * meet * 0.48, meet * (0.2 + 0.14 * rng.random())
        pen.line([(x, meet * 0.4), (x, meet)], (96, 74, 60), meet * 0.05)
        for _ in range(7):
            dx, dy = rng.normal(0, size * 0.42, 2)
            pen.disc(
                (x + dx, meet * 0.38 + dy),
                size * (0.35 + 0.25 * rng.random()),
                shade(scene.accent, 0.75 + 0.4 * rng.random()),
            )


def _train(pen: Pen, scene: Scene, width: int, meet: float, rng: np.random.Generator) -> None:
    pen.rectangle((0, meet * 0.05, width, meet * 0.12), shade(scene.wall_colour, 1.35))
    pen.rectangle((0, meet * 0.66, width, meet * 0.74), scene.accent)
    for place in range(int(width / (meet * 0.42)) + 1):
        x = place * meet * 0.42
        if place % 4 == 3:
            pen.rectangle((x, meet * 0.16, x + meet * 0.34, meet * 0.95), shade(scene.accent, 0.9))
            continue
        glass = shade((206, 216, 220), 0.8 + 0.2 * rng.random())
        pen.rectangle((x, meet * 0.2, x + meet * 0.34, meet * 0.55), glass)


def _stalls(pen: Pen, scene: Scene, width: int, meet: float, rng: np.random.Generator) -> None:
    colours = (scene.accent, (214, 182, 120), (84, 120, 120), (150, 98, 120))
    for place in range(int(width / (meet * 0.8)) + 1):
        x, colour = place * meet * 0.8, colours[int(rng.integers(len(colours)))]
        for stripe in range(6):
            left = x + stripe * meet * 0.125
            tone = colour if stripe % 2 else (236, 228, 214)
            pen.rectangle((left, meet * 0.25, left + meet * 0.125, meet * 0.48), tone)
        pen.rectangle((x + meet * 0.04, meet * 0.7, x + meet * 0.7, meet), shade(colour, 0.6))
        for _ in range(9):
            pen.disc(
                (x + meet * (0.1 + 0.55 * rng.random()), meet * 0.68),
                meet * 0.045,
                colours[int(rng.integers(len(colours)))],
            )


WALLS: dict[str, Callable[[Pen, Scene, int, float, np.random.Generator], None]] = {
    "hedge": _hedge,
    "bricks": _bricks,
    "windows": _windows,
    "panels": _panels,
    "fence": _fence,
    "trees": _trees,
    "train": _train,
    "stalls": _stalls,
}
