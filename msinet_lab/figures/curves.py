"""Curves of a search or a training, drawn from the lines of a run's history.

A history is a pandas table or a list of dictionaries, one a line: `kind` is `step`, `epoch` or
`evaluation`. Columns that are not there are left out, so the same call serves every stage of a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from msinet_lab.figures.architecture import alpha_history, entropy, softmax
from msinet_lab.figures.style import (
    SERIES,
    dress,
    empty_figure,
    finite,
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


def history_table(history: Any, kind: str | None = None) -> pd.DataFrame:
    """The lines of a history as a table, of one kind if named. An empty history gives an empty
    table.
    """
    table = history if isinstance(history, pd.DataFrame) else pd.DataFrame(list(history))
    if kind is None:
        return table
    if "kind" not in table.columns:
        return table if kind == "epoch" else table.iloc[:0]
    return table[table["kind"] == kind].reset_index(drop=True)


def _line(axes: Axes, x: Any, y: Any, label: str, colour: str, **style: Any) -> None:
    """One series; its holes are bridged and a single point is drawn as a dot."""
    xs, ys = finite(x), finite(y)
    keep = np.isfinite(ys)
    marker = "o" if keep.sum() < 3 else ""
    axes.plot(xs[keep], ys[keep], label=label, color=colour, marker=marker, markersize=4, **style)


def _columns(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    return [
        name for name in names if name in table.columns and np.isfinite(finite(table[name])).any()
    ]


def _steps_in_epochs(steps: pd.DataFrame) -> np.ndarray:
    """The place of every step on an axis of epochs: step 3 of 12 in epoch 2 lies at 1.25."""
    epoch = finite(steps["epoch"])
    place = steps.groupby("epoch").cumcount().to_numpy() + 1
    longest = max(1, int(place.max(initial=1)))
    return epoch - 1 + place / longest


def search_curves(history: Any) -> Figure:
    """Losses of both twins, learning rates, and mean entropy of the weights, over the epochs of a
    search.
    """
    epochs, steps = history_table(history, "epoch"), history_table(history, "step")
    if len(epochs) == 0 and len(steps) == 0:
        return empty_figure("The search has not written anything yet.")
    figure = new_figure(11, 3.0)
    losses, entropies, rates = figure.subplots(1, 3)
    dress(losses, "Contrastive loss of the twins", "epoch")
    for place, (name, label) in enumerate(TWIN_LOSSES.items()):
        if _columns(steps, [name]):
            _line(
                losses,
                _steps_in_epochs(steps),
                steps[name],
                "",
                SERIES[place],
                linewidth=0.8,
                alpha=0.4,
            )
        if _columns(epochs, [name]):
            _line(losses, epochs["epoch"], epochs[name], label, SERIES[place], linewidth=2)
    legend(losses)
    dress(entropies, "Entropy of the weights (1 = undecided)", "epoch")
    numbers, alphas = alpha_history(epochs)
    if len(alphas):
        share = entropy(softmax(alphas))
        for stage in range(3):
            _line(
                entropies,
                numbers,
                share[:, 4 * stage : 4 * stage + 4].mean(1),
                f"stage {stage + 1}",
                SERIES[stage],
                linewidth=2,
            )
        legend(entropies)
    _rates(rates, epochs, {"learning_rate": "weights", "alpha_learning_rate": "alpha"})
    for axes in (losses, entropies, rates):
        whole_numbers(axes)
    return figure


def _rates(axes: Axes, epochs: pd.DataFrame, names: Mapping[str, str]) -> None:
    dress(axes, "Learning rate", "epoch")
    for place, (name, label) in enumerate(names.items()):
        if _columns(epochs, [name]):
            _line(axes, epochs["epoch"], epochs[name], label, SERIES[place], linewidth=2)
    if len(names) > 1:
        legend(axes)
    axes.set_ylim(bottom=0)


def training_curves(history: Any) -> Figure:
    """Losses by part, retrieval on the way (mAP, rank-1), and learning rate, over the epochs of a
    training.
    """
    epochs, evaluations = history_table(history, "epoch"), history_table(history, "evaluation")
    if len(epochs) == 0 and len(evaluations) == 0:
        return empty_figure("The training has not written anything yet.")
    figure = new_figure(11, 3.0)
    losses, scores, rates = figure.subplots(1, 3)
    dress(losses, "Loss and its parts", "epoch")
    for place, name in enumerate(_columns(epochs, list(LOSS_PARTS))):
        if name != "alignment" or finite(epochs[name]).any():  # all zero without SAM
            _line(
                losses,
                epochs["epoch"],
                epochs[name],
                LOSS_PARTS[name],
                SERIES[place % len(SERIES)],
                linewidth=2.4 if name == "loss" else 1.4,
            )
    legend(losses)
    dress(scores, "Retrieval on unseen identities", "epoch")
    for place, name in enumerate(_columns(evaluations, ["mAP", "rank1", "mINP"])):
        _line(
            scores,
            evaluations["epoch"],
            evaluations[name],
            {"rank1": "rank-1"}.get(name, name),
            SERIES[place],
            linewidth=2,
        )
    scores.set_ylim(0, 1.02)
    legend(scores)
    _rates(rates, epochs, {"learning_rate": "weights"})
    for axes in (losses, scores, rates):
        whole_numbers(axes)
    return figure


def compare_curves(
    histories: Mapping[str, Any], kind: str = "evaluation", column: str = "mAP"
) -> Figure:
    """One column of several runs' histories over epochs, a line a run."""
    figure = new_figure(7, 3.2)
    axes = dress(figure.add_subplot(), f"{column} of each run", "epoch")
    for place, (name, history) in enumerate(histories.items()):
        table = history_table(history, kind)
        if len(table) and _columns(table, [column]):
            _line(
                axes, table["epoch"], table[column], name, SERIES[place % len(SERIES)], linewidth=2
            )
    if not axes.lines:
        return empty_figure(f"No run has recorded {column} yet.")
    whole_numbers(axes)
    legend(axes)
    return figure
