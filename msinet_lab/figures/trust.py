"""Is this search to be trusted? Pictures of what `search.diagnostics` found; each says what good
looks like.

Shapes: E epochs, 12 slots, K operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from msinet_core.space import NUM_SLOTS, OPERATIONS, SLOTS_PER_CELL
from msinet_lab.figures.architecture import SLOTS_PER_STAGE, WEIGHTS_MAP
from msinet_lab.figures.style import (
    FAINT,
    INK,
    PAGE,
    SERIES,
    dress,
    ink_on,
    legend,
    new_figure,
    operation_colour,
    operation_label,
    whole_numbers,
)

GOOD = "#00664B"
LOSS_MAP = LinearSegmentedColormap.from_list(
    "loss", ["#C2570C", "#F6D9C4", "#F7F9FB", "#C9E3D8", "#00795A"]
)


def say_good(figure: Figure, text: str) -> Figure:
    """One line along the lower edge: what a search to be trusted would show here."""
    figure.supxlabel(f"good: {text}", fontsize=9.5, color=GOOD, x=0.01, ha="left")
    return figure


def _legend(figure: Figure, operations: Sequence[str]) -> None:
    """The operations' colours in a column at the right, clear of the title and of the line below."""
    handles = [
        Patch(color=operation_colour(name), label=operation_label(name)) for name in operations
    ]
    figure.legend(
        handles=handles, loc="outside right upper", fontsize=9, frameon=False, labelcolor=INK
    )


def short_slot(slot: int) -> str:
    """`s2 c1 · 2` for stage 2, cell 1, slot 2."""
    stage, rest = divmod(slot, SLOTS_PER_STAGE)
    cell, place = divmod(rest, SLOTS_PER_CELL)
    return f"s{stage + 1} c{cell + 1} · {place + 1}"


def trajectory_figure(told: Any) -> Figure:
    """Entropy, margin, winner and identity mass of every slot over the epochs; `told` is a
    `Trajectory`.
    """
    figure = new_figure(12.5, 4.3, "What each slot did over the epochs")
    axes = figure.subplots(1, 4, sharey=True)
    epochs = told.epochs
    _grid(
        figure,
        axes[0],
        told.entropy.T,
        epochs,
        "entropy (1 = undecided)",
        WEIGHTS_MAP.reversed(),
        min(0.9, float(told.entropy.min())),
        1,
    )
    _grid(
        figure,
        axes[1],
        told.margin.T,
        epochs,
        "margin, first to second",
        WEIGHTS_MAP,
        0,
        max(0.1, float(told.margin.max())),
    )
    _winners(axes[2], told)
    _grid(
        figure, axes[3], told.idle_weight.T, epochs, "weight that does nothing", WEIGHTS_MAP, 0, 1
    )
    axes[0].set_yticks(range(NUM_SLOTS), [short_slot(slot) for slot in range(NUM_SLOTS)])
    _legend(figure, told.operations)
    return say_good(
        figure,
        "entropy falls and margins grow to the right; winners stop changing; no slot ends with nearly all weight on doing nothing.",
    )


def _grid(
    figure: Figure,
    axes: Axes,
    values: np.ndarray,
    epochs: np.ndarray,
    title: str,
    colours: Any,
    low: float,
    high: float,
) -> None:
    """Slots by epochs as colours with a bar."""
    dress(axes, title, "epoch", grid="")
    extent = (epochs[0] - 0.5, epochs[-1] + 0.5, NUM_SLOTS - 0.5, -0.5)
    image = axes.imshow(
        values,
        cmap=colours,
        vmin=low,
        vmax=high,
        aspect="auto",
        interpolation="nearest",
        extent=extent,
    )
    _stages(axes)
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.ax.tick_params(labelsize=8, colors=FAINT, length=0)
    bar.outline.set_visible(False)


def _winners(axes: Axes, told: Any) -> None:
    """The winning operation's colour for every slot and epoch; a dot where it changed."""
    dress(axes, "winner (dot: it changed)", "epoch", grid="")
    for place, epoch in enumerate(told.epochs):
        for slot in range(NUM_SLOTS):
            name = told.operations[told.winners[place, slot]]
            axes.add_patch(
                Rectangle(
                    (epoch - 0.5, slot - 0.5),
                    1,
                    1,
                    facecolor=operation_colour(name),
                    edgecolor="none",
                )
            )
    when, which = np.nonzero(told.flipped)
    axes.scatter(told.epochs[when], which, s=14, color=INK, zorder=3)
    axes.set_xlim(told.epochs[0] - 0.5, told.epochs[-1] + 0.5)
    axes.set_ylim(NUM_SLOTS - 0.5, -0.5)
    _stages(axes)


def _stages(axes: Axes) -> None:
    for edge in range(SLOTS_PER_STAGE, NUM_SLOTS, SLOTS_PER_STAGE):
        axes.axhline(edge - 0.5, color=PAGE, linewidth=3)
    whole_numbers(axes)


def effect_figure(effect: Any) -> Figure:
    """How far each operation moves the branches, slot by slot; winners are ringed, disguised ones
    in red.
    """
    figure = new_figure(11, 3.5, "What each operation does to the branches here")
    axes = dress(figure.add_subplot(), "", "", "|change| / |branches|")
    names = list(OPERATIONS)
    for column, name in enumerate(names):
        x = np.arange(NUM_SLOTS) + 0.14 * (column - (len(names) - 1) / 2)
        axes.vlines(x, 0, effect.distance[:, column], color=operation_colour(name), linewidth=5)
    for slot, winner in enumerate(effect.winners):
        x, y = slot + 0.14 * (winner - (len(names) - 1) / 2), effect.distance[slot, winner]
        colour = "#B3261E" if slot in effect.near_no_ops else INK
        axes.plot(
            x,
            y,
            marker="o",
            markersize=9,
            markerfacecolor="none",
            markeredgecolor=colour,
            markeredgewidth=2.4 if slot in effect.near_no_ops else 1.6,
        )
    axes.axhline(0.05, color="#B3261E", linewidth=1, linestyle=":")
    axes.set_xticks(range(NUM_SLOTS), [short_slot(slot) for slot in range(NUM_SLOTS)])
    axes.set_xlim(-0.6, NUM_SLOTS - 0.4)
    axes.set_ylim(-0.06, None)
    _legend(figure, names)
    return say_good(
        figure,
        "the ringed winner stands well above the dotted line (5 %), unless it is none; a red ring is an identity in disguise.",
    )


def agreement_figure(agreed: Any, names: Any = None) -> Figure:
    """The votes of several searches for each slot's operation; `agreed` is an `Agreement`."""
    figure = new_figure(
        11,
        3.4,
        f"Would another seed find the same?  {agreed.searches} searches, kappa {agreed.kappa:.2f}",
    )
    axes = dress(
        figure.add_subplot(),
        f"two searches differ in {agreed.distance:.0%} of the slots; by chance {agreed.chance:.0%}",
        "",
        "share of the searches",
        grid="",
    )
    share = agreed.votes / agreed.searches
    for slot in range(NUM_SLOTS):
        bottom = 0.0
        for column in np.argsort(-share[slot], kind="stable"):
            if share[slot, column]:
                colour = operation_colour(OPERATIONS[column])
                axes.bar(
                    slot,
                    share[slot, column],
                    0.86,
                    bottom,
                    color=colour,
                    edgecolor=PAGE,
                    linewidth=1.5,
                )
                axes.text(
                    slot,
                    bottom + share[slot, column] / 2,
                    operation_label(OPERATIONS[column]).replace(" ", "\n"),
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color=ink_on(colour),
                )
                bottom += share[slot, column]
    axes.set_xticks(range(NUM_SLOTS), [short_slot(slot) for slot in range(NUM_SLOTS)])
    axes.set_yticks([0, 0.5, 1], ["0", "half", "all"])
    return say_good(
        figure,
        "whole columns of one colour, kappa above 0.6; as many differences as by chance mean that nothing was found yet.",
    )


def gap_figure(gap: Any) -> Figure:
    """Soft mix against one operation a slot, with stored and re-estimated norms, and slot by slot."""
    figure = new_figure(12, 3.9, "What is lost when each slot keeps one operation")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.1))
    dress(left, "whole network, mAP in %", grid="x")
    table = gap.table.iloc[::-1]
    colours = [SERIES[0] if name.startswith("soft") else SERIES[1] for name in table.index]
    left.barh(range(len(table)), 100 * table["mAP"], 0.62, color=colours)
    left.set_yticks(range(len(table)), [name.replace(", ", "\n") for name in table.index])
    for place, value in enumerate(100 * table["mAP"]):
        left.text(value, place, f" {value:.1f}", va="center", fontsize=9, color=INK)
    left.set_xlim(0, 100 * float(table["mAP"].max()) * 1.18 + 1e-9)
    dress(right, "one slot at a time: change of mAP in points, 95 % interval", "", "")
    slots = gap.slots
    for place, line in enumerate(slots.itertuples(index=False)):
        colour = operation_colour(line.operation)
        right.plot(
            [place, place], [100 * line.low, 100 * line.high], color=FAINT, linewidth=1.4, zorder=2
        )
        right.plot(
            place,
            100 * line.difference,
            marker="o",
            markersize=9,
            color=colour,
            markeredgecolor=INK,
            zorder=3,
        )
    right.axhline(0, color=INK, linewidth=1)
    right.set_xticks(
        range(NUM_SLOTS), [short_slot(slot) for slot in range(NUM_SLOTS)], rotation=35, ha="right"
    )
    _legend(figure, OPERATIONS)
    return say_good(
        figure,
        "blue and orange bars of the same norms end together; every interval on the right touches or exceeds 0.",
    )


def strength_figure(strength: Any) -> Figure:
    """mAP lost without each operation, beside the weight that alpha gives it."""
    figure = new_figure(
        12,
        4.3,
        f"What each operation is worth, against what alpha says (mean tau {strength.mean_agreement:+.2f})",
    )
    left, right = figure.subplots(1, 2, sharey=True)
    most = max(0.001, float(np.nanmax(np.abs(strength.loss))))
    pictures = [
        (
            left,
            strength.weights,
            "weight by alpha",
            WEIGHTS_MAP,
            (0, max(0.5, float(strength.weights.max()))),
        ),
        (
            right,
            100 * strength.loss,
            "mAP points lost without it",
            LOSS_MAP,
            (-100 * most, 100 * most),
        ),
    ]
    for axes, values, title, colours, (low, high) in pictures:
        dress(axes, title, grid="")
        image = axes.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto")
        for row, column in np.ndindex(*values.shape):
            if np.isfinite(values[row, column]):
                best = values[row, column] == np.nanmax(values[row])
                dark = axes is left and values[row, column] > 0.55 * high
                axes.text(
                    column,
                    row,
                    f"{values[row, column]:.2f}",
                    ha="center",
                    va="center",
                    fontsize=8.5,
                    color=PAGE if dark else INK,
                    fontweight="bold" if best else "normal",
                )
        axes.set_xticks(range(len(OPERATIONS)), [operation_label(name) for name in OPERATIONS])
        for edge in range(SLOTS_PER_STAGE, NUM_SLOTS, SLOTS_PER_STAGE):
            axes.axhline(edge - 0.5, color=PAGE, linewidth=3)
        bar = figure.colorbar(image, ax=axes, pad=0.015)
        bar.ax.tick_params(labelsize=8, colors=FAINT, length=0)
        bar.outline.set_visible(False)
    left.set_yticks(range(NUM_SLOTS), [short_slot(slot) for slot in range(NUM_SLOTS)])
    return say_good(
        figure,
        "bold numbers stand in the same column left and right (tau near 1): alpha is largest where the loss is.",
    )


def baseline_figure(against: Any) -> Figure:
    """The found genotype among random, uniform and the paper's, all in the supernet; `against` is a
    `Baselines`.
    """
    figure = new_figure(
        11,
        3.3,
        f"Better than random?  better than {against.place.percentile:.0f} % of {len(against.random)}, p = {against.place.p:.2f}",
    )
    axes = dress(
        figure.add_subplot(),
        "",
        "mAP in %, with the supernet's weights, norms re-estimated",
        "",
        grid="x",
    )
    scores = 100 * np.array(sorted(against.random.values()))
    axes.scatter(
        scores,
        np.zeros(len(scores)),
        s=70,
        color=FAINT,
        alpha=0.45,
        linewidths=0,
        label=f"{len(scores)} random genotypes",
    )
    for name, score in against.named.items():
        colour = operation_colour(name.removeprefix("all ")) if name != "paper" else SERIES[3]
        axes.scatter(
            100 * score,
            1,
            s=110,
            color=colour,
            edgecolors=INK,
            linewidths=0.8,
            zorder=3,
            label=operation_label(name),
            marker="^" if name == "paper" else "s",
            alpha=0.95,
        )
    axes.axvline(
        100 * against.place.score, color=INK, linewidth=2.6, label="found by this search", zorder=2
    )
    axes.set_yticks([0, 1], ["random", "uniform, paper's"])
    axes.set_ylim(-0.6, 1.6)
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside right upper",
        fontsize=9,
        frameon=False,
        labelcolor=INK,
    )
    return say_good(
        figure,
        "the dark line lies right of nearly all grey dots (p below 0.05) and of the squares.",
    )


def correlation_figure(correlation: Any) -> Figure:
    """Supernet score against a short training's, a dot a genotype; `correlation` is a
    `RankCorrelation`.
    """
    figure = new_figure(6.2, 4.6, f"Does the supernet rank rightly?  tau {correlation.tau:+.2f}")
    axes = dress(
        figure.add_subplot(),
        "",
        "mAP in % in the supernet",
        "mAP in % after a short training",
        grid="both",
    )
    table = correlation.table
    axes.scatter(
        100 * table["supernet"],
        100 * table["trained"],
        s=60,
        color=SERIES[0],
        alpha=0.85,
        label="genotypes",
    )
    axes.scatter(
        100 * table["supernet"].iloc[:1],
        100 * table["trained"].iloc[:1],
        s=90,
        color=SERIES[5],
        label="found",
    )
    legend(axes)
    return say_good(figure, "the dots rise from left to right (tau near 1).")


def trust_figures(trust: Any) -> dict[str, Figure]:
    """All pictures of a `Trust`, by name."""
    figures = {
        "trajectory": trajectory_figure(trust.trajectory),
        "effect": effect_figure(trust.effect),
        "gap": gap_figure(trust.gap),
        "strength": strength_figure(trust.strength),
        "baselines": baseline_figure(trust.baselines),
    }
    if trust.seeds:
        figures["seeds"] = agreement_figure(trust.seeds)
    if trust.correlation:
        figures["short_trainings"] = correlation_figure(trust.correlation)
    return figures
