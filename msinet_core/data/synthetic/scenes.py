"""Where generated pictures are taken: one wide, blurred scene a camera, and what gets in the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from msinet_core.data.synthetic.identities import Colour
from msinet_core.data.synthetic.pen import Pen, mix, shade


@dataclass(frozen=True)
class Scene:
    """A wall above a ground: what each is made of, their colours, and where they meet (share of the height)."""

    wall: str
    wall_colour: Colour
    ground: str
    ground_colour: Colour
    accent: Colour
    horizon: float


PEOPLE_SCENES = {
    "A": (
        Scene("hedge", (86, 140, 76), "lawn", (148, 184, 98), (236, 196, 84), 0.40),
        Scene("bricks", (182, 108, 82), "slabs", (204, 192, 174), (246, 240, 226), 0.58),
        Scene("windows", (190, 206, 214), "slabs", (222, 216, 204), (88, 138, 176), 0.55),
        Scene("panels", (234, 214, 178), "planks", (190, 138, 92), (160, 92, 62), 0.62),
        Scene("fence", (150, 190, 220), "track", (204, 112, 76), (250, 246, 236), 0.36),
        Scene("trees", (176, 214, 226), "path", (206, 198, 170), (104, 152, 82), 0.44),
    ),
    "B": (
        Scene("trees", (196, 206, 220), "snow", (226, 230, 238), (92, 88, 96), 0.42),
        Scene("train", (66, 92, 140), "platform", (140, 140, 144), (232, 190, 52), 0.60),
        Scene("windows", (46, 48, 72), "slabs", (74, 76, 92), (240, 192, 104), 0.58),
        Scene("panels", (96, 148, 146), "slabs", (120, 128, 128), (210, 226, 220), 0.66),
        Scene("stalls", (112, 84, 92), "cobbles", (122, 112, 110), (190, 74, 66), 0.50),
        Scene("fence", (176, 178, 178), "path", (150, 148, 140), (120, 96, 74), 0.40),
    ),
}

ROAD_SCENES = {
    "A": (
        Scene("hedge", (86, 140, 76), "road", (122, 122, 126), (250, 248, 238), 0.20),
        Scene("bricks", (186, 116, 88), "road", (148, 142, 136), (248, 244, 230), 0.26),
        Scene("windows", (186, 202, 212), "road", (106, 110, 118), (250, 222, 96), 0.22),
        Scene("trees", (170, 210, 228), "bays", (136, 136, 134), (250, 250, 246), 0.18),
        Scene("fence", (160, 196, 220), "road", (164, 152, 134), (250, 246, 236), 0.16),
        Scene("panels", (230, 208, 172), "bays", (128, 120, 116), (244, 206, 80), 0.24),
    ),
    "B": (
        Scene("trees", (196, 206, 220), "road", (186, 190, 198), (120, 124, 132), 0.20),
        Scene("windows", (46, 48, 72), "road", (66, 68, 80), (240, 196, 110), 0.26),
        Scene("panels", (96, 140, 142), "bays", (98, 106, 110), (226, 234, 228), 0.24),
        Scene("stalls", (112, 84, 92), "cobbles", (124, 114, 110), (190, 74, 66), 0.24),
        Scene("fence", (170, 174, 178), "road", (112, 110, 106), (226, 190, 84), 0.18),
        Scene("bricks", (128, 86, 80), "road", (90, 92, 98), (236, 236, 232), 0.22),
    ),
}

Size = tuple[int, int]


def panorama(scene: Scene, size: Size, seed: int) -> Image.Image:
    """The scene of one camera, (width, height) pixels, out of focus; pictures are cut from it."""
    rng = np.random.default_rng(seed)
    width, height = size
    canvas = Image.new("RGB", size, scene.wall_colour)
    pen, meet = Pen(canvas), height * scene.horizon
    WALLS[scene.wall](pen, scene, width, meet, rng)
    pen.polygon([(0, meet), (width, meet), (width, height), (0, height)], scene.ground_colour)
    GROUNDS[scene.ground](pen, scene, (width, height), meet, rng)
    pen.veil([(0, meet), (width, meet), (width, meet + height * 0.03), (0, meet + height * 0.03)], (0, 0, 0), 0.18)
    for step in range(8):  # nearer ground is a little brighter
        y = meet + (height - meet) * step / 8
        pen.veil([(0, y), (width, y), (width, height), (0, height)], (255, 255, 255), 0.018)
    return canvas.filter(ImageFilter.GaussianBlur(height / 130))


# ---- walls: everything above the horizon ----------------------------------------------------------
def _hedge(pen: Pen, scene: Scene, width: int, meet: float, rng: np.random.Generator) -> None:
    pen.polygon([(0, 0), (width, 0), (width, meet * 0.45), (0, meet * 0.45)], (186, 216, 232))
    for tone in (0.62, 0.8, 1.0, 1.15):
        for _ in range(int(width / meet * 14)):
            x, y = rng.random() * width, meet * (0.40 + 0.1 * tone + 0.5 * rng.random())
            pen.disc((x, y), meet * (0.06 + 0.08 * rng.random()), shade(scene.wall_colour, tone))


def _bricks(pen: Pen, scene: Scene, width: int, meet: float, rng: np.random.Generator) -> None:
    rows = 11
    tall = meet / rows
    for row in range(rows):
        for place in range(-1, int(width / (tall * 2.4)) + 1):
            x = (place + 0.5 * (row % 2)) * tall * 2.4
            colour = shade(scene.wall_colour, 0.88 + 0.22 * rng.random())
            pen.polygon(
                [(x, row * tall), (x + tall * 2.2, row * tall), (x + tall * 2.2, row * tall + tall * 0.84), (x, row * tall + tall * 0.84)],
                colour,
            )
    for x in np.arange(0.3, width / meet, 1.3) * meet:
        pen.polygon([(x, meet * 0.1), (x + meet * 0.4, meet * 0.1), (x + meet * 0.4, meet * 0.6), (x, meet * 0.6)], scene.accent)
        pen.polygon([(x + meet * 0.04, meet * 0.14), (x + meet * 0.36, meet * 0.14), (x + meet * 0.36, meet * 0.56), (x + meet * 0.04, meet * 0.56)], (92, 124, 150))


def _windows(pen: Pen, scene: Scene, width: int, meet: float, rng: np.random.Generator) -> None:
    step = meet / 3.2
    for row in range(3):
        for place in range(int(width / step) + 1):
            x, y = place * step, row * step + step * 0.15
            lit = scene.accent if rng.random() < 0.62 else shade(scene.wall_colour, 0.72)
            pen.polygon(
                [(x, y), (x + step * 0.72, y), (x + step * 0.72, y + step * 0.74), (x, y + step * 0.74)],
                mix(lit, scene.wall_colour, 0.35 * float(rng.random())),
            )


def _panels(pen: Pen, scene: Scene, width: int, meet: float, rng: np.random.Generator) -> None:
    for place in range(int(width / (meet * 0.3)) + 1):
        x = place * meet * 0.3
        pen.polygon([(x, 0), (x + meet * 0.28, 0), (x + meet * 0.28, meet), (x, meet)], shade(scene.wall_colour, 0.9 + 0.14 * rng.random()))
    pen.polygon([(0, meet * 0.9), (width, meet * 0.9), (width, meet), (0, meet)], shade(scene.accent, 0.85))
    for x in np.arange(0.5, width / meet, 1.7) * meet:
        pen.polygon([(x, meet * 0.2), (x + meet * 0.45, meet * 0.2), (x + meet * 0.45, meet), (x, meet)], scene.accent)


def _fence(pen: Pen, scene: Scene, width: int, meet: float, rng: np.random.Generator) -> None:
    for place in range(int(width / meet * 3) + 1):
        x, half = rng.random() * width, meet * (0.2 + 0.3 * rng.random())
        pen.disc((x, meet), half, shade((104, 148, 96), 0.8 + 0.3 * rng.random()), half * 1.1 * (0.6 + 0.4 * (place % 2)))
    for x in np.arange(0, width, meet * 0.16):
        pen.line([(x, meet * 0.35), (x, meet)], shade(scene.wall_colour, 0.55), meet * 0.025)
    for y in (0.4, 0.68):
        pen.line([(0, meet * y), (width, meet * y)], shade(scene.wall_colour, 0.5), meet * 0.03)


def _trees(pen: Pen, scene: Scene, width: int, meet: float, rng: np.random.Generator) -> None:
    for place in range(int(width / meet * 2.2) + 1):
        x, size = (place + 0.6 * rng.random()) * meet * 0.48, meet * (0.2 + 0.14 * rng.random())
        pen.line([(x, meet * 0.4), (x, meet)], (96, 74, 60), meet * 0.05)
        for _ in range(7):
            dx, dy = rng.normal(0, size * 0.42, 2)
            pen.disc((x + dx, meet * 0.38 + dy), size * (0.35 + 0.25 * rng.random()), shade(scene.accent, 0.75 + 0.4 * rng.random()))


def _train(pen: Pen, scene: Scene, width: int, meet: float, rng: np.random.Generator) -> None:
    pen.polygon([(0, meet * 0.05), (width, meet * 0.05), (width, meet * 0.12), (0, meet * 0.12)], shade(scene.wall_colour, 1.35))
    pen.polygon([(0, meet * 0.66), (width, meet * 0.66), (width, meet * 0.74), (0, meet * 0.74)], scene.accent)
    for place in range(int(width / (meet * 0.42)) + 1):
        x = place * meet * 0.42
        if place % 4 == 3:
            pen.polygon([(x, meet * 0.16), (x + meet * 0.34, meet * 0.16), (x + meet * 0.34, meet * 0.95), (x, meet * 0.95)], shade(scene.accent, 0.9))
            continue
        glass = shade((206, 216, 220), 0.8 + 0.2 * rng.random())
        pen.polygon([(x, meet * 0.2), (x + meet * 0.34, meet * 0.2), (x + meet * 0.34, meet * 0.55), (x, meet * 0.55)], glass)


def _stalls(pen: Pen, scene: Scene, width: int, meet: float, rng: np.random.Generator) -> None:
    colours = (scene.accent, (214, 182, 120), (84, 120, 120), (150, 98, 120))
    for place in range(int(width / (meet * 0.8)) + 1):
        x, colour = place * meet * 0.8, colours[int(rng.integers(len(colours)))]
        for stripe in range(6):
            left = x + stripe * meet * 0.125
            tone = colour if stripe % 2 else (236, 228, 214)
            pen.polygon([(left, meet * 0.25), (left + meet * 0.125, meet * 0.25), (left + meet * 0.125, meet * 0.48), (left, meet * 0.48)], tone)
        pen.polygon([(x + meet * 0.04, meet * 0.7), (x + meet * 0.7, meet * 0.7), (x + meet * 0.7, meet), (x + meet * 0.04, meet)], shade(colour, 0.6))
        for _ in range(9):
            pen.disc((x + meet * (0.1 + 0.55 * rng.random()), meet * 0.68), meet * 0.045, colours[int(rng.integers(len(colours)))])


# ---- grounds: everything below it -----------------------------------------------------------------
def _lawn(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    for step in range(7):
        if step % 2:
            y0, y1 = meet + (height - meet) * (step / 7) ** 1.4, meet + (height - meet) * ((step + 1) / 7) ** 1.4
            pen.polygon([(0, y0), (width, y0), (width, y1), (0, y1)], shade(scene.ground_colour, 0.93))
    for _ in range(40):
        pen.disc((rng.random() * width, meet + (height - meet) * rng.random()), height * 0.006, scene.accent)


def _slabs(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    rows = [meet + (height - meet) * (step / 6) ** 1.5 for step in range(7)]
    for low, high in zip(rows, rows[1:], strict=False):
        pen.line([(0, low), (width, low)], shade(scene.ground_colour, 0.82), height * 0.006)
        step = (high - low) * 2.6
        for x in np.arange(-step * rng.random(), width, step):
            pen.line([(x, low), (x - step * 0.12, high)], shade(scene.ground_colour, 0.84), height * 0.006)


def _planks(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    rows = [meet + (height - meet) * (step / 9) ** 1.4 for step in range(10)]
    for low, high in zip(rows, rows[1:], strict=False):
        tone = shade(scene.ground_colour, 0.9 + 0.18 * rng.random())
        pen.polygon([(0, low), (width, low), (width, high), (0, high)], tone)


def _track(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    for step in (0.15, 0.38, 0.70):
        y = meet + (height - meet) * step
        pen.line([(0, y), (width, y)], scene.accent, height * 0.012)


def _path(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    pen.polygon([(0, meet), (width, meet), (width, meet + (height - meet) * 0.22), (0, meet + (height - meet) * 0.3)], scene.accent)
    for _ in range(120):
        pen.disc((rng.random() * width, meet + (height - meet) * (0.3 + 0.7 * rng.random())), height * 0.005, shade(scene.ground_colour, 0.88))


def _snow(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    for _ in range(60):
        x, y = rng.random() * width, meet + (height - meet) * rng.random()
        pen.disc((x, y), height * 0.035, shade(scene.ground_colour, 0.93), height * 0.01)


def _platform(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    _slabs(pen, scene, size, meet, rng)
    y = meet + (height - meet) * 0.18
    pen.polygon([(0, y), (width, y), (width, y + height * 0.03), (0, y + height * 0.03)], scene.accent)


def _cobbles(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    rows = [meet + (height - meet) * (step / 10) ** 1.4 for step in range(11)]
    for low, high in zip(rows, rows[1:], strict=False):
        step = (high - low) * 1.6
        for x in np.arange(-step * rng.random(), width, step):
            pen.disc((x, (low + high) / 2), step * 0.44, shade(scene.ground_colour, 0.86 + 0.26 * rng.random()), (high - low) * 0.42)


def _road(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    pen.polygon([(0, meet), (width, meet), (width, meet + height * 0.05), (0, meet + height * 0.05)], shade(scene.ground_colour, 1.3))
    dash = height * 0.42
    for row, y in ((0, meet + (height - meet) * 0.28), (1, meet + (height - meet) * 0.84)):
        for x in np.arange(-dash * rng.random(), width, dash):
            long = dash * (0.55 if row == 0 else 0.62)
            thick = height * (0.012 + 0.008 * row)
            pen.polygon([(x, y), (x + long, y), (x + long, y + thick), (x, y + thick)], scene.accent)


def _bays(pen: Pen, scene: Scene, size: Size, meet: float, rng: np.random.Generator) -> None:
    width, height = size
    step = height * 0.8
    for x in np.arange(-step * rng.random(), width + step, step):
        pen.line([(x, meet + height * 0.06), (x - height * 0.35, height)], scene.accent, height * 0.016)
    pen.line([(0, meet + height * 0.06), (width, meet + height * 0.06)], scene.accent, height * 0.012)


WALLS: dict[str, Callable[[Pen, Scene, int, float, np.random.Generator], None]] = {
    "hedge": _hedge, "bricks": _bricks, "windows": _windows, "panels": _panels, "fence": _fence, "trees": _trees,
    "train": _train, "stalls": _stalls,
}  # fmt: skip
GROUNDS: dict[str, Callable[[Pen, Scene, Size, float, np.random.Generator], None]] = {
    "lawn": _lawn, "slabs": _slabs, "planks": _planks, "track": _track, "path": _path, "snow": _snow,
    "platform": _platform, "cobbles": _cobbles, "road": _road, "bays": _bays,
}  # fmt: skip


# ---- occluders ------------------------------------------------------------------------------------
def occlude(pen: Pen, kind: str, size: Size, rng: np.random.Generator) -> None:
    """Put something between the camera and its subject: it covers a tenth to a third of the canvas."""
    width, height = size
    side = 1 if rng.random() < 0.5 else -1
    x = width * (0.5 + side * (0.12 + 0.26 * float(rng.random())))
    if kind == "pole":
        for half, tone in ((0.055, 0.75), (0.030, 1.1)):
            pen.polygon([(x - width * half, 0), (x + width * half, 0), (x + width * half, height), (x - width * half, height)], shade((108, 116, 122), tone))
    elif kind == "bush":
        top, leaf = height * (0.70 + 0.12 * float(rng.random())), (62, 112, 60)
        for tone in (0.7, 0.95, 1.12):
            for _ in range(12):
                dx, dy = float(rng.normal(0, 0.26)) * width, float(rng.random()) * (height - top)
                pen.disc((x + dx, top + dy + height * 0.04), height * (0.035 + 0.03 * float(rng.random())), shade(leaf, tone))
        pen.polygon([(x - width * 0.35, height * 0.93), (x + width * 0.35, height * 0.93), (x + width * 0.4, height), (x - width * 0.4, height)], shade(leaf, 0.7))
    elif kind == "rail":
        y = height * (0.66 + 0.12 * float(rng.random()))
        for dy in (0.0, 0.085, 0.17):
            pen.line([(0, y + dy * height), (width, y + dy * height)], (196, 200, 206), height * 0.018)
        for post in np.arange(-0.1 + 0.3 * rng.random(), 1.1, 0.42):
            pen.line([(width * post, y - height * 0.015), (width * post, height)], (150, 156, 164), height * 0.024)
    elif kind == "sign":
        y, half = height * (0.52 + 0.2 * float(rng.random())), 0.13 * min(width, height) * 1.3
        pen.line([(x, y), (x, height)], (130, 136, 142), width * 0.035)
        pen.disc((x, y), half * 1.12, (246, 246, 244))
        pen.disc((x, y), half, (42, 94, 176))
        pen.polygon([(x - half * 0.6, y - half * 0.16), (x + half * 0.6, y - half * 0.16), (x + half * 0.6, y + half * 0.16), (x - half * 0.6, y + half * 0.16)], (250, 250, 250))
    else:  # crates
        for row in range(2):
            tall, wide = height * 0.11, width * 0.36
            y, left = height - tall * (row + 1), x - wide * (0.5 - 0.12 * row)
            pen.polygon([(left, y), (left + wide, y), (left + wide, y + tall), (left, y + tall)], (176, 132, 84))
            for share in (0.12, 0.42, 0.72):
                pen.polygon([(left, y + tall * share), (left + wide, y + tall * share), (left + wide, y + tall * (share + 0.16)), (left, y + tall * (share + 0.16))], (150, 106, 64))


OCCLUDERS = ("pole", "bush", "rail", "sign", "crates")
