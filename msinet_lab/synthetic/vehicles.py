"""How a vehicle is drawn: the body's faces with glass, lights and plate, and the sides; parts have
their own file.
"""

from __future__ import annotations

from collections.abc import Sequence

from msinet_lab.synthetic.identities import Attributes, Colour
from msinet_lab.synthetic.pen import Pen, mix, shade
from msinet_lab.synthetic.shapes import Spot
from msinet_lab.synthetic.solid import Pose, Vehicle
from msinet_lab.synthetic.vehicle_parts import cargo, decal, decal_colour, on_roof, wheels

GLASS: Colour = (58, 74, 92)


def draw_vehicle(pen: Pen, who: Attributes, domain: str, pose: Pose) -> None:
    """Draw one vehicle of these attributes in this pose on the pen's canvas, from the back to the
    front.
    """
    vehicle = Vehicle(pen, who, domain, pose)
    ground_shadow(vehicle)
    tyres_below(vehicle)
    cab_nearer = vehicle.turn((1.0, 0.0, 0.0))[2] >= vehicle.turn((-1.0, 0.0, 0.0))[2]
    for part in (cargo, body) if cab_nearer else (body, cargo):
        part(vehicle)
    wheels(vehicle)
    on_roof(vehicle)


def ground_shadow(vehicle: Vehicle) -> None:
    for grow, opacity in ((1.10, 0.22), (0.98, 0.42)):
        x, z = vehicle.length / vehicle.stretch * grow, vehicle.width * (1.05 if grow > 1 else 0.92)
        vehicle.pen.veil(
            [vehicle.at(dx, 0, dz) for dx, dz in ((-x, -z), (x, -z), (x, z), (-x, z))],
            (8, 8, 14),
            opacity,
        )


def tyres_below(vehicle: Vehicle) -> None:
    """What shows of the tyres under the bumpers."""
    r = vehicle.shape.wheel
    for x in vehicle.shape.axles:
        for side in (-1, 1):
            inner, outer = side * (vehicle.width - 0.26), side * (vehicle.width - 0.03)
            for dx in (-r * 0.7, r * 0.7):
                spots = (
                    (x + dx, 0, inner),
                    (x + dx, 0, outer),
                    (x + dx, r * 1.3, outer),
                    (x + dx, r * 1.3, inner),
                )
                vehicle.pen.polygon([vehicle.at(*spot) for spot in spots], (22, 22, 26))


def body(vehicle: Vehicle) -> None:
    profile, edges = vehicle.shape.profile, vehicle.shape.edges
    faces = []
    for (x0, y0, w0), (x1, y1, w1), what in zip(profile, profile[1:], edges, strict=False):
        corners = ((x0, y0, w0), (x1, y1, w1), (x1, y1, -w1), (x0, y0, -w0))
        middle = vehicle.turn(((x0 + x1) / 2 * vehicle.stretch, (y0 + y1) / 2, 0.0))[2]
        faces.append((middle, corners, what))
    for _, corners, what in sorted(faces, key=lambda one: one[0]):
        panel(vehicle, corners, what)
    for side in (-1, 1):
        flank(vehicle, side)


def panel(vehicle: Vehicle, corners: tuple[Spot, ...], what: str) -> None:
    """One face across the vehicle: bonnet, glass, roof, front or rear with lights and plate."""
    colour = {
        "roof": vehicle.top,
        "bumper": shade(vehicle.paint, 0.8),
        "glass": vehicle.paint,
        "bed": (52, 54, 58),
    }.get(what, vehicle.paint)
    if not vehicle.face(corners, colour):
        return
    if what == "glass":
        vehicle.patch(corners, (0.10, 0.90), (0.07, 0.93), GLASS)
        glare(vehicle, corners)
    elif what in ("front", "rear"):
        lights(vehicle, corners, what)
    if vehicle.who["decal"].endswith("bonnet") and what in ("bonnet", "roof"):
        for low, high in ((0.34, 0.45), (0.55, 0.66)):
            vehicle.patch(corners, (0.0, 1.0), (low, high), decal_colour(vehicle))
    if what in ("front", "rear"):
        plate(vehicle, corners, what)


def glare(vehicle: Vehicle, corners: Sequence[Spot]) -> None:
    shine = [
        vehicle.inside(corners, t, s)
        for t, s in ((0.12, 0.2), (0.88, 0.42), (0.88, 0.62), (0.12, 0.4))
    ]
    vehicle.pen.veil(shine, (225, 238, 255), 0.25)


def lights(vehicle: Vehicle, corners: Sequence[Spot], what: str) -> None:
    tall = vehicle.who["type"] in ("truck", "bus", "van")
    if what == "front":
        vehicle.patch(corners, (0.2, 0.8), (0.3, 0.7), (36, 38, 42))
    along = (0.15, 0.6) if tall and what == "front" else (0.12, 0.82)
    colour = (255, 244, 206) if what == "front" else (214, 30, 34)
    if vehicle.shape.cargo and what == "rear":
        return
    for across in ((0.03, 0.22), (0.78, 0.97)):
        vehicle.patch(corners, along, across, colour)


def plate(vehicle: Vehicle, corners: Sequence[Spot], what: str) -> None:
    if vehicle.shape.cargo and what == "rear":
        return
    across = {"left": 0.30, "right": 0.70}.get(vehicle.who["plate"], 0.5)
    centre = 0.82 if (vehicle.who["plate"] == "high") == (what == "rear") else 0.24
    vehicle.patch(
        corners, (centre - 0.17, centre + 0.17), (across - 0.15, across + 0.15), (30, 30, 34)
    )
    vehicle.patch(
        corners, (centre - 0.13, centre + 0.13), (across - 0.135, across + 0.135), (250, 248, 226)
    )


def flank(vehicle: Vehicle, side: int) -> None:
    first, last = vehicle.shape.cabin
    profile = vehicle.shape.profile
    low = [(x, y, side * w) for x, y, w in (*profile[: first + 1], *profile[last:])]
    cabin = [(x, y, side * w) for x, y, w in profile[first : last + 1]]
    order = -1 if side > 0 else 1
    bright = vehicle.side_light(side, vehicle.belt[2])
    if bright is None:
        return
    vehicle.pen.polygon([vehicle.at(*spot) for spot in low[::order]], shade(vehicle.paint, bright))
    vehicle.pen.polygon(
        [vehicle.at(*spot) for spot in cabin[::order]],
        shade(mix(vehicle.top, vehicle.paint, 0.0), bright),
    )
    flank_trim(vehicle, side, bright)
    for window in vehicle.shape.windows:
        vehicle.pen.polygon(
            [vehicle.at(x, y, side * vehicle.side_width(y)) for x, y in window], GLASS
        )
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = window
        shine = (
            (x0 + (x3 - x0) * 0.2, y0),
            (x1 + (x2 - x1) * 0.5, y1),
            (x1 + (x2 - x1) * 0.8, y2),
            (x0 + (x3 - x0) * 0.5, y3),
        )
        vehicle.pen.veil(
            [vehicle.at(x, y, side * vehicle.side_width(y)) for x, y in shine],
            (225, 238, 255),
            0.22,
        )


def flank_trim(vehicle: Vehicle, side: int, bright: float) -> None:
    """Sill, door lines and the decal of one side."""
    profile = vehicle.shape.profile
    rear, front, bottom = profile[0][0], profile[-1][0], profile[0][1]
    vehicle.on_side(
        ((rear, bottom), (front, bottom), (front, bottom + 0.1), (rear, bottom + 0.1)),
        side,
        shade(vehicle.paint, bright * 0.6),
    )
    for window in vehicle.shape.windows[:2]:
        x = window[3][0] + 0.05
        points = [
            vehicle.at(x, y, side * vehicle.side_width(y)) for y in (bottom + 0.12, vehicle.belt[1])
        ]
        vehicle.pen.line(points, shade(vehicle.paint, bright * 0.7), 0.03 * vehicle.scale)
    if not vehicle.shape.cargo:
        decal(
            vehicle,
            side,
            (rear + front) / 2 - 0.05,
            bottom + 0.14,
            vehicle.belt[1] - 0.04,
            front - rear,
        )
