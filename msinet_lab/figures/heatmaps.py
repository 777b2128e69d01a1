"""Tables of numbers as colours, with seaborn: rows and columns named, numbers written in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb

from msinet_core.space import NUM_SLOTS
from msinet_lab.figures.style import (
    COVERED,
    DRAWING,
    FAINT,
    INK,
    PAGE,
    SHADE,
    SLOTS_PER_STAGE,
    WHITE,
)

# One blue that covers more and more of the page, which may be light or dark.
WEIGHTS_MAP = LinearSegmentedColormap.from_list(
    "weights", [(*to_rgb(SHADE), 0.02), (*to_rgb(SHADE), 1.0)]
)


def heat(
    axes: Axes,
    values: np.ndarray,
    limits: tuple[float, float],
    *,
    colours: Any = WEIGHTS_MAP,
    words: str = "",
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> Axes:
    """`values` (R x C, NaN left blank) as a heatmap; `words` is a format such as `.2f`.

    The largest number of each row is bold, cell (r, c) is centred at x = c + 0.5, y = r + 0.5.
    """
    with DRAWING:  # it measures its labels
        seaborn.heatmap(
            np.asarray(values, dtype=float),
            vmin=limits[0],
            vmax=limits[1],
            cmap=colours,
            annot=bool(words),
            fmt=words,
            annot_kws={"fontsize": 9},
            cbar=False,
            xticklabels=False,
            yticklabels=False,
            ax=axes,
        )
    mesh: Any = axes.collections[0]
    for text in axes.texts:
        x, y = text.get_position()
        value = values[int(y), int(x)]
        covered = mesh.cmap(mesh.norm(value))[3]
        text.set_color(WHITE if covered > COVERED else INK)
        text.set_fontweight("bold" if value == np.nanmax(values[int(y)]) else "normal")
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, rotation=0)
    axes.tick_params(length=0, labelsize=8.5, colors=FAINT)
    return axes


def bar(axes: Axes, cax: Axes | None = None, label: str = "") -> None:
    """The colour bar of a heatmap, beside it or in axes of its own."""
    figure: Any = axes.figure
    image = axes.collections[0]
    made = figure.colorbar(image, cax=cax) if cax else figure.colorbar(image, ax=axes, pad=0.02)
    made.set_label(label, fontsize=9, color=FAINT, labelpad=6)
    made.ax.tick_params(labelsize=8, colors=FAINT, length=0)
    made.outline.set_visible(False)


def over_epochs(axes: Axes, epochs: np.ndarray) -> None:
    """Ticks of a slots x epochs heatmap: at most six epochs, and white lines between the stages."""
    shown = np.unique(np.linspace(0, len(epochs) - 1, min(6, len(epochs))).round().astype(int))
    axes.set_xticks(shown + 0.5, [str(epochs[place]) for place in shown])
    between_stages(axes)


def between_stages(axes: Axes) -> None:
    """White lines between the stages of a heatmap with a row a slot."""
    for edge in range(SLOTS_PER_STAGE, NUM_SLOTS, SLOTS_PER_STAGE):
        axes.axhline(edge, color=PAGE, linewidth=3)
