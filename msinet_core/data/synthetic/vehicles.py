"""How a vehicle is drawn: solids made of a side profile, extruded, turned and seen in perspective.

Coordinates in metres: x forward, y up, z to the vehicle's left, the origin on the ground under its
middle. A yaw of 0 shows the front, 90 the side with the front to the picture's right, 180 the rear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from msinet_core.data.synthetic.identities import ACCENTS, PAINT, Attributes, Colour
from msinet_core.data.synthetic.pen import Pen, Point, mix, shade
from msinet_core.data.synthetic.shapes import SHAPES, Spot

GLASS: Colour = (58, 74, 92)
LIGHT = (-0.45, 0.75, 0.48)  # towards the light: picture's left, up, towards the camera
STRETCH = {"compact": 0.9, "regular": 1.0, "long": 1.12}


@dataclass(frozen=True)
class Pose:
    """Yaw and pitch of the view in degrees, and the box of the canvas that the vehicle fills (x0, y0, x1, y1)."""

    yaw: float
    pitch: float
    box: tuple[float, float, float, float]


class Vehicle:
    """One vehicle on one canvas."""

    def __init__(self, pen: Pen, who: Attributes, domain: str, pose: Pose) -> None:
        self.pen, self.who, self.shape = pen, who, SHAPES[who["type"]]
        yaw, pitch = math.radians(pose.yaw), math.radians(pose.pitch)
        self.sin, self.cos, self.tilt_sin, self.tilt_cos = math.sin(yaw), math.cos(yaw), math.sin(pitch), math.cos(pitch)
        self.stretch = STRETCH[who["proportions"]]
        self.paint = PAINT[domain][who["colour"]]
        self.top = {"same": self.paint, "white": (244, 244, 240), "black": (34, 35, 40)}[who["roof_colour"]]
        profile = self.shape.profile
        self.length = max(abs(x) for x, _, _ in profile) * self.stretch
        if self.shape.cargo:
            self.length = max(self.length, -self.shape.cargo[0])
        self.width = max(width for _, _, width in profile)
        self.high = max(y for _, y, _ in profile)
        self.belt = profile[self.shape.cabin[0]]
        self.distance = 4.2 * self.length
        self.scale, self.shift = 1.0, (0.0, 0.0)
        self._fit(pose.box)

    # ---- geometry -------------------------------------------------------------------------------
    def turn(self, spot: Spot) -> Spot:
        """From the vehicle's axes to the camera's: right, up, towards the camera."""
        x, y, z = spot
        across, depth = x * self.sin + z * self.cos, x * self.cos - z * self.sin
        return across, y * self.tilt_cos - depth * self.tilt_sin, depth * self.tilt_cos + y * self.tilt_sin

    def at(self, x: float, y: float, z: float) -> Point:
        x *= self.stretch  # as `turn`, written out: this runs some 300 times a picture
        depth = x * self.cos - z * self.sin
        zoom = self.scale * self.distance / (self.distance - depth * self.tilt_cos - y * self.tilt_sin)
        across = x * self.sin + z * self.cos
        return self.shift[0] + across * zoom, self.shift[1] - (y * self.tilt_cos - depth * self.tilt_sin) * zoom

    def _fit(self, box: tuple[float, float, float, float]) -> None:
        spots = [(x, y, side * w) for x, y, w in self.shape.profile for side in (-1, 1)]
        spots += [(x, 0.0, side * self.width) for x in self.shape.axles for side in (-1, 1)]
        if self.shape.cargo:
            x0, x1, y0, y1, w = self.shape.cargo
            spots += [(x, y, side * w) for x in (x0, x1) for y in (y0, y1) for side in (-1, 1)]
        points = [self.at(*spot) for spot in spots]
        x0, x1 = min(x for x, _ in points), max(x for x, _ in points)
        y0, y1 = min(y for _, y in points), max(y for _, y in points)
        scale = min((box[2] - box[0]) / (x1 - x0), (box[3] - box[1]) / (y1 - y0))
        self.scale = scale
        self.shift = ((box[0] + box[2]) / 2 - scale * (x0 + x1) / 2, (box[1] + box[3]) / 2 - scale * (y0 + y1) / 2)

    def light(self, corners: Sequence[Spot]) -> float | None:
        """How bright a face is (its corners clockwise from outside); None where it looks away."""
        a, b, c = (self.turn((x * self.stretch, y, z)) for x, y, z in (corners[0], corners[1], corners[2]))
        u, v = [q - p for p, q in zip(a, b, strict=True)], [q - p for p, q in zip(a, c, strict=True)]
        normal = (u[2] * v[1] - u[1] * v[2], u[0] * v[2] - u[2] * v[0], u[1] * v[0] - u[0] * v[1])
        eye = (-a[0], -a[1], self.distance - a[2])
        if sum(n * e for n, e in zip(normal, eye, strict=True)) <= 0:
            return None
        size = math.sqrt(sum(n * n for n in normal)) or 1.0
        return 0.74 + 0.34 * sum(n * d for n, d in zip(normal, LIGHT, strict=True)) / size

    def face(self, corners: Sequence[Spot], colour: Colour) -> bool:
        """Draw a face unless it looks away; True if drawn."""
        bright = self.light(corners)
        if bright is None:
            return False
        self.pen.polygon([self.at(*spot) for spot in corners], shade(colour, bright))
        return True

    # ---- the whole ------------------------------------------------------------------------------
    def draw(self) -> None:
        self.ground_shadow()
        self.tyres_below()
        cargo = self.shape.cargo
        if cargo and self.turn((2.0, 1.0, 0.0))[2] >= self.turn((-1.0, 1.0, 0.0))[2]:
            self.cargo(cargo)
            self.body()
        elif cargo:
            self.body()
            self.cargo(cargo)
        else:
            self.body()
        self.wheels()
        self.on_roof()

    def ground_shadow(self) -> None:
        for grow, opacity in ((1.10, 0.22), (0.98, 0.42)):
            x, z = self.length / self.stretch * grow, self.width * (1.05 if grow > 1 else 0.92)
            self.pen.veil([self.at(dx, 0, dz) for dx, dz in ((-x, -z), (x, -z), (x, z), (-x, z))], (8, 8, 14), opacity)

    def tyres_below(self) -> None:
        """What shows of the tyres under the bumpers."""
        r = self.shape.wheel
        for x in self.shape.axles:
            for side in (-1, 1):
                inner, outer = side * (self.width - 0.26), side * (self.width - 0.03)
                for dx in (-r * 0.7, r * 0.7):
                    spots = ((x + dx, 0, inner), (x + dx, 0, outer), (x + dx, r * 1.3, outer), (x + dx, r * 1.3, inner))
                    self.pen.polygon([self.at(*spot) for spot in spots], (22, 22, 26))

    def body(self) -> None:
        profile, edges = self.shape.profile, self.shape.edges
        faces = []
        for (x0, y0, w0), (x1, y1, w1), what in zip(profile, profile[1:], edges, strict=False):
            corners = ((x0, y0, w0), (x1, y1, w1), (x1, y1, -w1), (x0, y0, -w0))
            middle = self.turn(((x0 + x1) / 2 * self.stretch, (y0 + y1) / 2, 0.0))[2]
            faces.append((middle, corners, what))
        for _, corners, what in sorted(faces, key=lambda one: one[0]):
            self.panel(corners, what)
        for side in (-1, 1):
            self.flank(side)

    def panel(self, corners: tuple[Spot, ...], what: str) -> None:
        """One face across the vehicle: bonnet, glass, roof, front or rear with lights and plate."""
        colour = {"roof": self.top, "bumper": shade(self.paint, 0.8), "glass": self.paint, "bed": (52, 54, 58)}.get(what, self.paint)
        if not self.face(corners, colour):
            return
        if what == "glass":
            self.patch(corners, (0.10, 0.90), (0.07, 0.93), GLASS)
            self.glare(corners)
        elif what in ("front", "rear"):
            self.lights(corners, what)
        if self.who["decal"].endswith("bonnet") and what in ("bonnet", "roof"):
            for low, high in ((0.34, 0.45), (0.55, 0.66)):
                self.patch(corners, (0.0, 1.0), (low, high), self.decal_colour())
        if what in ("front", "rear"):
            self.plate(corners, what)

    def patch(self, corners: Sequence[Spot], along: tuple[float, float], across: tuple[float, float], colour: Colour) -> None:
        """A part of a face: shares along its height and across its width."""
        self.pen.polygon([self.inside(corners, t, s) for t, s in self._ring(along, across)], colour)

    @staticmethod
    def _ring(along: tuple[float, float], across: tuple[float, float]) -> list[tuple[float, float]]:
        return [(along[0], across[0]), (along[1], across[0]), (along[1], across[1]), (along[0], across[1])]

    def inside(self, corners: Sequence[Spot], along: float, across: float) -> Point:
        (ax, ay, az), (bx, by, bz), (cx, cy, cz), (dx, dy, dz) = corners
        left = (ax + (bx - ax) * along, ay + (by - ay) * along, az + (bz - az) * along)
        right = (dx + (cx - dx) * along, dy + (cy - dy) * along, dz + (cz - dz) * along)
        return self.at(*(p + (q - p) * across for p, q in zip(left, right, strict=True)))

    def glare(self, corners: Sequence[Spot]) -> None:
        shine = [self.inside(corners, t, s) for t, s in ((0.12, 0.2), (0.88, 0.42), (0.88, 0.62), (0.12, 0.4))]
        self.pen.veil(shine, (225, 238, 255), 0.25)

    def lights(self, corners: Sequence[Spot], what: str) -> None:
        tall = self.who["type"] in ("truck", "bus", "van")
        if what == "front":
            self.patch(corners, (0.2, 0.8), (0.3, 0.7), (36, 38, 42))
        along = (0.15, 0.6) if tall and what == "front" else (0.12, 0.82)
        colour = (255, 244, 206) if what == "front" else (214, 30, 34)
        if self.shape.cargo and what == "rear":
            return
        for across in ((0.03, 0.22), (0.78, 0.97)):
            self.patch(corners, along, across, colour)

    def plate(self, corners: Sequence[Spot], what: str) -> None:
        if self.shape.cargo and what == "rear":
            return
        across = {"left": 0.30, "right": 0.70}.get(self.who["plate"], 0.5)
        centre = 0.82 if (self.who["plate"] == "high") == (what == "rear") else 0.24
        self.patch(corners, (centre - 0.17, centre + 0.17), (across - 0.15, across + 0.15), (30, 30, 34))
        self.patch(corners, (centre - 0.13, centre + 0.13), (across - 0.135, across + 0.135), (250, 248, 226))

    # ---- sides ----------------------------------------------------------------------------------
    def side_width(self, y: float) -> float:
        """Half the width at a height: straight below the belt line, then leaning in."""
        (_, low, wide), roof = self.belt, self.shape.profile[self.shape.cabin[0] + 1]
        if y <= low:
            return wide
        return wide + (roof[2] - wide) * min(1.0, (y - low) / (roof[1] - low))

    def flank(self, side: int) -> None:
        first, last = self.shape.cabin
        profile = self.shape.profile
        low = [(x, y, side * w) for x, y, w in (*profile[: first + 1], *profile[last:])]
        cabin = [(x, y, side * w) for x, y, w in profile[first : last + 1]]
        order = -1 if side > 0 else 1
        wide = side * self.belt[2]
        test = ((-1.0, 0.4, wide), (1.0, 0.4, wide), (1.0, 0.9, wide))[:: 1 if side > 0 else -1]
        bright = self.light(test)
        if bright is None:
            return
        self.pen.polygon([self.at(*spot) for spot in low[::order]], shade(self.paint, bright))
        self.pen.polygon([self.at(*spot) for spot in cabin[::order]], shade(mix(self.top, self.paint, 0.0), bright))
        self.flank_trim(side, bright)
        for window in self.shape.windows:
            self.pen.polygon([self.at(x, y, side * self.side_width(y)) for x, y in window], GLASS)
            (x0, y0), (x1, y1), (x2, y2), (x3, y3) = window
            shine = ((x0 + (x3 - x0) * 0.2, y0), (x1 + (x2 - x1) * 0.5, y1), (x1 + (x2 - x1) * 0.8, y2), (x0 + (x3 - x0) * 0.5, y3))
            self.pen.veil([self.at(x, y, side * self.side_width(y)) for x, y in shine], (225, 238, 255), 0.22)

    def on_side(self, spots: Sequence[tuple[float, float]], side: int, colour: Colour) -> None:
        self.pen.polygon([self.at(x, y, side * (self.side_width(y) + 0.005)) for x, y in spots], colour)

    def flank_trim(self, side: int, bright: float) -> None:
        """Sill, door lines and the decal of one side."""
        profile = self.shape.profile
        rear, front, bottom = profile[0][0], profile[-1][0], profile[0][1]
        self.on_side(((rear, bottom), (front, bottom), (front, bottom + 0.1), (rear, bottom + 0.1)), side, shade(self.paint, bright * 0.6))
        for window in self.shape.windows[:2]:
            x = window[3][0] + 0.05
            points = [self.at(x, y, side * self.side_width(y)) for y in (bottom + 0.12, self.belt[1])]
            self.pen.line(points, shade(self.paint, bright * 0.7), 0.03 * self.scale)
        if not self.shape.cargo:
            self.decal(side, (rear + front) / 2 - 0.05, bottom + 0.14, self.belt[1] - 0.04, front - rear)

    def decal_colour(self) -> Colour:
        return ACCENTS[self.who["decal"].split()[0]]

    def decal(self, side: int, x: float, low: float, high: float, length: float) -> None:
        """The side's decal between two heights, round x."""
        kind, half = self.who["decal"].split()[-1], (high - low) / 2
        if kind in ("none", "bonnet"):
            return
        colour, y = self.decal_colour(), (low + high) / 2
        if kind == "stripe":
            x0, x1, y0, y1 = x - length * 0.46, x + length * 0.46, y - half * 0.1, y + half * 0.62
            self.on_side(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), side, colour)
        elif kind == "disc":
            ring = [(math.cos(k * math.pi / 8), math.sin(k * math.pi / 8)) for k in range(16)]
            for grow, paint in ((1.16, shade(colour, 0.5)), (0.98, colour)):
                self.on_side([(x + half * grow * c, y + half * grow * s) for c, s in ring], side, paint)
        else:  # a flash: a bolt along the side
            bolt = ((-1.9, 0.9), (0.2, 0.75), (0.0, 0.05), (1.9, 0.05), (-0.4, -0.9), (-0.2, -0.05), (-1.5, -0.05))
            self.on_side([(x + half * dx * 1.1, y + half * dy) for dx, dy in bolt], side, colour)

    # ---- wheels, roof, cargo --------------------------------------------------------------------
    def wheels(self) -> None:
        r, colour = self.shape.wheel, self.who["rims"].split()[0]
        rim = {"silver": (206, 210, 216), "white": (250, 250, 248)}.get(colour, ACCENTS.get(colour, (206, 210, 216)))
        ring = [(math.cos(k * math.pi / 9), math.sin(k * math.pi / 9)) for k in range(18)]
        for side in (-1, 1):
            wide = side * (self.width + 0.01)
            test = ((-1.0, 0.4, wide), (1.0, 0.4, wide), (1.0, 0.9, wide))[:: 1 if side > 0 else -1]
            if self.light(test) is None:
                continue
            for x in self.shape.axles:
                for grow, paint in ((1.2, (18, 18, 20)), (1.0, (40, 40, 44)), (0.68, rim)):
                    lift = 0.05 if grow > 1 else 0.0
                    self.pen.polygon(
                        [self.at(x + r * grow * c / self.stretch, max(r + lift + r * grow * s, 0.02), wide) for c, s in ring], paint
                    )
                if self.who["rims"].endswith("spokes"):
                    gap = (52, 52, 58) if colour != "black" else (150, 152, 158)
                    for k in range(5):
                        a = k * 2 * math.pi / 5 + 0.3
                        spots = ((a - 0.32, 0.58), (a + 0.32, 0.58), (a, 0.16))
                        self.pen.polygon([self.at(x + r * q * math.cos(t) / self.stretch, r + r * q * math.sin(t), wide) for t, q in spots], gap)
                else:
                    self.pen.disc(self.at(x, r, wide), 0.05 * self.scale, shade(rim, 0.5))

    def block(self, x0: float, x1: float, y0: float, y1: float, half: float, colour: Colour) -> None:
        """A box; its visible faces, shaded."""
        a, b = (x0, x1), (y0, y1)
        self.face(((a[0], b[0], half), (a[0], b[1], half), (a[0], b[1], -half), (a[0], b[0], -half)), colour)
        self.face(((a[1], b[1], half), (a[1], b[0], half), (a[1], b[0], -half), (a[1], b[1], -half)), colour)
        self.face(((a[0], b[0], half), (a[1], b[0], half), (a[1], b[1], half), (a[0], b[1], half)), colour)
        self.face(((a[0], b[1], -half), (a[1], b[1], -half), (a[1], b[0], -half), (a[0], b[0], -half)), colour)
        self.face(((a[0], b[1], half), (a[1], b[1], half), (a[1], b[1], -half), (a[0], b[1], -half)), shade(colour, 1.06))

    def cargo(self, cargo: tuple[float, float, float, float, float]) -> None:
        """The box behind a truck's cab, with its decal and the lights and plate of the rear."""
        x0, x1, y0, y1, half = cargo
        colour = self.top if self.who["roof_colour"] != "same" else mix(self.paint, (240, 240, 238), 0.55)
        self.block(x0, 3.0, 0.48, 0.74, 0.62, (44, 45, 50))
        self.block(x0, x1, y0, y1, half, colour)
        for side in (-1, 1):
            wide = side * half
            test = ((x0, y0, wide), (x1, y0, wide), (x1, y1, wide))[:: 1 if side > 0 else -1]
            if self.light(test) is not None:
                self.decal(side, (x0 + x1) / 2, y0 + 0.5, y1 - 0.5, x1 - x0)
        rear = ((x0, y0 - 0.35, half * 0.9), (x0, y0 + 0.1, half * 0.9), (x0, y0 + 0.1, -half * 0.9), (x0, y0 - 0.35, -half * 0.9))
        if self.light(rear) is not None:
            self.face(rear, (60, 62, 66))
            for across in ((0.03, 0.2), (0.8, 0.97)):
                self.patch(rear, (0.2, 0.8), across, (214, 30, 34))
            across_mid = {"left": 0.32, "right": 0.68}.get(self.who["plate"], 0.5)
            self.patch(rear, (0.15, 0.85), (across_mid - 0.12, across_mid + 0.12), (250, 248, 226))
            door = [self.at(x0, y, 0) for y in (y0 + 0.12, y1)]
            self.pen.line(door, shade(colour, 0.6), 0.04 * self.scale)

    def on_roof(self) -> None:
        kind = self.who["roof"]
        first = self.shape.cabin[0] + 1
        (x0, y0, w), (x1, y1, _) = self.shape.profile[first], self.shape.profile[first + 1]
        if kind == "none" or self.who["type"] in ("truck", "bus", "pickup"):
            return
        y = max(y0, y1)
        if kind == "box":
            self.block(x0 + 0.25, min(x0 + 1.5, x1 - 0.05), y + 0.04, y + 0.30, w * 0.62, (52, 54, 60))
        elif kind == "sign":
            middle = (x0 + x1) / 2
            self.block(middle - 0.14, middle + 0.14, y + 0.01, y + 0.24, w * 0.48, (252, 214, 40))
        else:
            bars = [((x0 + 0.1, y, side * w * 0.9), (x1 - 0.1, y, side * w * 0.9)) for side in (-1, 1)]
            if kind == "rack":
                bars += [((x, y, -w * 0.9), (x, y, w * 0.9)) for x in (x0 + 0.3, (x0 + x1) / 2, x1 - 0.2)]
            for a, b in bars:
                ends = [self.at(p[0], p[1] + 0.09, p[2]) for p in (a, b)]
                for foot, end in zip((a, b), ends, strict=True):
                    self.pen.line([self.at(*foot), end], (40, 42, 46), 0.06 * self.scale)
                self.pen.line(ends, (214, 216, 220) if kind == "rails" else (40, 42, 46), 0.07 * self.scale)


def draw_vehicle(pen: Pen, who: Attributes, domain: str, pose: Pose) -> None:
    """Draw one vehicle of these attributes in this pose on the pen's canvas."""
    Vehicle(pen, who, domain, pose).draw()
