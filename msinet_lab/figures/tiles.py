"""Photographs as small uint8 tiles of one size, and sheets of tiles with borders and captions.

Numpy and Pillow only: a sheet of 21 tiles takes a few milliseconds, where as many matplotlib axes
take more than half a second.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFont

from msinet_core.data import crop, decode, read_rgb
from msinet_core.data.decoding import FORMATS, Box, require_file
from msinet_lab.figures.style import FAINT, INK, MATCH_COLOURS, PAGE, Look, rgb

MARGIN, CROSSED = rgb("#EDEFF2"), rgb("#D5D9DE")
BORDER = 4  # pixels around a framed tile
LINE = 15  # height of a line of caption, pixels
AREA = 128 * 64  # of a tile, pixels, where nobody asks for another
SAMPLE = 12  # photographs that tell the proportions of all
Part = tuple[int, int, int, int]  # top, left, height, width


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet: H x W x 3 uint8 (None: none), how it counts, and lines of caption.

    `kind` is `query`, `match`, `non-match`, `junk` or `plain` (no border, no mark).
    """

    image: Any
    kind: str = "plain"
    caption: tuple[str, ...] = ()


@lru_cache(maxsize=16)
def font(size: int) -> Any:
    return ImageFont.load_default(size)


@lru_cache(maxsize=64)
def placeholder(height: int, width: int, text: str = "no image") -> np.ndarray:
    """What stands for a photograph that cannot be read, H x W x 3."""
    image = Image.new("RGB", (width, height), MARGIN)
    draw = ImageDraw.Draw(image)
    draw.line((0, 0, width, height), fill=CROSSED)
    draw.line((0, height, width, 0), fill=CROSSED)
    letters = font(max(8, min(13, width // 6)))
    draw.text((width / 2, height / 2), text, fill=rgb(FAINT), font=letters, anchor="mm")
    return np.asarray(image)


def part_in(size: tuple[int, int], height: int, width: int) -> Part:
    """Where a picture of `size` (height, width) lies in a tile that shows all of it, its
    proportions kept.
    """
    scale = min(height / size[0], width / size[1])
    high, wide = (max(1, round(length * scale)) for length in size)
    return (height - high) // 2, (width - wide) // 2, high, wide


def letterbox(image: Image.Image, height: int, width: int) -> np.ndarray:
    """The whole picture inside H x W, its proportions kept, on a plain margin."""
    top, left, high, wide = part_in((image.height, image.width), height, width)
    page = Image.new("RGB", (width, height), MARGIN)
    page.paste(image.resize((wide, high), Image.Resampling.BILINEAR), (left, top))
    return np.asarray(page)


def shape_of(file: str | Path) -> tuple[int, int]:
    """Height and width of a photograph as it is shown, upright; reads no more than its head."""
    require_file(file)
    with Image.open(file, formats=FORMATS) as image:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return (image.width, image.height) if turned else (image.height, image.width)


def _size(box: Box) -> tuple[int, int]:
    left, top, right, bottom = box
    return int(bottom - top), int(right - left)


def tile_shape(
    root: str | Path,
    paths: Sequence[Any],
    area: int = AREA,
    boxes: Sequence[Box | None] | None = None,
) -> tuple[int, int]:
    """Height and width of tiles of about `area` pixels with the proportions that most of the
    photographs have, or the boxes in them; twice as high as wide where none can be read.
    """
    shares = []
    for row in np.unique(np.linspace(0, len(paths) - 1, min(SAMPLE, len(paths))).astype(int)):
        try:
            box = boxes[row] if boxes else None
            high, wide = shape_of(Path(root) / str(paths[row])) if box is None else _size(box)
        except Exception:  # a broken file may raise anything from within a decoder
            continue
        shares.append(high / wide)
    share = float(np.clip(np.median(shares), 1 / 3, 3)) if shares else 2.0
    return round((area * share) ** 0.5), round((area / share) ** 0.5)


def as_photo(image: Any) -> np.ndarray:
    """H x W x 3 uint8 out of an array or tensor: grey or RGB, channels first or last, or 0..1."""
    array = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[-1] not in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 2:
        array = array[..., None]
    if array.dtype != np.uint8:
        array = (np.clip(array, 0, 1) * 255).round().astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array[..., :3], (*array.shape[:2], 3)))


def read_photo(
    path: str | Path, height: int, width: int, fit: str = "letterbox", box: Box | None = None
) -> np.ndarray:
    """The photograph, or a box of it, as H x W x 3 uint8, or a placeholder if it cannot be read.

    It is decoded as for networks (`read_rgb`): upright, of any depth and mode.
    `fit="stretch"` gives what a network sees, resized to H x W without regard to its proportions;
    `letterbox` keeps them, on a plain margin.
    """
    return read_tile(path, height, width, fit, box)[0]


def read_tile(
    path: str | Path, height: int, width: int, fit: str = "letterbox", box: Box | None = None
) -> tuple[np.ndarray, Part | None]:
    """`read_photo`, and where in it the photograph lies: nowhere, if it cannot be read."""
    try:
        if fit == "stretch":
            return decode(path, height, width, box), (0, 0, height, width)
        image = crop(read_rgb(path), box)
        part = part_in((image.height, image.width), height, width)
        return letterbox(image, height, width), part
    except Exception:  # a broken file may raise anything from within a decoder
        return placeholder(height, width), None


class PhotoShelf:
    """Photographs of a table, read when asked for, the latest few kept: `shelf[row]` is H x W x 3,
    and `shelf.part(row)` where in it the photograph lies.

    `paths` are absolute or relative to `root`; `boxes`, where given, cut one out of each. At most
    `keep` tiles stay in memory.
    """

    def __init__(
        self,
        root: str | Path,
        paths: Sequence[Any],
        height: int = 128,
        width: int = 64,
        keep: int = 512,
        fit: str = "letterbox",
        boxes: Sequence[Box | None] | None = None,
    ) -> None:
        self.root, self.paths, self.fit = Path(root), list(paths), fit
        self.boxes = [None] * len(self.paths) if boxes is None else list(boxes)
        self.height, self.width, self.keep = height, width, keep
        self._tiles: OrderedDict[int, tuple[np.ndarray, Part | None]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> np.ndarray:
        return self._read(int(row))[0]

    def part(self, row: int) -> Part | None:
        """The photograph's part of its tile; None where there is no photograph to be read."""
        return self._read(int(row))[1]

    def _read(self, row: int) -> tuple[np.ndarray, Part | None]:
        with self._lock:
            if row in self._tiles:
                self._tiles.move_to_end(row)
                return self._tiles[row]
        path, size = self.root / str(self.paths[row]), (self.height, self.width)
        tile = read_tile(path, *size, self.fit, self.boxes[row])
        with self._lock:
            self._tiles[row] = tile
            while len(self._tiles) > self.keep:
                self._tiles.popitem(last=False)
        return tile


class Chosen:
    """Some rows of a shelf, counted anew."""

    def __init__(self, shelf: Any, rows: Any) -> None:
        self.shelf, self.rows = shelf, rows

    def __getitem__(self, row: int) -> np.ndarray:
        return self.shelf[int(self.rows[row])]

    def part(self, row: int) -> Part | None:
        return self.shelf.part(int(self.rows[row]))


STROKES: dict[str, list[list[tuple[float, float]]]] = {  # of the marks, on a disc 18 wide
    "match": [[(5, 9.5), (8, 12.5), (13, 6)]],
    "non-match": [[(5.7, 5.7), (12.3, 12.3)], [(12.3, 5.7), (5.7, 12.3)]],
    "junk": [[(5, 9), (13, 9)]],
}


@lru_cache(maxsize=32)
def badge(kind: str, size: int = 18) -> np.ndarray:
    """A disc in the kind's colour with a tick, cross, bar or Q. size x size x 4, alpha last."""
    scale = 4
    side = size * scale
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    disc: Look = {"fill": (*rgb(MATCH_COLOURS[kind]), 255), "outline": "white", "width": scale}
    draw.ellipse((1, 1, side - 2, side - 2), **disc)
    at, width = side / 18, round(side / 9)
    for stroke in STROKES.get(kind, []):
        draw.line([(x * at, y * at) for x, y in stroke], fill="white", width=width, joint="curve")
    if kind == "query":
        letter: Look = {"fill": "white", "font": font(round(side * 0.6)), "anchor": "mm"}
        draw.text((side / 2, side / 2), "Q", **letter)
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))


def framed(tile: Tile, height: int, width: int) -> np.ndarray:
    """The tile with its border and mark, (height + 2 borders) x (width + 2 borders) x 3."""
    page = np.empty((height + 2 * BORDER, width + 2 * BORDER, 3), np.uint8)
    page[:] = rgb(MATCH_COLOURS.get(tile.kind, PAGE))
    image = tile.image
    if image.shape != (height, width, 3):
        image = letterbox(Image.fromarray(as_photo(image)), height, width)
    page[BORDER : BORDER + height, BORDER : BORDER + width] = image
    if tile.kind in MATCH_COLOURS:
        mark = badge(tile.kind, max(12, min(20, width // 3)))
        corner = page[1 : len(mark) + 1, 1 : len(mark) + 1]
        alpha = mark[..., 3:].astype(np.float32) / 255
        corner[:] = (mark[..., :3] * alpha + corner * (1 - alpha)).astype(np.uint8)
    return page


def sheet(tiles: Sequence[Tile], columns: int, *, gap: int = 6, lead: bool = False) -> np.ndarray:
    """Tiles side by side in rows of `columns`, each with its caption below; uint8 H x W x 3.

    `lead` puts the first tile into a column of its own, a gap apart, as the query of a gallery.
    All are fitted to the size of the first.
    """
    if not tiles:
        return placeholder(120, 360, "nothing to show")
    height, width = tiles[0].image.shape[:2]
    lines = max(len(tile.caption) for tile in tiles)
    box_h, box_w = height + 2 * BORDER, width + 2 * BORDER
    cell_h, cell_w = box_h + LINE * lines + gap, box_w + gap
    rest = len(tiles) - lead
    rows = max(1, -(-rest // columns))
    offset = (cell_w + 3 * gap) * lead
    size = rows * cell_h + gap, offset + min(columns, rest) * cell_w + gap, 3
    page = np.full(size, 255, np.uint8)
    for number, tile in enumerate(tiles):
        first = number < lead
        row, column = (0, 0) if first else divmod(number - lead, columns)
        y, x = gap + row * cell_h, gap + (0 if first else offset) + column * cell_w
        page[y : y + box_h, x : x + box_w] = framed(tile, height, width)
        for place, text in enumerate(tile.caption):
            below = y + box_h + LINE * place
            line = caption(text, box_w, INK if place == 0 else FAINT)
            page[below : below + LINE, x : x + box_w] = line
    return page


@lru_cache(maxsize=4096)
def caption(text: str, width: int, colour: str) -> np.ndarray:
    """One centred line of text, shortened in its middle to fit, LINE x `width` x 3."""
    image = Image.new("RGB", (width, LINE), PAGE)
    letters = font(11)
    text = shortened(text, width - 2, letters)
    ImageDraw.Draw(image).text((width / 2, 1), text, fill=rgb(colour), font=letters, anchor="ma")
    return np.asarray(image)


def shortened(text: str, width: int, letters: Any) -> str:
    """The text, with its middle left out where it is wider than `width` pixels."""
    if letters.getlength(text) <= width:
        return text
    kept = min(len(text) - 1, width)  # a letter is wider than a pixel
    while kept > 1 and letters.getlength(_without_middle(text, kept)) > width:
        kept -= 1
    return _without_middle(text, kept)


def _without_middle(text: str, kept: int) -> str:
    """Its first and last letters, `kept` in all."""
    end = kept // 2
    return f"{text[: kept - end]}…{text[len(text) - end :]}"


def stack(images: Sequence[np.ndarray], gap: int = 4) -> np.ndarray:
    """Images below each other, left-aligned on a white page."""
    width = max(image.shape[1] for image in images)
    page = np.full((sum(image.shape[0] + gap for image in images) - gap, width, 3), 255, np.uint8)
    top = 0
    for image in images:
        page[top : top + image.shape[0], : image.shape[1]] = image
        top += image.shape[0] + gap
    return page
