"""Pictures of what was searched: weights by stage, how they moved, and genotypes side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from msinet_core.runs.folder import RunFolder
from msinet_core.search.history import SearchHistory
from msinet_core.space import (
    NUM_SLOTS,
    NUM_STAGES,
    OPERATIONS,
    slot_label,
)
from msinet_lab.figures.heatmaps import WEIGHTS_MAP, bar, heat, over_epochs
from msinet_lab.figures.style import (
    INK,
    SLOTS_PER_STAGE,
    Look,
    dress,
    empty_figure,
    new_figure,
    operation_colour,
    operation_label,
    operation_legend,
    slot_in_stage,
    whole_numbers,
)

NOTHING_YET = "No epoch has been recorded yet."
BAND_POINTS = 12  # epochs at which several searches are summed up


def as_history(source: Any) -> SearchHistory:
    """A `SearchHistory` out of itself, a run folder, its lines or table, or E x 12 x K of alpha."""
    if isinstance(source, SearchHistory):
        return source
    if isinstance(source, RunFolder | str | Path):
        return SearchHistory.read(source)
    if isinstance(source, np.ndarray):
        return SearchHistory.from_lines([{"alphas": alpha} for alpha in source])
    if isinstance(source, pd.DataFrame):
        source = source.dropna(subset="alphas").to_dict("records") if "alphas" in source else ()
    return SearchHistory.from_lines(source)


def undecided(history: SearchHistory) -> np.ndarray:
    """E x 12, entropy of each slot's weights as a share of the largest: 1 undecided, 0 decided."""
    return history.entropy / np.log(history.alphas.shape[2])


def after_epoch(history: SearchHistory, place: int) -> str:
    """`after epoch 7`, with the temperature where it is not 1; `place` counts rows."""
    temperature = history.temperatures[place]
    words = "" if temperature == 1 else f", temperature {temperature:.3g}"
    return f"after epoch {history.epochs[place]}{words}"


def alpha_heatmap(source: Any, epoch: int | None = None, stage: int | None = None) -> Figure:
    """What each operation is weighted with after an epoch (the last one), a panel a stage.

    The largest weight of each slot is outlined. `source` as `as_history` takes it; `stage` (1..3)
    draws that stage alone.
    """
    history = as_history(source)
    if not len(history):
        return empty_figure(NOTHING_YET)
    place = row_of_epoch(history, epoch)
    weights = history.weights[place]
    stages = range(1, NUM_STAGES + 1) if stage is None else [stage]
    width, height, left, panel = 2.1 + 3.3 * len(stages), 3.3, 1.15, 3.15  # inches
    title = f"Softmax weights {after_epoch(history, place)}"
    figure = new_figure(width, height, title, layout=None)
    top = max(0.5, float(weights.max()))
    for column, number in enumerate(stages):
        axes = figure.add_axes(((left + 3.3 * column) / width, 0.17, panel / width, 0.63))
        first = (number - 1) * SLOTS_PER_STAGE
        _stage_heatmap(axes, weights[first : first + SLOTS_PER_STAGE], top, labels=not column)
        axes.set_title(f"stage {number}", fontsize=10.5, color=INK)
    place_of_bar = (1 - 0.72 / width, 0.17, 0.13 / width, 0.63)
    bar(axes, figure.add_axes(place_of_bar), "softmax weight")
    return figure


def row_of_epoch(history: SearchHistory, epoch: int | None) -> int:
    """The row of the latest epoch up to `epoch`; the last one where that is None."""
    found = np.searchsorted(history.epochs, np.inf if epoch is None else epoch, side="right")
    return max(int(found), 1) - 1


def _stage_heatmap(axes: Axes, weights: np.ndarray, top: float, labels: bool) -> None:
    """4 x K of one stage."""
    slots = [slot_in_stage(slot) for slot in range(SLOTS_PER_STAGE)] if labels else []
    names = [operation_label(name, "\n") for name in OPERATIONS]
    heat(axes, weights, (0, top), words=".2f", rows=slots, columns=names)
    axes.tick_params(colors=INK)
    for row, column in enumerate(weights.argmax(1)):
        edge: Look = {
            "edgecolor": operation_colour(OPERATIONS[column]),
            "linewidth": 2.6,
            "fill": False,
        }
        axes.add_patch(Rectangle((column + 0.04, row + 0.06), 0.92, 0.88, **edge))


def alpha_trajectories(
    sources: Any, stage: int | None = None, epoch: int | None = None, title: str = ""
) -> Figure:
    """Weights of the operations over epochs, an axes a slot; `epoch` is marked by a line.

    `sources`: a history as `as_history` takes it, or several by name (searches with other seeds):
    then lines are means over them, and bands reach from the smallest to the largest.
    """
    named = sources if isinstance(sources, Mapping) else {"": sources}
    histories = [history for history in map(as_history, named.values()) if len(history)]
    if not histories:
        return empty_figure(NOTHING_YET)
    stages = list(range(1, NUM_STAGES + 1)) if stage is None else [stage]
    figure = new_figure(11, 2.0 * len(stages) + 0.8, title)
    grid = figure.subplots(len(stages), SLOTS_PER_STAGE, sharex=True, sharey=True, squeeze=False)
    for row, number in enumerate(stages):
        for column in range(SLOTS_PER_STAGE):
            slot = (number - 1) * SLOTS_PER_STAGE + column
            name = slot_label(slot)
            x = "epoch" if row == len(stages) - 1 else ""
            y = "softmax weight" if column == 0 else ""
            _trajectory(grid[row, column], histories, slot)
            dress(grid[row, column], name, x, y)
            if epoch is not None:
                grid[row, column].axvline(epoch, color=INK, linewidth=1, linestyle=":")
    top = max(float(history.weights.max()) for history in histories)
    grid[0, 0].set_ylim(0, max(0.5, 1.05 * top))
    operation_legend(figure)
    return figure


def _trajectory(axes: Axes, histories: Sequence[SearchHistory], slot: int) -> None:
    """One slot: a line an operation, the one that wins at the end the thickest."""
    if len(histories) == 1:
        for column, name in enumerate(OPERATIONS):
            look: Look = {"color": operation_colour(name), "linewidth": 1.5, "markersize": 4}
            look |= {"marker": "o" if len(histories[0]) < 3 else ""}
            axes.plot(histories[0].epochs, histories[0].weights[:, slot, column], **look)
    else:
        _bands(axes, histories, slot)
    last = np.sum([history.weights[-1, slot] for history in histories], axis=0)
    axes.lines[int(last.argmax())].set(linewidth=2.6, zorder=3)
    whole_numbers(axes)


def _bands(axes: Axes, histories: Sequence[SearchHistory], slot: int) -> None:
    """Mean and range over several searches, at no more than `BAND_POINTS` epochs."""
    tables = [
        pd.DataFrame(history.weights[:, slot], history.epochs, list(OPERATIONS))
        for history in histories
    ]
    every = np.unique(np.concatenate([history.epochs for history in histories]))
    shown = every[np.linspace(0, len(every) - 1, min(len(every), BAND_POINTS)).round().astype(int)]
    long = pd.concat([table[table.index.isin(shown)].melt(ignore_index=False) for table in tables])
    look: Look = {"hue": "variable", "hue_order": list(OPERATIONS), "errorbar": _range}
    look |= {"palette": {name: operation_colour(name) for name in OPERATIONS}, "legend": False}
    marker = "o" if len(shown) < 3 else ""
    points = long.reset_index(names="epoch")
    seaborn.lineplot(points, x="epoch", y="value", marker=marker, linewidth=1.5, ax=axes, **look)


def _range(values: pd.Series) -> tuple[float, float]:
    return values.min(), values.max()


def entropy_heatmap(source: Any) -> Figure:
    """Entropy of every slot's weights over epochs: light undecided (1), dark decided (0)."""
    history = as_history(source)
    if not len(history):
        return empty_figure(NOTHING_YET)
    share = undecided(history).T  # slots x epochs
    figure = new_figure(7.3, 3.4)
    axes = figure.add_subplot()
    limits = min(0.9, float(share.min())), 1.0
    slots = [slot_label(slot) for slot in range(NUM_SLOTS)]
    heat(axes, share, limits, colours=WEIGHTS_MAP.reversed(), rows=slots)
    over_epochs(axes, history.epochs)
    dress(axes, "Entropy of each slot's weights (1 = undecided)", "epoch", grid="")
    bar(axes)
    return figure
