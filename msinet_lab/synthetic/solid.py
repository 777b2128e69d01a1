"""The solid of a vehicle: where a point of it lies in the picture, and which of its faces show.

Coordinates in metres: x forward, y up, z to the vehicle's left, the origin on the ground under its
middle. A yaw of 0 shows the front, 90 the side with the front to the picture's right, 180 the rear.
Faces are seen in perspective, shaded by the light from the upper left, and left out when they look
away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from msinet_lab.synthetic.identities import PAINT, Attributes, Colour
from msinet_lab.synthetic.pen import Pen, Point, shade
from msinet_lab.synthetic.shapes import SHAPES, Spot

LIGHT = (-0.45, 0.75, 0.48)  # towards the light: picture's left, up, towards the camera
STRETCH = {"compact": 0.9, "regular": 1.0, "long": 1.12}


@dataclass(frozen=True)
class Pose:
    """Yaw and pitch of the view in degrees, and the box of the canvas that the vehicle fills (x0,
    y0, x1, y1).
    """

    yaw: float
    pitch: float
    box: tuple[float, float, float, float]


class Vehicle:
    """One vehicle on one canvas."""

    def __init__(self, pen: Pen, who: Attributes, domain: str, pose: Pose) -> None:
        self.pen, self.who, self.shape = pen, who, SHAPES[who["type"]]
        yaw, pitch = math.radians(pose.yaw), math.radians(pose.pitch)
        self.sin, self.cos, self.tilt_sin, self.tilt_cos = (
            math.sin(yaw),
            math.cos(yaw),
            math.sin(pitch),
            math.cos(pitch),
        )
        self.stretch = STRETCH[who["proportions"]]
        self.paint = PAINT[domain][who["colour"]]
        self.top = {"same": self.paint, "white": (244, 244, 240), "black": (34, 35, 40)}[
            who["roof_colour"]
        ]
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
        return (
            across,
            y * self.tilt_cos - depth * self.tilt_sin,
            depth * self.tilt_cos + y * self.tilt_sin,
        )

    def at(self, x: float, y: float, z: float) -> Point:
        x *= self.stretch  # as `turn`, written out: this runs some 300 times a picture
        depth = x * self.cos - z * self.sin
        zoom = (
            self.scale * self.distance / (self.distance - depth * self.tilt_cos - y * self.tilt_sin)
        )
        across = x * self.sin + z * self.cos
        return self.shift[0] + across * zoom, self.shift[1] - (
            y * self.tilt_cos - depth * self.tilt_sin
        ) * zoom

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
        self.shift = (
            (box[0] + box[2]) / 2 - scale * (x0 + x1) / 2,
            (box[1] + box[3]) / 2 - scale * (y0 + y1) / 2,
        )

    def light(self, corners: Sequence[Spot]) -> float | None:
        """How bright a face is (its corners clockwise from outside); None where it looks away."""
        a, b, c = (
            self.turn((x * self.stretch, y, z)) for x, y, z in (corners[0], corners[1], corners[2])
        )
        u, v = (
            [q - p for p, q in zip(a, b, strict=True)],
            [q - p for p, q in zip(a, c, strict=True)],
        )
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

    def side_light(self, side: int, wide: float) -> float | None:
        """`light` of an upright side, `wide` from the middle; side: 1 left, -1 right."""
        corners = ((-1.0, 0.4, side * wide), (1.0, 0.4, side * wide), (1.0, 0.9, side * wide))
        return self.light(corners[::side])

    def block(
        self, x0: float, x1: float, y0: float, y1: float, half: float, colour: Colour
    ) -> None:
        """A box; its visible faces, shaded."""
        a, b = (x0, x1), (y0, y1)
        self.face(
            ((a[0], b[0], half), (a[0], b[1], half), (a[0], b[1], -half), (a[0], b[0], -half)),
            colour,
        )
        self.face(
            ((a[1], b[1], half), (a[1], b[0], half), (a[1], b[0], -half), (a[1], b[1], -half)),
            colour,
        )
        self.face(
            ((a[0], b[0], half), (a[1], b[0], half), (a[1], b[1], half), (a[0], b[1], half)), colour
        )
        self.face(
            ((a[0], b[1], -half), (a[1], b[1], -half), (a[1], b[0], -half), (a[0], b[0], -half)),
            colour,
        )
        self.face(
            ((a[0], b[1], half), (a[1], b[1], half), (a[1], b[1], -half), (a[0], b[1], -half)),
            shade(colour, 1.06),
        )

    # ---- on a face ------------------------------------------------------------------------------
    def patch(
        self,
        corners: Sequence[Spot],
        along: tuple[float, float],
        across: tuple[float, float],
        colour: Colour,
    ) -> None:
        """A part of a face: shares along its height and across its width."""
        self.pen.polygon([self.inside(corners, t, s) for t, s in self._ring(along, across)], colour)

    @staticmethod
    def _ring(along: tuple[float, float], across: tuple[float, float]) -> list[tuple[float, float]]:
        return [
            (along[0], across[0]),
            (along[1], across[0]),
            (along[1], across[1]),
            (along[0], across[1]),
        ]

    def inside(self, corners: Sequence[Spot], along: float, across: float) -> Point:
        (ax, ay, az), (bx, by, bz), (cx, cy, cz), (dx, dy, dz) = corners
        left = (ax + (bx - ax) * along, ay + (by - ay) * along, az + (bz - az) * along)
        right = (dx + (cx - dx) * along, dy + (cy - dy) * along, dz + (cz - dz) * along)
        return self.at(*(p + (q - p) * across for p, q in zip(left, right, strict=True)))

    # ---- on a side ------------------------------------------------------------------------------
    def side_width(self, y: float) -> float:
        """Half the width at a height: straight below the belt line, then leaning in."""
        (_, low, wide), roof = self.belt, self.shape.profile[self.shape.cabin[0] + 1]
        if y <= low:
            return wide
        return wide + (roof[2] - wide) * min(1.0, (y - low) / (roof[1] - low))

    def on_side(self, spots: Sequence[tuple[float, float]], side: int, colour: Colour) -> None:
        self.pen.polygon(
            [self.at(x, y, side * (self.side_width(y) + 0.005)) for x, y in spots], colour
        )
