"""Heads: hair, face, cap, seen from any side."""

from __future__ import annotations

from msinet_lab.synthetic.figure import Figure
from msinet_lab.synthetic.pen import Point, mix, shade


def head(figure: Figure) -> None:
    pen, u = figure.pen, figure.unit
    rx, ry = 0.060 * u, 0.078 * u
    style, hair = figure.who["hair"], figure.hair
    back = figure.at(0, 0.925, -0.022)
    face = figure.at(0, 0.912, 0.012)
    if figure.cos < -0.25:  # seen from behind: hair over the face
        pen.disc(face, rx, figure.skin, ry)
        if style == "bald":
            pen.veil_disc((face[0] + rx * 0.4, face[1]), rx * 0.55, ry * 0.9, (0, 0, 0), 0.12)
        elif style == "cap":
            pen.disc((face[0], face[1] + 0.01 * u), rx * 0.98, hair, ry * 0.8)
        else:
            pen.disc(back, rx * 1.08, hair, ry * 1.02)
            pen.veil_disc(
                (back[0] - rx * 0.3, back[1] - ry * 0.35),
                rx * 0.45,
                ry * 0.3,
                (255, 255, 255),
                0.16,
            )
        if style in ("long", "tail"):
            hair_fall(figure)
        if style == "bun":
            bun(figure)
    else:
        if style == "bun":
            bun(figure)
        if style not in ("bald", "cap"):
            pen.disc(back, rx * 1.12, hair, ry * 1.04)
        elif style == "cap":
            pen.disc(back, rx * 1.02, hair, ry * 0.9)
        pen.disc(face, rx * 0.95, figure.skin, ry * 0.98)
        pen.veil_disc(
            (face[0] + rx * 0.55, face[1] + ry * 0.1), rx * 0.35, ry * 0.8, (90, 40, 20), 0.13
        )
        features(figure, face, rx, ry)
        if style not in ("bald", "cap"):
            box = (
                face[0] - rx * 1.05,
                face[1] - ry * 1.12,
                face[0] + rx * 1.05,
                face[1] + ry * 0.55,
            )
            pen.arc(box, 180 + 18 * figure.sin, 360 + 18 * figure.sin, hair)
    if style == "cap":
        cap(figure, face, rx, ry)


def features(figure: Figure, face: Point, rx: float, ry: float) -> None:
    if figure.cos < -0.1:
        return
    for side in (-1, 1):
        across = side * 0.42 * figure.cos + 0.62 * figure.sin
        if abs(across) < 0.9 and figure.depth(side * 0.42, 0.75) > 0:
            figure.pen.disc(
                (face[0] + rx * across, face[1] + ry * 0.12), rx * 0.11, (40, 28, 26), ry * 0.11
            )
    x = face[0] + rx * 0.72 * figure.sin
    figure.pen.line(
        [
            (x - rx * 0.22 * abs(figure.cos) - 1, face[1] + ry * 0.55),
            (x + rx * 0.22 * abs(figure.cos) + 1, face[1] + ry * 0.55),
        ],
        shade(mix(figure.skin, (190, 60, 60), 0.4), 0.85),
        0.010 * figure.unit,
    )
    if abs(figure.sin) > 0.5:  # the nose in profile
        side = 1 if figure.sin > 0 else -1
        figure.pen.disc((face[0] + side * rx * 0.95, face[1] + ry * 0.28), rx * 0.16, figure.skin)


def hair_fall(figure: Figure) -> None:
    """Long hair on the shoulders, or a tail."""
    u = figure.unit
    top, low = (
        figure.at(0, 0.92, -0.035),
        figure.at(0, 0.775 if figure.who["hair"] == "long" else 0.74, -0.085),
    )
    wide = 0.066 * u if figure.who["hair"] == "long" else 0.026 * u
    figure.pen.lit_limbs(
        (top, low), (wide, wide * (1.05 if figure.who["hair"] == "long" else 0.7)), figure.hair
    )


def bun(figure: Figure) -> None:
    x, y = figure.at(0, 0.995, -0.05)
    figure.pen.disc((x, y), 0.034 * figure.unit, shade(figure.hair, 0.9))
    figure.pen.veil_disc(
        (x - 0.01 * figure.unit, y - 0.01 * figure.unit),
        0.014 * figure.unit,
        0.012 * figure.unit,
        (255, 255, 255),
        0.15,
    )


def cap(figure: Figure, face: Point, rx: float, ry: float) -> None:
    colour = shade(figure.lower, 0.9)
    box = (face[0] - rx * 1.08, face[1] - ry * 1.15, face[0] + rx * 1.08, face[1] + ry * 0.62)
    figure.pen.arc(box, 180, 360, colour)
    if figure.cos > -0.25:
        x, y = face[0] + rx * 0.75 * figure.sin, face[1] - ry * 0.24
        figure.pen.disc((x, y), rx * (0.95 - 0.2 * abs(figure.sin)), shade(colour, 0.7), ry * 0.17)
