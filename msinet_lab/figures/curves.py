"""Curves of a search or a training, drawn from the lines of a run's history.

A history is a list of dictionaries or a pandas table, one row a line: `kind` is `step`, `epoch` or
`evaluation`. Columns that are not there are left out, so the same call serves every stage of a run.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def search_curves(history: Any) -> Figure:
    """Losses of both twins, entropy of the weights and learning rates over a search's epochs; and
    the supernet's retrieval, where it was scored on the way.
    """
    epochs, steps = history_table(history, "epoch"), history_table(history, "step")
    if len(epochs) == 0 and len(steps) == 0:
        return empty_figure("The search has not written anything yet.")
    evaluations = history_table(history, "evaluation")
    figure = new_figure(11, 3.0)
    losses, entropies, rates, *scores = figure.subplots(1, 4 if len(evaluations) else 3)
    dress(losses, "Contrastive loss of the twins", "epoch")
    for place, name in enumerate(TWIN_LOSSES if len(steps) else ()):
        faint = {"linewidth": 0.8, "alpha": 0.4}
        _line(losses, _steps_in_epochs(steps), _numbers(steps, name), "", SERIES[place], **faint)
    _lines(losses, epochs, TWIN_LOSSES)
    dress(entropies, "Entropy of the weights (1 = undecided)", "epoch")
    searched = as_history(epochs)
    by_stage = undecided(searched).reshape(-1, NUM_STAGES, SLOTS_PER_STAGE).mean(2)
    for stage in range(NUM_STAGES):
        words = f"stage {stage + 1}"
        _line(entropies, searched.epochs, by_stage[:, stage], words, SERIES[stage])
    legend(entropies)
    whole_numbers(entropies)
    _rates(rates, epochs, RATES)
    for axes in scores:
        _retrieval(axes, "Supernet, held-out identities, %", history)
    return figure


def _rates(axes: Axes, epochs: pd.DataFrame, names: Mapping[str, str]) -> None:
    dress(axes, "Learning rate", "epoch")
    _lines(axes, epochs, names)
    axes.set_ylim(bottom=0)


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


def training_curves(history: Any) -> Figure:
    """Losses by part, retrieval on the way, and learning rate, over the epochs of a training."""
    epochs = history_table(history, "epoch")
    if len(epochs) == 0 and len(history_table(history, "evaluation")) == 0:
        return empty_figure("The training has not written anything yet.")
    figure = new_figure(11, 3.0)
    losses, scores, rates = figure.subplots(1, 3)
    dress(losses, "Loss and its parts", "epoch")
    there = [name for name in LOSS_PARTS if np.isfinite(_numbers(epochs, name)).any()]
    without_zeros = [name for name in there if np.nan_to_num(_numbers(epochs, name)).any()]
    _lines(losses, epochs, {name: LOSS_PARTS[name] for name in without_zeros})
    _retrieval(scores, "Retrieval of held-out identities, %", history)
    _rates(rates, epochs, {"learning_rate": "weights"})
    return figure
