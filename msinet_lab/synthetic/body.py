"""The body of a person: its measures, and where a point of it lies in the picture.

Coordinates of the body: x to the person's left, y up from the ground, z to the person's front, in
body heights. `Body.at` turns them by the yaw (0 = facing the camera, 90 = facing the picture's
right) and puts them on the canvas, with a slight look from above. What lies on the body's surface
(logo, stripes, straps) is placed by height and by the angle around the body, so it turns out of
sight with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from msinet_lab.synthetic.colours import CLOTH, HAIR, SKIN, Colour, shade
from msinet_lab.synthetic.identities import Attributes
from msinet_lab.synthetic.pen import Pen, Point

BUILDS = {"slim": 0.86, "average": 1.0, "broad": 1.2}
HEIGHTS = {"short": 0.93, "middle": 1.0, "tall": 1.07}
# height above ground, half-width (side to side), half-depth (front to back)
TORSO = (
    (0.30, 0.150, 0.120),
    (0.47, 0.116, 0.088),
    (0.54, 0.112, 0.084),
    (0.63, 0.096, 0.072),
    (0.74, 0.116, 0.080),
    (0.79, 0.118, 0.072),
    (0.815, 0.098, 0.058),
    (0.835, 0.050, 0.045),
)
HEM = {"tee": 0.49, "shirt": 0.49, "jacket": 0.48, "coat": 0.33, "vest": 0.49}
LOOK_DOWN = 0.16  # how much nearer things move down


@dataclass(frozen=True)
class Pose:
    """Where and how a person stands, in pixels of the canvas."""

    yaw: float  # degrees
    stride: float  # -1 to 1
    centre: float
    ground: float
    height: float


class Body:
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

    def depth(self, x: float, z: float) -> float:
        """Towards the camera, in body heights."""
        return z * self.cos - x * self.sin

    def at(self, x: float, y: float, z: float = 0.0) -> Point:
        """Pixels of a point of the body."""
        return self.spot(x * self.cos + z * self.sin, y - LOOK_DOWN * self.depth(x, z))

    def spot(self, across: float, y: float) -> Point:
        """Pixels of a point seen level: to the picture's right of the body's middle, and up."""
        return self.pose.centre + self.unit * across, self.pose.ground - self.unit * y

    def wide(self, half_width: float, half_depth: float) -> float:
        """Half the width in the picture of what is so wide and so deep, in body heights."""
        return math.hypot(half_width * self.cos, half_depth * self.sin)

    def axes(self, y: float) -> tuple[float, float]:
        """Half-width and half-depth of the torso at a height."""
        for (y0, a0, b0), (y1, a1, b1) in pairwise(TORSO):
            if y <= y1:
                t = max(0.0, (y - y0) / (y1 - y0))
                return (a0 + (a1 - a0) * t) * self.girth, (b0 + (b1 - b0) * t) * self.girth
        return TORSO[-1][1], TORSO[-1][2]

    def outline(self, y: float) -> float:
        """Half the torso's width in the picture at a height, in body heights."""
        return self.wide(*self.axes(y))

    def surface(self, y: float, angle: float) -> tuple[Point, float]:
        """A point `angle` radians round from the front, and how much it faces the camera (to 1)."""
        a, b = self.axes(y)
        x, z = a * math.sin(angle), b * math.cos(angle)
        facing = self.depth(math.sin(angle), math.cos(angle))
        return self.spot(x * self.cos + z * self.sin, y), facing

    def band(self, low: float, high: float, colour: Colour) -> None:
        """A ring round the torso between two heights, curved as seen from slightly above."""
        points: list[Point] = []
        for y, sides in ((high, (-1.0, -0.5, 0.0, 0.5, 1.0)), (low, (1.0, 0.5, 0.0, -0.5, -1.0))):
            half = self.outline(y)
            points += [self.spot(half * t, y - 0.012 * (1 - t * t)) for t in sides]
        self.pen.polygon(points, colour)

    def stroke(self, angle: float, low: float, high: float, width: float, colour: Colour) -> None:
        """A line down the torso at an angle round it, where it is in sight."""
        facing = self.surface(0.7, angle)[1]
        if facing > 0.1:
            points = [self.surface(low + (high - low) * t, angle)[0] for t in (0.0, 0.35, 0.6, 1.0)]
            self.pen.line(points, colour, width * self.unit * max(0.4, facing))
