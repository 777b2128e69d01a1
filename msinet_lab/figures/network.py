"""The network drawn: three stages, two cells each, two branches a cell, and what sits in each slot.

The multi-scale interaction cell (MSI), docs/method.md 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve

from msinet_core.space import CELLS_PER_STAGE, NUM_STAGES, SLOTS_PER_CELL, Genotype
from msinet_lab.figures.elements import Html, drawing, tag
from msinet_lab.figures.style import (
    CARD,
    EDGE,
    FAINT,
    GRID,
    INK,
    PAGE,
    PLACE,
    WIRE,
    Look,
    bare,
    ink_on,
    new_figure,
    operation_colour,
    operation_label,
)

LANE_A, LANE_B = 0.42, -0.42  # heights of branches a and b in a row
CELL_WIDTH, CELL_GAP, ROW, HIGH = 8.5, 0.4, 3.55, 2.44  # HIGH: of a cell
UNIT = 0.47  # inches
LEFT, HEADS = -0.55, 2.35  # where it begins; the width of what stands at the right of the cells


@dataclass(frozen=True)
class Pen:
    """Draws boxes and lines into one axes, in the picture's own units."""

    axes: Axes

    def box(
        self, x: float, y: float, size: tuple[float, float], text: str = "", **look: Any
    ) -> None:
        """A rounded box of width and height `size`, centred at (x, y)."""
        fill, layer = look.get("fill", CARD), look.get("layer", 3)
        corner, (width, height) = (x - size[0] / 2, y - size[1] / 2), size
        patch = FancyBboxPatch(
            corner,
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.09",
            facecolor=fill,
            edgecolor=look.get("edge", EDGE),
            linewidth=look.get("weight", 0.8),
            zorder=layer,
        )
        patch.set_gid(look.get("gid"))
        self.axes.add_patch(patch)
        self.text(x, y, text, look.get("font", 8), INK, zorder=layer + 1)

    def line(self, *points: tuple[float, float]) -> None:
        xs, ys = zip(*points, strict=True)
        look: Look = {"color": WIRE, "linewidth": 1.2, "solid_capstyle": "round"}
        self.axes.plot(xs, ys, zorder=1, **look)

    def text(
        self, x: float, y: float, text: str, size: float = 8, colour: str = FAINT, **where: Any
    ) -> None:
        where = {"ha": "center", "va": "center", **where}
        self.axes.text(x, y, text, fontsize=size, color=colour, **where)


@dataclass(frozen=True)
class Slot:
    """What is drawn in a slot: its operation, how strongly it won, whether it is framed."""

    number: int  # 0..11
    name: str
    weight: float | None = None
    chosen: bool = False

    def draw(self, pen: Pen, x: float, y: float) -> None:
        colour = operation_colour(self.name)
        look: Look = {"edge": INK, "weight": 2.4} if self.chosen else {"edge": colour}
        at = f"{PLACE}slot-{self.number + 1}"
        pen.box(x, y, (1.5, 1.62), fill=colour, gid=at, **look)
        share = "" if self.weight is None else f"\n{self.weight:.0%}"
        words: Look = {"fontweight": "bold", "zorder": 5, "linespacing": 1.25}
        # A click on the word means the slot as well; its own gid would be a second such place.
        pen.text(x, y, operation_label(self.name, "\n") + share, 8.5, ink_on(colour), **words)


def _branches(pen: Pen, x: float, y: float) -> None:
    """The two branches between slots: one light 3x3 above, three below."""
    pen.box(x, y + LANE_A, (1.36, 0.46), "3×3")
    for step in (-0.46, 0.0, 0.46):
        pen.box(x + step, y + LANE_B, (0.44, 0.46), "3×3", font=6.6)


def _cell(pen: Pen, left: float, y: float, title: str, slots: list[Slot]) -> None:
    """A multi-scale interaction cell: its two lanes run from `left` to `left + CELL_WIDTH`."""
    right = left + CELL_WIDTH
    frame: Look = {"fill": "none", "edge": GRID, "layer": 0.5}
    pen.box((left + right) / 2, y + 0.02, (CELL_WIDTH, HIGH), **frame)
    pen.text(left + 0.12, y + 1.02, title, 8.5, ha="left", zorder=5)
    start, end = left + 0.18, right - 0.34
    for lane in (LANE_A, LANE_B):
        inside = (start + 0.18, y + lane), (end - 0.36, y + lane)
        pen.line((left, y), (start, y), *inside, (end, y), (right, y))
        pen.box(left + 0.72, y + lane, (0.6, 0.46), "1×1")
        pen.box(right - 1.04, y + lane, (0.6, 0.46), "1×1")
    arc = [(start, y), (start, y - 1.45), (end, y - 1.45), (end, y)]
    curve = Curve(arc, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
    look: Look = {"fill": False, "edgecolor": WIRE, "linewidth": 1.1, "linestyle": ":"}
    pen.axes.add_patch(PathPatch(curve, zorder=2, **look))
    for place, slot in enumerate(slots):
        _branches(pen, left + 1.76 + 2.98 * place, y)
        slot.draw(pen, left + 3.24 + 2.98 * place, y)
    pen.box(end, y, (0.36, 0.5), "+", fill=PAGE, font=9)


def network_html(genotype: Genotype, **look: Any) -> Html:
    """The network for a page, with the options of `draw_network`: the cells of a stage stand side
    by side, or below each other where there is no room for that.
    """
    roomy, tight = (
        drawing(draw_network(genotype, beside=number, **look)) for number in (CELLS_PER_STAGE, 1)
    )
    return tag(
        "div", tag("div", roomy, class_="roomy"), tag("div", tight, class_="tight"), class_="fits"
    )


def draw_network(
    genotype: Genotype,
    *,
    weights: Any = None,
    chosen: int | None = None,
    channels: tuple[int, ...] = (64, 256, 384, 512),
    height: int = 256,
    width: int = 128,
    title: str = "",
    beside: int = CELLS_PER_STAGE,
) -> Figure:
    """The network of a genotype, a row a stage, its slots in the colours of their operations.

    `weights` (12 x K, softmax) writes into each slot how strongly its operation won; `chosen`
    (0..11) frames one slot. `channels`, `height` and `width` (pixels of the input) only label the
    stages. `beside`: cells in a row; 1 gives each cell a row of its own.
    """
    rows, span = NUM_STAGES * CELLS_PER_STAGE // beside, beside * (CELL_WIDTH + CELL_GAP) - CELL_GAP
    right, alone = span + HEADS, beside == 1
    stem = 2.2 if alone else 1.55  # its height; beside it there may be room for a stage's name
    top, bottom = stem + 0.4 + 0.7 * bool(title), -ROW * (rows - 1) - 1.3
    size = UNIT * (right - LEFT), UNIT * (top - bottom)
    figure = new_figure(*size, title, layout=None)
    axes = bare(figure.add_axes((0, 0, 1, 1)))
    pen = Pen(axes)
    shares = [None] * len(genotype.slots) if weights is None else np.max(weights, axis=1).tolist()
    slots = [
        Slot(place, name, share, place == chosen)
        for place, (name, share) in enumerate(zip(genotype.slots, shares, strict=True))
    ]
    _stem(pen, stem)
    for number in range(NUM_STAGES * CELLS_PER_STAGE):
        (stage, cell), (row, column) = divmod(number, CELLS_PER_STAGE), divmod(number, beside)
        y, scale, left = -ROW * row, 4 * 2**stage, column * (CELL_WIDTH + CELL_GAP)
        if cell == 0:
            words = (
                f"stage {stage + 1}:  {channels[stage]} → {channels[stage + 1]} channels of "
                f"{height // scale} × {width // scale}"
            )
            pen.text(0.05 if stage or alone else 6.7, y + 1.48, words, 9, INK, ha="left", zorder=6)
        pen.line((left - (0.35 if column == 0 else CELL_GAP), y), (left, y))
        first = number * SLOTS_PER_CELL
        _cell(pen, left, y, f"cell {cell + 1}", slots[first : first + SLOTS_PER_CELL])
        if column == beside - 1:
            last = cell == CELLS_PER_STAGE - 1
            _after_row(pen, (span, y), stage if last else None, channels[NUM_STAGES])
    axes.set_xlim(LEFT, right)
    axes.set_ylim(bottom, top)
    return figure


def _stem(pen: Pen, y: float) -> None:
    """Above the first row."""
    pen.line((-0.35, y), (-0.35, 0))
    pen.box(2.9, y, (6.9, 0.56), "stem: 7×7 convolution, 3×3 max-pool, stride 2 each")


def _after_row(pen: Pen, end: tuple[float, float], stage: int | None, length: int) -> None:
    """The way to the next row, and what stands at the end of a stage: down-sampler, heads."""
    span, y = end
    if stage != NUM_STAGES - 1:
        x, turn = span + 0.35, y - 1.62
        pen.line((span, y), (x, y), (x, turn), (-0.35, turn), (-0.35, y - ROW))
        if stage is not None:
            pen.box(span - 3.4, turn, (5.6, 0.5), "down-sample: 1×1 convolution, 2×2 pool")
    if stage in (1, NUM_STAGES - 1):
        part = stage == 1
        pen.line((span, y), (span + 0.6, y))
        words = "part\nfeature\n256: upper,\nlower half" if part else f"global\nfeature\n{length}"
        pen.box(span + 1.45, y, (1.7, 1.3), words)
