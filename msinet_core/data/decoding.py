"""One photograph as 8-bit RGB, upright: the same for the network, the checks and the panels."""

from __future__ import annotations

import math
import os
import stat
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from msinet_core.errors import ReidError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")  # photographs; nothing that runs
DEPTHS = (8, 12, 16)  # bits; what cameras and scanners write
INTERPOLATIONS = {  # all with antialiasing, as torchvision's `Resize` does with PIL images
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the upright photograph


class Picture(NamedTuple):
    """A photograph, or what a box cuts out of it (a detection on a frame)."""

    file: Path
    box: Box | None = None


class Resize(NamedTuple):
    """How a photograph becomes H x W pixels."""

    height: int
    width: int
    interpolation: str = "bilinear"

    def __call__(self, image: Image.Image) -> np.ndarray:
        size, kind = (self.width, self.height), INTERPOLATIONS[self.interpolation]
        return np.asarray(image.resize(size, kind))


def decode(
    file: str | os.PathLike[str],
    height: int,
    width: int,
    box: Box | None = None,
    interpolation: str = "bilinear",
) -> np.ndarray:
    """One photograph as the network sees it, uint8, H x W x 3: `read_rgb`, cut to `box` if there is
    one, and resized.
    """
    require_interpolation(interpolation)
    return Resize(height, width, interpolation)(crop(read_rgb(file), box))


def decode_each(pictures: Iterable[Picture], resize: Resize) -> Iterator[np.ndarray | Exception]:
    """`decode` for each, or the error that it ended in. A frame of several boxes that follow each
    other is opened once.
    """
    held: Path | None = None
    for file, box in pictures:
        # A broken file may raise anything from within a decoder; whatever it is, it is told.
        try:
            if held != file:
                held = None
                frame, held = read_rgb(file), file
            yield resize(crop(frame, box))
        except Exception as error:
            yield error


def crop(image: Image.Image, box: Box | None) -> Image.Image:
    """The pixels that a box touches; `ReidError` where it lies outside of the picture."""
    if box is None:
        return image
    left, top = (max(0, math.floor(side)) for side in box[:2])
    right, bottom = min(image.width, math.ceil(box[2])), min(image.height, math.ceil(box[3]))
    if right <= left or bottom <= top:
        told = ", ".join(f"{side:g}" for side in box)
        raise ReidError(f"the box {told} is outside of its {image.width} x {image.height} pixels")
    return image.crop((left, top, right, bottom))


def require_interpolation(name: str) -> None:
    """`ReidError` for a name that is none of `INTERPOLATIONS`."""
    if name not in INTERPOLATIONS:
        known = ", ".join(INTERPOLATIONS)
        raise ReidError(f"there is no interpolation {name!r}; there are {known}")


def read_rgb(file: str | os.PathLike[str]) -> Image.Image:
    """A photograph in its own size: upright by its EXIF orientation, RGB, 8 bits a channel.

    `FileNotFoundError` where there is no such file, `ReidError` for what is no regular file (a
    pipe would be waited for, a device has no end) and for a picture so large that it may be meant
    to fill the memory (`PIL.Image.MAX_IMAGE_PIXELS`); from within a decoder, anything.
    """
    require_file(file)
    with Image.open(file, formats=FORMATS) as opened:
        most = Image.MAX_IMAGE_PIXELS
        if most and opened.width * opened.height > most:
            raise ReidError(f"{opened.width} x {opened.height} pixels are more than {most:,}")
        return rgb(_upright(opened))


def require_file(file: str | os.PathLike[str]) -> None:
    """`FileNotFoundError` or `ReidError` unless there is a regular file; opens nothing."""
    mode = os.stat(file).st_mode
    if not stat.S_ISREG(mode):
        raise ReidError("a folder, not a file" if stat.S_ISDIR(mode) else "not a regular file")


def reason(file: Path, error: Exception) -> str:
    """What is wrong with an image, in a sentence that names it."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return f"{file} is missing"
    return f"{file} cannot be read as an image ({what_is_wrong(file, error)})"


def what_is_wrong(file: Path, error: Exception) -> str:
    """What a decoder said of a file, without its folder."""
    kind = "" if isinstance(error, ReidError) else f"{type(error).__name__}: "
    return kind + str(error).replace(os.fspath(file), file.name)


def rgb(image: Image.Image) -> Image.Image:
    """Any PIL image as RGB of 8 bits: grey and palette ones expanded, transparency dropped, deeper
    ones (16-bit, int32, float) brought to 8 bits by `eight_bits`.
    """
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(eight_bits(np.asarray(image)))
    elif image.mode in ("P", "PA"):  # may hold transparency, which only RGBA takes unwarned
        image = image.convert("RGBA")
    return image.convert("RGB")


def eight_bits(values: np.ndarray) -> np.ndarray:
    """Grey values of any depth as uint8, by one rule: white is the full scale of the depth.

    The depth is the smallest of 8, 12 and 16 bits (or, beyond, of any number) that holds the
    largest value: files say how wide their numbers are, not how many bits the camera used. Floats
    of at most 1 are shares of white; what is below 0 or no number is black.
    """
    values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    top = float(values.max(initial=0.0))
    if values.size and 0 < top <= 1 and (values % 1 != 0).any():
        values, top = values * 255, top * 255
    bits = next((depth for depth in DEPTHS if top < 2**depth), int(top).bit_length())
    return np.clip(values / 2.0 ** (bits - 8), 0, 255).astype(np.uint8)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, TypeError, KeyError, struct.error):  # EXIF that is broken
        image.load()  # a file that is cut short is told as such
        return image
