"""What a person carries."""

from __future__ import annotations

import math

from msinet_lab.synthetic.body import Body
from msinet_lab.synthetic.colours import ACCENTS, Colour, shade
from msinet_lab.synthetic.pen import Point


def bag_colour(body: Body) -> Colour:
    return ACCENTS[body.who["bag"].split()[0]]


def backpack(body: Body) -> None:
    u, pen, colour = body.unit, body.pen, bag_colour(body)
    x, y = body.at(0, 0.69, -(body.axes(0.7)[1] + 0.045))
    half, tall = body.wide(0.098, 0.062) * u, 0.125 * u
    pen.pillow(x, y, half, tall, colour)
    if body.cos < 0.3:
        pen.pillow(x, y + tall * 0.45, half * 0.7, tall * 0.38, shade(colour, 1.25))
        seam = [(x - half * 0.7, y - tall * 0.2), (x + half * 0.7, y - tall * 0.2)]
        pen.line(seam, shade(colour, 0.55), 0.012 * u)


def straps(body: Body) -> None:
    """What a bag shows on the body: a backpack's two straps, or a satchel and its belt."""
    u, bag = body.unit, body.who["bag"]
    if bag.endswith("backpack"):
        for angle in (-0.62, 0.62):
            body.stroke(angle, 0.66, 0.82, 0.03, shade(bag_colour(body), 0.8))
    elif bag.endswith("satchel"):
        colour, shares = bag_colour(body), (0, 0.25, 0.5, 0.75, 1)
        for turn, way in ((0.0, 1), (math.pi, -1)):
            steps = [body.surface(0.82 - 0.3 * t, turn + (-0.75 + 1.75 * t) * way) for t in shares]
            seen = [point for point, facing in steps if facing > 0]
            if len(seen) > 1:
                body.pen.line(seen, shade(colour, 0.7), 0.022 * u)
        if body.depth(1, 0.0) > -0.55:
            x, y = body.at(0.118 * body.girth, 0.485, 0.0)
            body.pen.pillow(x, y, body.wide(0.04, 0.085) * u + 0.012 * u, 0.062 * u, colour)


def handbag(body: Body, hand: Point) -> None:
    u, colour = body.unit, bag_colour(body)
    x, y = hand[0], hand[1] + 0.115 * u
    half, top = body.wide(0.05, 0.082) * u, y - 0.04 * u
    handle = [(x - half * 0.6, top), hand, (x + half * 0.6, top)]
    body.pen.line(handle, shade(colour, 0.6), 0.014 * u)
    body.pen.pillow(x, y, half, 0.058 * u, colour)
