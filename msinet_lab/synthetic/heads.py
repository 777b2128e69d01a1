"""Heads: hair, face, cap, seen from any side."""

from __future__ import annotations

from msinet_lab.synthetic.body import Body
from msinet_lab.synthetic.colours import mix, shade
from msinet_lab.synthetic.pen import Point

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def head(body: Body) -> None:
    u, behind, style = body.unit, body.cos < -0.25, body.who["hair"]
    rx, ry = 0.060 * u, 0.078 * u
    if style == "bun" and not behind:
        bun(body)
    (head_from_behind if behind else head_from_before)(body, rx, ry)
    if style in ("long", "tail") and behind:
        hair_fall(body)
    if style == "bun" and behind:
        bun(body)
    if style == "cap":
        cap(body, _face(body), rx, ry)


def _face(body: Body) -> Point:
    return body.at(0, 0.912, 0.012)


def _back(body: Body) -> Point:
    return body.at(0, 0.925, -0.022)


def head_from_behind(body: Body, rx: float, ry: float) -> None:
    """Hair over the face."""
    pen, style, (x, y), back = body.pen, body.who["hair"], _face(body), _back(body)
    pen.disc((x, y), rx, body.skin, ry)
    if style == "bald":
        pen.disc((x + rx * 0.4, y), rx * 0.55, BLACK, ry * 0.9, 0.12)
    elif style == "cap":
        pen.disc((x, y + 0.01 * body.unit), rx * 0.98, body.hair, ry * 0.8)
    else:
        pen.disc(back, rx * 1.08, body.hair, ry * 1.02)
        shine = (back[0] - rx * 0.3, back[1] - ry * 0.35)
        pen.disc(shine, rx * 0.45, WHITE, ry * 0.3, 0.16)


def head_from_before(body: Body, rx: float, ry: float) -> None:
    """The face within the hair."""
    pen, style, (x, y), back = body.pen, body.who["hair"], _face(body), _back(body)
    if style == "cap":
        pen.disc(back, rx * 1.02, body.hair, ry * 0.9)
    elif style != "bald":
        pen.disc(back, rx * 1.12, body.hair, ry * 1.04)
    pen.disc((x, y), rx * 0.95, body.skin, ry * 0.98)
    pen.disc((x + rx * 0.55, y + ry * 0.1), rx * 0.35, (90, 40, 20), ry * 0.8, 0.13)
    features(body, (x, y), rx, ry)
    if style not in ("bald", "cap"):
        box = (x - rx * 1.05, y - ry * 1.12, x + rx * 1.05, y + ry * 0.55)
        pen.arc(box, 180 + 18 * body.sin, 360 + 18 * body.sin, body.hair)


def features(body: Body, face: Point, rx: float, ry: float) -> None:
    """Eyes, mouth, and the nose in profile."""
    if body.cos < -0.1:
        return
    pen, (left, top) = body.pen, face
    for side in (-1, 1):
        across = side * 0.42 * body.cos + 0.62 * body.sin
        if abs(across) < 0.9 and body.depth(side * 0.42, 0.75) > 0:
            pen.disc((left + rx * across, top + ry * 0.12), rx * 0.11, (40, 28, 26), ry * 0.11)
    x, y, half = left + rx * 0.72 * body.sin, top + ry * 0.55, rx * 0.22 * abs(body.cos)
    lips = shade(mix(body.skin, (190, 60, 60), 0.4), 0.85)
    pen.line([(x - half - 1, y), (x + half + 1, y)], lips, 0.010 * body.unit)
    if abs(body.sin) > 0.5:
        side = 1 if body.sin > 0 else -1
        pen.disc((left + side * rx * 0.95, top + ry * 0.28), rx * 0.16, body.skin)


def hair_fall(body: Body) -> None:
    """Long hair on the shoulders, or a tail."""
    low, wide, grow = (0.775, 0.066, 1.05) if body.who["hair"] == "long" else (0.74, 0.026, 0.7)
    wide *= body.unit
    ends = (body.at(0, 0.92, -0.035), body.at(0, low, -0.085))
    body.pen.lit_limbs(ends, (wide, wide * grow), body.hair)


def bun(body: Body) -> None:
    u, (x, y) = body.unit, body.at(0, 0.995, -0.05)
    body.pen.disc((x, y), 0.034 * u, shade(body.hair, 0.9))
    body.pen.disc((x - 0.01 * u, y - 0.01 * u), 0.014 * u, WHITE, 0.012 * u, 0.15)


def cap(body: Body, face: Point, rx: float, ry: float) -> None:
    colour, (x, y) = shade(body.lower, 0.9), face
    box = (x - rx * 1.08, y - ry * 1.15, x + rx * 1.08, y + ry * 0.62)
    body.pen.arc(box, 180, 360, colour)
    if body.cos > -0.25:
        peak = (x + rx * 0.75 * body.sin, y - ry * 0.24)
        body.pen.disc(peak, rx * (0.95 - 0.2 * abs(body.sin)), shade(colour, 0.7), ry * 0.17)
