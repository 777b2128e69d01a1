"""The study's pictures: every setting's score over the seeds, and what became of each claim."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from msinet_lab.figures.style import (
    FAINT,
    INK,
    SERIES,
    dress,
    empty_figure,
    new_figure,
)
from msinet_lab.figures.trust import say_good
from msinet_lab.study.verdicts import SMALLEST, VERDICTS, verdicts

TITLES = {
    "a": "Twins split, overlaps, and the leaking step",
    "b": "Searched, random, uniform and the paper's genotype",
    "c": "Spatial alignment across domains",
    "d": "MSINet and ResNets from scratch",
}
GOOD = {
    "a": "the twins split lies right of the usual one on every data set, by more than the seeds spread (band: one deviation).",
    "b": "the searched genotype lies right of random and uniform ones, by more than the seeds spread (band: one deviation).",
    "c": "the alignment losses lie right of none, by more than the seeds spread.",
    "d": "MSINet lies level with networks of ten times its size, or to the right.",
}
COLOURS = dict(zip(VERDICTS, ("#00795A", "#B3261E", "#8A9099"), strict=True))


def part_figure(rows: pd.DataFrame, part: str) -> Figure:
    """mAP of each setting of one part: a dot a training, a bar from mean minus to mean plus
    deviation; an axes a data set.
    """
    own = rows[rows["part"] == part]
    if own.empty:
        return empty_figure(f"Part {part} has not been carried out.")
    groups = list(own.groupby("data", sort=False))
    settings = list(dict.fromkeys(_family(name) for name in own["setting"]))
    figure = new_figure(3.2 + 3.0 * len(groups), 1.5 + 0.42 * len(settings), TITLES[part])
    grid = np.atleast_1d(figure.subplots(1, len(groups), sharey=True))
    for axes, (data, group) in zip(grid, groups, strict=True):
        dress(axes, str(data), "mAP in %", grid="x")
        for place, setting in enumerate(settings):
            values = 100 * group.loc[group["setting"].map(_family) == setting, "mAP"].to_numpy(
                float
            )
            if not len(values):
                continue
            colour = SERIES[0] if place == 0 else FAINT
            spread = values.std(ddof=1) if len(values) > 1 else 0.0
            axes.plot(
                [values.mean() - spread, values.mean() + spread],
                [place, place],
                color=colour,
                linewidth=5,
                alpha=0.35,
            )
            axes.scatter(
                values, np.full(len(values), place), s=22, color=colour, alpha=0.8, linewidths=0
            )
            axes.plot(
                values.mean(), place, marker="|", markersize=15, markeredgewidth=2.4, color=INK
            )
        axes.set_ylim(len(settings) - 0.5, -0.5)
    grid[0].set_yticks(range(len(settings)), settings)
    return say_good(figure, GOOD[part])


def verdict_figure(rows: pd.DataFrame) -> Figure:
    """Difference in mAP points of each claim with its 95 % interval, coloured by its verdict."""
    table = verdicts(rows)
    if table.empty:
        return empty_figure("No claim has both of its sides yet.")
    figure = new_figure(11, 1.6 + 0.27 * len(table), "What became of each claim")
    axes = dress(
        figure.add_subplot(),
        "",
        "difference in mAP points, 95 % interval over data sets and seeds",
        grid="x",
    )
    finite = table[np.isfinite(table["low"])]
    reach = 100 * max(
        0.02,
        float(finite[["low", "high"]].abs().to_numpy().max())
        if len(finite)
        else float(table["difference"].abs().max()),
    )
    reach = min(reach, 40.0)
    axes.axvspan(0, 100 * SMALLEST, color="#EEF1F4", zorder=0)
    axes.axvline(0, color=INK, linewidth=1)
    for place, line in enumerate(table.to_dict("records")):
        colour = COLOURS[line["verdict"]]
        low, high = (
            float(np.clip(100 * line[end], -1.05 * reach, 1.05 * reach)) for end in ("low", "high")
        )
        axes.plot(
            [low, high],
            [place, place],
            color=colour,
            linewidth=4.5 if line["data"] == "all" else 2.2,
            alpha=0.6,
        )
        axes.plot(
            np.clip(100 * line["difference"], -reach, reach),
            place,
            marker="o",
            markersize=7,
            color=colour,
        )
    axes.set_yticks(
        range(len(table)),
        [f"{claim} · {data}" for claim, data in zip(table["claim"], table["data"], strict=True)],
    )
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlim(-1.08 * reach, 1.08 * reach)
    handles = [
        axes.plot([], [], color=colour, linewidth=4, label=name)[0]
        for name, colour in COLOURS.items()
    ]
    figure.legend(
        handles=handles, loc="outside right upper", fontsize=9, frameon=False, labelcolor=INK
    )
    return say_good(
        figure,
        "intervals to the right of zero (green); the grey band is a difference too small to matter.",
    )


def study_figures(rows: pd.DataFrame) -> dict[str, Figure]:
    """The pictures of all parts in the table, and the verdicts."""
    figures = {f"part_{part}": part_figure(rows, part) for part in sorted(set(rows["part"]))}
    return figures | {"verdicts": verdict_figure(rows)}


def _family(setting: str) -> str:
    """`random` for `random 2`: settings that are drawn are shown together."""
    return "random" if setting.startswith("random ") else setting
