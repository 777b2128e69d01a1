"""How a person is drawn: limbs, clothes, and what is on them; heads and bags have own files."""

from __future__ import annotations

import math
from itertools import product

from msinet_lab.synthetic.bags import backpack, handbag, straps
from msinet_lab.synthetic.body import TORSO, Body, Pose
from msinet_lab.synthetic.colours import ACCENTS, Colour, mix, shade
from msinet_lab.synthetic.heads import hair_fall, head
from msinet_lab.synthetic.identities import Attributes
from msinet_lab.synthetic.pen import Pen, Point, between


def draw_person(pen: Pen, who: Attributes, domain: str, pose: Pose) -> None:
    """Draw one person of these attributes in this pose, from the back to the front."""
    body = Body(pen, who, domain, pose)
    x, y = body.at(0, 0)
    pen.disc((x + 0.03 * body.unit, y), 0.19 * body.unit, (0, 0, 0), 0.035 * body.unit, 0.28)
    facing, packed = body.cos >= 0, who["bag"].endswith("backpack")
    if packed and facing:
        backpack(body)
    if who["hair"] in ("long", "tail") and facing:
        hair_fall(body)
    near = 1 if body.sin < 0 else -1  # the person's left arm (x > 0) is the near one for yaw < 0
    arm(body, -near)
    legs(body, near)
    sideways = abs(body.sin) > 0.4
    if not sideways:  # shoulders then run into the arms
        arm(body, near)
    torso(body)
    if sideways:
        arm(body, near)
    head(body)
    if packed and not facing:
        backpack(body)


def legs(body: Body, near: int) -> None:
    for side in (-near, near):
        leg(body, side, dim=1.0 if side == near else 0.86)
    if body.who["lower"] == "skirt":
        skirt(body)


def leg(body: Body, side: int, dim: float) -> None:
    pen, u, g = body.pen, body.unit, body.girth
    swing = 0.13 * body.pose.stride * side
    lift = 0.03 * abs(body.pose.stride) * (swing < 0)
    hip = body.at(side * 0.052 * g, 0.50)
    knee = body.at(side * 0.056 * g, 0.275, swing * 0.55 + 0.015)
    ankle = body.at(side * 0.056 * g, 0.05 + lift, swing)
    toe = body.at(side * 0.064 * g, 0.022 + lift, swing + 0.085)
    heel = body.at(side * 0.056 * g, 0.022 + lift, swing - 0.018)
    skin, cloth = shade(body.skin, dim), shade(body.lower, dim)
    shoe, wide = shade(ACCENTS[body.who["shoes"]], dim), 0.064 * g * u
    if body.who["lower"] == "trousers":
        pen.lit_limbs((heel, toe), (0.027 * u, 0.026 * u), shoe)
        pen.lit_limbs((hip, knee, ankle), (wide, wide * 0.78, wide * 0.64), cloth)
        trouser_stripe(body, side, (hip, knee, ankle), wide)
        return
    pen.lit_limbs((hip, knee, ankle), (wide * 0.8, wide * 0.58, wide * 0.42), skin)
    pen.lit_limbs((heel, toe), (0.028 * u, 0.027 * u), shoe)
    if body.who["lower"] == "shorts":
        cuff = between(knee, hip, 0.2)
        pen.lit_limbs((hip, cuff), (wide * 1.02, wide * 0.98), cloth)
        trouser_stripe(body, side, (hip, cuff, cuff), wide)


def trouser_stripe(body: Body, side: int, joints: tuple[Point, ...], wide: float) -> None:
    """Down the outer side of a leg, where that side is in sight."""
    if not body.who["stripes"].endswith("trouser") or body.depth(side, 0.6) < 0.12:
        return
    shift = 0.62 * wide * body.cos * side
    points = [(x + shift * share, y) for (x, y), share in zip(joints, (1, 0.76, 0.6), strict=True)]
    body.pen.line(points, ACCENTS[body.who["stripes"].split()[0]], 0.026 * body.unit)


def skirt(body: Body) -> None:
    pen, u, x, ground = body.pen, body.unit, body.pose.centre, body.pose.ground
    top, low = body.outline(0.56) * u, body.wide(0.165, 0.135) * body.girth * u
    y0, y1 = ground - 0.56 * u, ground - 0.27 * u
    hem = [(x + low, y1), (x, y1 + 0.02 * u), (x - low, y1)]
    pen.polygon([(x - top, y0), (x + top, y0), *hem], body.lower)
    for share in (-0.45, 0.1, 0.6):
        fold = [(x + low * (share + 0.1), y1), (x + low * (share + 0.25), y1)]
        pen.polygon([(x + top * share, y0), *fold], (0, 0, 0), 0.16)


def torso(body: Body) -> None:
    pen, u = body.pen, body.unit
    if body.who["upper"] != "coat" and body.who["lower"] != "skirt":
        body.band(0.46, 0.53, shade(body.lower, 0.95))  # the seat of the trousers
    neck = body.at(0, 0.83)
    pen.limb(neck, body.at(0, 0.88, 0.01), 0.036 * u, 0.034 * u, shade(body.skin, 0.8))
    heights = (body.hem, *(y for y, _, _ in TORSO[1:] if y >= body.hem))
    rows = [(y, body.outline(y)) for y in heights]

    def edge(share: float) -> list[Point]:
        return [body.spot(half * share, y) for y, half in rows]

    right = edge(1)[::-1]
    pen.polygon([body.spot(0, body.hem - 0.014), *edge(-1), *right], body.upper)
    pattern(body)
    if body.who["upper"] in ("jacket", "coat"):
        opening(body)
    straps(body)
    logo(body)
    pen.polygon([*right, *edge(0.52)], (0, 0, 0), 0.2)
    pen.polygon([*edge(-1), *edge(-0.72)[::-1]], (255, 255, 255), 0.1)


def pattern(body: Body) -> None:
    kind, second, low = body.who["pattern"], body.second, body.hem
    if kind == "block":
        body.band(0.665, 0.832, second)
    if kind in ("lines", "checks"):
        width = 0.024 if kind == "lines" else 0.017
        for step in range(-7, 9):
            body.stroke(0.4 * step, low + 0.004, 0.80, width, second)
    if kind in ("hoops", "checks"):
        top, apart, tall = (0.785, 0.082, 0.04) if kind == "hoops" else (0.76, 0.09, 0.017)
        for y in (top - apart * step for step in range(6)):
            if y - tall >= low:
                body.band(y - tall, y, second)
    if kind == "dots":
        for row, step in product(range(7), range(-5, 6)):
            y, size = 0.785 - 0.068 * row, 0.019 * body.unit
            point, facing = body.surface(y, 0.58 * step + 0.29 * (row % 2))
            if facing > 0.15 and y > low + 0.02:
                body.pen.disc(point, size * max(0.35, facing), second, size)


def opening(body: Body) -> None:
    """A jacket worn open: the shirt shows at the front."""
    if body.surface(0.7, 0.0)[1] < 0.1:
        return
    inner: Colour = (246, 244, 238)
    if body.who["pattern"] == "plain":
        inner = mix(body.second, (250, 250, 250), 0.55)
    heights = (body.hem + 0.01, 0.6, 0.74, 0.825)
    left, right = (
        [body.surface(y, side * (0.34 - 0.2 * (y > 0.8)))[0] for y in heights] for side in (1, -1)
    )
    body.pen.polygon([*left, *right[::-1]], inner)
    for edge in (left, right[::-1]):
        body.pen.line(edge, shade(body.upper, 0.6), 0.012 * body.unit)


CORNERS = {
    "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    "triangle": ((0, -1.15), (1.15, 0.95), (-1.15, 0.95)),
    "star": tuple(
        (r * math.sin(k * math.pi / 5), -r * math.cos(k * math.pi / 5))
        for k, r in enumerate((1.35, 0.55) * 5)
    ),
}


def logo(body: Body) -> None:
    if body.who["logo"] == "none":
        return
    colour, shape = body.who["logo"].split()
    (x, y), facing = body.surface(0.70, 0.62 if body.who["upper"] in ("jacket", "coat") else 0.0)
    if facing < 0.25:
        return
    half, paint = 0.046 * body.unit, ACCENTS[colour]
    narrow = half * max(0.45, facing)
    edge = shade(paint, 0.55) if colour != "black" else (190, 190, 190)
    for grow, fill in ((1.22 if shape == "disc" else 1.25, edge), (1.0, paint)):
        if shape == "disc":
            body.pen.disc((x, y), narrow * grow, fill, half * grow)
        else:
            points = [(x + narrow * grow * dx, y + half * grow * dy) for dx, dy in CORNERS[shape]]
            body.pen.polygon(points, fill)


def arm(body: Body, side: int) -> None:
    pen, u, g, kind = body.pen, body.unit, body.girth, body.who["upper"]
    swing, reach = -0.10 * body.pose.stride * side, 0.118 * g
    shoulder = body.at(side * (reach - 0.022), 0.778)
    elbow = body.at(side * (reach + 0.020), 0.645, swing * 0.5 - 0.01)
    hand = body.at(side * (reach + 0.026), 0.515, swing + 0.02)
    r0, r1, r2, edge = 0.042 * g * u, 0.034 * g * u, 0.027 * g * u, 0.008 * u
    cloth = body.second if body.who["pattern"] == "block" and kind != "vest" else body.upper
    bare = kind in ("tee", "vest")
    colour = body.skin if bare else cloth
    if body.who["bag"].endswith("handbag") and side == -1:
        handbag(body, hand)
    pen.limb(shoulder, elbow, r0 + edge, r1 + edge, shade(cloth if kind == "tee" else colour, 0.6))
    pen.disc(hand, r2 * (1.12 if bare else 1.0), shade(body.skin, 0.9))
    pen.lit_limbs((shoulder, elbow, hand), (r0, r1, r2), colour)
    if kind == "tee":
        pen.lit_limbs((shoulder, between(shoulder, elbow, 0.62)), (r0 * 1.04, r1 * 1.2), cloth)
    if not bare:
        pen.disc((hand[0], hand[1] + r2 * 0.8), r2 * 0.85, body.skin)
    if body.who["stripes"].endswith("sleeve") and kind != "vest":
        stripe, tilt = ACCENTS[body.who["stripes"].split()[0]], (elbow[0] - shoulder[0]) * 0.12
        for t in (0.3, 0.55):
            (x, y), half = between(shoulder, elbow, t), (r0 + (r1 - r0) * t) * 1.05
            pen.line([(x - half, y + tilt), (x + half, y - tilt)], stripe, 0.024 * u)
