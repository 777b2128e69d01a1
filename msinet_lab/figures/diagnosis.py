"""Is this search to be trusted? Pictures of what `msinet_lab.diagnosis` found.

Each says along its lower edge, in grey, by which criterion it is judged, and before it whether this
search meets it, with the number. Shapes: E epochs, 12 slots, K operations.
"""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea

from msinet_core.data.report import Finding
from msinet_core.space import NUM_SLOTS, OPERATIONS, slot_label
from msinet_lab.diagnosis import findings as say
from msinet_lab.diagnosis.effects import NEAR_NO_OP
from msinet_lab.figures.heatmaps import WEIGHTS_MAP, bar, between_stages, heat, over_epochs
from msinet_lab.figures.style import (
    ALARM,
    FAINT,
    GOOD,
    INK,
    PAGE,
    SERIES,
    Look,
    dress,
    ink_on,
    legend,
    new_figure,
    operation_colour,
    operation_label,
    operation_legend,
    outer_legend,
)

LETTERS = 9.5  # points: of what stands along the lower edge
LETTER, WIDE_LETTER = 0.52 * LETTERS / 72, 0.62 * LETTERS / 72  # inches a letter, plain and bold
LOSS, GAIN = to_rgb("#C2570C"), to_rgb("#00795A")
LOSS_MAP = LinearSegmentedColormap.from_list(
    "loss", [(*LOSS, 1.0), (*LOSS, 0.02), (*GAIN, 0.02), (*GAIN, 1.0)]
)


def judged(figure: Figure, passed: bool | None, number: str, criterion: str) -> Figure:
    """Along the lower edge: a tick or cross with the number found (a grey question mark where it is
    undecided), then the criterion in grey, in as many lines as the figure's width asks for.
    """
    mark, colour = {True: ("✔", GOOD), False: ("✘", ALARM), None: ("?", FAINT)}[passed]
    look: Look = {"fontsize": LETTERS}
    room = figure.get_figwidth() - WIDE_LETTER * len(number) - 0.6  # inches
    words = textwrap.fill(f"criterion: {criterion}", max(24, int(room / LETTER)))
    parts: list[Artist] = [
        TextArea(f"{mark} {number}", textprops={**look, "color": colour, "fontweight": "bold"}),
        TextArea(words, textprops={**look, "color": FAINT}),
    ]
    more = words.count("\n")
    figure.set_figheight(figure.get_figheight() + more * 1.2 * LETTERS / 72)
    figure.supxlabel("\n" * more + " ", fontsize=LETTERS)  # keeps the lines free of axes
    line = HPacker(children=parts, align="top" if more else "baseline", pad=0, sep=14)
    where: Look = {"bbox_to_anchor": figure.bbox, "frameon": False, "borderpad": 0.2}
    figure.add_artist(AnchoredOffsetbox("lower left", child=line, **where))
    return figure


def judged_by(figure: Figure, finding: Finding, number: str, criterion: str) -> Figure:
    """The same, met where the finding of the diagnosis is."""
    return judged(figure, finding.severity == "ok", number, criterion)


def slot_names() -> list[str]:
    return [slot_label(slot) for slot in range(NUM_SLOTS)]


def slot_axis(axes: Axes) -> None:
    """A tick for each slot, slanted so that none is over its neighbour."""
    axes.set_xticks(range(NUM_SLOTS), slot_names(), rotation=35, ha="right")
    axes.set_xlim(-0.6, NUM_SLOTS - 0.4)


def trajectory_figure(told: Any) -> Figure:
    """Entropy, margin, winner and weight on near-no-ops of every slot; of a `Trajectory`."""
    figure = new_figure(12.5, 4.3, "What each slot did over the epochs")
    one, two, three, four = figure.subplots(1, 4, sharey=True)
    least, most = min(0.9, float(told.entropy.min())), max(0.1, float(told.margin.max()))
    undecided = WEIGHTS_MAP.reversed()
    _grid(one, told, told.entropy, "entropy (1 = undecided)", (least, 1), undecided)
    _grid(two, told, told.margin, "margin, first to second", (0, most))
    _winners(three, told)
    _grid(four, told, told.idle_weight, "weight that does nothing", (0, 1))
    one.set_yticks(np.arange(NUM_SLOTS) + 0.5, slot_names())
    operation_legend(figure, told.operations, below=False)
    met = [finding.severity == "ok" for finding in say.history_findings(told)]
    entropy, changed = told.entropy[-1].mean(), int((told.flips() > 0).sum())
    number = f"entropy {entropy:.2f}, {changed} changed of late, {len(told.idle_slots)} idle"
    words = (
        f"mean entropy at most {say.UNDECIDED}; fewer than {say.UNSETTLED} slots changed their "
        f"winner of late, fewer than {say.COLLAPSED} do nothing"
    )
    return judged(figure, all(met), number, words)


def _grid(
    axes: Axes,
    told: Any,
    values: np.ndarray,
    title: str,
    limits: tuple[float, float],
    colours: Any = WEIGHTS_MAP,
) -> None:
    """E x 12 values, slots by epochs, with a bar."""
    heat(axes, values.T, limits, colours=colours)
    over_epochs(axes, told.epochs)
    dress(axes, title, "epoch", grid="")
    bar(axes)


def _winners(axes: Axes, told: Any) -> None:
    """The winning operation's colour for every slot and epoch; a dot where it changed."""
    palette = ListedColormap([operation_colour(name) for name in told.operations])
    heat(axes, told.winners.T, (-0.5, len(told.operations) - 0.5), colours=palette)
    when, which = np.nonzero(told.flipped)
    axes.scatter(when + 0.5, which + 0.5, s=14, color=INK, zorder=3)
    over_epochs(axes, told.epochs)
    dress(axes, "winner (dot: it changed)", "epoch", grid="")


def effect_figure(effect: Any) -> Figure:
    """How far each operation moves the branches, slot by slot; `effect`: an `OperationEffect`.

    Winners are ringed, those that do next to nothing in red.
    """
    figure = new_figure(11, 3.7, "What each operation does to the branches here")
    axes = dress(figure.add_subplot(), "", "", "|change| / |branches|")
    middle = (len(OPERATIONS) - 1) / 2
    for column, name in enumerate(OPERATIONS):
        x = np.arange(NUM_SLOTS) + 0.14 * (column - middle)
        axes.vlines(x, 0, effect.distance[:, column], color=operation_colour(name), linewidth=5)
    for slot, winner in enumerate(effect.winners):
        idle = slot in effect.near_no_ops
        at = slot + 0.14 * (winner - middle), effect.distance[slot, winner]
        colour, width = (ALARM, 2.4) if idle else (INK, 1.6)
        ring: Look = {"markeredgecolor": colour, "markeredgewidth": width}
        axes.plot(*at, marker="o", markersize=9, markerfacecolor="none", **ring)
    axes.axhline(NEAR_NO_OP, color=ALARM, linewidth=1, linestyle=":")
    slot_axis(axes)
    axes.set_ylim(-0.06, None)
    operation_legend(figure, below=False)
    number = f"{len(effect.near_no_ops)} winners do next to nothing"
    words = f"every ringed winner but none lies above the dotted line ({NEAR_NO_OP:.0%})"
    return judged_by(figure, say.effect_finding(effect), number, words)


def agreement_figure(agreed: Any) -> Figure:
    """The votes of several searches for each slot's operation; `agreed` is an `Agreement`."""
    title = f"Would another seed find the same?  {agreed.searches} searches"
    figure = new_figure(11, 3.4, f"{title}, kappa {agreed.kappa:.2f}")
    words = f"two searches differ in {agreed.distance:.0%} of the slots"
    axes = dress(figure.add_subplot(), f"{words}; by chance {agreed.chance:.0%}", grid="")
    axes.set_ylabel("share of the searches", fontsize=9, color=FAINT)
    for slot, share in enumerate(agreed.votes / agreed.searches):
        _column_of_votes(axes, slot, share)
    slot_axis(axes)
    axes.set_yticks([0, 0.5, 1], ["0", "half", "all"])
    words = f"kappa at least {say.WEAK}; as many differences as by chance: nothing was found yet"
    return judged_by(figure, say.seed_finding(agreed), f"kappa {agreed.kappa:.2f}", words)


def _column_of_votes(axes: Axes, slot: int, share: np.ndarray) -> None:
    bottom = 0.0
    for column in np.argsort(-share, kind="stable"):
        if share[column]:
            colour = operation_colour(OPERATIONS[column])
            look: Look = {"color": colour, "edgecolor": PAGE, "linewidth": 1.5}
            axes.bar(slot, share[column], 0.86, bottom, **look)
            words: Look = {"ha": "center", "va": "center", "fontsize": 7.5, "color": ink_on(colour)}
            label = operation_label(OPERATIONS[column], "\n")
            axes.text(slot, bottom + share[column] / 2, label, **words)
            bottom += share[column]


def gap_figure(gap: Any) -> Figure:
    """Soft mix against one operation a slot, with stored and re-estimated norms, and by slot."""
    figure = new_figure(12, 3.9, "What is lost when each slot keeps one operation")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.1))
    table = pd.DataFrame({"mAP": 100 * gap.table["mAP"], "network": gap.table.index})
    colours = {name: SERIES[0 if name.startswith("soft") else 1] for name in gap.table.index}
    look: Look = {"hue": "network", "palette": colours, "legend": False, "saturation": 1.0}
    seaborn.barplot(table, x="mAP", y="network", width=0.62, ax=left, **look)
    for bars in left.containers:
        left.bar_label(bars, fmt=" %.1f", fontsize=9, color=INK)
    names = [name.replace(", ", "\n") for name in gap.table.index]
    dress(left, "whole network, mAP in %", grid="x").set_yticks(range(len(names)), names)
    left.set_xlim(0, table["mAP"].max() * 1.18 + 1e-9)
    for place, line in enumerate(gap.slots.itertuples(index=False)):
        interval = [100 * line.low, 100 * line.high]
        right.plot([place, place], interval, color=FAINT, linewidth=1.4, zorder=2)
        look = {"color": operation_colour(line.operation), "markeredgecolor": INK, "zorder": 3}
        right.plot(place, 100 * line.difference, marker="o", markersize=9, **look)
    right.axhline(0, color=INK, linewidth=1)
    dress(right, "one slot at a time: change of mAP in points, 95 % interval")
    slot_axis(right)
    operation_legend(figure, below=False)
    change = gap.reestimated
    low, high = (100 * end for end in change.interval)
    number = f"{100 * change.difference:+.1f} points ({low:+.1f} to {high:+.1f})"
    words = "the 95 % interval of the whole network's change, norms re-estimated, reaches 0"
    return judged_by(figure, say.gap_finding(gap), number, words)


def strength_figure(strength: Any) -> Figure:
    """mAP lost without each operation, beside the weight that alpha gives it."""
    title = "What each operation is worth, against what alpha says"
    figure = new_figure(12, 4.3, f"{title} (mean tau {strength.mean_agreement:+.2f})")
    left, right = figure.subplots(1, 2, sharey=True)
    names = [operation_label(name) for name in OPERATIONS]
    top = max(0.5, float(strength.weights.max()))
    heat(left, strength.weights, (0, top), words=".2f", rows=slot_names(), columns=names)
    most = 100 * max(0.001, float(np.nanmax(np.abs(strength.loss), initial=0)))
    both: Look = {"words": ".2f", "columns": names, "colours": LOSS_MAP, "rows": slot_names()}
    heat(right, 100 * strength.loss, (-most, most), **both)
    for axes, words in ((left, "weight by alpha"), (right, "mAP points lost without it")):
        dress(axes, words, grid="")
        between_stages(axes)
        bar(axes)
    number = f"mean tau {strength.mean_agreement:+.2f}"
    words = f"tau above {say.MEANS_SOMETHING}: alpha (left) is largest where the loss (right) is"
    return judged_by(figure, say.strength_finding(strength), number, words)


def baseline_figure(against: Any) -> Figure:
    """The found genotype among random, uniform and the paper's; `against` is a `Baselines`."""
    place, names = against.place, list(against.named)
    title = f"Better than random?  better than {place.percentile:.0f} % of {len(against.random)}"
    figure = new_figure(11, 3.3, f"{title}, p = {place.p:.2f}")
    axes = figure.add_subplot()
    scores = 100 * np.array(sorted(against.random.values()))
    look: Look = {"s": 9, "color": FAINT, "alpha": 0.45, "linewidth": 0, "jitter": 0.12}
    words = f"{len(scores)} random genotypes"
    seaborn.stripplot(x=scores, y=["random"] * len(scores), label=words, ax=axes, **look)
    for name in names:
        colour = SERIES[3] if name == "paper" else operation_colour(name.removeprefix("all "))
        mark: Look = {
            "marker": "^" if name == "paper" else "s",
            "edgecolors": INK,
            "linewidths": 0.8,
        }
        words = operation_label(name)
        axes.scatter(100 * against.named[name], 1, s=110, color=colour, label=words, **mark)
    found: Look = {"linewidth": 2.6, "label": "found by this search", "zorder": 2}
    axes.axvline(100 * place.score, color=INK, **found)
    dress(axes, "", "mAP in %, with the supernet's weights, norms re-estimated", grid="x")
    axes.set_yticks([0, 1], ["random", "uniform, paper's"])
    axes.set_ylim(-0.6, 1.6)
    outer_legend(figure, axes.get_legend_handles_labels()[0])
    axes.legend().remove()  # the strip plot's own
    words = f"p at most {say.CHANCE}: the dark line lies right of nearly all grey dots"
    return judged_by(figure, say.baseline_finding(against), f"p = {place.p:.2f}", words)


def correlation_figure(correlation: Any) -> Figure:
    """Supernet score against a short training's, a dot a genotype; a `RankCorrelation`."""
    figure = new_figure(6.2, 4.6, f"Does the supernet rank rightly?  tau {correlation.tau:+.2f}")
    axes = figure.add_subplot()
    table = 100 * correlation.table[["supernet", "trained"]]
    kinds = ["found", *["genotypes"] * (len(table) - 1)]
    colours = {"genotypes": SERIES[0], "found": SERIES[5]}
    look: Look = {
        "hue": kinds,
        "palette": colours,
        "size": kinds,
        "sizes": {"genotypes": 60, "found": 90},
    }
    seaborn.scatterplot(table, x="supernet", y="trained", ax=axes, **look)
    dress(axes, "", "mAP in % in the supernet", "mAP in % after a short training", grid="both")
    legend(axes)
    words = f"tau above {say.RANKS_RIGHTLY}: the dots rise from left to right"
    found = say.correlation_finding(correlation)
    return judged_by(figure, found, f"tau {correlation.tau:+.2f}", words)


def diagnosis_figures(found: Any) -> dict[str, Figure]:
    """All pictures of a diagnosis (`diagnose`), by name."""
    figures = {
        "trajectory": trajectory_figure(found.trajectory),
        "effect": effect_figure(found.effect),
        "gap": gap_figure(found.gap),
        "strength": strength_figure(found.strength),
        "baselines": baseline_figure(found.baselines),
    }
    if found.seeds:
        figures["seeds"] = agreement_figure(found.seeds)
    if found.correlation:
        figures["short_trainings"] = correlation_figure(found.correlation)
    return figures
