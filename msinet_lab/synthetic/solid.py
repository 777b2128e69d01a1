"""The solid of a vehicle: where a point of it lies in the picture, and which of its faces show.

Coordinates in metres: x forward, y up, z to the vehicle's left, the origin on the ground under its
middle. A yaw of 0 shows the front, 90 the side with the front to the picture's right, 180 the rear.
Faces are seen in perspective, shaded by the light from the upper left, and left out when they look
away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msinet_lab.synthetic.colours import PAINT, Colour, shade
from msinet_lab.synthetic.identities import Attributes
from msinet_lab.synthetic.pen import Pen, Point
from msinet_lab.synthetic.shapes import SHAPES, Spot

LIGHT = (-0.45, 0.75, 0.48)  # towards the light: picture's left, up, towards the camera
# corners of a box's faces, clockwise from outside: which end in x, which in y, which side
BLOCK = (
    ((0, 0, 1), (0, 1, 1), (0, 1, -1), (0, 0, -1)),
    ((1, 1, 1), (1, 0, 1), (1, 0, -1), (1, 1, -1)),
    ((0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)),
    ((0, 1, -1), (1, 1, -1), (1, 0, -1), (0, 0, -1)),
    ((0, 1, 1), (1, 1, 1), (1, 1, -1), (0, 1, -1)),
)
Shares = tuple[float, float]  # of a length, from and to
STRETCH = {"compact": 0.9, "regular": 1.0, "long": 1.12}


@dataclass(frozen=True)
class Pose:
    """How a vehicle is seen."""

    yaw: float  # degrees, as `pitch`
    pitch: float
    box: tuple[float, float, float, float]  # of the canvas, which it fills: x0, y0, x1, y1


class Vehicle:
    """One vehicle on one canvas."""

    def __init__(self, pen: Pen, who: Attributes, domain: str, pose: Pose) -> None:
        self.pen, self.who, self.shape = pen, who, SHAPES[who["type"]]
        yaw, pitch = math.radians(pose.yaw), math.radians(pose.pitch)
        self.sin, self.cos = math.sin(yaw), math.cos(yaw)
        self.tilt_sin, self.tilt_cos = math.sin(pitch), math.cos(pitch)
        self.stretch = STRETCH[who["proportions"]]
        self.paint = PAINT[domain][who["colour"]]
        self.top = {"white": (244, 244, 240), "black": (34, 35, 40)}.get(
            who["roof_colour"], self.paint
        )
        profile, cargo = self.shape.profile, self.shape.cargo
        self.length = max(abs(x) for x, _, _ in profile) * self.stretch
        if cargo:
            self.length = max(self.length, -cargo[0])
        self.width = max(width for _, _, width in profile)
        self.belt = profile[self.shape.cabin[0]]
        self.distance = 4.2 * self.length
        self.scale, self.shift = 1.0, (0.0, 0.0)
        self._fit(pose.box)

    def turn(self, spot: Spot) -> Spot:
        """From the vehicle's axes to the camera's: right, up, towards the camera."""
        x, y, z = spot
        across, depth = x * self.sin + z * self.cos, x * self.cos - z * self.sin
        up = y * self.tilt_cos - depth * self.tilt_sin
        return across, up, depth * self.tilt_cos + y * self.tilt_sin

    def at(self, x: float, y: float, z: float) -> Point:
        """Pixels of a point."""
        across, up, near = self.turn((x * self.stretch, y, z))
        zoom = self.scale * self.distance / (self.distance - near)
        return self.shift[0] + across * zoom, self.shift[1] - up * zoom

    def _fit(self, box: tuple[float, float, float, float]) -> None:
        half = [(x, y, w) for x, y, w in self.shape.profile]
        half += [(x, 0.0, self.width) for x in self.shape.axles]
        if self.shape.cargo:
            x0, x1, y0, y1, w = self.shape.cargo
            half += [(x, y, w) for x in (x0, x1) for y in (y0, y1)]
        points = [self.at(x, y, side * w) for x, y, w in half for side in (-1, 1)]
        (x0, x1), (y0, y1) = ((min(values), max(values)) for values in zip(*points, strict=True))
        self.scale = min((box[2] - box[0]) / (x1 - x0), (box[3] - box[1]) / (y1 - y0))
        self.shift = (
            (box[0] + box[2]) / 2 - self.scale * (x0 + x1) / 2,
            (box[1] + box[3]) / 2 - self.scale * (y0 + y1) / 2,
        )

    def light(self, corners: Sequence[Spot]) -> float | None:
        """How bright a face is (its corners clockwise from outside); None where it looks away."""
        (ax, ay, az), b, c = (self.turn((x * self.stretch, y, z)) for x, y, z in corners[:3])
        u, v = ((x - ax, y - ay, z - az) for x, y, z in (b, c))
        normal = (u[2] * v[1] - u[1] * v[2], u[0] * v[2] - u[2] * v[0], u[1] * v[0] - u[0] * v[1])
        eye = (-ax, -ay, self.distance - az)
        if sum(n * e for n, e in zip(normal, eye, strict=True)) <= 0:
            return None
        size = math.sqrt(sum(n * n for n in normal)) or 1.0
        return 0.74 + 0.34 * sum(n * d for n, d in zip(normal, LIGHT, strict=True)) / size

    def polygon(self, spots: Iterable[Spot], colour: Colour, opacity: float = 1) -> None:
        self.pen.polygon([self.at(*spot) for spot in spots], colour, opacity)

    def face(self, corners: Sequence[Spot], colour: Colour) -> bool:
        """Draw a face unless it looks away; True if drawn."""
        bright = self.light(corners)
        if bright is not None:
            self.polygon(corners, shade(colour, bright))
        return bright is not None

    def side_light(self, side: int, wide: float) -> float | None:
        """`light` of an upright side, `wide` from the middle; side: 1 left, -1 right."""
        corners = ((-1.0, 0.4, side * wide), (1.0, 0.4, side * wide), (1.0, 0.9, side * wide))
        return self.light(corners[::side])

    def block(
        self, x: tuple[float, float], y: tuple[float, float], half: float, colour: Colour
    ) -> None:
        """A box; its visible faces, shaded."""
        rear, front, left, right, top = (
            [(x[i], y[j], half * side) for i, j, side in face] for face in BLOCK
        )
        for face in (rear, front, left, right):
            self.face(face, colour)
        self.face(top, shade(colour, 1.06))

    def patch(self, face: Sequence[Spot], along: Shares, across: Shares, colour: Colour) -> None:
        """A part of a face: shares along its height and across its width."""
        (t0, t1), (s0, s1) = along, across
        shares = ((t0, s0), (t1, s0), (t1, s1), (t0, s1))
        self.polygon([inside(face, t, s) for t, s in shares], colour)

    def on_side(
        self,
        spots: Iterable[tuple[float, float]],
        side: int,
        colour: Colour,
        opacity: float = 1,
        *,
        above: float = 0.005,
    ) -> None:
        """Something flat on a side, points in (x, y), so much above its surface."""
        where = ((x, y, side * (self.side_width(y) + above)) for x, y in spots)
        self.polygon(where, colour, opacity)

    def side_width(self, y: float) -> float:
        """Half the width at a height: straight below the belt line, then leaning in."""
        (_, low, wide), roof = self.belt, self.shape.profile[self.shape.cabin[0] + 1]
        if y <= low:
            return wide
        return wide + (roof[2] - wide) * min(1.0, (y - low) / (roof[1] - low))


def inside(face: Sequence[Spot], along: float, across: float) -> Spot:
    """The point of a face at these shares of its height and width."""
    a, b, c, d = face
    left, right = _between(a, b, along), _between(d, c, along)
    return _between(left, right, across)


def _between(first: Spot, second: Spot, share: float) -> Spot:
    (x0, y0, z0), (x1, y1, z1) = first, second
    return x0 + (x1 - x0) * share, y0 + (y1 - y0) * share, z0 + (z1 - z0) * share
