"""Where generated pictures are taken: one wide, blurred scene a camera."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter

from msinet_lab.synthetic import grounds, walls
from msinet_lab.synthetic.colours import Colour
from msinet_lab.synthetic.pen import Pen
from msinet_lab.synthetic.walls import Scene, View

PEOPLE_SCENES = {
    "A": (
        Scene(walls.hedge, (108, 148, 100), grounds.lawn, (154, 181, 116), (220, 190, 106), 0.40),
        Scene(walls.bricks, (180, 124, 104), grounds.slabs, (196, 187, 174), (228, 223, 212), 0.58),
        Scene(
            walls.windows, (186, 198, 204), grounds.slabs, (210, 205, 196), (109, 146, 175), 0.55
        ),
        Scene(walls.panels, (218, 204, 176), grounds.planks, (186, 146, 112), (163, 112, 90), 0.62),
        Scene(walls.fence, (156, 186, 208), grounds.track, (196, 127, 100), (230, 228, 220), 0.36),
        Scene(walls.trees, (175, 204, 212), grounds.path, (198, 192, 170), (121, 157, 104), 0.44),
    ),
    "B": (
        Scene(walls.trees, (190, 198, 208), grounds.snow, (212, 216, 222), (112, 109, 115), 0.42),
        Scene(walls.train, (92, 112, 148), grounds.platform, (148, 148, 151), (217, 186, 82), 0.60),
        Scene(walls.windows, (78, 79, 97), grounds.slabs, (98, 100, 112), (223, 187, 121), 0.58),
        Scene(walls.panels, (115, 154, 152), grounds.slabs, (133, 139, 139), (200, 212, 208), 0.66),
        Scene(walls.stalls, (127, 106, 112), grounds.cobbles, (134, 127, 126), (186, 98, 92), 0.50),
        Scene(walls.fence, (175, 176, 176), grounds.path, (156, 154, 148), (133, 115, 98), 0.40),
    ),
}

ROAD_SCENES = {
    "A": (
        Scene(walls.hedge, (108, 148, 100), grounds.road, (134, 134, 138), (230, 229, 222), 0.20),
        Scene(walls.bricks, (182, 130, 109), grounds.road, (154, 150, 145), (229, 226, 216), 0.26),
        Scene(walls.windows, (182, 194, 202), grounds.road, (122, 126, 132), (230, 210, 115), 0.22),
        Scene(walls.trees, (170, 200, 214), grounds.bays, (145, 145, 144), (230, 230, 228), 0.18),
        Scene(walls.fence, (163, 190, 208), grounds.road, (166, 157, 144), (230, 228, 220), 0.16),
        Scene(walls.panels, (216, 199, 172), grounds.bays, (139, 133, 130), (226, 198, 103), 0.24),
    ),
    "B": (
        Scene(walls.trees, (190, 198, 208), grounds.road, (182, 186, 192), (133, 136, 142), 0.20),
        Scene(walls.windows, (78, 79, 97), grounds.road, (92, 94, 103), (223, 190, 126), 0.26),
        Scene(walls.panels, (115, 148, 150), grounds.bays, (116, 122, 126), (212, 218, 214), 0.24),
        Scene(walls.stalls, (127, 106, 112), grounds.cobbles, (136, 128, 126), (186, 98, 92), 0.24),
        Scene(walls.fence, (170, 174, 176), grounds.road, (127, 126, 122), (212, 186, 106), 0.18),
        Scene(walls.bricks, (139, 108, 103), grounds.road, (110, 112, 116), (220, 220, 217), 0.22),
    ),
}


def panorama(scene: Scene, size: tuple[int, int], seed: Sequence[int]) -> Image.Image:
    """The scene of one camera, (width, height) pixels, out of focus; pictures are cut from it."""
    canvas, (width, height) = Image.new("RGB", size, scene.wall_colour), size
    pen = Pen(canvas)
    view = View(scene, pen, width, height, np.random.default_rng(seed))
    scene.wall(view)
    pen.rectangle((0, view.meet, width, height), scene.ground_colour)
    scene.ground(view)

    def veil(top: float, bottom: float, colour: Colour, opacity: float) -> None:
        corners = [(0, top), (width, top), (width, bottom), (0, bottom)]
        pen.polygon(corners, colour, opacity)

    veil(view.meet, view.meet + height * 0.03, (0, 0, 0), 0.18)
    for step in range(8):  # nearer ground is a little brighter
        veil(view.below(step / 8), height, (255, 255, 255), 0.018)
    return canvas.filter(ImageFilter.GaussianBlur(height / 130))
