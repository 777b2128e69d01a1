"""The lower part of a scene: everything below the horizon."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from msinet_lab.synthetic.walls import View


def _rows(view: View, count: int, power: float) -> list[tuple[float, float]]:
    """Upper and lower y of strips of ground, wider towards the viewer."""
    return list(pairwise(view.below((step / count) ** power) for step in range(count + 1)))


def lawn(view: View) -> None:
    for y0, y1 in _rows(view, 7, 1.4)[1::2]:
        view.pen.rectangle((0, y0, view.width, y1), view.ground(0.93))
    for _ in range(40):
        spot = (view.rng.random() * view.width, view.below(view.rng.random()))
        view.pen.disc(spot, view.height * 0.006, view.accent)


def slabs(view: View) -> None:
    pen, thin = view.pen, view.height * 0.006
    for low, high in _rows(view, 6, 1.5):
        pen.line([(0, low), (view.width, low)], view.ground(0.82), thin)
        step = (high - low) * 2.6
        for x in np.arange(-step * view.rng.random(), view.width, step):
            pen.line([(x, low), (x - step * 0.12, high)], view.ground(0.84), thin)


def planks(view: View) -> None:
    for low, high in _rows(view, 9, 1.4):
        colour = view.ground(0.9 + 0.18 * view.rng.random())
        view.pen.rectangle((0, low, view.width, high), colour)


def track(view: View) -> None:
    for y in map(view.below, (0.15, 0.38, 0.70)):
        view.pen.line([(0, y), (view.width, y)], view.accent, view.height * 0.012)


def path(view: View) -> None:
    far, near, left = view.below(0.22), view.below(0.3), view.meet
    corners = [(0, left), (view.width, left), (view.width, far), (0, near)]
    view.pen.polygon(corners, view.accent)
    for _ in range(120):
        spot = (view.rng.random() * view.width, view.below(0.3 + 0.7 * view.rng.random()))
        view.pen.disc(spot, view.height * 0.005, view.ground(0.88))


def snow(view: View) -> None:
    for _ in range(60):
        spot = (view.rng.random() * view.width, view.below(view.rng.random()))
        view.pen.disc(spot, view.height * 0.035, view.ground(0.93), view.height * 0.01)


def platform(view: View) -> None:
    slabs(view)
    y = view.below(0.18)
    view.pen.rectangle((0, y, view.width, y + view.height * 0.03), view.accent)


def cobbles(view: View) -> None:
    for low, high in _rows(view, 10, 1.4):
        step = (high - low) * 1.6
        for x in np.arange(-step * view.rng.random(), view.width, step):
            colour = view.ground(0.86 + 0.26 * view.rng.random())
            view.pen.disc((x, (low + high) / 2), step * 0.44, colour, (high - low) * 0.42)


def road(view: View) -> None:
    pen, height, dash = view.pen, view.height, view.height * 0.42
    pen.rectangle((0, view.meet, view.width, view.meet + height * 0.05), view.ground(1.3))
    for y, long, thick in ((view.below(0.28), 0.55, 0.012), (view.below(0.84), 0.62, 0.02)):
        for x in np.arange(-dash * view.rng.random(), view.width, dash):
            pen.rectangle((x, y, x + dash * long, y + height * thick), view.accent)


def bays(view: View) -> None:
    pen, height, step = view.pen, view.height, view.height * 0.8
    top = view.meet + height * 0.06
    for x in np.arange(-step * view.rng.random(), view.width + step, step):
        pen.line([(x, top), (x - height * 0.35, height)], view.accent, height * 0.016)
    pen.line([(0, top), (view.width, top)], view.accent, height * 0.012)
