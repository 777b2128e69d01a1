"""Where generated pictures are taken: one wide, blurred scene a camera."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from msinet_core.data.synthetic.grounds import GROUNDS
from msinet_core.data.synthetic.pen import Pen
from msinet_core.data.synthetic.walls import WALLS, Scene

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


def panorama(scene: Scene, size: Size, seed: Sequence[int]) -> Image.Image:
    """The scene of one camera, (width, height) pixels, out of focus; pictures are cut from it."""
    rng = np.random.default_rng(seed)
    width, height = size
    canvas = Image.new("RGB", size, scene.wall_colour)
    pen, meet = Pen(canvas), height * scene.horizon
    WALLS[scene.wall](pen, scene, width, meet, rng)
    pen.rectangle((0, meet, width, height), scene.ground_colour)
    GROUNDS[scene.ground](pen, scene, (width, height), meet, rng)
    pen.veil(
        [(0, meet), (width, meet), (width, meet + height * 0.03), (0, meet + height * 0.03)], (0, 0, 0), 0.18
    )
    for step in range(8):  # nearer ground is a little brighter
        y = meet + (height - meet) * step / 8
        pen.veil([(0, y), (width, y), (width, height), (0, height)], (255, 255, 255), 0.018)
    return canvas.filter(ImageFilter.GaussianBlur(height / 130))
