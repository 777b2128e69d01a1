"""How a vehicle is drawn: the body's faces with glass, lights and plate, and the sides."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from msinet_lab.synthetic.colours import Colour, shade
from msinet_lab.synthetic.identities import Attributes
from msinet_lab.synthetic.pen import Pen
from msinet_lab.synthetic.shapes import Spot
from msinet_lab.synthetic.solid import Pose, Vehicle, inside
from msinet_lab.synthetic.vehicle_parts import (
    PLATE,
    REAR_LIGHT,
    cargo,
    decal,
    decal_colour,
    on_roof,
    wheels,
)

GLASS: Colour = (58, 74, 92)
GLARE: Colour = (225, 238, 255)


def draw_vehicle(pen: Pen, who: Attributes, domain: str, pose: Pose) -> None:
    """Draw one vehicle of these attributes in this pose, from the back to the front."""
    vehicle = Vehicle(pen, who, domain, pose)
    ground_shadow(vehicle)
    tyres_below(vehicle)
    cab_nearer = vehicle.turn((1.0, 0.0, 0.0))[2] >= vehicle.turn((-1.0, 0.0, 0.0))[2]
    for part in (cargo, body) if cab_nearer else (body, cargo):
        part(vehicle)
    wheels(vehicle)
    on_roof(vehicle)


def ground_shadow(vehicle: Vehicle) -> None:
    for long, wide, opacity in ((1.10, 1.05, 0.22), (0.98, 0.92, 0.42)):
        x, z = vehicle.length / vehicle.stretch * long, vehicle.width * wide
        vehicle.polygon(((-x, 0, -z), (x, 0, -z), (x, 0, z), (-x, 0, z)), (8, 8, 14), opacity)


def tyres_below(vehicle: Vehicle) -> None:
    """What shows of the tyres under the bumpers."""
    r = vehicle.shape.wheel
    for axle in vehicle.shape.axles:
        for side in (-1, 1):
            inner, outer = side * (vehicle.width - 0.26), side * (vehicle.width - 0.03)
            for x in (axle - r * 0.7, axle + r * 0.7):
                top = r * 1.3
                spots = ((x, 0, inner), (x, 0, outer), (x, top, outer), (x, top, inner))
                vehicle.polygon(spots, (22, 22, 26))


def body(vehicle: Vehicle) -> None:
    faces = []
    edges = zip(pairwise(vehicle.shape.profile), vehicle.shape.edges, strict=True)
    for ((x0, y0, w0), (x1, y1, w1)), what in edges:
        corners = ((x0, y0, w0), (x1, y1, w1), (x1, y1, -w1), (x0, y0, -w0))
        middle = vehicle.turn(((x0 + x1) / 2 * vehicle.stretch, (y0 + y1) / 2, 0.0))[2]
        faces.append((middle, corners, what))
    for _, corners, what in sorted(faces, key=lambda one: one[0]):
        panel(vehicle, corners, what)
    for side in (-1, 1):
        flank(vehicle, side)


def panel(vehicle: Vehicle, corners: tuple[Spot, ...], what: str) -> None:
    """One face across the vehicle: bonnet, glass, roof, front or rear with lights and plate."""
    paint = vehicle.paint
    own = {"roof": vehicle.top, "bumper": shade(paint, 0.8), "bed": (52, 54, 58)}
    if not vehicle.face(corners, own.get(what, paint)):
        return
    if what == "glass":
        vehicle.patch(corners, (0.10, 0.90), (0.07, 0.93), GLASS)
        shine = ((0.12, 0.2), (0.88, 0.42), (0.88, 0.62), (0.12, 0.4))
        vehicle.polygon([inside(corners, t, s) for t, s in shine], GLARE, 0.25)
    if vehicle.who["decal"].endswith("bonnet") and what in ("bonnet", "roof"):
        for across in ((0.34, 0.45), (0.55, 0.66)):
            vehicle.patch(corners, (0.0, 1.0), across, decal_colour(vehicle))
    if what == "front" or (what == "rear" and not vehicle.shape.cargo):
        lights(vehicle, corners, what)
        plate(vehicle, corners, what)


def lights(vehicle: Vehicle, corners: Sequence[Spot], what: str) -> None:
    along, colour = (0.12, 0.82), REAR_LIGHT
    if what == "front":
        vehicle.patch(corners, (0.2, 0.8), (0.3, 0.7), (36, 38, 42))
        colour = (255, 244, 206)
        if vehicle.who["type"] in ("truck", "bus", "van"):
            along = (0.15, 0.6)
    for across in ((0.03, 0.22), (0.78, 0.97)):
        vehicle.patch(corners, along, across, colour)


def plate(vehicle: Vehicle, corners: Sequence[Spot], what: str) -> None:
    x = {"left": 0.30, "right": 0.70}.get(vehicle.who["plate"], 0.5)
    y = 0.82 if (vehicle.who["plate"] == "high") == (what == "rear") else 0.24
    for tall, wide, colour in ((0.17, 0.15, (30, 30, 34)), (0.13, 0.135, PLATE)):
        vehicle.patch(corners, (y - tall, y + tall), (x - wide, x + wide), colour)


def flank(vehicle: Vehicle, side: int) -> None:
    """One side: below and above the belt line, trim, decal and windows."""
    bright = vehicle.side_light(side, vehicle.belt[2])
    if bright is None:
        return
    (first, last), profile = vehicle.shape.cabin, vehicle.shape.profile
    lower, cabin = (*profile[: first + 1], *profile[last:]), profile[first : last + 1]
    for part, paint in ((lower, vehicle.paint), (cabin, vehicle.top)):
        vehicle.polygon([(x, y, side * w) for x, y, w in part[::-side]], shade(paint, bright))
    flank_trim(vehicle, side, bright)
    for window in vehicle.shape.windows:
        vehicle.on_side(window, side, GLASS, above=0)
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = window
        shine = (
            (x0 + (x3 - x0) * 0.2, y0),
            (x1 + (x2 - x1) * 0.5, y1),
            (x1 + (x2 - x1) * 0.8, y2),
            (x0 + (x3 - x0) * 0.5, y3),
        )
        vehicle.on_side(shine, side, GLARE, 0.22, above=0)


def flank_trim(vehicle: Vehicle, side: int, bright: float) -> None:
    """Sill, door lines and the decal of one side."""
    profile = vehicle.shape.profile
    rear, front, bottom = profile[0][0], profile[-1][0], profile[0][1]
    sill = ((rear, bottom), (front, bottom), (front, bottom + 0.1), (rear, bottom + 0.1))
    vehicle.on_side(sill, side, shade(vehicle.paint, bright * 0.6))
    for window in vehicle.shape.windows[:2]:
        x, ends = window[3][0] + 0.05, (bottom + 0.12, vehicle.belt[1])
        door = [vehicle.at(x, y, side * vehicle.side_width(y)) for y in ends]
        vehicle.pen.line(door, shade(vehicle.paint, bright * 0.7), 0.03 * vehicle.scale)
    if not vehicle.shape.cargo:
        heights = (bottom + 0.14, vehicle.belt[1] - 0.04)
        decal(vehicle, side, (rear - 0.05, front - 0.05), heights)
