"""Parts of a vehicle: decals, wheels, a truck's box, and what stands on the roof."""

from __future__ import annotations

import math

from msinet_lab.synthetic.colours import ACCENTS, Colour, mix, shade
from msinet_lab.synthetic.solid import Vehicle

BOLT = (
    (-1.9, 0.9),
    (0.2, 0.75),
    (0, 0.05),
    (1.9, 0.05),
    (-0.4, -0.9),
    (-0.2, -0.05),
    (-1.5, -0.05),
)
DARK, SILVER, PLATE, REAR_LIGHT = (40, 42, 46), (206, 210, 216), (250, 248, 226), (214, 30, 34)


def circle(points: int) -> list[tuple[float, float]]:
    """Points of the unit circle, evenly round it."""
    turns = [place * math.pi / (points / 2) for place in range(points)]
    return [(math.cos(turn), math.sin(turn)) for turn in turns]


def decal_colour(vehicle: Vehicle) -> Colour:
    return ACCENTS[vehicle.who["decal"].split()[0]]


def decal(
    vehicle: Vehicle, side: int, along: tuple[float, float], height: tuple[float, float]
) -> None:
    """The side's decal, between two x and two heights."""
    kind = vehicle.who["decal"].split()[-1]
    if kind in ("none", "bonnet"):
        return
    (x0, x1), (low, high), colour = along, height, decal_colour(vehicle)
    x, y, half = (x0 + x1) / 2, (low + high) / 2, (high - low) / 2
    if kind == "stripe":
        reach, y0, y1 = (x1 - x0) * 0.46, y - half * 0.1, y + half * 0.62
        band = ((x - reach, y0), (x + reach, y0), (x + reach, y1), (x - reach, y1))
        vehicle.on_side(band, side, colour)
    elif kind == "disc":
        for grow, paint in ((half * 1.16, shade(colour, 0.5)), (half * 0.98, colour)):
            vehicle.on_side([(x + grow * c, y + grow * s) for c, s in circle(16)], side, paint)
    else:  # a flash: a bolt along the side
        vehicle.on_side([(x + half * dx * 1.1, y + half * dy) for dx, dy in BOLT], side, colour)


def wheels(vehicle: Vehicle) -> None:
    for side in (-1, 1):
        if vehicle.side_light(side, vehicle.width + 0.01) is not None:
            for x in vehicle.shape.axles:
                wheel(vehicle, x, side * (vehicle.width + 0.01))


def wheel(vehicle: Vehicle, x: float, z: float) -> None:
    """Arch, tyre and rim of a wheel round x, seen from the side at z."""
    r, (name, form) = vehicle.shape.wheel, vehicle.who["rims"].split()
    rim = {"silver": SILVER, "white": (250, 250, 248)}.get(name) or ACCENTS[name]
    for grow, lift, paint in ((1.2, 0.05, (18, 18, 20)), (1.0, 0, (40, 40, 44)), (0.68, 0, rim)):
        ring = [
            (x + r * grow * c / vehicle.stretch, max(r + lift + r * grow * s, 0.02), z)
            for c, s in circle(18)
        ]
        vehicle.polygon(ring, paint)
    if form != "spokes":
        vehicle.pen.disc(vehicle.at(x, r, z), 0.05 * vehicle.scale, shade(rim, 0.5))
        return
    for spoke in range(5):
        turn = spoke * 2 * math.pi / 5 + 0.3
        corners = [
            (x + r * reach * math.cos(t) / vehicle.stretch, r + r * reach * math.sin(t), z)
            for t, reach in ((turn - 0.32, 0.58), (turn + 0.32, 0.58), (turn, 0.16))
        ]
        vehicle.polygon(corners, (150, 152, 158) if name == "black" else (52, 52, 58))


def cargo(vehicle: Vehicle) -> None:
    """The box behind a truck's cab, with its decal and the lights and plate of the rear."""
    if vehicle.shape.cargo is None:
        return
    x0, x1, y0, y1, half = vehicle.shape.cargo
    colour = vehicle.top
    if vehicle.who["roof_colour"] == "same":
        colour = mix(vehicle.paint, (240, 240, 238), 0.55)
    vehicle.block((x0, 3.0), (0.48, 0.74), 0.62, (44, 45, 50))
    vehicle.block((x0, x1), (y0, y1), half, colour)
    for side in (-1, 1):
        if vehicle.side_light(side, half) is not None:
            decal(vehicle, side, (x0, x1), (y0 + 0.5, y1 - 0.5))
    low, high, wide = y0 - 0.35, y0 + 0.1, half * 0.9
    rear = ((x0, low, wide), (x0, high, wide), (x0, high, -wide), (x0, low, -wide))
    if vehicle.face(rear, (60, 62, 66)):
        for across in ((0.03, 0.2), (0.8, 0.97)):
            vehicle.patch(rear, (0.2, 0.8), across, REAR_LIGHT)
        middle = {"left": 0.32, "right": 0.68}.get(vehicle.who["plate"], 0.5)
        vehicle.patch(rear, (0.15, 0.85), (middle - 0.12, middle + 0.12), PLATE)
        door = [vehicle.at(x0, y, 0) for y in (y0 + 0.12, y1)]
        vehicle.pen.line(door, shade(colour, 0.6), 0.04 * vehicle.scale)


def on_roof(vehicle: Vehicle) -> None:
    kind, first = vehicle.who["roof"], vehicle.shape.cabin[0] + 1
    (x0, y0, w), (x1, y1, _) = vehicle.shape.profile[first : first + 2]
    y, middle = max(y0, y1), (x0 + x1) / 2
    if kind == "box":
        ends = (x0 + 0.25, min(x0 + 1.5, x1 - 0.05))
        vehicle.block(ends, (y + 0.04, y + 0.30), w * 0.62, (52, 54, 60))
    elif kind == "sign":
        ends = (middle - 0.14, middle + 0.14)
        vehicle.block(ends, (y + 0.01, y + 0.24), w * 0.48, (252, 214, 40))
    elif kind != "none":
        wide = w * 0.9
        bars = [((x0 + 0.1, side * wide), (x1 - 0.1, side * wide)) for side in (-1, 1)]
        if kind == "rack":
            bars += [((x, -wide), (x, wide)) for x in (x0 + 0.3, middle, x1 - 0.2)]
        for bar in bars:
            ends_above = [vehicle.at(x, y + 0.09, z) for x, z in bar]
            for (x, z), end in zip(bar, ends_above, strict=True):
                vehicle.pen.line([vehicle.at(x, y, z), end], DARK, 0.06 * vehicle.scale)
            paint = (214, 216, 220) if kind == "rails" else DARK
            vehicle.pen.line(ends_above, paint, 0.07 * vehicle.scale)
