"""The seven vehicle types: side profiles in metres, x forward and y up, from which solids are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Spot = tuple[float, float, float]


@dataclass(frozen=True)
class Shape:
    """One vehicle type. `profile`: points (x, y, half-width) from the rear bumper's bottom over the top to the front's.

    `edges[i]` says what lies between points i and i + 1; `cabin` are the first and last point of the
    part above the belt line; `windows` are quadrilaterals on the side, in (x, y).
    """

    profile: tuple[Spot, ...]
    edges: tuple[str, ...]
    cabin: tuple[int, int]
    windows: tuple[tuple[tuple[float, float], ...], ...]
    axles: tuple[float, ...]
    wheel: float
    cargo: tuple[float, float, float, float, float] | None = None  # x0, x1, y0, y1, half-width


def _box_windows(
    starts: Sequence[float], width: float, low: float, high: float
) -> tuple[tuple[tuple[float, float], ...], ...]:
    return tuple(((x, low), (x, high), (x + width, high), (x + width, low)) for x in starts)


SHAPES = {
    "sedan": Shape(
        ((-2.28, .30, .80), (-2.34, .62, .88), (-2.24, .94, .86), (-1.55, 1.00, .85), (-.80, 1.40, .66), (.25, 1.43, .66),
         (1.05, 1.00, .85), (2.05, .84, .84), (2.34, .62, .88), (2.28, .30, .80)),
        ("bumper", "rear", "bonnet", "glass", "roof", "glass", "bonnet", "front", "bumper"), (3, 6),
        (((-1.30, 1.02), (-.76, 1.33), (-.30, 1.35), (-.30, 1.02)), ((-.20, 1.02), (-.20, 1.36), (.20, 1.36), (.82, 1.02))),
        (-1.38, 1.42), .33),
    "hatchback": Shape(
        ((-1.88, .30, .80), (-1.94, .65, .86), (-1.86, 1.00, .84), (-1.45, 1.45, .66), (.20, 1.50, .67), (.98, 1.03, .84),
         (1.66, .90, .83), (1.94, .65, .86), (1.88, .30, .80)),
        ("bumper", "rear", "glass", "roof", "glass", "bonnet", "front", "bumper"), (2, 5),
        (((-1.55, 1.05), (-1.25, 1.38), (-.55, 1.41), (-.55, 1.05)), ((-.45, 1.05), (-.45, 1.42), (.14, 1.43), (.76, 1.05))),
        (-1.18, 1.22), .32),
    "suv": Shape(
        ((-2.22, .42, .84), (-2.28, .80, .93), (-2.22, 1.15, .92), (-1.95, 1.72, .76), (.30, 1.76, .76), (1.02, 1.18, .91),
         (2.06, 1.06, .90), (2.28, .78, .93), (2.22, .42, .84)),
        ("bumper", "rear", "glass", "roof", "glass", "bonnet", "front", "bumper"), (2, 5),
        (((-1.98, 1.22), (-1.76, 1.64), (-1.10, 1.66), (-1.10, 1.22)), ((-1.0, 1.22), (-1.0, 1.66), (-.22, 1.68), (-.22, 1.22)),
         ((-.12, 1.22), (-.12, 1.68), (.26, 1.68), (.80, 1.22))),
        (-1.40, 1.42), .42),
    "pickup": Shape(
        ((-2.60, .45, .86), (-2.66, .80, .92), (-2.62, 1.12, .91), (-.85, 1.12, .90), (-.70, 1.72, .74), (.42, 1.74, .74),
         (1.05, 1.18, .90), (2.12, 1.06, .90), (2.40, .78, .92), (2.34, .45, .84)),
        ("bumper", "rear", "bed", "glass", "roof", "glass", "bonnet", "front", "bumper"), (3, 6),
        (((-.62, 1.22), (-.56, 1.64), (-.14, 1.66), (-.14, 1.22)), ((-.04, 1.22), (-.04, 1.66), (.38, 1.66), (.84, 1.22))),
        (-1.62, 1.46), .42),
    "van": Shape(
        ((-2.45, .38, .88), (-2.50, .80, .96), (-2.48, 1.20, .95), (-2.38, 2.02, .86), (1.05, 2.05, .85), (1.78, 1.28, .93),
         (2.34, 1.02, .92), (2.50, .74, .95), (2.44, .38, .86)),
        ("bumper", "rear", "glass", "roof", "glass", "bonnet", "front", "bumper"), (2, 5),
        (((-2.25, 1.32), (-2.18, 1.88), (-1.12, 1.90), (-1.12, 1.32)), ((-.98, 1.32), (-.98, 1.90), (.22, 1.90), (.22, 1.32)),
         ((.36, 1.32), (.36, 1.90), (.98, 1.90), (1.52, 1.32))),
        (-1.50, 1.55), .37),
    "truck": Shape(
        ((1.30, .50, 1.00), (1.30, 1.0, 1.04), (1.30, 1.45, 1.04), (1.36, 2.32, .96), (2.55, 2.30, .96), (2.98, 1.45, 1.03),
         (3.06, .98, 1.04), (3.02, .50, 1.00)),
        ("rear", "rear", "roof", "roof", "glass", "front", "bumper"), (2, 5),
        (((1.62, 1.50), (1.64, 2.14), (2.46, 2.12), (2.78, 1.50)),),
        (-1.95, 2.20), .50, (-3.05, 1.18, .72, 2.85, 1.08)),
    "bus": Shape(
        ((-3.90, .42, 1.08), (-3.96, 1.05, 1.12), (-3.94, 1.40, 1.12), (-3.86, 2.72, 1.04), (3.72, 2.74, 1.04), (3.96, 1.32, 1.12),
         (4.00, .96, 1.12), (3.94, .42, 1.08)),
        ("bumper", "rear", "glass", "roof", "glass", "front", "bumper"), (2, 5),
        (*_box_windows((-3.65, -2.55, -1.45, -.35, .75, 1.85), .95, 1.50, 2.40), ((2.95, .55), (2.95, 2.40), (3.55, 2.40), (3.66, .55))),
        (-2.45, 2.35), .48),
}  # fmt: skip
