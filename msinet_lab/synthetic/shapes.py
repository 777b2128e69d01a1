"""The seven vehicle types: side profiles in metres, x forward and y up, from which solids are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Spot = tuple[float, float, float]


@dataclass(frozen=True)
class Shape:
    """One vehicle type. `profile`: points (x, y, half-width) from the rear bumper's bottom over the
    top to the front's.

    `edges[i]` says what lies between points i and i + 1; `cabin` are the first and last point of
    the part above the belt line; `windows` are quadrilaterals on the side, in (x, y).
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
        (
            (-2.28, 0.30, 0.80),
            (-2.34, 0.62, 0.88),
            (-2.24, 0.94, 0.86),
            (-1.55, 1.00, 0.85),
            (-0.80, 1.40, 0.66),
            (0.25, 1.43, 0.66),
            (1.05, 1.00, 0.85),
            (2.05, 0.84, 0.84),
            (2.34, 0.62, 0.88),
            (2.28, 0.30, 0.80),
        ),
        ("bumper", "rear", "bonnet", "glass", "roof", "glass", "bonnet", "front", "bumper"),
        (3, 6),
        (
            ((-1.30, 1.02), (-0.76, 1.33), (-0.30, 1.35), (-0.30, 1.02)),
            ((-0.20, 1.02), (-0.20, 1.36), (0.20, 1.36), (0.82, 1.02)),
        ),
        (-1.38, 1.42),
        0.33,
    ),
    "hatchback": Shape(
        (
            (-1.88, 0.30, 0.80),
            (-1.94, 0.65, 0.86),
            (-1.86, 1.00, 0.84),
            (-1.45, 1.45, 0.66),
            (0.20, 1.50, 0.67),
            (0.98, 1.03, 0.84),
            (1.66, 0.90, 0.83),
            (1.94, 0.65, 0.86),
            (1.88, 0.30, 0.80),
        ),
        ("bumper", "rear", "glass", "roof", "glass", "bonnet", "front", "bumper"),
        (2, 5),
        (
            ((-1.55, 1.05), (-1.25, 1.38), (-0.55, 1.41), (-0.55, 1.05)),
            ((-0.45, 1.05), (-0.45, 1.42), (0.14, 1.43), (0.76, 1.05)),
        ),
        (-1.18, 1.22),
        0.32,
    ),
    "suv": Shape(
        (
            (-2.22, 0.42, 0.84),
            (-2.28, 0.80, 0.93),
            (-2.22, 1.15, 0.92),
            (-1.95, 1.72, 0.76),
            (0.30, 1.76, 0.76),
            (1.02, 1.18, 0.91),
            (2.06, 1.06, 0.90),
            (2.28, 0.78, 0.93),
            (2.22, 0.42, 0.84),
        ),
        ("bumper", "rear", "glass", "roof", "glass", "bonnet", "front", "bumper"),
        (2, 5),
        (
            ((-1.98, 1.22), (-1.76, 1.64), (-1.10, 1.66), (-1.10, 1.22)),
            ((-1.0, 1.22), (-1.0, 1.66), (-0.22, 1.68), (-0.22, 1.22)),
            ((-0.12, 1.22), (-0.12, 1.68), (0.26, 1.68), (0.80, 1.22)),
        ),
        (-1.40, 1.42),
        0.42,
    ),
    "pickup": Shape(
        (
            (-2.60, 0.45, 0.86),
            (-2.66, 0.80, 0.92),
            (-2.62, 1.12, 0.91),
            (-0.85, 1.12, 0.90),
            (-0.70, 1.72, 0.74),
            (0.42, 1.74, 0.74),
            (1.05, 1.18, 0.90),
            (2.12, 1.06, 0.90),
            (2.40, 0.78, 0.92),
            (2.34, 0.45, 0.84),
        ),
        ("bumper", "rear", "bed", "glass", "roof", "glass", "bonnet", "front", "bumper"),
        (3, 6),
        (
            ((-0.62, 1.22), (-0.56, 1.64), (-0.14, 1.66), (-0.14, 1.22)),
            ((-0.04, 1.22), (-0.04, 1.66), (0.38, 1.66), (0.84, 1.22)),
        ),
        (-1.62, 1.46),
        0.42,
    ),
    "van": Shape(
        (
            (-2.45, 0.38, 0.88),
            (-2.50, 0.80, 0.96),
            (-2.48, 1.20, 0.95),
            (-2.38, 2.02, 0.86),
            (1.05, 2.05, 0.85),
            (1.78, 1.28, 0.93),
            (2.34, 1.02, 0.92),
            (2.50, 0.74, 0.95),
            (2.44, 0.38, 0.86),
        ),
        ("bumper", "rear", "glass", "roof", "glass", "bonnet", "front", "bumper"),
        (2, 5),
        (
            ((-2.25, 1.32), (-2.18, 1.88), (-1.12, 1.90), (-1.12, 1.32)),
            ((-0.98, 1.32), (-0.98, 1.90), (0.22, 1.90), (0.22, 1.32)),
            ((0.36, 1.32), (0.36, 1.90), (0.98, 1.90), (1.52, 1.32)),
        ),
        (-1.50, 1.55),
        0.37,
    ),
    "truck": Shape(
        (
            (1.30, 0.50, 1.00),
            (1.30, 1.0, 1.04),
            (1.30, 1.45, 1.04),
            (1.36, 2.32, 0.96),
            (2.55, 2.30, 0.96),
            (2.98, 1.45, 1.03),
            (3.06, 0.98, 1.04),
            (3.02, 0.50, 1.00),
        ),
        ("rear", "rear", "roof", "roof", "glass", "front", "bumper"),
        (2, 5),
        (((1.62, 1.50), (1.64, 2.14), (2.46, 2.12), (2.78, 1.50)),),
        (-1.95, 2.20),
        0.50,
        (-3.05, 1.18, 0.72, 2.85, 1.08),
    ),
    "bus": Shape(
        (
            (-3.90, 0.42, 1.08),
            (-3.96, 1.05, 1.12),
            (-3.94, 1.40, 1.12),
            (-3.86, 2.72, 1.04),
            (3.72, 2.74, 1.04),
            (3.96, 1.32, 1.12),
            (4.00, 0.96, 1.12),
            (3.94, 0.42, 1.08),
        ),
        ("bumper", "rear", "glass", "roof", "glass", "front", "bumper"),
        (2, 5),
        (
            *_box_windows((-3.65, -2.55, -1.45, -0.35, 0.75, 1.85), 0.95, 1.50, 2.40),
            ((2.95, 0.55), (2.95, 2.40), (3.55, 2.40), (3.66, 0.55)),
        ),
        (-2.45, 2.35),
        0.48,
    ),
}
