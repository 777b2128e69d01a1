"""The seven vehicle types: side profiles in metres, x forward and y up; solids are made of them."""

from __future__ import annotations

from dataclasses import dataclass

Spot = tuple[float, float, float]


@dataclass(frozen=True)
class Shape:
    """One vehicle type."""

    profile: tuple[Spot, ...]  # x, y, half-width, from the rear bumper's bottom over the top
    edges: tuple[str, ...]  # what lies between a point of the profile and the next
    windows: tuple[tuple[tuple[float, float], ...], ...]  # quadrilaterals on the side, x and y
    axles: tuple[float, ...]
    wheel: float
    cargo: tuple[float, float, float, float, float] | None  # x0, x1, y0, y1, half-width

    @property
    def cabin(self) -> tuple[int, int]:
        """First and last point of the part above the belt line."""
        above = [place for place, what in enumerate(self.edges) if what in ("glass", "roof")]
        return above[0], above[-1] + 1


def _shape(
    profile: str,
    edges: str,
    windows: str,
    axles: tuple[float, ...],
    wheel: float,
    cargo: tuple[float, float, float, float, float] | None = None,
) -> Shape:
    """From text: points are parted by commas, windows by bars."""
    return Shape(
        tuple((x, y, half) for x, y, half in _points(profile)),
        tuple(edges.split()),
        tuple(tuple((x, y) for x, y in _points(window)) for window in windows.split("|")),
        axles,
        wheel,
        cargo,
    )


def _points(text: str) -> list[list[float]]:
    return [[float(number) for number in point.split()] for point in text.split(",")]


SHAPES = {
    "sedan": _shape(
        "-2.28 0.3 0.8, -2.34 0.62 0.88, -2.24 0.94 0.86, -1.55 1 0.85, -0.8 1.4 0.66, "
        "0.25 1.43 0.66, 1.05 1 0.85, 2.05 0.84 0.84, 2.34 0.62 0.88, 2.28 0.3 0.8",
        "bumper rear bonnet glass roof glass bonnet front bumper",
        "-1.3 1.02, -0.76 1.33, -0.3 1.35, -0.3 1.02 | -0.2 1.02, -0.2 1.36, 0.2 1.36, 0.82 1.02",
        axles=(-1.38, 1.42),
        wheel=0.33,
    ),
    "hatchback": _shape(
        "-1.88 0.3 0.8, -1.94 0.65 0.86, -1.86 1 0.84, -1.45 1.45 0.66, 0.2 1.5 0.67, "
        "0.98 1.03 0.84, 1.66 0.9 0.83, 1.94 0.65 0.86, 1.88 0.3 0.8",
        "bumper rear glass roof glass bonnet front bumper",
        "-1.55 1.05, -1.25 1.38, -0.55 1.41, -0.55 1.05 | "
        "-0.45 1.05, -0.45 1.42, 0.14 1.43, 0.76 1.05",
        axles=(-1.18, 1.22),
        wheel=0.32,
    ),
    "suv": _shape(
        "-2.22 0.42 0.84, -2.28 0.8 0.93, -2.22 1.15 0.92, -1.95 1.72 0.76, 0.3 1.76 0.76, "
        "1.02 1.18 0.91, 2.06 1.06 0.9, 2.28 0.78 0.93, 2.22 0.42 0.84",
        "bumper rear glass roof glass bonnet front bumper",
        "-1.98 1.22, -1.76 1.64, -1.1 1.66, -1.1 1.22 | "
        "-1 1.22, -1 1.66, -0.22 1.68, -0.22 1.22 | "
        "-0.12 1.22, -0.12 1.68, 0.26 1.68, 0.8 1.22",
        axles=(-1.4, 1.42),
        wheel=0.42,
    ),
    "pickup": _shape(
        "-2.6 0.45 0.86, -2.66 0.8 0.92, -2.62 1.12 0.91, -0.85 1.12 0.9, -0.7 1.72 0.74, "
        "0.42 1.74 0.74, 1.05 1.18 0.9, 2.12 1.06 0.9, 2.4 0.78 0.92, 2.34 0.45 0.84",
        "bumper rear bed glass roof glass bonnet front bumper",
        "-0.62 1.22, -0.56 1.64, -0.14 1.66, -0.14 1.22 | "
        "-0.04 1.22, -0.04 1.66, 0.38 1.66, 0.84 1.22",
        axles=(-1.62, 1.46),
        wheel=0.42,
    ),
    "van": _shape(
        "-2.45 0.38 0.88, -2.5 0.8 0.96, -2.48 1.2 0.95, -2.38 2.02 0.86, 1.05 2.05 0.85, "
        "1.78 1.28 0.93, 2.34 1.02 0.92, 2.5 0.74 0.95, 2.44 0.38 0.86",
        "bumper rear glass roof glass bonnet front bumper",
        "-2.25 1.32, -2.18 1.88, -1.12 1.9, -1.12 1.32 | "
        "-0.98 1.32, -0.98 1.9, 0.22 1.9, 0.22 1.32 | "
        "0.36 1.32, 0.36 1.9, 0.98 1.9, 1.52 1.32",
        axles=(-1.5, 1.55),
        wheel=0.37,
    ),
    "truck": _shape(
        "1.3 0.5 1, 1.3 1 1.04, 1.3 1.45 1.04, 1.36 2.32 0.96, 2.55 2.3 0.96, "
        "2.98 1.45 1.03, 3.06 0.98 1.04, 3.02 0.5 1",
        "rear rear roof roof glass front bumper",
        "1.62 1.5, 1.64 2.14, 2.46 2.12, 2.78 1.5",
        axles=(-1.95, 2.2),
        wheel=0.5,
        cargo=(-3.05, 1.18, 0.72, 2.85, 1.08),
    ),
    "bus": _shape(
        "-3.9 0.42 1.08, -3.96 1.05 1.12, -3.94 1.4 1.12, -3.86 2.72 1.04, 3.72 2.74 1.04, "
        "3.96 1.32 1.12, 4 0.96 1.12, 3.94 0.42 1.08",
        "bumper rear glass roof glass front bumper",
        "-3.65 1.5, -3.65 2.4, -2.7 2.4, -2.7 1.5 | "
        "-2.55 1.5, -2.55 2.4, -1.6 2.4, -1.6 1.5 | "
        "-1.45 1.5, -1.45 2.4, -0.5 2.4, -0.5 1.5 | "
        "-0.35 1.5, -0.35 2.4, 0.6 2.4, 0.6 1.5 | 0.75 1.5, 0.75 2.4, 1.7 2.4, 1.7 1.5 | "
        "1.85 1.5, 1.85 2.4, 2.8 2.4, 2.8 1.5 | 2.95 0.55, 2.95 2.4, 3.55 2.4, 3.66 0.55",
        axles=(-2.45, 2.35),
        wheel=0.48,
    ),
}
