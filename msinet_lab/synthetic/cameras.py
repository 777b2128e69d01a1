"""What a camera does to what stands before it: colour response, viewpoint, blur, noise,
compression.

Each camera of a domain has its own, so that the same shirt gives other numbers in every one of
them; within a camera the exposure wanders a little from picture to picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

MOST_CAMERAS = 9  # a Market-1501 file name has one digit for it


@dataclass(frozen=True)
class Camera:
    """What one camera does, and what it usually sees."""

    gain: tuple[float, float, float]  # red, green, blue
    gamma: float  # above 1 darkens
    saturation: float  # 1 leaves it, as for contrast
    contrast: float
    blur: float  # standard deviation, pixels
    noise: float  # standard deviation, of 255
    quality: int  # of the JPEG, 1 to 95
    yaw: float  # the subject's usual yaw, degrees,
    spread: float  # and its standard deviation
    pitch: float  # looking down, degrees
    occluder: str  # what may stand before it,
    occluded: float  # and how often


CAMERAS = {
    "A": (
        Camera((1.01, 1.00, 0.99), 1.00, 1.00, 1.00, 0.35, 3.0, 90, 15, 40, 12, "bush", 0.25),
        Camera((1.07, 1.00, 0.90), 1.02, 0.97, 1.02, 0.55, 5.0, 80, 185, 40, 16, "pole", 0.25),
        Camera((0.91, 0.99, 1.09), 0.97, 0.95, 0.98, 0.70, 6.0, 75, 90, 45, 10, "rail", 0.25),
        Camera((0.95, 0.97, 0.87), 1.10, 0.93, 1.03, 0.45, 8.0, 70, 270, 45, 20, "crates", 0.25),
        Camera((1.05, 1.04, 1.03), 0.90, 0.81, 0.95, 0.60, 4.0, 85, 330, 50, 14, "sign", 0.25),
        Camera((0.91, 0.90, 0.95), 1.09, 1.10, 1.07, 0.85, 7.0, 65, 150, 60, 18, "pole", 0.25),
    ),
    "B": (
        Camera((0.97, 1.00, 1.05), 0.95, 0.88, 0.97, 0.50, 4.0, 85, 350, 40, 14, "pole", 0.25),
        Camera((0.99, 1.02, 0.93), 1.03, 0.95, 1.02, 0.80, 7.0, 70, 90, 40, 10, "sign", 0.25),
        Camera((1.10, 0.99, 0.91), 1.05, 0.93, 1.03, 0.60, 9.0, 60, 200, 45, 18, "rail", 0.25),
        Camera((0.91, 1.03, 1.00), 1.00, 0.90, 1.00, 1.00, 6.0, 65, 270, 45, 22, "crates", 0.25),
        Camera((1.05, 1.00, 0.97), 0.98, 1.05, 1.05, 0.45, 5.0, 80, 40, 50, 12, "bush", 0.25),
        Camera((0.97, 0.98, 1.00), 0.85, 0.75, 0.92, 0.70, 3.0, 90, 160, 60, 16, "pole", 0.25),
    ),
}


def camera(domain: str, number: int) -> Camera:
    """Camera `number`, from 1, of a domain: six are set by hand, the others drawn by number."""
    table = CAMERAS[domain]
    if number <= len(table):
        return table[number - 1]
    rng = np.random.default_rng([ord(domain), number])

    def draw(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    red, blue = draw(0.7, 1.25), draw(0.7, 1.25)
    return Camera(
        gain=(red, draw(0.85, 1.1), blue),
        gamma=draw(0.7, 1.4),
        saturation=draw(0.6, 1.15),
        contrast=draw(0.85, 1.2),
        blur=draw(0.4, 0.9),
        noise=draw(3, 8),
        quality=int(rng.integers(65, 90)),
        yaw=draw(0, 360),
        spread=50.0,
        pitch=draw(10, 20),
        occluder=("bush", "pole", "rail", "crates", "sign")[number % 5],
        occluded=0.25,
    )


GREY = (0.299, 0.587, 0.114)


def response(lens: Camera, wander: np.ndarray) -> tuple[tuple[float, ...], np.ndarray]:
    """The colour matrix (3 x 4, by row) and tone curve (256 values, 0 to 255) of one exposure.

    wander: five numbers near 0 by which it differs: log gain of red, green, blue, all; log gamma.
    """
    matrix: list[float] = []
    for row, gain in enumerate(lens.gain):
        gain *= float(np.exp(wander[row] + wander[3]))
        greyed = [grey * (1 - lens.saturation) for grey in GREY]
        greyed[row] += lens.saturation
        matrix += [gain * weight for weight in greyed] + [0.0]
    gamma = lens.gamma * float(np.exp(wander[4]))
    curve = 255 * np.linspace(0, 1, 256, dtype=np.float32) ** gamma
    return tuple(matrix), np.clip(128 + (curve - 128) * lens.contrast, 0, 255).astype(np.float32)


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    """Noise of deviation 1, 320 x 320 x 3; pictures take a piece of it, as new noise is slow."""
    return np.random.default_rng(20230307).standard_normal((320, 320, 3), dtype=np.float32)


def expose(scene: Image.Image, lens: Camera, rng: np.random.Generator) -> Image.Image:
    """The picture that a camera takes of a scene (RGB, at its final size, at most 160 x 160)."""
    wander = rng.normal(0, (0.03, 0.03, 0.03, 0.08, 0.06))
    matrix, curve = response(lens, wander)
    blur = lens.blur * float(rng.uniform(0.6, 1.5))
    box = (np.sqrt(12 * blur**2 + 1) - 1) / 2  # the box of the same deviation: a third of the time
    image = scene.filter(ImageFilter.BoxBlur(float(box))).convert("RGB", matrix)
    pixels = curve[np.asarray(image)]
    top, left = (int(value) for value in rng.integers(0, 160, 2))
    grain = _grain()[top : top + pixels.shape[0], left : left + pixels.shape[1]]
    pixels += grain * np.float32(lens.noise * float(rng.uniform(0.7, 1.3)))
    np.clip(pixels, 0, 255, out=pixels)
    return Image.fromarray(pixels.astype(np.uint8))
