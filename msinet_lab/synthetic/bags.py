"""What a person carries."""

from __future__ import annotations

import math

from msinet_lab.synthetic.figure import Figure
from msinet_lab.synthetic.identities import ACCENTS, Colour
from msinet_lab.synthetic.pen import Point, shade


def bag_colour(figure: Figure) -> Colour:
    return ACCENTS[figure.who["bag"].split()[0]]


def backpack(figure: Figure) -> None:
    x, y = figure.at(0, 0.69, -(figure.axes(0.7)[1] + 0.045))
    half = math.hypot(0.098 * figure.cos, 0.062 * figure.sin) * figure.unit
    tall, colour, pen = 0.125 * figure.unit, bag_colour(figure), figure.pen
    figure.pen.pillow(x, y, half, tall, colour)
    if figure.cos < 0.3:
        pen.pillow(x, y + tall * 0.45, half * 0.7, tall * 0.38, shade(colour, 1.25))
        pen.line(
            [(x - half * 0.7, y - tall * 0.2), (x + half * 0.7, y - tall * 0.2)],
            shade(colour, 0.55),
            0.012 * figure.unit,
        )


def straps(figure: Figure) -> None:
    """What a bag shows on the body: two straps of a backpack, the belt of a satchel and the
    satchel.
    """
    bag = figure.who["bag"]
    if bag.endswith("backpack"):
        for angle in (-0.62, 0.62):
            figure.stroke(angle, 0.66, 0.82, 0.03, shade(bag_colour(figure), 0.8))
    elif bag.endswith("satchel"):
        colour = bag_colour(figure)
        for turn in (0.0, math.pi):
            steps = [
                figure.surface(0.82 - 0.3 * t, turn + (-0.75 + 1.75 * t) * (1 if turn == 0 else -1))
                for t in (0, 0.25, 0.5, 0.75, 1)
            ]
            seen = [point for point, facing in steps if facing > 0]
            if len(seen) > 1:
                figure.pen.line(seen, shade(colour, 0.7), 0.022 * figure.unit)
        if figure.depth(1, 0.0) > -0.55:
            x, y = figure.at(0.118 * figure.girth, 0.485, 0.0)
            half = (
                math.hypot(0.04 * figure.cos, 0.085 * figure.sin) * figure.unit
                + 0.012 * figure.unit
            )
            figure.pen.pillow(x, y, half, 0.062 * figure.unit, colour)


def handbag(figure: Figure, hand: Point) -> None:
    u, colour = figure.unit, bag_colour(figure)
    x, y = hand[0], hand[1] + 0.115 * u
    half = math.hypot(0.05 * figure.cos, 0.082 * figure.sin) * u
    figure.pen.line(
        [(x - half * 0.6, y - 0.04 * u), hand, (x + half * 0.6, y - 0.04 * u)],
        shade(colour, 0.6),
        0.014 * u,
    )
    figure.pen.pillow(x, y, half, 0.058 * u, colour)
