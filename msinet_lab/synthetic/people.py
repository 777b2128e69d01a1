"""How a person is drawn: limbs, clothes, and what is on them; heads and bags have files of their
own.
"""

from __future__ import annotations

import math

from msinet_lab.synthetic.bags import backpack, handbag, straps
from msinet_lab.synthetic.figure import Figure, Pose
from msinet_lab.synthetic.heads import hair_fall, head
from msinet_lab.synthetic.identities import ACCENTS, Attributes, Colour
from msinet_lab.synthetic.pen import Pen, Point, mix, shade


def draw_person(pen: Pen, who: Attributes, domain: str, pose: Pose) -> None:
    """Draw one person of these attributes in this pose on the pen's canvas, from the back to the
    front.
    """
    figure = Figure(pen, who, domain, pose)
    x, y = figure.at(0, 0)
    figure.pen.veil_disc(
        (x + 0.03 * figure.unit, y), 0.19 * figure.unit, 0.035 * figure.unit, (0, 0, 0), 0.28
    )
    facing = figure.cos >= 0
    if figure.who["bag"].endswith("backpack") and facing:
        backpack(figure)
    if figure.who["hair"] in ("long", "tail") and facing:
        hair_fall(figure)
    near = 1 if figure.sin < 0 else -1  # the person's left arm (x > 0) is the near one for yaw < 0
    arm(figure, -near)
    legs(figure, near)
    sideways = abs(figure.sin) > 0.4
    if not sideways:  # shoulders then run into the arms
        arm(figure, near)
    torso(figure)
    if sideways:
        arm(figure, near)
    head(figure)
    if figure.who["bag"].endswith("backpack") and not facing:
        backpack(figure)


def legs(figure: Figure, near: int) -> None:
    for side in (-near, near):
        leg(figure, side, dim=1.0 if side == near else 0.86)
    if figure.who["lower"] == "skirt":
        skirt(figure)


def leg(figure: Figure, side: int, dim: float) -> None:
    pen, u, g = figure.pen, figure.unit, figure.girth
    swing = 0.13 * figure.pose.stride * side
    lift = 0.03 * abs(figure.pose.stride) * (swing < 0)
    hip = figure.at(side * 0.052 * g, 0.50)
    knee = figure.at(side * 0.056 * g, 0.275, swing * 0.55 + 0.015)
    ankle = figure.at(side * 0.056 * g, 0.05 + lift, swing)
    toe = figure.at(side * 0.064 * g, 0.022 + lift, swing + 0.085)
    heel = figure.at(side * 0.056 * g, 0.022 + lift, swing - 0.018)
    skin, cloth = shade(figure.skin, dim), shade(figure.lower, dim)
    wide = 0.064 * g * u
    if figure.who["lower"] == "trousers":
        shoe = shoe_colour(figure, dim)
        pen.lit_limbs((heel, toe), (0.027 * u, 0.026 * u), shoe)
        pen.lit_limbs((hip, knee, ankle), (wide, wide * 0.78, wide * 0.64), cloth)
        trouser_stripe(figure, side, hip, knee, ankle, wide)
        return
    pen.lit_limbs((hip, knee, ankle), (wide * 0.8, wide * 0.58, wide * 0.42), skin)
    pen.lit_limbs((heel, toe), (0.028 * u, 0.027 * u), shoe_colour(figure, dim))
    if figure.who["lower"] == "shorts":
        cuff = (knee[0] + (hip[0] - knee[0]) * 0.2, knee[1] + (hip[1] - knee[1]) * 0.2)
        pen.lit_limbs((hip, cuff), (wide * 1.02, wide * 0.98), cloth)
        trouser_stripe(figure, side, hip, cuff, cuff, wide)


def shoe_colour(figure: Figure, dim: float) -> Colour:
    return shade(ACCENTS[figure.who["shoes"]], dim)


def trouser_stripe(
    figure: Figure, side: int, hip: Point, knee: Point, ankle: Point, wide: float
) -> None:
    """Down the outer side of a leg, where that side is in sight."""
    if not figure.who["stripes"].endswith("trouser") or figure.depth(side, 0.6) < 0.12:
        return
    shift = 0.62 * wide * figure.cos * side
    points = [
        (hip[0] + shift, hip[1]),
        (knee[0] + shift * 0.76, knee[1]),
        (ankle[0] + shift * 0.6, ankle[1]),
    ]
    figure.pen.line(points, ACCENTS[figure.who["stripes"].split()[0]], 0.026 * figure.unit)


def skirt(figure: Figure) -> None:
    u, pen, base = figure.unit, figure.pen, figure.pose.ground
    top, low = (
        figure.outline(0.56),
        math.hypot(0.165 * figure.cos, 0.135 * figure.sin) * figure.girth,
    )
    x = figure.pose.centre
    y0, y1 = base - 0.56 * u, base - 0.27 * u
    pen.polygon(
        [
            (x - top * u, y0),
            (x + top * u, y0),
            (x + low * u, y1),
            (x, y1 + 0.02 * u),
            (x - low * u, y1),
        ],
        figure.lower,
    )
    for share in (-0.45, 0.1, 0.6):
        pen.veil(
            [
                (x + top * u * share, y0),
                (x + low * u * (share + 0.1), y1),
                (x + low * u * (share + 0.25), y1),
            ],
            (0, 0, 0),
            0.16,
        )


def torso(figure: Figure) -> None:
    pen, u = figure.pen, figure.unit
    if figure.who["upper"] != "coat" and figure.who["lower"] != "skirt":
        figure.band(0.46, 0.53, shade(figure.lower, 0.95))  # the seat of the trousers
    neck = figure.at(0, 0.83)
    pen.limb(neck, figure.at(0, 0.88, 0.01), 0.036 * u, 0.034 * u, shade(figure.skin, 0.8))
    heights = (figure.hem, 0.47, 0.54, 0.63, 0.74, 0.79, 0.815, 0.835)
    rows = [(y, figure.outline(y) * u) for y in heights if y >= figure.hem]
    x, ground = figure.pose.centre, figure.pose.ground
    left = [(x - half, ground - y * u) for y, half in rows]
    right = [(x + half, ground - y * u) for y, half in reversed(rows)]
    sag = (x, ground - (figure.hem - 0.014) * u)
    pen.polygon([sag, *left, *right], figure.upper)
    pattern(figure)
    if figure.who["upper"] in ("jacket", "coat"):
        opening(figure)
    straps(figure)
    logo(figure)
    shadow = [(x + half * 0.52, ground - y * u) for y, half in rows]
    pen.veil([*right, *shadow], (0, 0, 0), 0.2)
    pen.veil(
        [*left, *reversed([(x - half * 0.72, ground - y * u) for y, half in rows])],
        (255, 255, 255),
        0.1,
    )


def pattern(figure: Figure) -> None:
    kind, second, low = figure.who["pattern"], figure.second, figure.hem
    if kind == "hoops":
        for step in range(6):
            y = 0.785 - 0.082 * step
            if y - 0.04 >= low:
                figure.band(y - 0.04, y, second)
    elif kind == "block":
        figure.band(0.665, 0.832, second)
    elif kind in ("lines", "checks"):
        for step in range(-7, 9):
            figure.stroke(
                0.4 * step, low + 0.004, 0.80, 0.024 if kind == "lines" else 0.017, second
            )
        if kind == "checks":
            for step in range(6):
                if 0.76 - 0.09 * step - 0.017 >= low:
                    figure.band(0.76 - 0.09 * step - 0.017, 0.76 - 0.09 * step, second)
    elif kind == "dots":
        for row in range(7):
            y = 0.785 - 0.068 * row
            for step in range(-5, 6) if y > low + 0.02 else ():
                point, facing = figure.surface(y, 0.58 * step + 0.29 * (row % 2))
                if facing > 0.15:
                    figure.pen.disc(
                        point, 0.019 * figure.unit * max(0.35, facing), second, 0.019 * figure.unit
                    )


def opening(figure: Figure) -> None:
    """A jacket worn open: the shirt shows at the front."""
    if figure.surface(0.7, 0.0)[1] < 0.1:
        return
    inner = (
        mix(figure.second, (250, 250, 250), 0.55)
        if figure.who["pattern"] == "plain"
        else (246, 244, 238)
    )
    left = [
        figure.surface(y, 0.34 - 0.2 * (y > 0.8))[0] for y in (figure.hem + 0.01, 0.6, 0.74, 0.825)
    ]
    right = [
        figure.surface(y, -0.34 + 0.2 * (y > 0.8))[0] for y in (0.825, 0.74, 0.6, figure.hem + 0.01)
    ]
    figure.pen.polygon([*left, *right], inner)
    figure.pen.line(left, shade(figure.upper, 0.6), 0.012 * figure.unit)
    figure.pen.line(right, shade(figure.upper, 0.6), 0.012 * figure.unit)


def logo(figure: Figure) -> None:
    if figure.who["logo"] == "none":
        return
    colour, shape = figure.who["logo"].split()
    centre = 0.0 if figure.who["upper"] not in ("jacket", "coat") else 0.62
    point, facing = figure.surface(0.70, centre)
    if facing < 0.25:
        return
    half, paint = 0.046 * figure.unit, ACCENTS[colour]
    corners = {
        "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        "triangle": ((0, -1.15), (1.15, 0.95), (-1.15, 0.95)),
        "star": tuple(
            (r * math.sin(k * math.pi / 5), -r * math.cos(k * math.pi / 5))
            for k in range(10)
            for r in ((1.35, 0.55)[k % 2],)
        ),
    }
    narrow = half * max(0.45, facing)
    edge = shade(paint, 0.55) if colour != "black" else (190, 190, 190)
    if shape == "disc":
        figure.pen.disc(point, narrow * 1.22, edge, half * 1.22)
        figure.pen.disc(point, narrow, paint, half)
        return
    for grow, fill in ((1.25, edge), (1.0, paint)):
        figure.pen.polygon(
            [
                (point[0] + narrow * grow * dx, point[1] + half * grow * dy)
                for dx, dy in corners[shape]
            ],
            fill,
        )


def arm(figure: Figure, side: int) -> None:
    pen, u, g = figure.pen, figure.unit, figure.girth
    swing = -0.10 * figure.pose.stride * side
    reach = 0.118 * g
    shoulder = figure.at(side * (reach - 0.022), 0.778)
    elbow = figure.at(side * (reach + 0.020), 0.645, swing * 0.5 - 0.01)
    hand = figure.at(side * (reach + 0.026), 0.515, swing + 0.02)
    r0, r1, r2 = 0.042 * g * u, 0.034 * g * u, 0.027 * g * u
    edge, kind = 0.008 * u, figure.who["upper"]
    cloth = figure.second if figure.who["pattern"] == "block" and kind != "vest" else figure.upper
    bare = kind in ("tee", "vest")
    colour = figure.skin if bare else cloth
    if figure.who["bag"].endswith("handbag") and side == -1:
        handbag(figure, hand)
    pen.limb(shoulder, elbow, r0 + edge, r1 + edge, shade(cloth if kind == "tee" else colour, 0.6))
    pen.disc(hand, r2 * (1.12 if bare else 1.0), shade(figure.skin, 0.9))
    pen.lit_limbs((shoulder, elbow, hand), (r0, r1, r2), colour)
    if kind == "tee":
        mid = (
            shoulder[0] + (elbow[0] - shoulder[0]) * 0.62,
            shoulder[1] + (elbow[1] - shoulder[1]) * 0.62,
        )
        pen.lit_limbs((shoulder, mid), (r0 * 1.04, r1 * 1.2), cloth)
    if not bare:
        pen.disc((hand[0], hand[1] + r2 * 0.8), r2 * 0.85, figure.skin)
    if figure.who["stripes"].endswith("sleeve") and kind != "vest":
        for t in (0.3, 0.55):
            x, y = (
                shoulder[0] + (elbow[0] - shoulder[0]) * t,
                shoulder[1] + (elbow[1] - shoulder[1]) * t,
            )
            half = (r0 + (r1 - r0) * t) * 1.05
            tilt = (elbow[0] - shoulder[0]) * 0.12
            pen.line(
                [(x - half, y + tilt), (x + half, y - tilt)],
                ACCENTS[figure.who["stripes"].split()[0]],
                0.024 * u,
            )
