"""One photograph: an identity before a camera, or something that a detector took for one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image

from msinet_lab.synthetic import body, solid
from msinet_lab.synthetic.cameras import Camera, camera, expose
from msinet_lab.synthetic.identities import KINDS, Attributes, draw_one
from msinet_lab.synthetic.occluders import occlude
from msinet_lab.synthetic.pen import Pen
from msinet_lab.synthetic.people import draw_person
from msinet_lab.synthetic.scenes import PEOPLE_SCENES, ROAD_SCENES, panorama
from msinet_lab.synthetic.vehicles import draw_vehicle

PERSON_SIZE = (64, 128)  # width, height of a picture
BOX_WIDTHS = (50, 60)  # of a detector's boxes round people, which are stretched to that size
FINER = {"people": 4, "vehicles": 3}  # drawn so many times larger, then reduced
PANORAMA = {"people": (1024, 576), "vehicles": (1296, 504)}


@dataclass(frozen=True)
class Photo:
    """A picture and what is true of it."""

    image: Image.Image
    yaw: float  # of the subject, degrees, 0 = front, 90 = facing the picture's right
    occluder: str  # "" where nothing stands before it

    @property
    def view(self) -> str:
        return ("front", "right", "back", "left")[int(((self.yaw + 45) % 360) // 90)]


@dataclass(frozen=True)
class Place:
    """Where a camera stands: camera `number` (from 1) of a domain, and what it is to see there."""

    kind: str
    domain: str
    number: int

    @property
    def lens(self) -> Camera:
        return camera(self.domain, self.number)

    def canvas(self, rng: np.random.Generator) -> Image.Image:
        """A piece of the scene, somewhere along it, as large as one box of a detector."""
        if self.kind == "people":
            width, height = int(rng.integers(*BOX_WIDTHS)), PERSON_SIZE[1]
        else:
            width, height = (int(value) for value in rng.integers(112, 145, 2))
        width, height = width * FINER[self.kind], height * FINER[self.kind]
        wide = scene_of(self)
        left = int(rng.integers(0, wide.width - width + 1))
        top = int(rng.integers(0, wide.height - height + 1))
        return wide.crop((left, top, left + width, top + height))


@lru_cache(maxsize=64)
def scene_of(place: Place) -> Image.Image:
    """The wide scene before a camera; the same for every seed."""
    kind, domain, number = place.kind, place.domain, place.number
    scenes = (PEOPLE_SCENES if kind == "people" else ROAD_SCENES)[domain]
    seed = [KINDS.index(kind), ord(domain), number]
    return panorama(scenes[(number - 1) % len(scenes)], PANORAMA[kind], seed)


def take(place: Place, who: Attributes, rng: np.random.Generator) -> Photo:
    """A photograph of one identity (its attributes).

    People are 64 x 128 (width x height) pixels, vehicles 112 to 144 each way.
    """
    lens = place.lens
    yaw, canvas = _yaw(lens, rng), place.canvas(rng)
    width, height = canvas.size
    if place.kind == "people":
        pose = body.Pose(
            yaw=yaw,
            stride=float(rng.uniform(-1, 1)),
            centre=width * float(rng.normal(0.5, 0.03)),
            ground=height * float(rng.uniform(0.95, 0.98)),
            height=height * float(rng.uniform(0.86, 0.90)),
        )
        draw_person(Pen(canvas), who, place.domain, pose)
    else:
        pitch = lens.pitch + float(rng.normal(0, 3))
        left, right = width * float(rng.uniform(0.03, 0.10)), width * float(rng.uniform(0.90, 0.97))
        box = (left, height * 0.12, right, height * float(rng.uniform(0.88, 0.95)))
        draw_vehicle(Pen(canvas), who, place.domain, solid.Pose(yaw, pitch, box))
    return _finish(place.kind, canvas, lens, yaw, rng)


def false_detection(place: Place, rng: np.random.Generator) -> Photo:
    """What a person detector takes for a person: an empty scene, or a stranger cut through."""
    canvas, lens = place.canvas(rng), replace(place.lens, occluded=0.5)
    yaw, (width, height) = _yaw(lens, rng), canvas.size
    if rng.random() < 0.6:
        side = 1 if rng.random() < 0.5 else -1
        pose = body.Pose(
            yaw=yaw,
            stride=float(rng.uniform(-1, 1)),
            centre=width * (0.5 + side * float(rng.uniform(0.38, 0.62))),
            ground=height * float(rng.uniform(0.95, 1.3)),
            height=height * float(rng.uniform(0.8, 1.2)),
        )
        draw_person(Pen(canvas), draw_one("people", place.domain, rng), place.domain, pose)
    return _finish("people", canvas, lens, yaw, rng)


def bad_box(place: Place, who: Attributes, rng: np.random.Generator) -> Photo:
    """An identity badly cut: mostly legs, or mostly head; what Market-1501 calls junk."""
    canvas, lens = place.canvas(rng), place.lens
    yaw, (width, height) = _yaw(lens, rng), canvas.size
    tall = height * float(rng.uniform(1.7, 2.2))
    ground = height * 0.96 if rng.random() < 0.5 else height * 0.1 + tall
    stride, centre = float(rng.uniform(-1, 1)), width * float(rng.uniform(0.3, 0.7))
    draw_person(Pen(canvas), who, place.domain, body.Pose(yaw, stride, centre, ground, tall))
    return _finish("people", canvas, replace(lens, blur=lens.blur + 0.6, occluded=0), yaw, rng)


def _yaw(lens: Camera, rng: np.random.Generator) -> float:
    """Mostly the camera's usual view, now and then any."""
    if rng.random() < 0.15:
        return float(rng.uniform(0, 360))
    return float(rng.normal(lens.yaw, lens.spread)) % 360


def _finish(
    kind: str, canvas: Image.Image, lens: Camera, yaw: float, rng: np.random.Generator
) -> Photo:
    """Put something before the subject, or not; then take the picture at its final size."""
    occluder = lens.occluder if rng.random() < lens.occluded else ""
    if occluder:
        occlude(Pen(canvas), occluder, canvas.size, rng)
    if kind == "people":
        small = canvas.resize(PERSON_SIZE, Image.Resampling.BOX)
    else:
        small = canvas.reduce(FINER[kind])
    return Photo(expose(small, lens, rng), yaw, occluder)
