"""Pictures of what was searched: softmax weights by stage, how they moved, and genotypes side by
side.

alpha is 12 x 4 (slots x operations, columns in the order of `space.OPERATIONS`); a history is
E x 12 x 4, one alpha after every epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from msinet_core.errors import ReidError
from msinet_core.space import (
    CELLS_PER_STAGE,
    NUM_SLOTS,
    NUM_STAGES,
    OPERATIONS,
    SLOTS_PER_CELL,
    Genotype,
)
from msinet_lab.figures.style import (
    FAINT,
    INK,
    PAGE,
    bare,
    dress,
    empty_figure,
    figure_array,
    ink_on,
    new_figure,
    operation_colour,
    operation_label,
    operation_legend,
    rgb,
    whole_numbers,
)

SLOTS_PER_STAGE = CELLS_PER_STAGE * SLOTS_PER_CELL
WEIGHTS_MAP = LinearSegmentedColormap.from_list(
    "weights", ["#F7F9FB", "#9CC6E3", "#2B7BB9", "#08306B"]
)


def softmax(alphas: Any) -> np.ndarray:
    """Weights of the operations: softmax over the last axis, float64. Takes anything array-like."""
    values = np.asarray(alphas, dtype=np.float64)
    if values.shape[-2:-1] != (NUM_SLOTS,):
        raise ReidError(f"alpha has {NUM_SLOTS} rows (slots), but its shape is {values.shape}")
    shifted = np.exp(values - values.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def entropy(weights: np.ndarray) -> np.ndarray:
    """Entropy over the last axis as a share of the largest possible: 1 undecided, 0 decided."""
    positive = np.clip(weights, 1e-12, 1)
    return -(weights * np.log(positive)).sum(-1) / np.log(weights.shape[-1])


def alpha_history(history: Any) -> tuple[np.ndarray, np.ndarray]:
    """(epochs, E x 12 x 4 alphas) out of a run's history: its lines, a table of them, or an array."""
    if isinstance(history, np.ndarray):
        return np.arange(1, len(history) + 1), history
    lines = history.to_dict("records") if hasattr(history, "to_dict") else list(history)
    rows = [line for line in lines if isinstance(line.get("alphas"), list | tuple | np.ndarray)]
    if not rows:
        return np.zeros(0, int), np.zeros((0, NUM_SLOTS, len(OPERATIONS)))
    epochs = np.array([int(row.get("epoch", place + 1)) for place, row in enumerate(rows)])
    return epochs, np.array(
        [np.array(row["alphas"]) / row.get("temperature", 1.0) for row in rows], dtype=np.float64
    )


def place_label(slot: int) -> str:
    """`cell 1 slot 2`, for axes whose stage is already named."""
    cell, place = divmod(slot % SLOTS_PER_STAGE, SLOTS_PER_CELL)
    return f"cell {cell + 1} · slot {place + 1}"


def _heatmap_of_stage(
    axes: Axes, weights: np.ndarray, operations: Sequence[str], top: float
) -> Any:
    image = axes.imshow(weights, cmap=WEIGHTS_MAP, vmin=0, vmax=top, aspect="auto")
    for row, column in np.ndindex(*weights.shape):
        share = weights[row, column]
        best = share == weights[row].max()
        axes.text(
            column,
            row,
            f"{share:.2f}",
            ha="center",
            va="center",
            fontsize=9.5,
            color="#FFFFFF" if share > 0.55 * top else INK,
            fontweight="bold" if best else "normal",
        )
        if best:
            axes.add_patch(
                Rectangle(
                    (column - 0.46, row - 0.44),
                    0.92,
                    0.88,
                    fill=False,
                    linewidth=2.6,
                    edgecolor=operation_colour(operations[column]),
                )
            )
    axes.set_xticks(
        range(len(operations)), [operation_label(name).replace(" ", "\n") for name in operations]
    )
    axes.tick_params(length=0, labelsize=8.5, colors=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


def alpha_heatmap(
    alphas: Any, title: str = "", stage: int | None = None, operations: Sequence[str] = OPERATIONS
) -> Figure:
    """Softmax weights of a 12 x 4 alpha, a panel per stage; the largest of each slot is outlined.

    `stage` (1..3) draws that stage alone.
    """
    weights = softmax(alphas)
    stages = range(1, NUM_STAGES + 1) if stage is None else [stage]
    width, height, left, panel = 2.1 + 3.3 * len(stages), 3.3, 1.15, 3.15  # inches
    figure = new_figure(width, height, title, layout=None)
    top = max(0.5, float(weights.max()))
    image: Any = None
    for place, number in enumerate(stages):
        axes = figure.add_axes(((left + 3.3 * place) / width, 0.17, panel / width, 0.63))
        part = slice((number - 1) * SLOTS_PER_STAGE, number * SLOTS_PER_STAGE)
        image = _heatmap_of_stage(axes, weights[part], operations, top)
        axes.set_title(f"stage {number}", fontsize=10.5, color=INK)
        labels = [place_label(slot) for slot in range(SLOTS_PER_STAGE)] if place == 0 else []
        axes.set_yticks(range(SLOTS_PER_STAGE) if labels else [], labels)
    bar = figure.colorbar(image, cax=figure.add_axes((1 - 0.72 / width, 0.17, 0.13 / width, 0.63)))
    bar.set_label("softmax weight", fontsize=9, color=FAINT, labelpad=6)
    bar.ax.tick_params(labelsize=8, colors=FAINT, length=0)
    bar.outline.set_visible(False)
    return figure


def alpha_trajectories(
    history: Any,
    stage: int | None = None,
    epoch: int | None = None,
    operations: Sequence[str] = OPERATIONS,
) -> Figure:
    """Weights of the operations over epochs, an axes per slot; `epoch` is marked by a line."""
    epochs, alphas = alpha_history(history)
    if len(alphas) == 0:
        return empty_figure("No epoch has been recorded yet.")
    weights = softmax(alphas)
    stages = list(range(1, NUM_STAGES + 1)) if stage is None else [stage]
    figure = new_figure(11, 2.0 * len(stages) + 0.8)
    grid = figure.subplots(len(stages), SLOTS_PER_STAGE, sharex=True, sharey=True, squeeze=False)
    for row, number in enumerate(stages):
        for column in range(SLOTS_PER_STAGE):
            slot = (number - 1) * SLOTS_PER_STAGE + column
            axes = dress(grid[row, column], f"stage {number} · {place_label(slot)}")
            _trajectory(axes, epochs, weights[:, slot], operations)
            if epoch is not None:
                axes.axvline(epoch, color=INK, linewidth=1, linestyle=":")
            if row == len(stages) - 1:
                axes.set_xlabel("epoch", fontsize=9, color=FAINT)
        grid[row, 0].set_ylabel("softmax weight", fontsize=9, color=FAINT)
    grid[0, 0].set_ylim(0, max(0.5, float(weights.max()) * 1.05))
    operation_legend(figure, operations)
    return figure


class TrajectoryPicture:
    """The trajectories drawn once; `at(epoch)` gives the picture with a line at that epoch, at
    once.
    """

    def __init__(self, history: Any, stage: int | None = None) -> None:
        figure = alpha_trajectories(history, stage)
        self.page = figure_array(figure)
        self.height = len(self.page)
        self.axes = [axes for axes in figure.axes if axes.lines]

    def at(self, epoch: float) -> np.ndarray:
        """H x W x 3 uint8."""
        page = self.page.copy()
        for axes in self.axes:
            x = int(axes.transData.transform((epoch, 0))[0])
            low, high = (round(self.height - y) for y in (axes.bbox.y1, axes.bbox.y0))
            page[low:high, max(0, x) : x + 2] = rgb(INK)
        return page


def _trajectory(
    axes: Axes, epochs: np.ndarray, weights: np.ndarray, operations: Sequence[str]
) -> None:
    marker = "o" if len(epochs) < 3 else ""
    winner = int(weights[-1].argmax())
    for column, name in enumerate(operations):
        axes.plot(
            epochs,
            weights[:, column],
            color=operation_colour(name),
            marker=marker,
            markersize=4,
            linewidth=2.6 if column == winner else 1.5,
            zorder=3 if column == winner else 2,
        )
    whole_numbers(axes)


def entropy_heatmap(history: Any) -> Figure:
    """Entropy of every slot's weights over epochs: light undecided (1), dark decided (0)."""
    epochs, alphas = alpha_history(history)
    if len(alphas) == 0:
        return empty_figure("No epoch has been recorded yet.")
    share = entropy(softmax(alphas)).T  # slots x epochs
    figure = new_figure(9, 3.4)
    axes = dress(
        figure.add_subplot(), "Entropy of each slot's weights (1 = undecided)", "epoch", grid=""
    )
    low = min(0.9, float(share.min()))
    image = axes.imshow(
        share,
        cmap=WEIGHTS_MAP.reversed(),
        vmin=low,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
        extent=(epochs[0] - 0.5, epochs[-1] + 0.5, NUM_SLOTS - 0.5, -0.5),
    )
    axes.set_yticks(
        range(NUM_SLOTS),
        [
            f"s{s // SLOTS_PER_STAGE + 1} c{s % SLOTS_PER_STAGE // SLOTS_PER_CELL + 1} "
            f"slot {s % SLOTS_PER_CELL + 1}"
            for s in range(NUM_SLOTS)
        ],
    )
    whole_numbers(axes)
    for edge in (SLOTS_PER_STAGE, 2 * SLOTS_PER_STAGE):
        axes.axhline(edge - 0.5, color=PAGE, linewidth=3)
    bar = figure.colorbar(image, ax=axes, pad=0.015)
    bar.ax.tick_params(labelsize=8, colors=FAINT, length=0)
    bar.outline.set_visible(False)
    return figure


def genotype_strips(genotypes: Mapping[str, Genotype], title: str = "") -> Figure:
    """One row of twelve coloured slots a genotype, to compare runs, seeds and epochs."""
    if not genotypes:
        return empty_figure("No genotype to show yet.")
    figure = new_figure(11, 0.46 * len(genotypes) + 1.35, title)
    axes = bare(figure.add_subplot())
    for row, genotype in enumerate(genotypes.values()):
        for slot, name in enumerate(genotype.slots):
            left = slot + 0.35 * (slot // SLOTS_PER_STAGE) + 0.12 * (slot // SLOTS_PER_CELL)
            colour = operation_colour(name)
            axes.add_patch(
                Rectangle((left, row - 0.4), 0.96, 0.8, facecolor=colour, edgecolor="none")
            )
            axes.text(
                left + 0.48,
                row,
                operation_label(name).replace(" ", "\n"),
                ha="center",
                va="center",
                fontsize=7,
                color=ink_on(colour),
                linespacing=0.95,
            )
    for stage in range(NUM_STAGES):
        middle = SLOTS_PER_STAGE * (stage + 0.5) + 0.35 * stage + 0.12 * (2 * stage + 0.5)
        axes.text(
            middle, -0.62, f"stage {stage + 1}", ha="center", va="bottom", fontsize=9, color=FAINT
        )
    axes.set_yticks(range(len(genotypes)), list(genotypes))
    axes.tick_params(length=0, labelsize=9, colors=INK)
    axes.set_xlim(-0.1, 13.4)
    axes.set_ylim(len(genotypes) - 0.45, -1.0)
    return figure
