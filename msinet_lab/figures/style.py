"""One look for every picture: the palette, the light page they are drawn on, and their bytes.

Figures are `matplotlib.figure.Figure` objects made without pyplot, so that nothing is left open
and panels may draw from threads; seaborn is only called with an `ax`, and its themes are left
alone. As PNG they have a solid white page, for paper and the README; as SVG (`elements.svg`) the
colours of page, ink and lines follow the theme.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from PIL import Image

from msinet_core.errors import ReidError
from msinet_core.files import replace_file
from msinet_core.space import CELLS_PER_STAGE, OPERATIONS, SLOTS_PER_CELL, slot_label

# Okabe and Ito's colours, told apart in the common kinds of colour blindness; grey for "nothing".
OPERATION_COLOURS: dict[str, str] = {
    "none": "#C3C8CE",
    "channel_gate": "#E69F00",
    "cross_attention": "#0072B2",
    "exchange": "#009E73",
}
EXTRA_COLOURS = ("#CC79A7", "#D55E00", "#56B4E9", "#F0E442")  # for operations added by a user
SERIES = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#6B4C9A", "#444444")
MATCH_COLOURS: dict[str, str] = {
    "query": "#0072B2",
    "match": "#009E73",
    "non-match": "#D55E00",
    "junk": "#8A9099",
}
PAGE, INK, FAINT, GRID = "#FFFFFF", "#22262B", "#6B737D", "#E3E6EA"
CARD, EDGE, WIRE = "#F1F3F6", "#C9CFD6", "#9AA3AD"  # of boxes and what joins them
BLACK, WHITE = "#1B1F23", "#FEFEFE"  # words on a colour that is the same in every theme
Look = dict[str, Any]  # how something is drawn, as keywords of matplotlib or seaborn
GOOD, ALARM = "#00664B", "#B3261E"
SHADE, COVERED = "#0B5A9E", 0.6  # of tables of numbers; the share from which words on it are white
PLACE = "at-"  # what the gid of a part begins with that can be clicked in a panel
SLOTS_PER_STAGE = CELLS_PER_STAGE * SLOTS_PER_CELL

# FreeType's glyph cache is shared by all figures; two threads must not draw at once.
DRAWING = threading.RLock()


def series(count: int) -> list[str]:
    """`count` colours, repeating beyond eight."""
    return [SERIES[place % len(SERIES)] for place in range(count)]


def operation_colour(name: str) -> str:
    """The colour of an operation, the same in every picture; later colours for unknown names."""
    if name in OPERATION_COLOURS:
        return OPERATION_COLOURS[name]
    return EXTRA_COLOURS[sum(name.encode()) % len(EXTRA_COLOURS)]


def operation_label(name: str, between: str = " ") -> str:
    """`channel gate` for `channel_gate`."""
    return name.replace("_", between)


def slot_in_stage(slot: int) -> str:
    """`cell 1, slot 2`: the end of a slot's name (`slot_label`), where its stage stands above."""
    return slot_label(slot).partition(", ")[2]


def rgb(colour: str) -> tuple[int, int, int]:
    """`#0072B2` as three numbers 0..255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def ink_on(colour: str) -> str:
    """Black or white, whichever is read more easily on `colour` (relative luminance, WCAG)."""
    linear = [
        (c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4) for c in rgb(colour)
    ]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return BLACK if luminance > 0.24 else WHITE


def new_figure(
    width: float,
    height: float,
    title: str = "",
    layout: Literal["constrained"] | None = "constrained",
) -> Figure:
    """An empty white figure of `width` x `height` inches that lays itself out.

    Laying out costs as much as drawing; pictures that follow a slider place their axes themselves
    (None).
    """
    figure = Figure(figsize=(width, height), dpi=100, facecolor=PAGE, layout=layout)
    if title:
        figure.suptitle(title, fontsize=12, color=INK, fontweight="bold")
    return figure


def new_axes(
    width: float, height: float, title: str = "", x: str = "", y: str = "", grid: str = "y"
) -> tuple[Figure, Axes]:
    """A figure with one dressed axes."""
    figure = new_figure(width, height)
    return figure, dress(figure.add_subplot(), title, x, y, grid)


def dress(axes: Axes, title: str = "", x: str = "", y: str = "", grid: str = "y") -> Axes:
    """Title, labels, faint grid along `grid` (`x`, `y`, `both` or nothing), no box."""
    axes.set_facecolor(PAGE)
    axes.set_title(title, fontsize=10.5, color=INK, loc="left")
    axes.set_xlabel(x, fontsize=9, color=FAINT)
    axes.set_ylabel(y, fontsize=9, color=FAINT)
    axes.tick_params(labelsize=8.5, colors=FAINT, length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)
    if grid in ("x", "y", "both"):
        axes.grid(axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    return axes


def bare(axes: Axes, title: str = "") -> Axes:
    """An axes for a picture: a title and nothing else."""
    axes.set_title(title, fontsize=9.5, color=INK)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return axes


def whole_numbers(axes: Axes) -> None:
    """Ticks of the horizontal axis at integers only."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def legend(axes: Axes, where: Any = "best", columns: int = 1, below: bool = False) -> None:
    """A legend, if anything has a label; where it has to lie over lines, they fade behind it.
    `below` the axes it lies over none.
    """
    if axes.get_legend_handles_labels()[0]:
        look: Look = {"framealpha": 0.8, "edgecolor": PAGE, "facecolor": PAGE, "labelcolor": INK}
        if below:
            look |= {"bbox_to_anchor": (0.45, -0.2)}
        axes.legend(loc=where, ncols=columns, fontsize=8.5, **look)


def outer_legend(figure: Figure, handles: Iterable[Any], below: bool = False) -> None:
    """A legend beside the axes, at the right or below, clear of the titles."""
    handles = list(handles)
    where: Any = "outside lower center" if below else "outside right upper"
    columns = max(1, len(handles)) if below else 1
    figure.legend(
        handles=handles, loc=where, ncols=columns, fontsize=9, frameon=False, labelcolor=INK
    )


def operation_legend(
    figure: Figure, operations: Sequence[str] = OPERATIONS, below: bool = True
) -> None:
    """The palette of operations along the lower edge of the figure, or in a column at its right."""
    patches = [Patch(color=operation_colour(n), label=operation_label(n)) for n in operations]
    outer_legend(figure, patches, below)


def empty_figure(message: str, width: float = 7, height: float = 2.4) -> Figure:
    """A page with a sentence on it, for when there is nothing to draw yet."""
    figure = new_figure(width, height)
    axes = bare(figure.add_subplot())
    at: Look = {"ha": "center", "va": "center", "transform": axes.transAxes}
    axes.text(0.5, 0.5, message, fontsize=11, color=FAINT, wrap=True, **at)
    return figure


def without_formulas(figure: Figure) -> None:
    """Let a `$` in a name be a dollar; only powers at a logarithmic axis are formulas."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # type: ignore[attr-defined]
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                    tick.label1.set_parse_math(True)


def figure_array(figure: Figure, dpi: int = 100) -> np.ndarray:
    """The figure's pixels, H x W x 3 uint8."""
    with DRAWING:
        without_formulas(figure)
        before = figure.dpi
        figure.dpi = dpi
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
        figure.dpi = before
    return pixels


def image_bytes(image: np.ndarray, format: str = "png", quality: int = 88) -> bytes:
    """An H x W or H x W x 3 uint8 image as PNG or JPEG bytes."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise ReidError(
            f"an image is uint8 with 2 or 3 axes, not {image.dtype} of shape {image.shape}"
        )
    buffer = io.BytesIO()
    if format == "jpeg":
        Image.fromarray(image).save(buffer, format="JPEG", quality=quality, subsampling=0)
    else:
        Image.fromarray(image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def as_array(picture: Figure | np.ndarray, dpi: int = 100) -> np.ndarray:
    """What the reader sees, as H x W x 3 uint8 (H x W for a grey image)."""
    return figure_array(picture, dpi) if isinstance(picture, Figure) else picture


def encode(picture: Figure | np.ndarray, dpi: int = 100) -> bytes:
    """PNG bytes of a figure or of an image."""
    return image_bytes(as_array(picture, dpi))


def resized(figure: Figure, width: float) -> Figure:
    """The figure `width` inches wide, its proportions kept.

    One that lays itself out keeps the size of its words; in one that is placed by hand they, and
    its lines, grow and shrink with it.
    """
    by = width / figure.get_figwidth()
    figure.set_size_inches(width, by * figure.get_figheight())
    if figure.get_layout_engine() is None:
        for text in figure.findobj(Text):
            text.set_fontsize(by * float(text.get_fontsize()))  # type: ignore[attr-defined]
        for line in figure.findobj(lambda one: hasattr(one, "set_linewidth")):
            line.set_linewidth(by * np.asarray(line.get_linewidth()))  # type: ignore[attr-defined]
    return figure


def file_bytes(figure: Figure, ending: str, dpi: int = 200) -> bytes:
    """A figure as a file of a kind that matplotlib knows: `svg`, `pdf`, `png`."""
    buffer = io.BytesIO()
    with DRAWING:
        without_formulas(figure)
        figure.savefig(buffer, dpi=dpi, facecolor=figure.get_facecolor(), format=ending)
    return buffer.getvalue()


def save(picture: Figure | np.ndarray, path: str | Path, dpi: int = 130) -> Path:
    """Write a figure or image to `path` (PNG, or what matplotlib knows by its ending), whole or
    not at all.

    Folders are made. `ReidError` where something else than a file lies there.
    """
    path = Path(path)
    if isinstance(picture, Figure):
        replace_file(path, file_bytes(picture, path.suffix.lstrip(".") or "png", dpi))
    else:
        kind = "jpeg" if path.suffix in (".jpg", ".jpeg") else "png"
        replace_file(path, image_bytes(picture, kind))
    return path
