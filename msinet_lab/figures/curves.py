"""Curves of a search or a training, drawn from the lines of a run's history.

A history is a list of dictionaries or a pandas table, one row a line: `kind` is `step`, `epoch` or
`evaluation`. Columns that are not there are left out, so the same call serves every stage of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from msinet_core.space import NUM_STAGES
from msinet_lab.figures.architecture import as_history, undecided
from msinet_lab.figures.style import (
    SERIES,
    SLOTS_PER_STAGE,
    Look,
    dress,
    empty_figure,
    legend,
    new_figure,
    series,
    whole_numbers,
)

TWIN_LOSSES = {"train_loss": "train", "validation_loss": "validation"}
LOSS_PARTS = {
    "loss": "total",
    "global_classification": "global classification",
    "part_classification": "part classification",
    "global_triplet": "global triplet",
    "part_triplet": "part triplet",
    "alignment": "alignment",
}
SCORES = {"mAP": "mAP", "rank1": "rank-1", "mINP": "mINP"}
RATES = {"learning_rate": "weights", "alpha_learning_rate": "alpha"}


def history_table(history: Any, kind: str) -> pd.DataFrame:
    """The lines of one kind as a table; an empty history gives an empty table."""
    table = history if isinstance(history, pd.DataFrame) else pd.DataFrame(list(history))
    if "kind" not in table.columns:
        return table if kind == "epoch" else table.iloc[:0]
    return table[table["kind"] == kind].reset_index(drop=True)


def _numbers(table: pd.DataFrame, name: str) -> np.ndarray:
    """A column as float64, NaN where a line has none; all NaN where there is no such column."""
    values = table.get(name, pd.Series(np.nan, table.index))
    return pd.to_numeric(values, errors="coerce").to_numpy(np.float64)


def _line(axes: Axes, x: Any, y: np.ndarray, label: str, colour: str, **style: Any) -> None:
    """One series; its holes are bridged, a single point is drawn as a dot, an empty one not."""
    keep = np.isfinite(y)
    if keep.any():
        look: Look = {
            "linewidth": 2,
            "marker": "o" if keep.sum() < 3 else "",
            "markersize": 4,
            **style,
        }
        axes.plot(np.asarray(x)[keep], y[keep], label=label, color=colour, **look)


def _lines(axes: Axes, table: pd.DataFrame, names: Mapping[str, str]) -> None:
    """Columns of a table over its epochs, under their labels, and a legend."""
    for place, (name, label) in enumerate(names.items()):
        _line(axes, _numbers(table, "epoch"), _numbers(table, name), label, SERIES[place])
    legend(axes)
    whole_numbers(axes)


def _steps_in_epochs(steps: pd.DataFrame) -> np.ndarray:
    """The place of every step on an axis of epochs: step 3 of 12 in epoch 2 lies at 1.25."""
    place = steps.groupby("epoch").cumcount().to_numpy() + 1
    longest = max(1, int(place.max(initial=1)))
    return _numbers(steps, "epoch") - 1 + place / longest


Part = Callable[[Axes], None]


def search_curves(history: Any) -> Figure:
    """Losses of both twins, entropy of the weights and learning rates over a search's epochs; and
    the supernet's retrieval, where it was scored on the way.
    """
    return side_by_side(search_parts(history), "The search has not written anything yet.")


def training_curves(history: Any) -> Figure:
    """Losses by part, retrieval on the way, and learning rate, over the epochs of a training."""
    return side_by_side(training_parts(history), "The training has not written anything yet.")


def side_by_side(parts: Sequence[Part], nothing: str) -> Figure:
    """The parts in one figure; a sentence where there are none."""
    if not parts:
        return empty_figure(nothing)
    figure = new_figure(11, 3.0)
    grid = figure.subplots(1, len(parts), squeeze=False)[0]
    for axes, draw in zip(grid, parts, strict=True):
        draw(axes)
    return figure


def apart(parts: Sequence[Part], nothing: str) -> list[Figure]:
    """A figure for each part, for pages that put as many side by side as they are wide."""
    figures = []
    for draw in parts:
        figure = new_figure(3.5, 2.7)
        draw(figure.add_subplot())
        figures.append(figure)
    return figures or [empty_figure(nothing)]


def search_parts(history: Any) -> list[Part]:
    """What draws the curves of a search, an axes each; nothing of an empty history."""
    epochs, steps = history_table(history, "epoch"), history_table(history, "step")
    if len(epochs) == 0 and len(steps) == 0:
        return []
    parts: list[Part] = [
        partial(_twin_losses, epochs=epochs, steps=steps),
        partial(_entropies, epochs=epochs),
        partial(_rates, epochs=epochs, names=RATES),
    ]
    if len(history_table(history, "evaluation")):
        title = "Supernet, held-out identities, %"
        parts.append(partial(_retrieval, title=title, history=history))
    return parts


def training_parts(history: Any) -> list[Part]:
    """What draws the curves of a training, an axes each; nothing of an empty history."""
    epochs = history_table(history, "epoch")
    if len(epochs) == 0 and len(history_table(history, "evaluation")) == 0:
        return []
    title = "Retrieval of held-out identities, %"
    return [
        partial(_loss_parts, epochs=epochs),
        partial(_retrieval, title=title, history=history),
        partial(_rates, epochs=epochs, names={"learning_rate": "weights"}),
    ]


# Of runs of either kind: kind of line, columns of which the first that is there counts, title.
OVERLAID: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("epoch", ("loss", "train_loss"), "Loss"),
    ("epoch", ("validation_loss",), "Loss of the validation twin"),
    ("evaluation", ("mAP",), "mAP in %"),
    ("evaluation", ("rank1",), "rank-1 in %"),
)


def overlaid(histories: Mapping[str, Any], smoothing: float = 0.0) -> list[Part]:
    """Curves of several runs over each other, a colour a run in their order.

    smoothing: the share (0 to 1) of each point that the points before it make up; what was
    measured stands faintly behind.
    """
    parts: list[Part] = []
    for kind, names, title in OVERLAID:
        lines = []
        for history, colour in zip(histories.values(), series(len(histories)), strict=True):
            table = history_table(history, kind)
            values = [_numbers(table, name) for name in names]
            found = next((one for one in values if np.isfinite(one).any()), None)
            if found is not None:
                percent = 100 if kind == "evaluation" else 1
                lines.append((_numbers(table, "epoch"), percent * found, colour))
        if lines:
            parts.append(partial(_overlaid, title=title, lines=lines, smoothing=smoothing))
    return parts


def _overlaid(axes: Axes, title: str, lines: Sequence[Any], smoothing: float) -> None:
    dress(axes, title, "epoch")
    for epochs, values, colour in lines:
        keep = np.isfinite(values)
        smooth = smoothed(values[keep], smoothing)
        if smoothing:
            _line(axes, epochs[keep], values[keep], "", colour, linewidth=0.8, alpha=0.4)
        _line(axes, epochs[keep], smooth, "", colour)
    whole_numbers(axes)


def smoothed(values: np.ndarray, smoothing: float) -> np.ndarray:
    """Exponential moving average that starts unbiased; 0 leaves the values as they are."""
    memory = min(0.99, smoothing)
    return pd.Series(values).ewm(alpha=1 - memory, adjust=True).mean().to_numpy()


def _twin_losses(axes: Axes, epochs: pd.DataFrame, steps: pd.DataFrame) -> None:
    dress(axes, "Contrastive loss of the twins", "epoch")
    for place, name in enumerate(TWIN_LOSSES if len(steps) else ()):
        faint = {"linewidth": 0.8, "alpha": 0.4}
        _line(axes, _steps_in_epochs(steps), _numbers(steps, name), "", SERIES[place], **faint)
    _lines(axes, epochs, TWIN_LOSSES)


def _entropies(axes: Axes, epochs: pd.DataFrame) -> None:
    dress(axes, "Entropy of the weights (1 = undecided)", "epoch")
    searched = as_history(epochs)
    by_stage = undecided(searched).reshape(-1, NUM_STAGES, SLOTS_PER_STAGE).mean(2)
    for stage in range(NUM_STAGES):
        words = f"stage {stage + 1}"
        _line(axes, searched.epochs, by_stage[:, stage], words, SERIES[stage])
    legend(axes)
    whole_numbers(axes)


def _loss_parts(axes: Axes, epochs: pd.DataFrame) -> None:
    dress(axes, "Loss and its parts", "epoch")
    there = [name for name in LOSS_PARTS if np.isfinite(_numbers(epochs, name)).any()]
    without_zeros = [name for name in there if np.nan_to_num(_numbers(epochs, name)).any()]
    _lines(axes, epochs, {name: LOSS_PARTS[name] for name in without_zeros})
    if axes.get_legend():  # five lines leave no room for it among them
        legend(axes, "upper center", 2, below=True)


def _rates(axes: Axes, epochs: pd.DataFrame, names: Mapping[str, str]) -> None:
    dress(axes, "Learning rate", "epoch")
    _lines(axes, epochs, names)
    axes.set_ylim(0, 1.2 * axes.get_ylim()[1])  # room for the legend


def _retrieval(axes: Axes, title: str, history: Any) -> None:
    """Scores of the own test set, per cent; mAP of training identities that were held out, dashed,
    and of other data sets, dotted.
    """
    dress(axes, title, "epoch")
    lines: list[tuple[pd.DataFrame, dict[str, str], Look]] = [
        (history_table(history, "evaluation"), SCORES, {})
    ]
    held_out, targets = history_table(history, "validation"), history_table(history, "target")
    if len(held_out):
        lines.append((held_out, {"mAP": "mAP, validation"}, {"linestyle": "--"}))
    if len(targets):
        for name, own in targets.groupby("name", sort=False):
            lines.append((own, {"mAP": f"mAP, {name}"}, {"linestyle": ":"}))
    drawn = [
        (table, name, label, look) for table, names, look in lines for name, label in names.items()
    ]
    for place, (table, name, label, look) in enumerate(drawn):
        colour = SERIES[place % len(SERIES)]
        percent = 100 * _numbers(table, name)
        _line(axes, _numbers(table, "epoch"), percent, label, colour, **look)
    legend(axes)
    whole_numbers(axes)
    axes.set_ylim(0, 102)
