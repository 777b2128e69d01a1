"""Parts of a vehicle: decals, wheels, a truck's box, and what stands on the roof."""

from __future__ import annotations

import math

from msinet_lab.synthetic.identities import ACCENTS, Colour
from msinet_lab.synthetic.pen import mix, shade
from msinet_lab.synthetic.solid import Vehicle


def decal_colour(vehicle: Vehicle) -> Colour:
    return ACCENTS[vehicle.who["decal"].split()[0]]


def decal(vehicle: Vehicle, side: int, x: float, low: float, high: float, length: float) -> None:
    """The side's decal between two heights, round x."""
    kind, half = vehicle.who["decal"].split()[-1], (high - low) / 2
    if kind in ("none", "bonnet"):
        return
    colour, y = decal_colour(vehicle), (low + high) / 2
    if kind == "stripe":
        x0, x1, y0, y1 = x - length * 0.46, x + length * 0.46, y - half * 0.1, y + half * 0.62
        vehicle.on_side(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), side, colour)
    elif kind == "disc":
        ring = [(math.cos(k * math.pi / 8), math.sin(k * math.pi / 8)) for k in range(16)]
        for grow, paint in ((1.16, shade(colour, 0.5)), (0.98, colour)):
            vehicle.on_side(
                [(x + half * grow * c, y + half * grow * s) for c, s in ring], side, paint
            )
    else:  # a flash: a bolt along the side
        bolt = (
            (-1.9, 0.9),
            (0.2, 0.75),
            (0.0, 0.05),
            (1.9, 0.05),
            (-0.4, -0.9),
            (-0.2, -0.05),
            (-1.5, -0.05),
        )
        vehicle.on_side([(x + half * dx * 1.1, y + half * dy) for dx, dy in bolt], side, colour)


def wheels(vehicle: Vehicle) -> None:
    r, colour = vehicle.shape.wheel, vehicle.who["rims"].split()[0]
    rim = {"silver": (206, 210, 216), "white": (250, 250, 248)}.get(
        colour, ACCENTS.get(colour, (206, 210, 216))
    )
    ring = [(math.cos(k * math.pi / 9), math.sin(k * math.pi / 9)) for k in range(18)]
    for side in (-1, 1):
        wide = side * (vehicle.width + 0.01)
        if vehicle.side_light(side, vehicle.width + 0.01) is None:
            continue
        for x in vehicle.shape.axles:
            for grow, paint in ((1.2, (18, 18, 20)), (1.0, (40, 40, 44)), (0.68, rim)):
                lift = 0.05 if grow > 1 else 0.0
                vehicle.pen.polygon(
                    [
                        vehicle.at(
                            x + r * grow * c / vehicle.stretch,
                            max(r + lift + r * grow * s, 0.02),
                            wide,
                        )
                        for c, s in ring
                    ],
                    paint,
                )
            if vehicle.who["rims"].endswith("spokes"):
                gap = (52, 52, 58) if colour != "black" else (150, 152, 158)
                for k in range(5):
                    a = k * 2 * math.pi / 5 + 0.3
                    spots = ((a - 0.32, 0.58), (a + 0.32, 0.58), (a, 0.16))
                    vehicle.pen.polygon(
                        [
                            vehicle.at(
                                x + r * q * math.cos(t) / vehicle.stretch,
                                r + r * q * math.sin(t),
                                wide,
                            )
                            for t, q in spots
                        ],
                        gap,
                    )
            else:
                vehicle.pen.disc(vehicle.at(x, r, wide), 0.05 * vehicle.scale, shade(rim, 0.5))


def cargo(vehicle: Vehicle) -> None:
    """The box behind a truck's cab, with its decal and the lights and plate of the rear."""
    if vehicle.shape.cargo is None:
        return
    x0, x1, y0, y1, half = vehicle.shape.cargo
    colour = (
        vehicle.top
        if vehicle.who["roof_colour"] != "same"
        else mix(vehicle.paint, (240, 240, 238), 0.55)
    )
    vehicle.block(x0, 3.0, 0.48, 0.74, 0.62, (44, 45, 50))
    vehicle.block(x0, x1, y0, y1, half, colour)
    for side in (-1, 1):
        if vehicle.side_light(side, half) is not None:
            decal(vehicle, side, (x0 + x1) / 2, y0 + 0.5, y1 - 0.5, x1 - x0)
    rear = (
        (x0, y0 - 0.35, half * 0.9),
        (x0, y0 + 0.1, half * 0.9),
        (x0, y0 + 0.1, -half * 0.9),
        (x0, y0 - 0.35, -half * 0.9),
    )
    if vehicle.light(rear) is not None:
        vehicle.face(rear, (60, 62, 66))
        for across in ((0.03, 0.2), (0.8, 0.97)):
            vehicle.patch(rear, (0.2, 0.8), across, (214, 30, 34))
        across_mid = {"left": 0.32, "right": 0.68}.get(vehicle.who["plate"], 0.5)
        vehicle.patch(rear, (0.15, 0.85), (across_mid - 0.12, across_mid + 0.12), (250, 248, 226))
        door = [vehicle.at(x0, y, 0) for y in (y0 + 0.12, y1)]
        vehicle.pen.line(door, shade(colour, 0.6), 0.04 * vehicle.scale)


def on_roof(vehicle: Vehicle) -> None:
    kind = vehicle.who["roof"]
    first = vehicle.shape.cabin[0] + 1
    (x0, y0, w), (x1, y1, _) = vehicle.shape.profile[first], vehicle.shape.profile[first + 1]
    if kind == "none":
        return
    y = max(y0, y1)
    if kind == "box":
        vehicle.block(
            x0 + 0.25, min(x0 + 1.5, x1 - 0.05), y + 0.04, y + 0.30, w * 0.62, (52, 54, 60)
        )
    elif kind == "sign":
        middle = (x0 + x1) / 2
        vehicle.block(middle - 0.14, middle + 0.14, y + 0.01, y + 0.24, w * 0.48, (252, 214, 40))
    else:
        bars = [((x0 + 0.1, y, side * w * 0.9), (x1 - 0.1, y, side * w * 0.9)) for side in (-1, 1)]
        if kind == "rack":
            bars += [
                ((x, y, -w * 0.9), (x, y, w * 0.9)) for x in (x0 + 0.3, (x0 + x1) / 2, x1 - 0.2)
            ]
        for a, b in bars:
            ends = [vehicle.at(p[0], p[1] + 0.09, p[2]) for p in (a, b)]
            for foot, end in zip((a, b), ends, strict=True):
                vehicle.pen.line([vehicle.at(*foot), end], (40, 42, 46), 0.06 * vehicle.scale)
            vehicle.pen.line(
                ends, (214, 216, 220) if kind == "rails" else (40, 42, 46), 0.07 * vehicle.scale
            )
