"""The lower part of a scene: everything below the horizon."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from msinet_lab.synthetic.pen import Pen, shade
from msinet_lab.synthetic.walls import Scene

Size = tuple[int, int]


def _lawn(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    for step in range(7):
        if step % 2:
            y0, y1 = (
                meet + (height - meet) * (step / 7) ** 1.4,
                meet + (height - meet) * ((step + 1) / 7) ** 1.4,
            )
            pen.rectangle((0, y0, width, y1), shade(scene.ground_colour, 0.93))
    for _ in range(40):
        pen.disc(
            (rng.random() * width, meet + (height - meet) * rng.random()),
            height * 0.006,
            scene.accent,
        )


def _slabs(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    rows = [meet + (height - meet) * (step / 6) ** 1.5 for step in range(7)]
    for low, high in pairwise(rows):
        pen.line([(0, low), (width, low)], shade(scene.ground_colour, 0.82), height * 0.006)
        step = (high - low) * 2.6
        for x in np.arange(-step * rng.random(), width, step):
            pen.line(
                [(x, low), (x - step * 0.12, high)],
                shade(scene.ground_colour, 0.84),
                height * 0.006,
            )


def _planks(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    rows = [meet + (height - meet) * (step / 9) ** 1.4 for step in range(10)]
    for low, high in pairwise(rows):
        tone = shade(scene.ground_colour, 0.9 + 0.18 * rng.random())
        pen.rectangle((0, low, width, high), tone)


def _track(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    for step in (0.15, 0.38, 0.70):
        y = meet + (height - meet) * step
        pen.line([(0, y), (width, y)], scene.accent, height * 0.012)


def _path(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    pen.polygon(
        [
            (0, meet),
            (width, meet),
            (width, meet + (height - meet) * 0.22),
            (0, meet + (height - meet) * 0.3),
        ],
        scene.accent,
    )
    for _ in range(120):
        pen.disc(
            (rng.random() * width, meet + (height - meet) * (0.3 + 0.7 * rng.random())),
            height * 0.005,
            shade(scene.ground_colour, 0.88),
        )


def _snow(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    for _ in range(60):
        x, y = rng.random() * width, meet + (height - meet) * rng.random()
        pen.disc((x, y), height * 0.035, shade(scene.ground_colour, 0.93), height * 0.01)


def _platform(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    _slabs(pen, scene, size, meet, rng)
    y = meet + (height - meet) * 0.18
    pen.rectangle((0, y, width, y + height * 0.03), scene.accent)


def _cobbles(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    rows = [meet + (height - meet) * (step / 10) ** 1.4 for step in range(11)]
    for low, high in pairwise(rows):
        step = (high - low) * 1.6
        for x in np.arange(-step * rng.random(), width, step):
            pen.disc(
                (x, (low + high) / 2),
                step * 0.44,
                shade(scene.ground_colour, 0.86 + 0.26 * rng.random()),
                (high - low) * 0.42,
            )


def _road(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    pen.rectangle((0, meet, width, meet + height * 0.05), shade(scene.ground_colour, 1.3))
    dash = height * 0.42
    for row, y in ((0, meet + (height - meet) * 0.28), (1, meet + (height - meet) * 0.84)):
        for x in np.arange(-dash * rng.random(), width, dash):
            long = dash * (0.55 if row == 0 else 0.62)
            thick = height * (0.012 + 0.008 * row)
            pen.rectangle((x, y, x + long, y + thick), scene.accent)


def _bays(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    step = height * 0.8
    for x in np.arange(-step * rng.random(), width + step, step):
        pen.line(
            [(x, meet + height * 0.06), (x - height * 0.35, height)], scene.accent, height * 0.016
        )
    pen.line(
        [(0, meet + height * 0.06), (width, meet + height * 0.06)], scene.accent, height * 0.012
    )


GROUNDS: dict[str, Callable[[Pen, Scene, Size, float, np.random.Generator], None]] = {
    "lawn": _lawn,
    "slabs": _slabs,
    "planks": _planks,
    "track": _track,
    "path": _path,
    "snow": _snow,
    "platform": _platform,
    "cobbles": _cobbles,
    "road": _road,
    "bays": _bays,
}
