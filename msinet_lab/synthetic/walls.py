"""What a scene is made of, and its upper part: everything above the horizon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from msinet_lab.synthetic.colours import Colour, mix, shade
from msinet_lab.synthetic.pen import Pen


@dataclass(frozen=True)
class Scene:
    """A wall above a ground: what draws each, and their colours."""

    wall: Callable[[View], None]
    wall_colour: Colour
    ground: Callable[[View], None]
    ground_colour: Colour
    accent: Colour
    horizon: float  # where they meet, a share of the height


@dataclass(frozen=True)
class View:
    """A scene on a canvas of `width` x `height` pixels; wall and ground meet at y = `meet`."""

    scene: Scene
    pen: Pen
    width: int
    height: int
    rng: np.random.Generator

    @property
    def meet(self) -> float:
        return self.height * self.scene.horizon

    @property
    def accent(self) -> Colour:
        return self.scene.accent

    def wall(self, factor: float) -> Colour:
        return shade(self.scene.wall_colour, factor)

    def ground(self, factor: float) -> Colour:
        return shade(self.scene.ground_colour, factor)

    def below(self, share: float) -> float:
        """y of a place on the ground: 0 at the horizon, 1 at the lower edge."""
        return self.meet + (self.height - self.meet) * share

    def every(self, step: float) -> Iterator[tuple[int, float]]:
        """0, 1, 2, ... and the x of each, `step` pixels apart, over the whole width."""
        return ((place, place * step) for place in range(int(self.width / step) + 1))

    def some(self, first: float, step: float) -> np.ndarray:
        """x of what recurs, in units of the wall's height."""
        return np.arange(first, self.width / self.meet, step) * self.meet


def hedge(view: View) -> None:
    pen, meet, rng = view.pen, view.meet, view.rng
    pen.rectangle((0, 0, view.width, meet * 0.45), (186, 216, 232))
    for tone in (0.62, 0.8, 1.0, 1.15):
        for _ in range(int(view.width / meet * 14)):
            x, y = rng.random() * view.width, meet * (0.40 + 0.1 * tone + 0.5 * rng.random())
            pen.disc((x, y), meet * (0.06 + 0.08 * rng.random()), view.wall(tone))


def bricks(view: View) -> None:
    pen, meet, rows = view.pen, view.meet, 11
    tall = meet / rows
    for row in range(rows):
        for place in range(-1, int(view.width / (tall * 2.4)) + 1):
            x = (place + 0.5 * (row % 2)) * tall * 2.4
            colour = view.wall(0.88 + 0.22 * view.rng.random())
            pen.rectangle((x, row * tall, x + tall * 2.2, row * tall + tall * 0.84), colour)
    for x in view.some(0.3, 1.3):
        pen.rectangle((x, meet * 0.1, x + meet * 0.4, meet * 0.6), view.accent)
        pen.rectangle((x + meet * 0.04, meet * 0.14, x + meet * 0.36, meet * 0.56), (92, 124, 150))


def windows(view: View) -> None:
    step = view.meet / 3.2
    for row in range(3):
        for _, x in view.every(step):
            y = row * step + step * 0.15
            lit = view.accent if view.rng.random() < 0.62 else view.wall(0.72)
            colour = mix(lit, view.scene.wall_colour, 0.35 * float(view.rng.random()))
            view.pen.rectangle((x, y, x + step * 0.72, y + step * 0.74), colour)


def panels(view: View) -> None:
    pen, meet = view.pen, view.meet
    for _, x in view.every(meet * 0.3):
        colour = view.wall(0.9 + 0.14 * view.rng.random())
        pen.rectangle((x, 0, x + meet * 0.28, meet), colour)
    pen.rectangle((0, meet * 0.9, view.width, meet), shade(view.accent, 0.85))
    for x in view.some(0.5, 1.7):
        pen.rectangle((x, meet * 0.2, x + meet * 0.45, meet), view.accent)


def fence(view: View) -> None:
    pen, meet, rng = view.pen, view.meet, view.rng
    for place in range(int(view.width / meet * 3) + 1):
        x, half = rng.random() * view.width, meet * (0.2 + 0.3 * rng.random())
        colour = shade((104, 148, 96), 0.8 + 0.3 * rng.random())
        pen.disc((x, meet), half, colour, half * 1.1 * (0.6 + 0.4 * (place % 2)))
    for x in np.arange(0, view.width, meet * 0.16):
        pen.line([(x, meet * 0.35), (x, meet)], view.wall(0.55), meet * 0.025)
    for y in (meet * 0.4, meet * 0.68):
        pen.line([(0, y), (view.width, y)], view.wall(0.5), meet * 0.03)


def trees(view: View) -> None:
    pen, meet, rng = view.pen, view.meet, view.rng
    for place in range(int(view.width / meet * 2.2) + 1):
        x, size = (place + 0.6 * rng.random()) * meet * 0.48, meet * (0.2 + 0.14 * rng.random())
        pen.line([(x, meet * 0.4), (x, meet)], (96, 74, 60), meet * 0.05)
        for _ in range(7):
            dx, dy = rng.normal(0, size * 0.42, 2)
            radius = size * (0.35 + 0.25 * rng.random())
            colour = shade(view.accent, 0.75 + 0.4 * rng.random())
            pen.disc((x + dx, meet * 0.38 + dy), radius, colour)


def train(view: View) -> None:
    pen, meet = view.pen, view.meet
    pen.rectangle((0, meet * 0.05, view.width, meet * 0.12), view.wall(1.35))
    pen.rectangle((0, meet * 0.66, view.width, meet * 0.74), view.accent)
    for place, x in view.every(meet * 0.42):
        top, bottom, colour = 0.16, 0.95, shade(view.accent, 0.9)  # a door, or else a window
        if place % 4 != 3:
            top, bottom = 0.2, 0.55
            colour = shade((206, 216, 220), 0.8 + 0.2 * view.rng.random())
        pen.rectangle((x, meet * top, x + meet * 0.34, meet * bottom), colour)


def stalls(view: View) -> None:
    pen, meet, rng = view.pen, view.meet, view.rng
    colours = (view.accent, (214, 182, 120), (84, 120, 120), (150, 98, 120))
    for _, x in view.every(meet * 0.8):
        colour = colours[int(rng.integers(len(colours)))]
        for stripe in range(6):
            left = x + stripe * meet * 0.125
            tone = colour if stripe % 2 else (236, 228, 214)
            pen.rectangle((left, meet * 0.25, left + meet * 0.125, meet * 0.48), tone)
        pen.rectangle((x + meet * 0.04, meet * 0.7, x + meet * 0.7, meet), shade(colour, 0.6))
        for _ in range(9):
            centre = (x + meet * (0.1 + 0.55 * rng.random()), meet * 0.68)
            pen.disc(centre, meet * 0.045, colours[int(rng.integers(len(colours)))])
