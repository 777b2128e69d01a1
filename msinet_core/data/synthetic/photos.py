"""One photograph: an identity before a camera of its domain, or something that a detector took for one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image

from msinet_core.data.synthetic import figure, solid
from msinet_core.data.synthetic.cameras import Camera, camera, expose
from msinet_core.data.synthetic.identities import KINDS, Attributes, draw_one
from msinet_core.data.synthetic.occluders import occlude
from msinet_core.data.synthetic.pen import Pen
from msinet_core.data.synthetic.people import draw_person
from msinet_core.data.synthetic.scenes import PEOPLE_SCENES, ROAD_SCENES, panorama
from msinet_core.data.synthetic.vehicles import draw_vehicle

PERSON_SIZE = (64, 128)  # width, height of a picture
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


@lru_cache(maxsize=64)
def scene_of(kind: str, domain: str, number: int) -> Image.Image:
    """The wide scene before camera `number` (from 1); the same for every seed."""
    scenes = (PEOPLE_SCENES if kind == "people" else ROAD_SCENES)[domain]
    place = [KINDS.index(kind), ord(domain), number]
    return panorama(scenes[(number - 1) % len(scenes)], PANORAMA[kind], place)


def _cut(kind: str, domain: str, number: int, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A piece of the camera's scene, somewhere along it."""
    wide = scene_of(kind, domain, number)
    left = int(rng.integers(0, wide.width - size[0] + 1))
    top = int(rng.integers(0, wide.height - size[1] + 1))
    return wide.crop((left, top, left + size[0], top + size[1]))


def _yaw(lens: Camera, rng: np.random.Generator) -> float:
    """Mostly the camera's usual view, now and then any."""
    if rng.random() < 0.15:
        return float(rng.uniform(0, 360))
    return float(rng.normal(lens.yaw, lens.spread)) % 360


def take(kind: str, who: Attributes, domain: str, number: int, rng: np.random.Generator) -> Photo:
    """A photograph of one identity (its attributes) by camera `number`.

    People are 64 x 128 (width x height) pixels, vehicles 112 to 144 each way.
    """
    lens = camera(domain, number)
    yaw = _yaw(lens, rng)
    canvas = (
        _person(who, domain, number, yaw, rng)
        if kind == "people"
        else _vehicle(who, domain, number, lens, yaw, rng)
    )
    occluder = lens.occluder if rng.random() < lens.occluded else ""
    if occluder:
        occlude(Pen(canvas), occluder, canvas.size, rng)
    return Photo(expose(canvas.reduce(FINER[kind]), lens, rng), yaw, occluder)


def _person(who: Attributes, domain: str, number: int, yaw: float, rng: np.random.Generator) -> Image.Image:
    finer = FINER["people"]
    width, height = PERSON_SIZE[0] * finer, PERSON_SIZE[1] * finer
    canvas = _cut("people", domain, number, (width, height), rng)
    pose = figure.Pose(
        yaw=yaw, stride=float(rng.uniform(-1, 1)), centre=width * float(rng.normal(0.5, 0.035)),
        ground=height * float(rng.uniform(0.93, 0.97)), height=height * float(rng.uniform(0.83, 0.89)),
    )  # fmt: skip
    draw_person(Pen(canvas), who, domain, pose)
    return canvas


def _vehicle(
    who: Attributes, domain: str, number: int, lens: Camera, yaw: float, rng: np.random.Generator
) -> Image.Image:
    finer = FINER["vehicles"]
    width, height = (int(value) * finer for value in rng.integers(112, 145, 2))
    canvas = _cut("vehicles", domain, number, (width, height), rng)
    x0, x1 = width * float(rng.uniform(0.03, 0.10)), width * float(rng.uniform(0.90, 0.97))
    pose = solid.Pose(
        yaw,
        lens.pitch + float(rng.normal(0, 3)),
        (x0, height * 0.12, x1, height * float(rng.uniform(0.88, 0.95))),
    )
    draw_vehicle(Pen(canvas), who, domain, pose)
    return canvas


def false_detection(domain: str, number: int, rng: np.random.Generator) -> Photo:
    """What a person detector takes for a person: an empty scene, or a stranger cut through."""
    lens, finer = camera(domain, number), FINER["people"]
    width, height = PERSON_SIZE[0] * finer, PERSON_SIZE[1] * finer
    canvas = _cut("people", domain, number, (width, height), rng)
    yaw = _yaw(lens, rng)
    if rng.random() < 0.6:
        side = 1 if rng.random() < 0.5 else -1
        pose = figure.Pose(
            yaw, float(rng.uniform(-1, 1)), width * (0.5 + side * float(rng.uniform(0.38, 0.62))),
            height * float(rng.uniform(0.95, 1.3)), height * float(rng.uniform(0.8, 1.2)),
        )  # fmt: skip
        draw_person(Pen(canvas), draw_one("people", domain, rng), domain, pose)
    if rng.random() < 0.5:
        occlude(Pen(canvas), lens.occluder, canvas.size, rng)
    return Photo(expose(canvas.reduce(finer), lens, rng), yaw, lens.occluder)


def bad_box(who: Attributes, domain: str, number: int, rng: np.random.Generator) -> Photo:
    """An identity badly cut: mostly legs, or mostly head; what Market-1501 calls junk."""
    lens, finer = camera(domain, number), FINER["people"]
    width, height = PERSON_SIZE[0] * finer, PERSON_SIZE[1] * finer
    canvas = _cut("people", domain, number, (width, height), rng)
    yaw, tall = _yaw(lens, rng), height * float(rng.uniform(1.7, 2.2))
    ground = height * 0.96 if rng.random() < 0.5 else height * 0.1 + tall
    pose = figure.Pose(yaw, float(rng.uniform(-1, 1)), width * float(rng.uniform(0.3, 0.7)), ground, tall)
    draw_person(Pen(canvas), who, domain, pose)
    return Photo(expose(canvas.reduce(finer), replace(lens, blur=lens.blur + 0.6), rng), yaw, "")
