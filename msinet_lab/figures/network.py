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
from msinet_lab.figures.style import (
    FAINT,
    GRID,
    INK,
    PAGE,
    bare,
    ink_on,
    new_figure,
    operation_colour,
    operation_label,
    operation_legend,
)

BLOCK, LANE_A, LANE_B = "#EEF1F4", 0.42, -0.42  # lanes: heights of branches a and b in a row
CELL_WIDTH, CELL_GAP, ROW = 8.9, 0.6, 2.9


@dataclass(frozen=True)
class Pen:
    """Draws boxes and lines into one axes, in the picture's own units."""

    axes: Axes

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        text: str = "",
        *,
        fill: str = BLOCK,
        edge: str = "#C9CFD6",
        size: float = 7.5,
        weight: float = 0.8,
        layer: float = 3,
    ) -> None:
        """A rounded box centred at (x, y)."""
        self.axes.add_patch(
            FancyBboxPatch(
                (x - width / 2, y - height / 2),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=0.09",
                facecolor=fill,
                edgecolor=edge,
                linewidth=weight,
                zorder=layer,
            )
        )
        if text:
            self.axes.text(
                x,
                y,
                text,
                ha="center",
                va="center",
                fontsize=size,
                color=ink_on(fill),
                zorder=layer + 1,
            )

    def line(
        self, *points: tuple[float, float], colour: str = "#9AA3AD", dashed: bool = False
    ) -> None:
        xs, ys = zip(*points, strict=True)
        self.axes.plot(
            xs,
            ys,
            color=colour,
            linewidth=1.2,
            linestyle=":" if dashed else "-",
            zorder=1,
            solid_capstyle="round",
        )

    def text(
        self, x: float, y: float, text: str, size: float = 8, colour: str = FAINT, **where: Any
    ) -> None:
        self.axes.text(
            x, y, text, fontsize=size, color=colour, **{"ha": "center", "va": "center", **where}
        )


def _branches(pen: Pen, x: float, y: float) -> None:
    """The two branches between slots: one light 3x3 above, three below."""
    pen.box(x, y + LANE_A, 1.15, 0.46, "3×3")
    for step in (-0.46, 0.0, 0.46):
        pen.box(x + step, y + LANE_B, 0.4, 0.46, "3×3", size=5.8)


def _slot(pen: Pen, x: float, y: float, name: str, weight: float | None, chosen: bool) -> None:
    colour = operation_colour(name)
    pen.box(
        x, y, 1.36, 1.62, fill=colour, edge=INK if chosen else colour, weight=2.4 if chosen else 0.8
    )
    words = operation_label(name).replace(" ", "\n")
    share = "" if weight is None else f"\n{weight:.0%}"
    pen.text(x, y, words + share, 8, ink_on(colour), fontweight="bold", zorder=5, linespacing=1.25)


def _cell(
    pen: Pen,
    left: float,
    y: float,
    names: tuple[str, ...],
    title: str,
    weights: list[float | None],
    chosen: list[bool],
) -> None:
    """A multi-scale interaction cell: its two lanes run from `left` to `left + CELL_WIDTH`."""
    right = left + CELL_WIDTH
    pen.box((left + right) / 2, y + 0.02, CELL_WIDTH, 2.44, fill="#FAFBFC", edge=GRID, layer=0.5)
    pen.text(left + 0.15, y + 1.06, title, 8.2, ha="left", zorder=5)
    start, end = left + 0.28, right - 0.42
    for lane in (LANE_A, LANE_B):
        pen.line(
            (left, y),
            (start, y),
            (start + 0.18, y + lane),
            (end - 0.42, y + lane),
            (end, y),
            (right, y),
        )
    curve = Curve(
        [(start, y), (start, y - 1.45), (end, y - 1.45), (end, y)],
        [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4],
    )
    pen.axes.add_patch(
        PathPatch(curve, fill=False, edgecolor="#B4BBC3", linewidth=1.1, linestyle=":", zorder=2)
    )
    for lane in (LANE_A, LANE_B):
        pen.box(left + 0.82, y + lane, 0.56, 0.46, "1×1", size=6.8)
        pen.box(right - 1.2, y + lane, 0.56, 0.46, "1×1", size=6.8)
    _branches(pen, left + 1.86, y)
    _slot(pen, left + 3.32, y, names[0], weights[0], chosen[0])
    _branches(pen, left + 4.78, y)
    _slot(pen, left + 6.24, y, names[1], weights[1], chosen[1])
    pen.box(end, y, 0.36, 0.5, "+", fill=PAGE, size=9)


def _row_text(channels: tuple[int, ...], height: int, width: int, stage: int) -> str:
    scale = 4 * 2**stage
    return f"stage {stage + 1}\n{channels[stage]} → {channels[stage + 1]}\n{height // scale} × {width // scale}"


def draw_network(
    genotype: Genotype,
    *,
    weights: Any = None,
    chosen: int | None = None,
    channels: tuple[int, ...] = (64, 256, 384, 512),
    height: int = 256,
    width: int = 128,
    title: str = "",
) -> Figure:
    """The network of a genotype, a row a stage, its slots in the colours of their operations.

    `weights` (12 x 4 softmax) writes into each slot how strongly its operation won; `chosen`
    (0..11) frames one slot. `channels`, `height` and `width` (pixels of the input) only label the
    stages.
    """
    span = 2 * CELL_WIDTH + CELL_GAP
    figure = new_figure(13, 6.6, title, layout=None)
    axes = bare(figure.add_axes((0.005, 0.06, 0.99, 0.88 if title else 0.94)))
    pen = Pen(axes)
    for stage in range(NUM_STAGES):
        y = -ROW * stage
        pen.text(
            -2.45,
            y,
            _row_text(channels, height, width, stage),
            9.5,
            INK,
            ha="left",
            linespacing=1.5,
        )
        pen.line((-0.35, y), (0, y))
        pen.line((CELL_WIDTH, y), (CELL_WIDTH + CELL_GAP, y))
        for cell in range(CELLS_PER_STAGE):
            first = (stage * CELLS_PER_STAGE + cell) * SLOTS_PER_CELL
            slots = range(first, first + SLOTS_PER_CELL)
            share = [
                None if weights is None else float(np.max(np.asarray(weights)[slot]))
                for slot in slots
            ]
            _cell(
                pen,
                cell * (CELL_WIDTH + CELL_GAP),
                y,
                genotype.slots[first : first + SLOTS_PER_CELL],
                f"cell {cell + 1}",
                share,
                [slot == chosen for slot in slots],
            )
        _after_stage(pen, stage, y, span, channels[NUM_STAGES])
    axes.set_xlim(-2.6, span + 4.3)
    axes.set_ylim(-ROW * (NUM_STAGES - 1) - 1.25, 2.1)
    operation_legend(figure, where="lower center")
    return figure


def _after_stage(pen: Pen, stage: int, y: float, span: float, length: int) -> None:
    """Stem above the first row, down-samplers between rows, heads at the right."""
    if stage == 0:
        pen.line((-0.35, y + 1.72), (-0.35, y))
        pen.box(
            2.2, y + 1.72, 6.2, 0.56, "stem: 7×7 convolution, 3×3 max-pool, stride 2 each", size=7.5
        )
    if stage < NUM_STAGES - 1:
        turn = y - ROW / 2 + 0.02
        pen.line((span, y), (span + 1.2, y), (span + 1.2, turn), (-0.35, turn), (-0.35, y - ROW))
        pen.box(span + 1.2, y, 1.6, 0.9, "down-sample\n1×1, pool 2×2", size=7)
    if stage == 1:
        pen.line((span + 1.2, y), (span + 3.3, y))
        pen.box(
            span + 3.3,
            y,
            1.7,
            1.3,
            "part feature\n256: upper,\nlower half",
            size=7.5,
            fill="#E7F1F8",
        )
    if stage == NUM_STAGES - 1:
        pen.line((span, y), (span + 3.3, y))
        pen.box(span + 3.3, y, 1.7, 1.3, f"global\nfeature\n{length}", size=7.5, fill="#E7F1F8")
