"""How a person is drawn: a jointed figure of tapered limbs, turned to any yaw.

Coordinates of the body: x to the person's left, y up from the ground, z to the person's front, in
body heights. `Figure.at` turns them by the yaw (0 = facing the camera, 90 = facing the picture's
right) and puts them on the canvas, with a slight look from above. What lies on the body's surface (logo,
stripes, buttons) is placed by height and by the angle around the body, so it turns out of sight with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from msinet_core.data.synthetic.identities import ACCENTS, CLOTH, HAIR, SKIN, Attributes, Colour
from msinet_core.data.synthetic.pen import Pen, Point, mix, shade

BUILDS = {"slim": 0.86, "average": 1.0, "broad": 1.2}
HEIGHTS = {"short": 0.93, "middle": 1.0, "tall": 1.07}
# height above ground, half-width (side to side), half-depth (front to back)
TORSO = ((0.30, 0.150, 0.120), (0.47, 0.116, 0.088), (0.54, 0.112, 0.084), (0.63, 0.096, 0.072),
         (0.74, 0.116, 0.080), (0.79, 0.118, 0.072), (0.815, 0.098, 0.058), (0.835, 0.050, 0.045))  # fmt: skip
HEM = {"tee": 0.49, "shirt": 0.49, "jacket": 0.48, "coat": 0.33, "vest": 0.49}
LOOK_DOWN = 0.16  # how much nearer things move down


@dataclass(frozen=True)
class Pose:
    """Where and how the figure stands: all in pixels of the canvas but the yaw (degrees) and stride (-1 to 1)."""

    yaw: float
    stride: float
    centre: float
    ground: float
    height: float


class Figure:
    """One person on one canvas."""

    def __init__(self, pen: Pen, who: Attributes, domain: str, pose: Pose) -> None:
        self.pen, self.who, self.pose = pen, who, pose
        self.sin, self.cos = math.sin(math.radians(pose.yaw)), math.cos(math.radians(pose.yaw))
        self.unit = pose.height * HEIGHTS[who["height"]]
        self.girth = BUILDS[who["build"]]
        self.skin, self.hair = SKIN[who["skin"]], HAIR[who["hair_colour"]]
        cloth = CLOTH[domain]
        self.upper, self.lower = cloth[who["upper_colour"]], cloth[who["lower_colour"]]
        self.second = cloth.get(who["second_colour"], shade(self.upper, 0.5))
        self.hem = HEM[who["upper"]]

    # ---- geometry -------------------------------------------------------------------------------
    def depth(self, x: float, z: float) -> float:
        """Towards the camera, in body heights."""
        return z * self.cos - x * self.sin

    def at(self, x: float, y: float, z: float = 0.0) -> Point:
        across = x * self.cos + z * self.sin
        return (
            self.pose.centre + self.unit * across,
            self.pose.ground - self.unit * (y - LOOK_DOWN * self.depth(x, z)),
        )

    def axes(self, y: float) -> tuple[float, float]:
        """Half-width and half-depth of the torso at a height."""
        rows = TORSO
        for (y0, a0, b0), (y1, a1, b1) in zip(rows, rows[1:], strict=False):
            if y <= y1:
                t = max(0.0, (y - y0) / (y1 - y0))
                return (a0 + (a1 - a0) * t) * self.girth, (b0 + (b1 - b0) * t) * self.girth
        return rows[-1][1], rows[-1][2]

    def outline(self, y: float) -> float:
        """Half the torso's width in the picture at a height, in body heights."""
        a, b = self.axes(y)
        return math.hypot(a * self.cos, b * self.sin)

    def surface(self, y: float, angle: float) -> tuple[Point, float]:
        """A point on the torso `angle` radians round from the front, and how much it faces the camera (-1 to 1)."""
        a, b = self.axes(y)
        x, z = a * math.sin(angle), b * math.cos(angle)
        facing = self.depth(math.sin(angle), math.cos(angle))
        return (self.pose.centre + self.unit * (x * self.cos + z * self.sin), self.pose.ground - self.unit * y), facing

    def band(self, low: float, high: float, colour: Colour, sag: float = 0.012) -> None:
        """A ring round the torso between two heights, curved as seen from slightly above."""
        points: list[Point] = []
        for y, sides in ((high, (-1.0, -0.5, 0.0, 0.5, 1.0)), (low, (1.0, 0.5, 0.0, -0.5, -1.0))):
            half = self.outline(y)
            points += [
                (self.pose.centre + self.unit * half * t, self.pose.ground - self.unit * (y - sag * (1 - t * t)))
                for t in sides
            ]
        self.pen.polygon(points, colour)

    # ---- the whole ------------------------------------------------------------------------------
    def draw(self) -> None:
        x, y = self.at(0, 0)
        self.pen.veil_disc((x + 0.03 * self.unit, y), 0.19 * self.unit, 0.035 * self.unit, (0, 0, 0), 0.28)
        facing = self.cos >= 0
        if self.who["bag"].endswith("backpack") and facing:
            self.backpack()
        if self.who["hair"] in ("long", "tail") and facing:
            self.hair_fall()
        near = 1 if self.sin < 0 else -1  # the person's left arm (x > 0) is the near one for yaw < 0
        self.arm(-near)
        self.legs(near)
        sideways = abs(self.sin) > 0.4
        if not sideways:  # shoulders then run into the arms
            self.arm(near)
        self.torso()
        if sideways:
            self.arm(near)
        self.head()
        if self.who["bag"].endswith("backpack") and not facing:
            self.backpack()

    # ---- parts ----------------------------------------------------------------------------------
    def legs(self, near: int) -> None:
        for side in (-near, near):
            self.leg(side, dim=1.0 if side == near else 0.86)
        if self.who["lower"] == "skirt":
            self.skirt()

    def leg(self, side: int, dim: float) -> None:
        pen, u, g = self.pen, self.unit, self.girth
        swing = 0.13 * self.pose.stride * side
        lift = 0.03 * abs(self.pose.stride) * (swing < 0)
        hip = self.at(side * 0.052 * g, 0.50)
        knee = self.at(side * 0.056 * g, 0.275, swing * 0.55 + 0.015)
        ankle = self.at(side * 0.056 * g, 0.05 + lift, swing)
        toe = self.at(side * 0.064 * g, 0.022 + lift, swing + 0.085)
        heel = self.at(side * 0.056 * g, 0.022 + lift, swing - 0.018)
        skin, cloth = shade(self.skin, dim), shade(self.lower, dim)
        wide = 0.064 * g * u
        if self.who["lower"] == "trousers":
            shoe = self.shoe_colour(dim)
            pen.lit_limbs((heel, toe), (0.027 * u, 0.026 * u), shoe)
            pen.lit_limbs((hip, knee, ankle), (wide, wide * 0.78, wide * 0.64), cloth)
            self.trouser_stripe(side, hip, knee, ankle, wide)
            return
        pen.lit_limbs((hip, knee, ankle), (wide * 0.8, wide * 0.58, wide * 0.42), skin)
        pen.lit_limbs((heel, toe), (0.028 * u, 0.027 * u), self.shoe_colour(dim))
        if self.who["lower"] == "shorts":
            cuff = (knee[0] + (hip[0] - knee[0]) * 0.2, knee[1] + (hip[1] - knee[1]) * 0.2)
            pen.lit_limbs((hip, cuff), (wide * 1.02, wide * 0.98), cloth)
            self.trouser_stripe(side, hip, cuff, cuff, wide)

    def shoe_colour(self, dim: float) -> Colour:
        return shade(ACCENTS[self.who["shoes"]], dim)

    def trouser_stripe(self, side: int, hip: Point, knee: Point, ankle: Point, wide: float) -> None:
        """Down the outer side of a leg, where that side is in sight."""
        if not self.who["stripes"].endswith("trouser") or self.depth(side, 0.6) < 0.12:
            return
        shift = 0.62 * wide * self.cos * side
        points = [(hip[0] + shift, hip[1]), (knee[0] + shift * 0.76, knee[1]), (ankle[0] + shift * 0.6, ankle[1])]
        self.pen.line(points, ACCENTS[self.who["stripes"].split()[0]], 0.026 * self.unit)

    def skirt(self) -> None:
        u, pen, base = self.unit, self.pen, self.pose.ground
        top, low = self.outline(0.56), math.hypot(0.165 * self.cos, 0.135 * self.sin) * self.girth
        x = self.pose.centre
        y0, y1 = base - 0.56 * u, base - 0.27 * u
        pen.polygon([(x - top * u, y0), (x + top * u, y0), (x + low * u, y1), (x, y1 + 0.02 * u), (x - low * u, y1)], self.lower)
        for share in (-0.45, 0.1, 0.6):
            pen.veil(
                [(x + top * u * share, y0), (x + low * u * (share + 0.1), y1), (x + low * u * (share + 0.25), y1)],
                (0, 0, 0), 0.16,
            )  # fmt: skip

    def torso(self) -> None:
        pen, u = self.pen, self.unit
        if self.who["upper"] != "coat" and self.who["lower"] != "skirt":
            self.band(0.46, 0.53, shade(self.lower, 0.95))  # the seat of the trousers
        neck = self.at(0, 0.83)
        pen.limb(neck, self.at(0, 0.88, 0.01), 0.036 * u, 0.034 * u, shade(self.skin, 0.8))
        heights = (self.hem, 0.47, 0.54, 0.63, 0.74, 0.79, 0.815, 0.835)
        rows = [(y, self.outline(y) * u) for y in heights if y >= self.hem]
        x, ground = self.pose.centre, self.pose.ground
        left = [(x - half, ground - y * u) for y, half in rows]
        right = [(x + half, ground - y * u) for y, half in reversed(rows)]
        sag = (x, ground - (self.hem - 0.014) * u)
        pen.polygon([sag, *left, *right], self.upper)
        self.pattern()
        if self.who["upper"] in ("jacket", "coat"):
            self.opening()
        self.straps()
        self.logo()
        shadow = [(x + half * 0.52, ground - y * u) for y, half in rows]
        pen.veil([*right, *shadow], (0, 0, 0), 0.2)
        pen.veil([*left, *reversed([(x - half * 0.72, ground - y * u) for y, half in rows])], (255, 255, 255), 0.1)

    def pattern(self) -> None:
        kind, second, low = self.who["pattern"], self.second, self.hem
        if kind == "hoops":
            for step in range(6):
                y = 0.785 - 0.082 * step
                if y - 0.04 >= low:
                    self.band(y - 0.04, y, second)
        elif kind == "block":
            self.band(0.665, 0.832, second)
        elif kind in ("lines", "checks"):
            for step in range(-7, 9):
                self.stroke(0.4 * step, low + 0.004, 0.80, 0.024 if kind == "lines" else 0.017, second)
            if kind == "checks":
                for step in range(6):
                    if 0.76 - 0.09 * step - 0.017 >= low:
                        self.band(0.76 - 0.09 * step - 0.017, 0.76 - 0.09 * step, second)
        elif kind == "dots":
            for row in range(7):
                y = 0.785 - 0.068 * row
                for step in range(-5, 6) if y > low + 0.02 else ():
                    point, facing = self.surface(y, 0.58 * step + 0.29 * (row % 2))
                    if facing > 0.15:
                        self.pen.disc(point, 0.019 * self.unit * max(0.35, facing), second, 0.019 * self.unit)

    def stroke(self, angle: float, low: float, high: float, width: float, colour: Colour) -> None:
        """A line down the torso at an angle round it, where it is in sight."""
        facing = self.surface(0.7, angle)[1]
        if facing > 0.1:
            points = [self.surface(low + (high - low) * t, angle)[0] for t in (0.0, 0.35, 0.6, 1.0)]
            self.pen.line(points, colour, width * self.unit * max(0.4, facing))

    def opening(self) -> None:
        """A jacket worn open: the shirt shows at the front."""
        if self.surface(0.7, 0.0)[1] < 0.1:
            return
        inner = mix(self.second, (250, 250, 250), 0.55) if self.who["pattern"] == "plain" else (246, 244, 238)
        left = [self.surface(y, 0.34 - 0.2 * (y > 0.8)) [0] for y in (self.hem + 0.01, 0.6, 0.74, 0.825)]
        right = [self.surface(y, -0.34 + 0.2 * (y > 0.8))[0] for y in (0.825, 0.74, 0.6, self.hem + 0.01)]
        self.pen.polygon([*left, *right], inner)
        self.pen.line(left, shade(self.upper, 0.6), 0.012 * self.unit)
        self.pen.line(right, shade(self.upper, 0.6), 0.012 * self.unit)

    def logo(self) -> None:
        if self.who["logo"] == "none":
            return
        colour, shape = self.who["logo"].split()
        centre = 0.0 if self.who["upper"] not in ("jacket", "coat") else 0.62
        point, facing = self.surface(0.70, centre)
        if facing < 0.25:
            return
        half, paint = 0.046 * self.unit, ACCENTS[colour]
        corners = {
            "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
            "triangle": ((0, -1.15), (1.15, 0.95), (-1.15, 0.95)),
            "star": tuple(
                (r * math.sin(k * math.pi / 5), -r * math.cos(k * math.pi / 5))
                for k in range(10) for r in ((1.35, 0.55)[k % 2],)
            ),
        }  # fmt: skip
        narrow = half * max(0.45, facing)
        edge = shade(paint, 0.55) if colour != "black" else (190, 190, 190)
        if shape == "disc":
            self.pen.disc(point, narrow * 1.22, edge, half * 1.22)
            self.pen.disc(point, narrow, paint, half)
            return
        for grow, fill in ((1.25, edge), (1.0, paint)):
            self.pen.polygon(
                [(point[0] + narrow * grow * dx, point[1] + half * grow * dy) for dx, dy in corners[shape]], fill
            )

    def arm(self, side: int) -> None:
        pen, u, g = self.pen, self.unit, self.girth
        swing = -0.10 * self.pose.stride * side
        reach = 0.118 * g
        shoulder = self.at(side * (reach - 0.022), 0.778)
        elbow = self.at(side * (reach + 0.020), 0.645, swing * 0.5 - 0.01)
        hand = self.at(side * (reach + 0.026), 0.515, swing + 0.02)
        r0, r1, r2 = 0.042 * g * u, 0.034 * g * u, 0.027 * g * u
        edge, kind = 0.008 * u, self.who["upper"]
        cloth = self.second if self.who["pattern"] == "block" and kind != "vest" else self.upper
        bare = kind in ("tee", "vest")
        colour = self.skin if bare else cloth
        if self.who["bag"].endswith("handbag") and side == -1:
            self.handbag(hand)
        pen.limb(shoulder, elbow, r0 + edge, r1 + edge, shade(cloth if kind == "tee" else colour, 0.6))
        pen.disc(hand, r2 * (1.12 if bare else 1.0), shade(self.skin, 0.9))
        pen.lit_limbs((shoulder, elbow, hand), (r0, r1, r2), colour)
        if kind == "tee":
            mid = (shoulder[0] + (elbow[0] - shoulder[0]) * 0.62, shoulder[1] + (elbow[1] - shoulder[1]) * 0.62)
            pen.lit_limbs((shoulder, mid), (r0 * 1.04, r1 * 1.2), cloth)
        if not bare:
            pen.disc((hand[0], hand[1] + r2 * 0.8), r2 * 0.85, self.skin)
        if self.who["stripes"].endswith("sleeve") and kind != "vest":
            for t in (0.3, 0.55):
                x, y = shoulder[0] + (elbow[0] - shoulder[0]) * t, shoulder[1] + (elbow[1] - shoulder[1]) * t
                half = (r0 + (r1 - r0) * t) * 1.05
                tilt = (elbow[0] - shoulder[0]) * 0.12
                pen.line([(x - half, y + tilt), (x + half, y - tilt)], ACCENTS[self.who["stripes"].split()[0]], 0.024 * u)

    # ---- bags -----------------------------------------------------------------------------------
    def bag_colour(self) -> Colour:
        return ACCENTS[self.who["bag"].split()[0]]

    def backpack(self) -> None:
        x, y = self.at(0, 0.69, -(self.axes(0.7)[1] + 0.045))
        half = math.hypot(0.098 * self.cos, 0.062 * self.sin) * self.unit
        tall, colour, pen = 0.125 * self.unit, self.bag_colour(), self.pen
        self.pen.pillow(x, y, half, tall, colour)
        if self.cos < 0.3:
            pen.pillow(x, y + tall * 0.45, half * 0.7, tall * 0.38, shade(colour, 1.25))
            pen.line([(x - half * 0.7, y - tall * 0.2), (x + half * 0.7, y - tall * 0.2)], shade(colour, 0.55), 0.012 * self.unit)

    def straps(self) -> None:
        """What a bag shows on the body: two straps of a backpack, the belt of a satchel and the satchel."""
        bag = self.who["bag"]
        if bag.endswith("backpack"):
            for angle in (-0.62, 0.62):
                self.stroke(angle, 0.66, 0.82, 0.03, shade(self.bag_colour(), 0.8))
        elif bag.endswith("satchel"):
            colour = self.bag_colour()
            for turn in (0.0, math.pi):
                steps = [self.surface(0.82 - 0.3 * t, turn + (-0.75 + 1.75 * t) * (1 if turn == 0 else -1)) for t in (0, 0.25, 0.5, 0.75, 1)]
                seen = [point for point, facing in steps if facing > 0]
                if len(seen) > 1:
                    self.pen.line(seen, shade(colour, 0.7), 0.022 * self.unit)
            if self.depth(1, 0.0) > -0.55:
                x, y = self.at(0.118 * self.girth, 0.485, 0.0)
                half = math.hypot(0.04 * self.cos, 0.085 * self.sin) * self.unit + 0.012 * self.unit
                self.pen.pillow(x, y, half, 0.062 * self.unit, colour)

    def handbag(self, hand: Point) -> None:
        u, colour = self.unit, self.bag_colour()
        x, y = hand[0], hand[1] + 0.115 * u
        half = math.hypot(0.05 * self.cos, 0.082 * self.sin) * u
        self.pen.line([(x - half * 0.6, y - 0.04 * u), hand, (x + half * 0.6, y - 0.04 * u)], shade(colour, 0.6), 0.014 * u)
        self.pen.pillow(x, y, half, 0.058 * u, colour)

    # ---- head -----------------------------------------------------------------------------------
    def head(self) -> None:
        pen, u = self.pen, self.unit
        rx, ry = 0.060 * u, 0.078 * u
        style, hair = self.who["hair"], self.hair
        back = self.at(0, 0.925, -0.022)
        face = self.at(0, 0.912, 0.012)
        if self.cos < -0.25:  # seen from behind: hair over the face
            pen.disc(face, rx, self.skin, ry)
            if style == "bald":
                pen.veil_disc((face[0] + rx * 0.4, face[1]), rx * 0.55, ry * 0.9, (0, 0, 0), 0.12)
            elif style == "cap":
                pen.disc((face[0], face[1] + 0.01 * u), rx * 0.98, hair, ry * 0.8)
            else:
                pen.disc(back, rx * 1.08, hair, ry * 1.02)
                pen.veil_disc((back[0] - rx * 0.3, back[1] - ry * 0.35), rx * 0.45, ry * 0.3, (255, 255, 255), 0.16)
            if style in ("long", "tail"):
                self.hair_fall()
            if style == "bun":
                self.bun()
        else:
            if style == "bun":
                self.bun()
            if style not in ("bald", "cap"):
                pen.disc(back, rx * 1.12, hair, ry * 1.04)
            elif style == "cap":
                pen.disc(back, rx * 1.02, hair, ry * 0.9)
            pen.disc(face, rx * 0.95, self.skin, ry * 0.98)
            pen.veil_disc((face[0] + rx * 0.55, face[1] + ry * 0.1), rx * 0.35, ry * 0.8, (90, 40, 20), 0.13)
            self.face(face, rx, ry)
            if style not in ("bald", "cap"):
                box = (face[0] - rx * 1.05, face[1] - ry * 1.12, face[0] + rx * 1.05, face[1] + ry * 0.55)
                pen.arc(box, 180 + 18 * self.sin, 360 + 18 * self.sin, hair)
        if style == "cap":
            self.cap(face, rx, ry)

    def face(self, face: Point, rx: float, ry: float) -> None:
        if self.cos < -0.1:
            return
        for side in (-1, 1):
            across = side * 0.42 * self.cos + 0.62 * self.sin
            if abs(across) < 0.9 and self.depth(side * 0.42, 0.75) > 0:
                self.pen.disc((face[0] + rx * across, face[1] + ry * 0.12), rx * 0.11, (40, 28, 26), ry * 0.11)
        x = face[0] + rx * 0.72 * self.sin
        self.pen.line([(x - rx * 0.22 * abs(self.cos) - 1, face[1] + ry * 0.55), (x + rx * 0.22 * abs(self.cos) + 1, face[1] + ry * 0.55)],
                      shade(mix(self.skin, (190, 60, 60), 0.4), 0.85), 0.010 * self.unit)  # fmt: skip
        if abs(self.sin) > 0.5:  # the nose in profile
            side = 1 if self.sin > 0 else -1
            self.pen.disc((face[0] + side * rx * 0.95, face[1] + ry * 0.28), rx * 0.16, self.skin)

    def hair_fall(self) -> None:
        """Long hair on the shoulders, or a tail."""
        u = self.unit
        top, low = self.at(0, 0.92, -0.035), self.at(0, 0.775 if self.who["hair"] == "long" else 0.74, -0.085)
        wide = 0.066 * u if self.who["hair"] == "long" else 0.026 * u
        self.pen.lit_limbs((top, low), (wide, wide * (1.05 if self.who["hair"] == "long" else 0.7)), self.hair)

    def bun(self) -> None:
        x, y = self.at(0, 0.995, -0.05)
        self.pen.disc((x, y), 0.034 * self.unit, shade(self.hair, 0.9))
        self.pen.veil_disc((x - 0.01 * self.unit, y - 0.01 * self.unit), 0.014 * self.unit, 0.012 * self.unit, (255, 255, 255), 0.15)

    def cap(self, face: Point, rx: float, ry: float) -> None:
        colour = shade(self.lower, 0.9)
        box = (face[0] - rx * 1.08, face[1] - ry * 1.15, face[0] + rx * 1.08, face[1] + ry * 0.62)
        self.pen.arc(box, 180, 360, colour)
        if self.cos > -0.25:
            x, y = face[0] + rx * 0.75 * self.sin, face[1] - ry * 0.24
            self.pen.disc((x, y), rx * (0.95 - 0.2 * abs(self.sin)), shade(colour, 0.7), ry * 0.17)


def draw_person(pen: Pen, who: Attributes, domain: str, pose: Pose) -> None:
    """Draw one person of these attributes in this pose on the pen's canvas."""
    Figure(pen, who, domain, pose).draw()
